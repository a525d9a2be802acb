"""Whether something is on hold, as SQL and as a question."""

from collections.abc import Sequence

import asyncpg

from reconciler.catalog.db import bounds
from reconciler.catalog.db.connections import AnyConnection
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.model import Hold, HoldKind

ANY_HOLD = f"SELECT EXISTS (SELECT FROM {SCHEMA}.holds WHERE until IS NULL OR until > clock_timestamp())"


async def held(connection: AnyConnection, media: MediaTables, keys: Sequence[str]) -> dict[str, Hold]:
    wanted = [key for key in keys if bounds.storable(key)]
    # Asked first, since most sites hold nothing: even planning the other query takes longer.
    if not wanted or not await connection.fetchval(ANY_HOLD):
        return {}
    rows = await connection.fetch(_holds_on(media), wanted)
    return {row["key"]: hold_from(row) for row in rows}


def held_condition(media: MediaTables, now: str) -> str:
    """SQL that is true of a mark `m` under a hold in force at the time `now` (a parameter).

    A cheap way to skip marks; the claim decides whether a mark is held after it has locked the mark.
    """
    return condition(media, "m.storage_key", now, owners="m.owners")


def condition(media: MediaTables, key: str, now: str, *, owners: str | None = None) -> str:
    """SQL that is true where that key is on hold at the time `now`, by any kind of hold.

    A hold by virtual key counts for a row that names the key now, or that a pass has seen since the hold
    began (R-50); and for a virtual key in the array `owners`.
    """
    force = _in_force("hold", now)
    of_owner = f"hold.kind = 'virtual_key' AND {force}"
    gone = f"OR EXISTS (SELECT FROM {SCHEMA}.holds hold WHERE {of_owner} AND hold.target = ANY({owners}))"
    # The inner query's `m` is the media table. The key loses its collation there, as a parameter has none, so
    # that the table's own applies and its index answers.
    return f"""(
        {_any(HoldKind.KEY, now)} AND EXISTS (
            SELECT FROM {SCHEMA}.holds hold
            WHERE hold.kind = 'key' AND hold.target = {key} AND {force})
        OR {_any(HoldKind.PREFIX, now)} AND EXISTS (
            SELECT FROM {SCHEMA}.holds hold
            WHERE hold.kind = 'prefix' AND starts_with({key}, hold.target) AND {force})
        OR {_any(HoldKind.VIRTUAL_KEY, now)} AND (
            EXISTS (
                SELECT FROM {SCHEMA}.held_keys e
                JOIN {SCHEMA}.holds hold ON {of_owner} AND hold.target = e.virtual_key
                WHERE e.storage_key = {key})
            OR EXISTS (
                SELECT FROM (SELECT {key} COLLATE "default" AS marked) own
                JOIN {media.media} ON {media.equal_key} = own.marked
                JOIN {SCHEMA}.holds hold ON {of_owner} AND hold.target = {owner(media)})
            {gone if owners else ""})
    )"""


def _holds_on(media: MediaTables) -> str:
    """One hold for each of the keys $1 that are held. Keys are looked up only where there are such holds."""
    force = _in_force("h", "clock_timestamp()")
    of_key, of_owner = (_any(kind, "clock_timestamp()") for kind in (HoldKind.KEY, HoldKind.VIRTUAL_KEY))
    return f"""
        SELECT DISTINCT ON (key) * FROM (
            SELECT h.target AS key, h.* FROM {SCHEMA}.holds h
            WHERE {of_key} AND h.kind = 'key' AND h.target = ANY($1::text[]) AND {force}
            UNION ALL
            SELECT k.key COLLATE "C", h.* FROM {SCHEMA}.holds h
            JOIN unnest($1::text[]) AS k (key) ON starts_with(k.key, h.target)
            WHERE h.kind = 'prefix' AND {force}
            UNION ALL
            SELECT {media.key_text} COLLATE "C", h.* FROM {media.media}
            JOIN {SCHEMA}.holds h ON h.kind = 'virtual_key' AND h.target = {owner(media)} AND {force}
            WHERE {of_owner} AND {media.equal_key} = ANY($1::text[])
            UNION ALL
            SELECT e.storage_key, h.* FROM {SCHEMA}.held_keys e
            JOIN {SCHEMA}.holds h ON h.kind = 'virtual_key' AND h.target = e.virtual_key AND {force}
            WHERE {of_owner} AND e.storage_key = ANY($1::text[])
            UNION ALL
            SELECT g.storage_key, h.* FROM {SCHEMA}.hidden g
            JOIN {SCHEMA}.holds h ON h.kind = 'virtual_key' AND h.target = ANY(g.owners) AND {force}
            WHERE {of_owner} AND g.storage_key = ANY($1::text[])
            UNION ALL
            SELECT d.storage_key, h.* FROM {SCHEMA}.marks d
            JOIN {SCHEMA}.holds h ON h.kind = 'virtual_key' AND h.target = ANY(d.owners) AND {force}
            WHERE {of_owner} AND d.storage_key = ANY($1::text[])
        ) found ORDER BY key, kind
    """


def owner(media: MediaTables) -> str:
    return f'({media.owner_id}::text COLLATE "C")'


def _any(kind: HoldKind, now: str) -> str:
    """Evaluated once a query, so that marks and rows are read only where a hold of that kind exists."""
    force = _in_force("o", now)
    return f"(SELECT EXISTS (SELECT FROM {SCHEMA}.holds o WHERE o.kind = '{kind.value}' AND {force}))"


def _in_force(alias: str, now: str) -> str:
    return f"({alias}.until IS NULL OR {alias}.until > {now})"


def hold_from(row: asyncpg.Record) -> Hold:
    return Hold(
        kind=HoldKind(row["kind"]),
        target=row["target"],
        reason=row["reason"],
        author=row["author"],
        until=row["until"],
        added_at=row["added_at"],
        pass_id=row["pass_id"],
    )
