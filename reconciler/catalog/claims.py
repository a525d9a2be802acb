"""Protocol step 2: marks become claims, in one short transaction that never spans a call to the store."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import asyncpg

from reconciler.catalog import bounds, hiding, holds, ledger, spending
from reconciler.catalog.connections import AnyConnection, by_index
from reconciler.catalog.gateway import Gateway, by_key
from reconciler.catalog.ledger import Entry
from reconciler.catalog.records import add_rewritten, lookup, require_tables
from reconciler.catalog.schema import SCHEMA
from reconciler.catalog.terms import stand
from reconciler.model import (
    Cancel,
    Claim,
    ClaimedKey,
    DeleteMode,
    Mark,
    Mode,
    Policy,
    Postpone,
    Record,
    RecordRef,
    Remove,
    Term,
    Verdict,
    VirtualKey,
)
from reconciler.ports import Cap, Decide

IN_FLIGHT = timedelta(minutes=2)
"""How long a claim is left to whoever took it: the wait for the horizon, the longest request, and
its confirmation. After that the same leader takes it up again."""

POSTPONED = timedelta(seconds=30)
"""When a mark that was put off is looked at again. Behind it the others are not held up (R-27)."""

MARK_COLUMNS = (
    "m.storage_key, m.verdict, m.reason, m.bytes, m.pass_id, m.object_etag, m.object_last_modified,"
    " m.first_seen_at, m.last_seen_at, m.sightings, m.due_at"
)

# Marks that may be claimed at $1, of the kinds $2, under the delay $3, in the stretches $4/$5 of the
# keys' order. A dangling one takes two sightings. The pass has to be armed, and (for a claim, not for
# a preview) its stamp behind every open transaction. Parameters are times taken before, so that an
# index on due_at can answer.
CLAIMABLE = f"""
    m.state = 'found' AND p.state = 'armed' AND m.verdict = ANY($2::text[])
    AND m.due_at <= $1::timestamptz
    AND coalesce((SELECT live_since FROM {SCHEMA}.term), '-infinity') + $3::interval <= $1
    AND (m.not_before IS NULL OR m.not_before <= $1)
    AND (m.verdict <> 'dangling' OR m.sightings >= 2)
    AND EXISTS (SELECT FROM unnest($4::text[], $5::text[]) AS b (low, high)
                WHERE m.storage_key >= b.low AND (b.high IS NULL OR m.storage_key < b.high))
"""

BEHIND_HORIZON = "p.armed_xid < pg_snapshot_xmin(pg_current_snapshot())"

# A sweep in which both sides were above their limits means that the join itself is wrong: until a
# person has decided about it nothing at all is claimed.
STOPPED = f"""
SELECT EXISTS (SELECT FROM {SCHEMA}.passes WHERE marker = 'sweep' AND state = 'tripped' AND both_sides)
"""

# The longest due first, and those of one pass in key order. Held ones are passed over. Locked by others
# (a writer, another claim): left for a later one, not waited for.
TAKE = f"""
SELECT {MARK_COLUMNS} FROM {SCHEMA}.marks m JOIN {SCHEMA}.passes p ON p.id = m.pass_id
WHERE {CLAIMABLE} AND {BEHIND_HORIZON} AND NOT {{held}}
ORDER BY m.due_at, m.storage_key LIMIT $6
FOR UPDATE OF m SKIP LOCKED
"""

CANCEL = f"DELETE FROM {SCHEMA}.marks WHERE storage_key = ANY($1::text[])"

POSTPONE = f"UPDATE {SCHEMA}.marks SET not_before = $2 WHERE storage_key = ANY($1::text[])"

# The decision goes with the claim, so that whoever rolls it forward does the same. The transaction's
# own id says from when on writers could see the claim.
CLAIM = f"""
UPDATE {SCHEMA}.marks m
SET state = 'claimed', operation_id = $4, epoch = $5, claimed_xid = pg_current_xact_id(),
    attempted_at = $6::timestamptz, not_before = $6 + $7::interval, records = c.records::jsonb,
    delete_object = c.delete_object, verify_absence = c.verify_absence,
    delete_mode = $9::text, quarantine_key = c.quarantine_key
FROM unnest($1::text[], $2::text[], $3::boolean[], $8::boolean[], $10::text[])
    AS c (storage_key, records, delete_object, verify_absence, quarantine_key)
WHERE m.storage_key = c.storage_key
"""

# Claims that nobody carries on: ours after IN_FLIGHT or a failure, others' once none of their
# requests can still be on its way.
UNFINISHED = f"""
SELECT {MARK_COLUMNS}, m.operation_id, m.attempts, m.records, m.delete_object, m.verify_absence,
       m.delete_mode, m.quarantine_key
FROM {SCHEMA}.marks m
WHERE m.state = 'claimed'
  AND (m.epoch = $1 AND m.not_before <= $2::timestamptz
       OR m.epoch <> $1 AND m.attempted_at + $3::interval <= $2)
ORDER BY m.storage_key LIMIT $4
FOR UPDATE OF m SKIP LOCKED
"""

# A new operation under this term: what the former one still confirms is not ours any more.
TAKE_OVER = f"""
UPDATE {SCHEMA}.marks
SET operation_id = $2, epoch = $3, claimed_xid = pg_current_xact_id(), attempted_at = $4::timestamptz,
    not_before = $4 + $5::interval, attempts = attempts + 1
WHERE storage_key = ANY($1::text[])
"""


@dataclass(slots=True)
class _Sorted:
    """The marks of one claim by what was decided about them."""

    claimed: list[ClaimedKey] = field(default_factory=list)
    cancelled: list[tuple[Mark, str]] = field(default_factory=list)
    postponed: list[Mark] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """The rows that name the marks' keys, and the keys of which some row is locked by others."""

    named: dict[str, list[Record]]
    busy: frozenset[str]


class Claimer:
    """Takes marks for the collector, in the caller's transaction; claims have no `xid` yet."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._take = TAKE.format(held=holds.held_condition(gateway, "$1"))

    async def claim(
        self,
        connection: AnyConnection,
        term: Term,
        policy: Policy,
        verdicts: Sequence[Verdict],
        limit: int,
        decide: Decide,
        cap: Cap,
    ) -> Claim:
        operation = uuid4()
        standing = await stand(connection, term)
        stopped = standing.paused or standing.mode is Mode.DRY_RUN
        if stopped or await connection.fetchval(STOPPED):
            return Claim(operation_id=operation, epoch=term.epoch, xid=0, keys=())
        await require_tables(connection, self._gateway)
        arguments = claimable_arguments(standing.now, policy, verdicts)
        await by_index(connection)
        await holds.claims_wait(connection)
        taken = [mark_from(row) for row in await connection.fetch(self._take, *arguments, limit)]
        taken.sort(key=lambda mark: mark.storage_key)
        if not taken:
            return Claim(operation_id=operation, epoch=term.epoch, xid=0, keys=())
        rows = await self._rows(connection, taken, standing.now)
        # Later than the marks' locks: what came into force since they were chosen is seen here.
        held = await holds.held(connection, self._gateway, [mark.storage_key for mark in taken])
        if policy.rewrites_keys:
            keys = [mark.storage_key for mark in taken]
            await add_rewritten(connection, self._gateway, keys, rows.named)
        decided = _decided(taken, rows, held, decide, standing.now)
        allowed = await spending.allow(connection, decided.claimed, policy, cap, standing.now)
        decided.claimed = [hiding.in_mode(key, policy.delete_mode, operation) for key in allowed.keys]
        await self._write(connection, term, operation, decided, standing.now, policy.delete_mode)
        return Claim(
            operation_id=operation,
            epoch=term.epoch,
            xid=0,
            keys=tuple(decided.claimed),
            taken=len(taken),
            cancelled=len(decided.cancelled),
            postponed=len(decided.postponed),
            tripped=allowed.tripped,
        )

    async def _rows(self, connection: AnyConnection, taken: Sequence[Mark], now: datetime) -> _Rows:
        """Read, in statements later than the marks' locks: first without a lock, then what was found
        under one. A row that others hold must not look like none (R-27).
        """
        gateway = self._gateway
        keys = [mark.storage_key for mark in taken]
        seen = by_key(await lookup(connection, gateway, keys))
        if not seen:
            return _Rows(named={}, busy=frozenset())
        locked = await self._lock_rows(connection, [row.id for rows in seen.values() for row in rows])
        # Keys' rows only where the verdict reads them: a busy one would hold up all its records. One
        # that has ended may decide whatever the mark says, since its other reason may be gone.
        revoked = {mark.storage_key for mark in taken if mark.verdict is Verdict.REVOKED}
        owners = {
            row.owner.id
            for key, rows in seen.items()
            for row in rows
            if row.owner and (key in revoked or _ended(row.owner, now))
        }
        held = await self._lock_owners(connection, sorted(owners))
        # Once more, now that nothing of it can change.
        named = by_key(await lookup(connection, gateway, list(seen)))
        busy = {
            key
            for key, rows in named.items()
            if any(row.id not in locked for row in rows)
            or any(
                row.owner and row.owner.id not in held and (key in revoked or _ended(row.owner, now))
                for row in rows
            )
        }
        return _Rows(named=named, busy=frozenset(busy))

    async def _lock_rows(self, connection: AnyConnection, ids: Sequence[str]) -> set[str]:
        gateway = self._gateway
        rows = await connection.fetch(
            f"SELECT {gateway.id}::text AS id FROM {gateway.media}"
            f" WHERE {gateway.id} = ANY($1::text[]::{gateway.id_type}[])"
            f" ORDER BY {gateway.ordered_key} FOR UPDATE SKIP LOCKED",
            list(ids),
        )
        return {row["id"] for row in rows}

    async def _lock_owners(self, connection: AnyConnection, ids: Sequence[str]) -> set[str]:
        if not ids:
            return set()
        gateway = self._gateway
        rows = await connection.fetch(
            f"SELECT {gateway.key_id}::text AS id FROM {gateway.keys}"
            f" WHERE {gateway.key_id} = ANY($1::text[]::{gateway.key_id_type}[])"
            f" ORDER BY {gateway.key_id} FOR SHARE SKIP LOCKED",
            list(ids),
        )
        return {row["id"] for row in rows}

    async def _write(
        self,
        connection: AnyConnection,
        term: Term,
        operation: UUID,
        decided: _Sorted,
        now: datetime,
        mode: DeleteMode,
    ) -> None:
        if decided.cancelled:
            await connection.execute(CANCEL, [mark.storage_key for mark, _ in decided.cancelled])
            entries = [Entry(ledger.OBJECT, mark, detail=reason) for mark, reason in decided.cancelled]
            await ledger.append(connection, ledger.CANCELLED, operation, term.epoch, entries)
        if decided.postponed:
            await connection.execute(
                POSTPONE, [mark.storage_key for mark in decided.postponed], now + POSTPONED
            )
        if decided.claimed:
            await connection.execute(
                CLAIM,
                [key.mark.storage_key for key in decided.claimed],
                [_records_text(key.decision) for key in decided.claimed],
                [key.decision.delete_object for key in decided.claimed],
                operation,
                term.epoch,
                now,
                IN_FLIGHT,
                [key.decision.verify_absence for key in decided.claimed],
                mode.value,
                [key.quarantine_key for key in decided.claimed],
            )
            await ledger.append(
                connection, ledger.INTENT, operation, term.epoch, _intents(decided.claimed, None)
            )

    @staticmethod
    async def take_over(
        connection: AnyConnection, term: Term, dead_after: timedelta, limit: int
    ) -> Claim | None:
        """See `ports.Marks.unfinished`. What was decided stands: a claim only rolls forward."""
        standing = await stand(connection, term)
        if standing.paused:
            return None
        await by_index(connection)
        rows = await connection.fetch(UNFINISHED, term.epoch, standing.now, dead_after, limit)
        if not rows:
            return None
        operation = uuid4()
        keys = tuple(_claimed_from(row) for row in rows)
        await connection.execute(
            TAKE_OVER,
            [key.mark.storage_key for key in keys],
            operation,
            term.epoch,
            standing.now,
            IN_FLIGHT,
        )
        former = f"rolls operation {rows[0]['operation_id']} forward"
        await ledger.append(connection, ledger.INTENT, operation, term.epoch, _intents(keys, former))
        return Claim(operation_id=operation, epoch=term.epoch, xid=0, keys=keys, taken=len(keys))


def claimable_arguments(
    now: datetime, policy: Policy, verdicts: Sequence[Verdict]
) -> tuple[datetime, list[str], timedelta, list[str], list[str | None]]:
    """Parameters $1 to $5 of `CLAIMABLE`: the prefixes are those of now, not of the pass (R-18)."""
    within = bounds.managed(policy.prefixes)
    return (
        now,
        [verdict.value for verdict in verdicts],
        policy.delete_delay,
        [low for low, _ in within],
        [high for _, high in within],
    )


def mark_from(row: asyncpg.Record) -> Mark:
    """One row of `MARK_COLUMNS`."""
    return Mark(
        storage_key=row["storage_key"],
        verdict=Verdict(row["verdict"]),
        reason=row["reason"],
        bytes=row["bytes"],
        pass_id=row["pass_id"],
        object_etag=row["object_etag"],
        object_last_modified=row["object_last_modified"],
        first_seen_at=row["first_seen_at"],
        last_seen_at=row["last_seen_at"],
        sightings=row["sightings"],
        due_at=row["due_at"],
    )


def _decided(
    taken: Sequence[Mark], rows: _Rows, held: Collection[str], decide: Decide, now: datetime
) -> _Sorted:
    result = _Sorted()
    for mark in taken:
        if mark.storage_key in rows.busy or mark.storage_key in held:
            result.postponed.append(mark)
            continue
        decision = decide(mark, rows.named.get(mark.storage_key, ()), now)
        if isinstance(decision, Cancel):
            result.cancelled.append((mark, decision.reason))
        elif isinstance(decision, Postpone):
            result.postponed.append(mark)
        else:
            result.claimed.append(ClaimedKey(mark=mark, decision=decision))
    return result


def _ended(owner: VirtualKey, now: datetime) -> bool:
    return not owner.enabled or (owner.expires_at is not None and owner.expires_at <= now)


def _intents(keys: Sequence[ClaimedKey], detail: str | None) -> list[Entry]:
    entries = []
    for key in keys:
        if key.decision.delete_object:
            recovery = hiding.intended(key)
            entries.append(
                Entry(ledger.OBJECT, key.mark, detail=detail, bytes=key.mark.bytes, recovery=recovery)
            )
        entries += [
            Entry(ledger.RECORD, key.mark, record_id=ref.id, detail=detail) for ref in key.decision.records
        ]
    return entries


def _records_text(decision: Remove) -> str | None:
    if not decision.records:
        return None
    return json.dumps([[ref.id, ref.version] for ref in decision.records])


def _claimed_from(row: asyncpg.Record) -> ClaimedKey:
    stored = json.loads(row["records"]) if row["records"] else []
    decision = Remove(
        records=tuple(RecordRef(id=each, version=version) for each, version in stored),
        delete_object=row["delete_object"],
        verify_absence=row["verify_absence"],
    )
    return ClaimedKey(
        mark=mark_from(row),
        decision=decision,
        attempts=row["attempts"] + 1,
        mode=DeleteMode(row["delete_mode"] or DeleteMode.DIRECT),
        quarantine_key=row["quarantine_key"],
    )
