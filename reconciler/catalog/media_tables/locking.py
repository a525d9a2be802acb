"""Reads the gateway's rows under lock, so that a row locked by others is never mistaken for a missing one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from reconciler.catalog.db.connections import AnyConnection
from reconciler.catalog.media_tables.records import lookup
from reconciler.catalog.media_tables.tables import MediaTables, by_key
from reconciler.model import Mark, OwnerRead, Policy, Record, VirtualKey


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedRows:
    """The rows that name the marks' keys; `busy` are keys with a row locked by others."""

    named: dict[str, list[Record]]
    busy: frozenset[str]


async def read_locked(
    connection: AnyConnection, media: MediaTables, taken: Sequence[Mark], policy: Policy, now: datetime
) -> LockedRows:
    """Read rows in statements after the marks are locked: first without a lock, then those found
    under one. A row locked by others must not look like a missing one (R-27).
    """
    keys = [mark.storage_key for mark in taken]
    seen = by_key(await lookup(connection, media, keys))
    if not seen:
        return LockedRows(named={}, busy=frozenset())
    locked = await lock_rows(connection, media, [row.id for rows in seen.values() for row in rows])
    # Lock virtual keys only where the verdict, or a rule, reads them: a busy one would hold up all its
    # records. One that has ended may decide for any verdict: the mark's own reason may be gone.
    reading = {mark.storage_key for mark in taken if policy.owner_read(mark.verdict) is OwnerRead.STATE}
    owners = {
        row.owner.id
        for key, rows in seen.items()
        for row in rows
        if row.owner and (key in reading or _ended(row.owner, now))
    }
    held = await _lock_owners(connection, media, sorted(owners))
    # Read once more, now that none of these rows can change.
    named = by_key(await lookup(connection, media, list(seen)))
    busy = {
        key
        for key, rows in named.items()
        if any(row.id not in locked for row in rows)
        or any(
            row.owner and row.owner.id not in held and (key in reading or _ended(row.owner, now))
            for row in rows
        )
    }
    return LockedRows(named=named, busy=frozenset(busy))


async def lock_rows(connection: AnyConnection, media: MediaTables, ids: Sequence[str]) -> set[str]:
    """Lock rows in key order, skipping those locked by a writer; returns the ids that we locked (R-30)."""
    rows = await connection.fetch(
        f"SELECT {media.identity.text} AS id FROM {media.media}"
        f" WHERE {media.identity.among('$1')}"
        f" ORDER BY {media.ordered_key} FOR UPDATE OF m SKIP LOCKED",
        list(ids),
    )
    return {row["id"] for row in rows}


async def _lock_owners(connection: AnyConnection, media: MediaTables, ids: Sequence[str]) -> set[str]:
    if not ids or not media.has_keys:
        return {*ids}
    rows = await connection.fetch(
        f"SELECT {media.key_id}::text AS id FROM {media.keys}"
        f" WHERE {media.key_id} = ANY($1::text[]::{media.key_id_type}[])"
        f" ORDER BY {media.key_id} FOR SHARE SKIP LOCKED",
        list(ids),
    )
    return {row["id"] for row in rows}


def _ended(owner: VirtualKey, now: datetime) -> bool:
    return not owner.enabled or (owner.expires_at is not None and owner.expires_at <= now)
