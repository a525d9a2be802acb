"""Protocol step 4: what the store answered becomes the ledger's, then the rows', then the marks' truth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import asyncpg

from reconciler.catalog import healing, hiding, ledger
from reconciler.catalog.connections import COLLISIONS, AnyConnection, by_index
from reconciler.catalog.gateway import Gateway, by_key
from reconciler.catalog.ledger import Entry
from reconciler.catalog.records import lookup
from reconciler.catalog.schema import SCHEMA
from reconciler.catalog.terms import stand
from reconciler.model import (
    GONE,
    Claim,
    ClaimedKey,
    Hidden,
    ObjectResult,
    Record,
    Remove,
    Removed,
    Term,
)
from reconciler.ports import Decide

FIRST_RETRY = timedelta(seconds=30)
"""Before a key that failed is tried again; doubles up to LAST_RETRY."""
LAST_RETRY = timedelta(hours=1)

# The keys that are still this operation's. Another one may have taken them over.
OURS = f"""
SELECT storage_key, object_gone_at IS NOT NULL AS gone FROM {SCHEMA}.marks
WHERE storage_key = ANY($1::text[]) AND state = 'claimed' AND operation_id = $2
ORDER BY storage_key FOR UPDATE
"""

# Leaves a tombstone where an object went by our hand; a later deletion of the same key extends it.
ENTOMB = f"""
INSERT INTO {SCHEMA}.tombstones (storage_key, verdict, operation_id, gone_at, ends_at, recoverable)
SELECT t.storage_key, t.verdict, $3::uuid, $4::timestamptz, $4 + $5::interval, t.recoverable
FROM unnest($1::text[], $2::text[], $6::boolean[]) AS t (storage_key, verdict, recoverable)
ON CONFLICT (storage_key) DO UPDATE
SET verdict = excluded.verdict, operation_id = excluded.operation_id, gone_at = excluded.gone_at,
    recoverable = excluded.recoverable,
    ends_at = greatest({SCHEMA}.tombstones.ends_at, excluded.ends_at)
"""

FINISH = f"DELETE FROM {SCHEMA}.marks WHERE storage_key = ANY($1::text[])"

# What could not be finished stays claimed, and is tried again later and later. That its object is
# gone is kept, so that it is counted once.
RETRY = f"""
UPDATE {SCHEMA}.marks
SET attempts = attempts + 1, attempted_at = $2::timestamptz,
    not_before = $2 + least($3::interval * power(2, least(attempts, 20)), $4::interval),
    object_gone_at = CASE WHEN storage_key = ANY($5::text[]) THEN coalesce(object_gone_at, $2)
                          ELSE object_gone_at END
WHERE storage_key = ANY($1::text[])
"""


@dataclass(slots=True)
class _Outcome:
    """What is known of the batch so far. Keys in `failed` and `postponed` stay claimed."""

    entries: list[Entry] = field(default_factory=list)
    counted: Removed = field(default_factory=Removed)
    failed: set[str] = field(default_factory=set)
    postponed: set[str] = field(default_factory=set)

    @property
    def unfinished(self) -> set[str]:
        return self.failed | self.postponed


@dataclass(frozen=True, slots=True)
class _Doomed:
    """A row to remove, for the key whose claim says so."""

    key: ClaimedKey
    record: Record


class Confirmer:
    """Writes down and carries through what the store confirmed, in the caller's transaction."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def confirm(
        self,
        connection: AnyConnection,
        term: Term,
        claim: Claim,
        results: Mapping[str, tuple[ObjectResult, str]],
        decide: Decide,
        upload_window: timedelta,
        hidden: Mapping[str, Hidden],
    ) -> Removed:
        now = (await stand(connection, term)).now
        await by_index(connection)
        wanted = [key.mark.storage_key for key in claim.keys if key.mark.storage_key in results]
        ours = {
            row["storage_key"]: row["gone"]
            for row in await connection.fetch(OURS, wanted, claim.operation_id)
        }
        keys = [key for key in claim.keys if key.mark.storage_key in ours]
        answers = {key.mark.storage_key: results[key.mark.storage_key] for key in keys}
        # What failed stays claimed, and is noted when it is settled.
        hidden = {
            key: one
            for key, one in hidden.items()
            if key in answers and answers[key][0] is not ObjectResult.FAILED
        }
        await ledger.append(
            connection, ledger.RESULT, claim.operation_id, term.epoch, _object_entries(keys, answers, hidden)
        )
        await hiding.note(
            connection,
            claim.operation_id,
            [key for key in keys if not ours[key.mark.storage_key]],
            {key.mark.storage_key for key in keys if _object_went(key, answers[key.mark.storage_key][0])},
            hidden,
            now,
        )
        outcome = _Outcome(counted=_objects(keys, answers, ours))
        outcome.failed |= {key for key, (result, _) in answers.items() if result is ObjectResult.FAILED}
        await self._remove_rows(connection, keys, answers, decide, now, outcome)
        await ledger.append(connection, ledger.RESULT, claim.operation_id, term.epoch, outcome.entries)
        lost = {each.mark.storage_key for each in outcome.entries if each.result == "lost"} & hidden.keys()
        if lost:
            await connection.execute(healing.QUEUE, sorted(lost), "its row became live after it had gone")
        await self._finish_marks(connection, claim, keys, answers, outcome, now, upload_window, hidden)
        return outcome.counted + Removed(failed=len(outcome.failed))

    async def _remove_rows(
        self,
        connection: AnyConnection,
        keys: Sequence[ClaimedKey],
        answers: Mapping[str, tuple[ObjectResult, str]],
        decide: Decide,
        now: datetime,
        outcome: _Outcome,
    ) -> None:
        """Rows whose object is gone, or is not theirs alone, by id and version; what else names the
        key by now is decided anew.
        """
        settled = [key for key in keys if _rows_go(answers[key.mark.storage_key][0])]
        if not settled:
            return
        named, locked = await self._rows(connection, [key.mark.storage_key for key in settled])
        doomed: list[_Doomed] = []
        for key in settled:
            rows = named.get(key.mark.storage_key, [])
            _note_absent(key, rows, outcome)
            if rows:
                doomed += _sort_rows(key, rows, locked, decide, now, outcome)
        removed = await self._delete(connection, doomed, outcome)
        outcome.counted += Removed(records=removed)

    async def _rows(
        self, connection: AnyConnection, keys: Sequence[str]
    ) -> tuple[dict[str, list[Record]], set[str]]:
        """Every row that names one of the keys, and the ids of those that are locked for us."""
        seen = await lookup(connection, self._gateway, keys)
        if not seen:
            return {}, set()
        locked = await self._lock(connection, [row.id for row in seen])
        named = sorted({row.storage_key for row in seen})
        return by_key(await lookup(connection, self._gateway, named)), locked

    async def _lock(self, connection: AnyConnection, ids: Sequence[str]) -> set[str]:
        gateway = self._gateway
        # In key order, and past what a writer holds: its row is left for the next attempt.
        rows = await connection.fetch(
            f"SELECT {gateway.id}::text AS id FROM {gateway.media}"
            f" WHERE {gateway.id} = ANY($1::text[]::{gateway.id_type}[])"
            f" ORDER BY {gateway.ordered_key} FOR UPDATE SKIP LOCKED",
            list(ids),
        )
        return {row["id"] for row in rows}

    async def _delete(self, connection: AnyConnection, doomed: Sequence[_Doomed], outcome: _Outcome) -> int:
        """All at once; where one row makes that fail, row by row, so that it fails alone (R-30)."""
        if not doomed:
            return 0
        # A deferred constraint would speak at the commit, against the whole batch instead of its row.
        await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        try:
            async with connection.transaction():
                gone = await self._delete_ids(connection, [each.record.id for each in doomed])
        except COLLISIONS:
            raise
        except asyncpg.PostgresError:
            gone = {}
            for each in doomed:
                gone |= await self._delete_one(connection, each, outcome)
        refused = outcome.failed.copy()
        for each in doomed:
            if each.record.id in gone:
                entry = _record_entry(each.key, each.record.id, "deleted", removed=gone[each.record.id])
                outcome.entries.append(entry)
            elif each.key.mark.storage_key not in refused:
                # Nobody else can have removed a row that we hold locked.
                detail = "a trigger or a rule of the table keeps the row"
                outcome.entries.append(_record_entry(each.key, each.record.id, "failed", detail))
                outcome.failed.add(each.key.mark.storage_key)
        return len(gone)

    async def _delete_ids(self, connection: AnyConnection, ids: Sequence[str]) -> dict[str, str]:
        """The rows that went, as JSON, by id."""
        gateway = self._gateway
        # By id alone: these rows are locked, and their versions were compared under the lock. The whole
        # row is kept, with the columns that we know nothing of.
        rows = await connection.fetch(
            f"DELETE FROM {gateway.media} WHERE {gateway.id} = ANY($1::text[]::{gateway.id_type}[])"
            f" RETURNING {gateway.id}::text AS id, to_jsonb(m)::text AS removed",
            list(ids),
        )
        return {row["id"]: row["removed"] for row in rows}

    async def _delete_one(
        self, connection: AnyConnection, each: _Doomed, outcome: _Outcome
    ) -> dict[str, str]:
        try:
            async with connection.transaction():
                return await self._delete_ids(connection, [each.record.id])
        except COLLISIONS:
            raise
        except asyncpg.PostgresError as error:
            detail = str(error).splitlines()[0]
            outcome.entries.append(_record_entry(each.key, each.record.id, "failed", detail))
            outcome.failed.add(each.key.mark.storage_key)
            return {}

    async def _finish_marks(
        self,
        connection: AnyConnection,
        claim: Claim,
        keys: Sequence[ClaimedKey],
        answers: Mapping[str, tuple[ObjectResult, str]],
        outcome: _Outcome,
        now: datetime,
        upload_window: timedelta,
        hidden: Mapping[str, Hidden],
    ) -> None:
        gone = [key for key in keys if _object_went(key, answers[key.mark.storage_key][0])]
        if outcome.unfinished:
            await connection.execute(
                RETRY,
                sorted(outcome.unfinished),
                now,
                FIRST_RETRY,
                LAST_RETRY,
                [key.mark.storage_key for key in gone],
            )
        if gone:
            await connection.execute(
                ENTOMB,
                [key.mark.storage_key for key in gone],
                [key.mark.verdict.value for key in gone],
                claim.operation_id,
                now,
                upload_window,
                [key.mark.storage_key in hidden for key in gone],
            )
        finished = [key.mark.storage_key for key in keys if key.mark.storage_key not in outcome.unfinished]
        await connection.execute(FINISH, finished)


def _rows_go(result: ObjectResult) -> bool:
    return result in GONE or result is ObjectResult.UNTOUCHED


def _object_went(key: ClaimedKey, result: ObjectResult) -> bool:
    """Whether an object that we meant to delete is gone. A dangling row never had one."""
    return result in GONE and key.decision.delete_object and not key.decision.verify_absence


def _object_entries(
    keys: Sequence[ClaimedKey],
    answers: Mapping[str, tuple[ObjectResult, str]],
    hidden: Mapping[str, Hidden],
) -> list[Entry]:
    entries = []
    for key in keys:
        result, detail = answers[key.mark.storage_key]
        went = key.mark.bytes if _object_went(key, result) else None
        entry = Entry(ledger.OBJECT, key.mark, result=result.value, detail=detail or None, bytes=went)
        where = hidden.get(key.mark.storage_key)
        entries.append(entry if where is None else replace(entry, recovery=hiding.as_json(where)))
    return entries


def _objects(
    keys: Sequence[ClaimedKey],
    answers: Mapping[str, tuple[ObjectResult, str]],
    known_gone: Mapping[str, bool],
) -> Removed:
    """Objects and bytes that went, each once however often its rows are tried."""
    went = [
        key
        for key in keys
        if _object_went(key, answers[key.mark.storage_key][0]) and not known_gone[key.mark.storage_key]
    ]
    return Removed(objects=len(went), bytes=sum(key.mark.bytes for key in went))


def _note_absent(key: ClaimedKey, rows: Iterable[Record], outcome: _Outcome) -> None:
    """Planned rows that somebody else removed, or gave another key."""
    present = {row.id for row in rows}
    outcome.entries += [
        _record_entry(key, ref.id, "absent") for ref in key.decision.records if ref.id not in present
    ]


def _sort_rows(
    key: ClaimedKey,
    rows: Sequence[Record],
    locked: set[str],
    decide: Decide,
    now: datetime,
    outcome: _Outcome,
) -> list[_Doomed]:
    """Which rows of the key go. What is locked by others waits; what became live is lost."""
    planned = {ref.id: ref.version for ref in key.decision.records}
    if all(planned.get(row.id) == row.version and row.id in locked for row in rows):
        return [_Doomed(key, row) for row in rows]
    going = _decided_anew(key, rows, decide, now) | {
        row.id for row in rows if planned.get(row.id) == row.version
    }
    doomed: list[_Doomed] = []
    for row in rows:
        if row.id in going and row.id in locked:
            doomed.append(_Doomed(key, row))
        elif row.id in going:
            outcome.entries.append(_record_entry(key, row.id, "postponed", "locked by another transaction"))
            outcome.postponed.add(key.mark.storage_key)
        elif key.decision.delete_object and not key.decision.verify_absence:
            detail = "the row became live after its object had gone"
            outcome.entries.append(_record_entry(key, row.id, "lost", detail))
            outcome.counted += Removed(lost=1)
        elif row.id in planned:
            outcome.entries.append(_record_entry(key, row.id, "kept", "the row became live"))
    return doomed


def _decided_anew(key: ClaimedKey, rows: Sequence[Record], decide: Decide, now: datetime) -> set[str]:
    decision = decide(key.mark, rows, now)
    return {ref.id for ref in decision.records} if isinstance(decision, Remove) else set()


def _record_entry(
    key: ClaimedKey, record_id: str, result: str, detail: str | None = None, removed: str | None = None
) -> Entry:
    return Entry(ledger.RECORD, key.mark, record_id=record_id, result=result, detail=detail, removed=removed)
