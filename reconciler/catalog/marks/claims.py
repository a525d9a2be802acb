"""Protocol step 2: claim marks, in one short transaction that never spans a call to the store."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import asyncpg

from reconciler.catalog import holds
from reconciler.catalog.db import arrays, isolation
from reconciler.catalog.db.connections import AnyConnection, by_index
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.leadership.fencing import stand
from reconciler.catalog.mark_rows import (
    BEHIND_HORIZON,
    CLAIMABLE,
    MARK_COLUMNS,
    claimable_arguments,
    mark_from,
)
from reconciler.catalog.marks import ledger
from reconciler.catalog.marks.ledger import Entry, Lines, Operation
from reconciler.catalog.media_tables import quotas, references, variants
from reconciler.catalog.media_tables.locking import LockedRows, read_locked
from reconciler.catalog.media_tables.near_misses.noted import unnoted
from reconciler.catalog.media_tables.near_misses.twins import twins
from reconciler.catalog.media_tables.records import add_rewritten, require_tables
from reconciler.catalog.media_tables.rehearsal import Rehearsed, rehearse
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.catalog.passes import deletion_caps
from reconciler.catalog.recovery import soft_deleted
from reconciler.model import (
    WITHOUT_ROW,
    Cancel,
    Claim,
    ClaimedKey,
    DeleteMode,
    Mark,
    Mode,
    Postpone,
    Refusal,
    Remove,
    Term,
    Verdict,
    reference_to,
)
from reconciler.model.records import owners_of
from reconciler.ports import ClaimRequest, Decide

IN_FLIGHT = timedelta(minutes=2)
"""How long a claim is left to the operation that made it: the wait for the horizon, the longest request,
and its confirmation. After that the same leader rescues it."""

POSTPONED = timedelta(seconds=30)
"""How long a postponed mark waits. The marks behind it are not held up (R-27)."""

FIRST_RETRY = timedelta(minutes=5)
"""The wait before a refused row is tried again; it doubles up to LAST_RETRY."""
LAST_RETRY = timedelta(days=1)

# A sweep with both sides above their limits means that the comparison itself is wrong. Nothing at all is
# claimed until a person has decided about it.
STOPPED = f"""
SELECT EXISTS (SELECT FROM {SCHEMA}.passes WHERE kind = 'sweep' AND state = 'tripped' AND both_sides)
"""

# Takes the longest due first of `those`, and what one pass found in key order. It skips marks on hold. It
# leaves marks locked by others (a writer, another claim) to a later claim, without waiting.
TAKE = f"""
SELECT {{columns}} FROM {SCHEMA}.marks m JOIN {SCHEMA}.passes p ON p.id = m.pass_id
WHERE {CLAIMABLE} AND {BEHIND_HORIZON} AND p.released_xid < $7::text::xid8 AND NOT {{held}} AND {{those}}
ORDER BY m.due_at, m.storage_key LIMIT $6
FOR UPDATE OF m SKIP LOCKED
"""

# Written out, so that the index on what has departed serves.
DEPARTED = "m.verdict = 'departed'"
IN_TURN = ("true",)
DEPARTED_FIRST = (DEPARTED, f"NOT {DEPARTED}")

CANCEL = f"DELETE FROM {SCHEMA}.marks WHERE storage_key = ANY($1::text[])"

POSTPONE = f"UPDATE {SCHEMA}.marks SET not_before = $2 WHERE storage_key = ANY($1::text[])"

# For rows that the database refuses to remove. They are tried again later, since the cause may be mended.
REFUSE = f"""
UPDATE {SCHEMA}.marks m
SET refusals = m.refusals + 1, last_error = r.reason,
    not_before = $3::timestamptz + least($4::interval * power(2, least(m.refusals, 20)), $5::interval)
FROM unnest($1::text[], $2::text[]) AS r (storage_key, reason) WHERE m.storage_key = r.storage_key
"""

PUT_OFF = f"""
UPDATE {SCHEMA}.marks m SET not_before = $3, last_error = r.reason
FROM unnest($1::text[], $2::text[]) AS r (storage_key, reason) WHERE m.storage_key = r.storage_key
"""

# The claim stores its decision, so that a rescue does the same. The transaction's own id says from when on
# writers could see the claim.
CLAIM = f"""
UPDATE {SCHEMA}.marks m
SET state = 'claimed', operation_id = $4, epoch = $5, claimed_xid = pg_current_xact_id(),
    attempted_at = $6::timestamptz, not_before = $6 + $7::interval, records = c.records::jsonb,
    owners = c.owners::text[],
    delete_object = c.delete_object, verify_absence = c.verify_absence,
    delete_mode = $9::text, quarantine_key = c.quarantine_key, refusals = 0, last_error = NULL
FROM unnest($1::text[], $2::text[], $3::boolean[], $8::boolean[], $10::text[], $11::text[])
    AS c (storage_key, records, delete_object, verify_absence, quarantine_key, owners)
WHERE m.storage_key = c.storage_key
"""


@dataclass(slots=True)
class _Sorted:
    """The marks of one claim, by decision."""

    claimed: list[ClaimedKey] = field(default_factory=list)
    cancelled: list[tuple[Mark, str]] = field(default_factory=list)
    postponed: list[Mark] = field(default_factory=list)
    refused: tuple[Refusal, ...] = ()
    busy: tuple[Refusal, ...] = ()

    def settle(self, tried: Rehearsed) -> None:
        """Keep claimed only the keys whose rows can be removed."""
        stay = {*tried.refused, *tried.busy, *tried.left}
        self.claimed = [key for key in self.claimed if key.mark.storage_key not in stay]
        self.refused, self.busy = (
            tuple(Refusal(storage_key=key, reason=reason) for key, reason in each.items())
            for each in (tried.refused, tried.busy)
        )


class Claimer:
    """Claims marks for the collector, in the caller's transaction; the claims have no `xid` yet."""

    def __init__(self, media: MediaTables) -> None:
        self._media = media
        self._held = holds.held_condition(media, "$1")

    async def claim(self, connection: AnyConnection, term: Term, wanted: ClaimRequest, before: str) -> Claim:
        """`before`: a transaction id; passes released later wait."""
        policy = wanted.policy
        operation = uuid4()
        standing = await stand(connection, term)
        stopped = standing.paused or standing.mode not in {None, Mode.LIVE}
        if stopped or await connection.fetchval(STOPPED):
            return Claim(operation_id=operation, epoch=term.epoch, xid=0, keys=())
        await require_tables(connection, self._media)
        await by_index(connection)
        await holds.claims_wait(connection)
        await holds.require_known(connection)
        if policy.evicting:
            # Another claim that was not committed yet would count the same excess.
            await connection.execute("SELECT pg_advisory_xact_lock($1)", quotas.LOCK)
        taken = [mark_from(row) for row in await self._due(connection, wanted, before, standing.now)]
        taken.sort(key=lambda mark: mark.storage_key)
        if not taken:
            return Claim(operation_id=operation, epoch=term.epoch, xid=0, keys=())
        rows = await read_locked(connection, self._media, taken, policy, standing.now)
        # Read after the marks are locked, so that holds added since the marks were chosen are seen.
        held = await holds.held(connection, self._media, [mark.storage_key for mark in taken])
        if policy.rewrites_keys:
            keys = [mark.storage_key for mark in taken]
            await add_rewritten(connection, self._media, keys, rows.named)
        await references.add_named(connection, self._media, needed(taken), rows.named)
        await quotas.add_usage(connection, self._media, policy, taken, rows.named, standing.now)
        others = await twins(connection, self._media, taken, policy.prefixes)
        for key in others:  # A record that goes leaves such a row its object, an orphan with a pair.
            rows.named.setdefault(key, []).append(reference_to(key))
        waits = {*held, *await unnoted(connection, taken, policy.prefixes)}
        decided = _decided(taken, rows, waits, others, wanted.decide, standing.now)
        decided.settle(await rehearse(connection, self._media, decided.claimed))
        allowed = await deletion_caps.allow(connection, decided.claimed, wanted, standing.now)
        decided.claimed = [soft_deleted.in_mode(key, policy, operation) for key in allowed.keys]
        await self._write(connection, term, operation, decided, standing.now, policy.delete_mode)
        await variants.mark(connection, self._media, decided.claimed, policy.prefixes, standing.now)
        return Claim(
            operation_id=operation,
            epoch=term.epoch,
            xid=0,
            keys=tuple(decided.claimed),
            taken=len(taken),
            cancelled=len(decided.cancelled),
            postponed=len(decided.postponed) + len(decided.busy),
            tripped=allowed.tripped,
            refused=decided.refused,
        )

    async def _due(
        self,
        connection: AnyConnection,
        wanted: ClaimRequest,
        before: str,
        now: datetime,
        columns: str = MARK_COLUMNS,
    ) -> list[asyncpg.Record]:
        """The marks to claim, locked."""
        arguments = claimable_arguments(now, wanted.policy, wanted.verdicts)
        found: list[asyncpg.Record] = []
        for those in DEPARTED_FIRST if wanted.departed_first else IN_TURN:
            left = wanted.limit - len(found)
            query = TAKE.format(columns=columns, held=self._held, those=those)
            found += await connection.fetch(query, *arguments, left, before) if left else ()
        return found

    async def put_off_first(
        self, connection: AnyConnection, term: Term, wanted: ClaimRequest, before: str, reason: str
    ) -> bool:
        """Postpone the mark that a claim of one would take; False where there is none."""
        now = (await stand(connection, term)).now
        await by_index(connection)
        first = await self._due(connection, replace(wanted, limit=1), before, now, "m.storage_key")
        for row in first:
            await isolation.put_off(connection, term.epoch, row["storage_key"], now, reason)
        return bool(first)

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
        await _put_off(connection, decided, now)
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
                [arrays.written(key.mark.owners) for key in decided.claimed],
            )
            await note_intents(connection, Operation(id=operation, epoch=term.epoch), decided.claimed, None)


async def _put_off(connection: AnyConnection, decided: _Sorted, now: datetime) -> None:
    for query, those, waits in (
        (REFUSE, decided.refused, (now, FIRST_RETRY, LAST_RETRY)),
        (PUT_OFF, decided.busy, (now + POSTPONED,)),
    ):
        if those:
            keys, reasons = [each.storage_key for each in those], [each.reason for each in those]
            await connection.execute(query, keys, reasons, *waits)


def _decided(
    taken: Sequence[Mark],
    rows: LockedRows,
    waits: Collection[str],
    others: Mapping[str, str],
    decide: Decide,
    now: datetime,
) -> _Sorted:
    result = _Sorted()
    for mark in taken:
        if mark.storage_key in rows.busy or mark.storage_key in waits:
            result.postponed.append(mark)
            continue
        if mark.verdict in WITHOUT_ROW and (other := others.get(mark.storage_key)) is not None:
            result.cancelled.append((mark, f"near miss: the row {other!r} spells its key otherwise"))
            continue
        named = rows.named.get(mark.storage_key, ())
        decision = decide(mark, named, now)
        if isinstance(decision, Cancel):
            result.cancelled.append((mark, decision.reason))
        elif isinstance(decision, Postpone):
            result.postponed.append(mark)
        else:
            owners = owners_of(named)
            owned = replace(mark, owners=owners) if owners else mark
            result.claimed.append(ClaimedKey(mark=owned, decision=decision))
    return result


async def note_intents(
    connection: AnyConnection, operation: Operation, keys: Sequence[ClaimedKey], detail: str | None
) -> None:
    """Write to the ledger what is to be deleted, before anything is sent: each object and each row."""
    objects, records = Lines(), list[Entry]()
    for key in keys:
        if key.decision.delete_object:
            recovery = soft_deleted.intended(key)
            objects.add(key.mark, result=None, detail=detail, size=key.mark.bytes, recovery=recovery)
        records += [
            Entry(ledger.RECORD, key.mark, record_id=ref.id, detail=detail) for ref in key.decision.records
        ]
    await ledger.append_of_marks(connection, ledger.INTENT, operation, objects)
    await ledger.append(connection, ledger.INTENT, operation.id, operation.epoch, records)


def needed(marks: Iterable[Mark]) -> list[str]:
    """The keys whose objects are deleted unless something names them; a dangling record has none."""
    return [mark.storage_key for mark in marks if mark.verdict is not Verdict.DANGLING]


def _records_text(decision: Remove) -> str | None:
    if not decision.records:
        return None
    return json.dumps([[ref.id, ref.version] for ref in decision.records])
