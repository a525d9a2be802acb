"""Removes rows by id and version, and only where their object is gone or other rows share it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby

import asyncpg

from reconciler.catalog.db.connections import COLLISIONS, AnyConnection
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.marks import ledger
from reconciler.catalog.marks.ledger import Entry, Operation
from reconciler.catalog.media_tables import kept_rows
from reconciler.catalog.media_tables.kept_rows import Column
from reconciler.catalog.media_tables.locking import lock_rows
from reconciler.catalog.media_tables.records import lookup
from reconciler.catalog.media_tables.tables import MediaTables, by_key
from reconciler.catalog.media_tables.user_code import BUSY, NotRemoved, explained, is_of, remove_rows
from reconciler.model import GONE, ClaimedKey, Mark, Mode, ObjectResult, Record, Remove, Removed
from reconciler.ports import Decide


@dataclass(slots=True)
class Outcome:
    """What is known of the batch so far. Keys in `failed` and `postponed` stay claimed.

    `refused` are the failed keys whose rows the database refuses to remove; `reasons` has the cause for
    each key that was not finished.
    """

    entries: list[Entry] = field(default_factory=list)
    counted: Removed = field(default_factory=Removed)
    failed: set[str] = field(default_factory=set)
    postponed: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def rescue(self) -> set[str]:
        return self.failed | self.postponed


@dataclass(frozen=True, slots=True)
class _Doomed:
    """A row to remove, with the claimed key that it belongs to."""

    key: ClaimedKey
    record: Record


class RowRemoval:
    """Removes rows of the gateway's media table, in the caller's transaction."""

    def __init__(self, media: MediaTables) -> None:
        self._media = media

    async def remove(
        self,
        connection: AnyConnection,
        operation: Operation,
        keys: Sequence[ClaimedKey],
        answers: Mapping[str, tuple[ObjectResult, str]],
        decide: Decide,
        now: datetime,
        outcome: Outcome,
    ) -> None:
        """Remove rows whose object is gone or shared with other rows, by id and version; rows that name the
        key only by now are decided again.
        """
        settled = [key for key in keys if _rows_go(answers[key.mark.storage_key][0])]
        if not settled:
            return
        named, locked = await _read(connection, self._media, [key.mark.storage_key for key in settled])
        to_delete: list[_Doomed] = []
        for key in settled:
            rows = named.get(key.mark.storage_key, [])
            _note_absent(key, rows, outcome)
            if rows:
                to_delete += _sort_rows(key, rows, locked, decide, now, outcome)
        removed = await self._delete(connection, operation, to_delete, outcome)
        outcome.counted += Removed(records=removed)

    async def _delete(
        self, connection: AnyConnection, operation: Operation, to_delete: Sequence[_Doomed], outcome: Outcome
    ) -> int:
        """Delete all at once; where one row makes that fail, key by key, so that it fails alone (R-30)."""
        if not to_delete:
            return 0
        # Read while the rows are locked, so that no column is added or dropped meanwhile.
        wanted = kept_rows.kept(await kept_rows.columns(connection, self._media.oids[0]))
        try:
            gone = await self._delete_rows(connection, operation, wanted, to_delete)
        except COLLISIONS:
            raise
        except (asyncpg.PostgresError, NotRemoved):
            gone = 0
            for _, rows in groupby(to_delete, lambda each: each.key.mark.storage_key):
                gone += await self._delete_alone(connection, operation, wanted, list(rows), outcome)
        return gone

    async def _delete_rows(
        self,
        connection: AnyConnection,
        operation: Operation,
        wanted: Sequence[Column],
        to_delete: Sequence[_Doomed],
    ) -> int:
        async with connection.transaction():
            await self._keep(connection, operation, wanted, to_delete)
            await remove_rows(connection, self._media, [each.record.id for each in to_delete])
        return len(to_delete)

    async def _keep(
        self,
        connection: AnyConnection,
        operation: Operation,
        wanted: Sequence[Column],
        to_delete: Sequence[_Doomed],
    ) -> None:
        """Record the removed rows in full, including columns that we know nothing of.

        One statement copies each row from table to ledger inside Postgres, however large it is (I-50).
        """
        media = self._media
        await connection.execute(
            f"INSERT INTO {SCHEMA}.ledger (operation_id, epoch, event, mode, what, storage_key, record_id,"
            " verdict, reason, result, etag, pass_id, variant_of, owners, row_columns, row_types, row_values)"
            f" SELECT $2, $3, '{ledger.RESULT}', '{Mode.LIVE.value}', '{ledger.RECORD}', d.storage_key,"
            " gone.id, d.verdict, d.reason, 'deleted', d.etag, d.pass_id, d.variant_of, d.owners, $4, $5,"
            " gone.kept"
            f" FROM (SELECT {media.identity.text} AS id, {kept_rows.as_array(wanted)} AS kept"
            f" FROM {media.table} WHERE {media.identity.among('$1')}) gone"
            " CROSS JOIN LATERAL jsonb_to_record($6::jsonb -> gone.id)"
            " AS d (storage_key text, verdict text, reason text, etag text, pass_id bigint, variant_of text,"
            " owners text[])",
            [each.record.id for each in to_delete],
            operation.id,
            operation.epoch,
            [each.name for each in wanted],
            [each.type for each in wanted],
            json.dumps({each.record.id: _why(each.key.mark) for each in to_delete}, ensure_ascii=False),
        )

    async def _delete_alone(
        self,
        connection: AnyConnection,
        operation: Operation,
        wanted: Sequence[Column],
        to_delete: Sequence[_Doomed],
        outcome: Outcome,
    ) -> int:
        try:
            return await self._delete_rows(connection, operation, wanted, to_delete)
        except COLLISIONS:
            raise
        except (asyncpg.PostgresError, NotRemoved) as error:
            key, busy, reason = to_delete[0].key.mark.storage_key, is_of(error, BUSY), explained(error)
            result = "postponed" if busy else "failed"
            outcome.entries += [_record_entry(each.key, each.record.id, result, reason) for each in to_delete]
            outcome.reasons[key] = reason
            if busy:
                outcome.postponed.add(key)
            else:
                outcome.failed.add(key)
                outcome.refused.add(key)
            return 0


def _why(mark: Mark) -> dict[str, object]:
    """The ledger's columns for a row that is removed because of this mark."""
    return {
        "storage_key": mark.storage_key,
        "verdict": mark.verdict.value,
        "reason": mark.reason,
        "etag": mark.object_etag,
        "pass_id": mark.pass_id,
        "variant_of": mark.variant_of,
        "owners": mark.owners,
    }


async def _read(
    connection: AnyConnection, media: MediaTables, keys: Sequence[str]
) -> tuple[dict[str, list[Record]], set[str]]:
    """Every row that names one of the keys, and the ids of those that are locked for us."""
    seen = await lookup(connection, media, keys)
    if not seen:
        return {}, set()
    locked = await lock_rows(connection, media, [row.id for row in seen])
    named = sorted({row.storage_key for row in seen})
    return by_key(await lookup(connection, media, named)), locked


def _rows_go(result: ObjectResult) -> bool:
    return result in GONE or result is ObjectResult.UNTOUCHED


def _note_absent(key: ClaimedKey, rows: Iterable[Record], outcome: Outcome) -> None:
    """Record planned rows that are absent: others removed them, or gave them another key."""
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
    outcome: Outcome,
) -> list[_Doomed]:
    """The rows of the key to remove. Rows locked by others wait; a row that became live is lost."""
    planned = {ref.id: ref.version for ref in key.decision.records}
    if all(planned.get(row.id) == row.version and row.id in locked for row in rows):
        return [_Doomed(key, row) for row in rows]
    going = _decided_anew(key, rows, decide, now) | {
        row.id for row in rows if planned.get(row.id) == row.version
    }
    to_delete: list[_Doomed] = []
    for row in rows:
        if row.id in going and row.id in locked:
            to_delete.append(_Doomed(key, row))
        elif row.id in going:
            reason = "locked by another transaction"
            outcome.entries.append(_record_entry(key, row.id, "postponed", reason))
            outcome.reasons[key.mark.storage_key] = reason
            outcome.postponed.add(key.mark.storage_key)
        elif key.decision.delete_object and not key.decision.verify_absence:
            detail = "the row became live after its object had gone"
            outcome.entries.append(_record_entry(key, row.id, "lost", detail))
            outcome.counted += Removed(lost=1)
        elif row.id in planned:
            outcome.entries.append(_record_entry(key, row.id, "kept", "the row became live"))
    return to_delete


def _decided_anew(key: ClaimedKey, rows: Sequence[Record], decide: Decide, now: datetime) -> set[str]:
    decision = decide(key.mark, rows, now)
    return {ref.id for ref in decision.records} if isinstance(decision, Remove) else set()


def _record_entry(key: ClaimedKey, record_id: str, result: str, detail: str | None = None) -> Entry:
    return Entry(ledger.RECORD, key.mark, record_id=record_id, result=result, detail=detail)
