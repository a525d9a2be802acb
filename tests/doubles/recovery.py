"""What was deleted and can be brought back, in memory: objects where they are hidden, rows in the ledger."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from reconciler.model import (
    DeleteMode,
    HiddenObject,
    ObjectResult,
    Queued,
    Removal,
    RemovedRow,
    Return,
    Returned,
    Term,
    UndoScope,
    Upload,
    Verdict,
)
from tests.doubles.database import HiddenRow, LedgerEntry, MemoryDatabase
from tests.doubles.observing import Surroundings, port

LEFT_AFTER = timedelta(hours=1)
"""A return that was begun so long ago was left."""

RESTORABLE = frozenset({"hidden", "restoring"})


class MemoryRecovery:
    """Gives back what nobody has purged."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    @property
    def around(self) -> Surroundings:
        return self._database.around

    # --- undo ---

    @port
    async def removals(self, scope: UndoScope, after: str = "", limit: int = 1000) -> Sequence[Removal]:
        self._database.answer()
        objects = {
            row.one.storage_key: row.one
            for row in self._restorable()
            if _within(self._database, scope, row.one.storage_key, row.pass_id, row.one.hidden_at)
        }
        rows: dict[str, list[RemovedRow]] = {}
        for entry in reversed(self._unrestored()):
            if (
                _within(self._database, scope, entry.key, entry.pass_id, entry.at)
                and entry.record_id is not None
            ):
                row = RemovedRow(
                    ledger_id=entry.id,
                    record_id=entry.record_id,
                    verdict=entry.verdict,
                    pass_id=entry.pass_id,
                )
                rows.setdefault(entry.key, []).append(row)
        keys = sorted(key for key in objects.keys() | rows.keys() if key > after)[:limit]
        return [
            Removal(storage_key=key, object=objects.get(key), rows=tuple(rows.get(key, ()))) for key in keys
        ]

    def _restorable(self) -> Iterable[HiddenRow]:
        rows = self._database.hidden.values()
        return (row for row in rows if row.state in RESTORABLE and not row.one.erased)

    def _unrestored(self) -> list[LedgerEntry]:
        """Removed rows of which the ledger still has all, and that nobody has put back."""
        ledger = self._database.ledger
        back = {
            (entry.key, entry.operation_id, entry.record_id)
            for entry in ledger
            if entry.event == "restored" and entry.what == "record"
        }
        return [
            entry
            for entry in ledger
            if entry.removed is not None and (entry.key, entry.operation_id, entry.record_id) not in back
        ]

    @port
    async def gone(self, scope: UndoScope) -> int:
        database = self._database
        database.answer()
        there = {(row.one.storage_key, row.one.operation_id) for row in database.hidden.values()}
        there |= {
            (entry.key, entry.operation_id)
            for entry in database.ledger
            if entry.operation_id is not None and entry.event == "restored" and entry.what == "object"
        }
        return len(
            {
                entry.key
                for entry in database.ledger
                if entry.result is ObjectResult.DELETED
                and entry.event == "removed"
                and _within(self._database, scope, entry.key, entry.pass_id, entry.at)
                and (entry.key, entry.operation_id) not in there
            }
        )

    @port
    async def knows(self, scope: UndoScope) -> bool:
        self._database.answer()
        return any(
            entry.event == "removed" and _within(self._database, scope, entry.key, entry.pass_id, entry.at)
            for entry in self._database.ledger
        )

    @port
    async def claim_returns(self, ids: Sequence[int]) -> Collection[int]:
        self._database.answer()
        claimed = [row for row in self._restorable() if row.one.id in ids]
        for row in claimed:
            row.state, row.claimed_at = "restoring", self._database.now
        return {row.one.id for row in claimed}

    @port
    async def put_back(
        self, removals: Sequence[Removal], author: str, *, came: Collection[str] = ()
    ) -> Sequence[Returned]:
        self._database.answer()
        return [returned for removal in removals for returned in self._put_back(removal)]

    @port
    async def rehearse(self, removals: Sequence[Removal]) -> Sequence[Returned]:
        self._database.answer()
        kept, noted = dict(self._database.rows), len(self._database.ledger)
        told = [self._row_back(each.storage_key, row) for each in removals for row in each.rows]
        self._database.rows = kept
        del self._database.ledger[noted:]
        return told

    def _put_back(self, removal: Removal) -> Sequence[Returned]:
        database, key = self._database, removal.storage_key
        mark = database.marks.get(key)
        if mark is not None and mark.operation_id is not None:
            reason = "its key is being deleted at this moment"
            return [_described(key, row, Return.FAILED, reason) for row in removal.rows]
        database.marks.pop(key, None)
        hidden = database.hidden.get(removal.object.id) if removal.object else None
        if hidden is not None and hidden.state == "restoring":
            hidden.state = "restored"
            _note(database, hidden, "restored")
        database.tombstones.pop(key, None)
        return [self._row_back(key, row) for row in removal.rows]

    def _row_back(self, key: str, row: RemovedRow) -> Returned:
        database = self._database
        entry = next((entry for entry in database.ledger if entry.id == row.ledger_id), None)
        if entry is None or entry.removed is None:
            return _described(key, row, Return.REFUSED, "the ledger no longer has the row")
        gone = entry.removed
        there = gone.id in database.rows
        if not there and gone.virtual_key_id is not None and gone.virtual_key_id not in database.owners:
            return _described(key, row, Return.REFUSED, "what it belongs to is gone")
        database.rows.setdefault(gone.id, gone)
        database.note(replace(entry, event="restored", at=database.now, removed=None))
        return _described(key, row, Return.PRESENT if there else Return.RESTORED)

    # --- healing ---

    @port
    async def hidden(self, key: str) -> Sequence[HiddenObject]:
        self._database.answer()
        return [row.one for row in reversed(list(self._restorable())) if row.one.storage_key == key]

    @port
    async def recoverable(self, keys: Sequence[str]) -> set[str]:
        self._database.answer()
        return {row.one.storage_key for row in self._restorable()} & set(keys)

    @port
    async def quarantines(self) -> set[str]:
        self._database.answer()
        return set()  # one bucket

    @port
    async def estranged(self, keys: Sequence[str]) -> set[str]:
        database = self._database
        database.answer()
        claimed = {key for key, row in database.marks.items() if row.operation_id is not None}
        return ({row.one.storage_key for row in self._restorable()} & set(keys)) - claimed

    @port
    async def named_besides(self) -> set[str]:
        named, queued = self._database.referenced, self._database.restores.keys()
        return await self.estranged(sorted(named - queued))

    @port
    async def row_missing(self, keys: Sequence[str]) -> set[str]:
        self._database.answer()
        dangling = {entry.key for entry in self._unrestored() if entry.verdict is Verdict.DANGLING}
        return dangling & set(keys)

    @port
    async def queue(self, keys: Sequence[str], reason: str) -> None:
        self._database.answer()
        for key in keys:
            self._database.queue(key)

    @port
    async def queued(self, limit: int) -> Sequence[Queued]:
        database = self._database
        database.answer()
        due = [
            (restore.queued_at, key)
            for key, restore in database.restores.items()
            if restore.not_before is None or restore.not_before <= database.now
        ]
        return [Queued(storage_key=key, queued_at=at) for at, key in sorted(due)[:limit]]

    @port
    async def dequeue(self, queued: Queued) -> None:
        restores = self._database.restores
        self._database.answer()
        standing = restores.get(queued.storage_key)
        if standing is not None and standing.queued_at == queued.queued_at:
            del restores[queued.storage_key]

    @port
    async def postpone(self, key: str) -> None:
        self._database.answer()
        if restore := self._database.restores.get(key):
            wait = min(timedelta(minutes=2 ** min(restore.attempts, 10)), timedelta(hours=1))
            restore.attempts += 1
            restore.not_before = self._database.now + wait


class MemoryPurges:
    """Takes what nobody brought back in time."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    @property
    def around(self) -> Surroundings:
        return self._database.around

    @port
    async def hand_back(self, term: Term, longest_call: timedelta) -> None:
        database = self._database
        database.check(term)
        for row in database.hidden.values():
            since = max(row.claimed_at, database.lease_since)
            if row.state == "purging" and since + longest_call <= database.now:
                row.state = "hidden"

    @port
    async def abandoned(self) -> int:
        self._database.answer()
        term = self._database.term
        epoch = term.epoch if term is not None else 0
        return sum(row.state == "purging" and row.epoch != epoch for row in self._database.hidden.values())

    @port
    async def named(self, window: timedelta, limit: int, *, rewrites_keys: bool = False) -> Sequence[str]:
        del rewrites_keys  # the double of a bucket takes each key as it is
        self._database.answer()
        due = self._to_delete(window)[:limit]
        return sorted({row.one.storage_key for row in due if _needed(row) and self._named(row)})

    @port
    async def claim(
        self,
        term: Term,
        window: timedelta,
        limit: int,
        *,
        there: Collection[str] = (),
        rewrites_keys: bool = False,
    ) -> Sequence[HiddenObject]:
        del rewrites_keys
        database = self._database
        database.check(term)
        for number, row in list(database.hidden.items()):
            if _is_the_object(row) and row.one.hidden_at <= database.now - window:
                del database.hidden[number]
        taken = []
        for row in self._to_delete(window)[:limit]:
            needed = _needed(row)
            if needed and row.one.storage_key not in there and self._named(row):
                continue
            row.state, row.claimed_at, row.epoch = "purging", database.now, term.epoch
            taken.append(replace(row.one, needed=needed, holdable=_holdable(row)))
        return taken

    @port
    async def horizon(self) -> int:
        self._database.answer()
        return self._database.next_xid()

    @port
    async def look_again(
        self, term: Term, ids: Sequence[int], *, there: Collection[str] = (), rewrites_keys: bool = False
    ) -> Collection[int]:
        del rewrites_keys
        database = self._database
        database.check(term)
        rows = [row for row in database.hidden.values() if row.one.id in ids and row.state == "purging"]
        database.on_purge({row.one.storage_key for row in rows})
        spared = [
            row
            for row in rows
            if self._kept(row) or (_needed(row) and row.one.storage_key not in there and self._named(row))
        ]
        for row in spared:
            row.state = "hidden"
        return {row.one.id for row in spared}

    def _to_delete(self, window: timedelta) -> list[HiddenRow]:
        due = [
            row
            for row in self._database.hidden.values()
            if self._due(row, window) and not self._kept(row) and not _is_the_object(row)
        ]
        return sorted(due, key=lambda row: (row.one.hidden_at, row.one.id))

    def _named(self, row: HiddenRow) -> bool:
        key = row.one.storage_key
        return key in self._database.referenced or bool(self._database.records_of([key]))

    def _due(self, row: HiddenRow, window: timedelta) -> bool:
        now = self._database.now
        late = row.one.hidden_at <= now - window
        match row.state:
            case "hidden" | "restored":
                return late or row.one.erased
            case "restoring":
                return (late or row.one.erased) and row.claimed_at <= now - LEFT_AFTER
            case "purging":
                return False
            case _:
                return True

    def _kept(self, row: HiddenRow) -> bool:
        """What is on hold stays where it is, and so does what a row waits for."""
        key = row.one.storage_key
        held = _holdable(row) and self._database.hold_on(key) is not None
        return held or (_needed(row) and key in self._database.restores)

    @port
    async def done(self, term: Term, ids: Sequence[int]) -> None:
        self._database.check(term)
        self._end(ids, "purged")

    @port
    async def back(self, term: Term, ids: Sequence[int]) -> None:
        self._database.check(term)
        self._end(ids, "restored")

    def _end(self, ids: Sequence[int], event: str) -> None:
        database = self._database
        for number in ids:
            row = database.hidden.get(number)
            if row is not None and row.state == "purging":
                _note(database, row, event)
                del database.hidden[number]

    @port
    async def aborted(self, term: Term, uploads: Sequence[Upload]) -> None:
        database = self._database
        database.check(term)
        for each in uploads:
            entry = LedgerEntry(
                key=each.key, verdict=Verdict.ORPHAN, event="aborted", at=database.now, what="upload"
            )
            database.note(entry)

    @port
    async def spent(self, event: str) -> int:
        database = self._database
        database.answer()
        day = database.now - timedelta(days=1)
        return sum(entry.event == event and entry.at > day for entry in database.ledger)

    @port
    async def hidden(self) -> tuple[int, int]:
        self._database.answer()
        rows = [row for row in self._database.hidden.values() if not _is_the_object(row)]
        returnable = [row for row in rows if row.state in RESTORABLE and not row.one.erased]
        return len(returnable), sum(row.one.hidden.size for row in rows)

    @port
    async def forget(self, term: Term, window: timedelta, retention: timedelta) -> None:
        database = self._database
        database.check(term)
        rows, lines = database.now - window, database.now - retention
        hidden = {
            (row.one.storage_key, row.one.operation_id) for row in database.hidden.values() if _needed(row)
        }
        wanted = {
            entry.id
            for entry in database.ledger
            if entry.removed is not None
            and ((entry.key, entry.operation_id) in hidden or database.hold_on(entry.key))
        }
        database.ledger = [
            replace(entry, removed=None) if entry.at <= rows and entry.id not in wanted else entry
            for entry in database.ledger
            if entry.at > lines or entry.id in wanted
        ]


def _holdable(row: HiddenRow) -> bool:
    """A hold keeps it: it is no copy of what lies at its own key, nor to be erased whatever is on hold."""
    return row.state in {"hidden", "restoring", "purging"} and not (row.one.erased and row.one.despite_hold)


def _needed(row: HiddenRow) -> bool:
    """Somebody may have need of it; else it is a copy of what lies at its own key, or to be erased."""
    return row.state in {"hidden", "restoring", "purging"} and not row.one.erased


def _is_the_object(row: HiddenRow) -> bool:
    """Brought back from behind its marker: nothing of it is hidden any more."""
    return row.state == "restored" and row.one.hidden.mode is DeleteMode.VERSIONED


def _within(database: MemoryDatabase, scope: UndoScope, key: str, pass_id: int | None, at: datetime) -> bool:
    return (
        (not scope.keys or key in scope.keys)
        and (scope.pass_id is None or pass_id in database.superseded(scope.pass_id))
        and (scope.since is None or at >= scope.since)
        and (scope.until is None or at < scope.until)
    )


def _note(database: MemoryDatabase, row: HiddenRow, event: str) -> None:
    one = row.one
    entry = LedgerEntry(
        key=one.storage_key,
        verdict=one.verdict,
        event=event,
        at=database.now,
        operation_id=one.operation_id,
        pass_id=row.pass_id,
    )
    database.note(entry)


def _described(key: str, row: RemovedRow, outcome: Return, reason: str = "") -> Returned:
    return Returned(storage_key=key, record_id=row.record_id, outcome=outcome, reason=reason)
