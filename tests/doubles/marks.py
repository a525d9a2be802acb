"""The database's half of the deletion protocol, in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import groupby
from uuid import UUID, uuid4

from reconciler.errors import Halt, LeaseLost
from reconciler.model import (
    GONE,
    REASONS_TOLD,
    Backlog,
    Cancel,
    Claim,
    ClaimedKey,
    DeleteMode,
    DueKey,
    Hidden,
    HiddenObject,
    Mode,
    ObjectResult,
    PassKind,
    PassState,
    Policy,
    Postpone,
    RecordRef,
    Refusal,
    RefusedMarks,
    Remove,
    Removed,
    Tally,
    Term,
    TrippedPass,
    Verdict,
    Waiting,
    quarantine_key,
    reference_to,
)
from reconciler.model.keys import is_managed, merge_prefixes
from reconciler.ports import Cap, ClaimRequest, Decide
from tests.doubles.database import LedgerEntry, MarkRow, MemoryDatabase, Row, Spent
from tests.doubles.nearmisses import has_twin
from tests.doubles.observing import Surroundings, port
from tests.doubles.records import pages

PUT_OFF = timedelta(minutes=1)
IN_HAND = timedelta(minutes=5)
"""A claim of the own epoch that is not confirmed by then was left by its worker, and is repeated."""


class MemoryMarks:
    """Claims, confirmations and the ledger."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database
        self.on_look: Callable[[Claim], None] = lambda _: None

    @property
    def around(self) -> Surroundings:
        return self._database.around

    # --- claiming ---

    @port
    async def claim(self, term: Term, wanted: ClaimRequest) -> Claim:
        policy, decide = wanted.policy, wanted.decide
        database = self._database
        database.check(term)
        operation, xid = uuid4(), database.next_xid()
        stopped = database.pause.paused or database.mode is Mode.DRY_RUN or self._all_stopped()
        due = [] if stopped else self._claimable(policy, wanted.verdicts)
        if wanted.departed_first:
            due.sort(key=lambda row: row.mark.verdict is not Verdict.DEPARTED)
        due = due[: wanted.limit]
        taken, refused, cancelled, postponed = [], [], 0, 0
        for row in due:
            twin = has_twin(database, row.mark, policy.prefixes)
            decision = self._decide(row, decide, twin=twin)
            if twin and row.mark.verdict is Verdict.ORPHAN:
                decision = Cancel(reason="near miss")
            if isinstance(decision, Cancel):
                self._drop(row, "cancelled", None, decision.reason)
                cancelled += 1
            elif isinstance(decision, Postpone):
                row.not_before = database.now + PUT_OFF
                postponed += 1
            elif (reason := database.refusal(decision)) is not None:
                self._refuse(row, reason)
                refused.append(Refusal(storage_key=row.mark.storage_key, reason=reason))
            else:
                row.decision, row.mode = decision, policy.delete_mode
                if decision.delete_object and row.mode is DeleteMode.QUARANTINE:
                    row.quarantine_key = quarantine_key(operation, row.mark.storage_key)
                taken.append(row)
        tripped = (*self._ended(taken, wanted), *self._over_the_caps(taken, policy, wanted.cap))
        stopped_passes = {each.pass_id for each in tripped}
        keys = []
        for row in taken:
            if row.mark.pass_id not in stopped_passes:
                self._take(row, operation, term)
                self._spend(row)
                keys.append(_claimed(row))
        return Claim(
            operation_id=operation,
            epoch=term.epoch,
            xid=xid,
            keys=tuple(keys),
            taken=len(due),
            cancelled=cancelled,
            postponed=postponed,
            tripped=tripped,
            refused=tuple(refused),
        )

    def _refuse(self, row: MarkRow, reason: str) -> None:
        row.not_before = self._database.now + timedelta(minutes=5) * 2 ** min(row.refusals, 8)
        row.refusals, row.last_error = row.refusals + 1, reason

    def _ended(self, taken: Sequence[MarkRow], wanted: ClaimRequest) -> Iterator[TrippedPass]:
        database = self._database
        for row in taken:
            one = database.passes[row.mark.pass_id]
            if not database.approved(one.id) or one.decided_at is None:
                continue
            if wanted.ended(one.decided_at, row.mark.due_at, database.now):
                reason = f"its approval by {one.decided_by} has ended"
                database.passes[one.id] = replace(one, state=PassState.TRIPPED, trip_reason=reason)
                yield TrippedPass(pass_id=one.id, reason=reason)

    def _over_the_caps(self, taken: Sequence[MarkRow], policy: Policy, cap: Cap) -> tuple[TrippedPass, ...]:
        database, day = self._database, self._database.now - timedelta(days=1)
        bound = [row for row in taken if not database.approved(row.mark.pass_id)]
        batch = [(row.mark.storage_key, row.mark.verdict) for row in bound]
        spent = [(each.key, each.verdict) for each in database.spent if each.at >= day]
        by_prefix = {
            prefix: Backlog(pending=_under(prefix, batch), gone=_under(prefix, spent))
            for prefix in merge_prefixes(policy.prefixes)
        }
        backlog = Backlog(pending=_under("", batch), gone=_under("", spent), by_prefix=by_prefix)
        passes = {row.mark.pass_id: database.passes[row.mark.pass_id] for row in bound}
        seen = {kind: self._last_armed(kind) for kind in {one.kind for one in passes.values()}}
        objections = cap(backlog, seen) if bound else {}
        tripped = []
        for pass_id, one in sorted(passes.items()):
            if one.kind in objections:
                reason = f"at the claim: {objections[one.kind]}"
                database.passes[pass_id] = replace(one, state=PassState.TRIPPED, trip_reason=reason)
                tripped.append(TrippedPass(pass_id=pass_id, reason=reason))
        return tuple(tripped)

    def _last_armed(self, kind: PassKind) -> Tally:
        passes = self._database.passes.values()
        released = [one for one in passes if one.kind is kind and one.state is PassState.RELEASED]
        return max(released, key=lambda one: one.id).tally

    def _spend(self, row: MarkRow) -> None:
        database = self._database
        if not database.approved(row.mark.pass_id):
            spent = Spent(at=database.now, key=row.mark.storage_key, verdict=row.mark.verdict)
            database.spent.append(spent)

    def _all_stopped(self) -> bool:
        """A sweep found both sides wrong at once, and nobody has decided about it."""
        passes = self._database.passes.values()
        return any(one.state is PassState.TRIPPED and one.both_sides for one in passes)

    def _claimable(self, policy: Policy, verdicts: Sequence[Verdict]) -> list[MarkRow]:
        database = self._database
        return [
            row
            for _, row in sorted(database.marks.items())
            if self._armed(row, verdicts)
            and database.hold_on(row.mark.storage_key) is None
            and self._could_go(row)
            and is_managed(row.mark.storage_key, policy.prefixes)
            and self._behind_horizon(row)
        ]

    def _behind_horizon(self, row: MarkRow) -> bool:
        return self._database.stamps[row.mark.pass_id] < self._database.horizon()

    def _armed(self, row: MarkRow, verdicts: Sequence[Verdict]) -> bool:
        released = self._database.passes[row.mark.pass_id].state is PassState.RELEASED
        return released and row.mark.verdict in verdicts

    def _could_go(self, row: MarkRow) -> bool:
        """Due, in nobody's hand, not put off, and a dangling one seen twice."""
        now = self._database.now
        put_off = row.not_before is not None and row.not_before > now
        seen = row.mark.sightings >= 2 or row.mark.verdict is not Verdict.DANGLING
        lately = self._database.known(row) and row.confirmed_in >= self._last_complete(row)
        return row.operation_id is None and row.mark.due_at <= now and not put_off and seen and lately

    def _last_complete(self, row: MarkRow) -> int:
        passes = self._database.passes
        complete = {PassState.RELEASED, PassState.TRIPPED}
        kind = passes[row.mark.pass_id].kind
        if kind is PassKind.DEPARTURE:
            return 0
        return max(
            (one.id for one in passes.values() if one.kind is kind and one.state in complete), default=0
        )

    def _decide(self, row: MarkRow, decide: Decide, *, twin: bool = False) -> Remove | Cancel | Postpone:
        records = self._database.naming(row.mark)
        if twin:
            records = [*records, reference_to(row.mark.storage_key)]
        if any(record.id in self._database.locked for record in records):
            return Postpone(reason="another transaction holds its record")
        return decide(row.mark, records, self._database.now)

    def _take(self, row: MarkRow, operation: UUID, term: Term) -> None:
        now = self._database.now
        row.operation_id, row.epoch = operation, term.epoch
        row.attempted_at, row.not_before = now, now + IN_HAND
        row.refusals, row.last_error = 0, None
        self._note(row, "intent")

    @port
    async def rescue(self, term: Term, longest_call: timedelta, limit: int) -> Claim | None:
        database = self._database
        database.check(term)
        if database.pause.paused:
            return None
        left = [row for row in database.marks.values() if self._to_repeat(row, term, longest_call)]
        for _, group in groupby(left, key=lambda row: row.operation_id):
            rows = list(group)[:limit]
            operation, xid = uuid4(), database.next_xid()
            for row in rows:
                row.attempts += 1
                self._take(row, operation, term)
            keys = tuple(_claimed(row) for row in rows)
            return Claim(operation_id=operation, epoch=term.epoch, xid=xid, keys=keys, taken=len(keys))
        return None

    def _to_repeat(self, row: MarkRow, term: Term, longest_call: timedelta) -> bool:
        if row.operation_id is None or row.attempted_at is None or row.not_before is None:
            return False
        now = self._database.now
        if row.epoch == term.epoch:
            return row.not_before <= now
        # What failed has been answered; anything else may be on its way since just before this term.
        since = row.attempted_at if row.last_error is not None else self._database.lease_since
        return since + longest_call <= now

    @port
    async def let_go(self, term: Term) -> None:
        database = self._database
        database.answer()
        for row in database.marks.values():
            in_hand = row.operation_id is not None and row.epoch == term.epoch and row.last_error is None
            if in_hand and row.not_before is not None:
                row.not_before = min(row.not_before, database.now)

    @port
    async def horizon_passed(self, xid: int) -> bool:
        self._database.answer()
        return xid < self._database.horizon()

    @port
    async def guarded(self) -> bool:
        """Writers here have no triggers."""
        self._database.answer()
        return False

    @port
    async def look_again(
        self, claim: Claim, decide: Decide, policy: Policy, *, guarded: bool
    ) -> Mapping[str, str]:
        self._database.answer()
        self.on_look(claim)
        spared = {}
        for key in claim.keys:
            records = self._database.naming(key.mark)
            twin = has_twin(self._database, key.mark, policy.prefixes)
            if twin and not (guarded and key.decision.delete_object):
                records = [*records, reference_to(key.mark.storage_key)]
            decision = decide(key.mark, records, self._database.now)
            hold = self._database.hold_on(key.mark.storage_key)
            if hold is not None:
                spared[key.mark.storage_key] = f"on hold: {hold.reason}"
            elif decision != key.decision:
                spared[key.mark.storage_key] = getattr(decision, "reason", "its records have changed")
        return spared

    # --- confirming ---

    @port
    async def confirm(
        self,
        term: Term,
        claim: Claim,
        results: Mapping[str, tuple[ObjectResult, str]],
        decide: Decide,
        upload_window: timedelta,
        hidden: Mapping[str, Hidden] | None = None,
    ) -> Removed:
        database = self._database
        database.check(term)
        total = Removed()
        for key in claim.keys:
            row = database.marks.get(key.mark.storage_key)
            if row is None or row.operation_id != claim.operation_id:
                raise LeaseLost("the claim was taken over")
            result, detail = results[key.mark.storage_key]
            where = (hidden or {}).get(key.mark.storage_key)
            if where is not None and result is not ObjectResult.FAILED:
                self._hide(claim, key, where, went=_went(key, result))
            settled = self._settle(row, key, result, detail, decide, upload_window)
            if settled.lost and where is not None:
                database.queue(key.mark.storage_key)
            total += settled
        return total

    def _hide(self, claim: Claim, key: ClaimedKey, where: Hidden, *, went: bool) -> None:
        database = self._database
        one = HiddenObject(
            id=0,
            storage_key=key.mark.storage_key,
            operation_id=claim.operation_id,
            verdict=key.mark.verdict,
            hidden=where,
            hidden_at=database.now,
        )
        database.hide(one, key.mark.pass_id, went=went)

    @port
    async def extend(self, claim: Claim) -> None:
        for row in self._rows():
            if row.operation_id == claim.operation_id:
                row.not_before = self._database.now + IN_HAND

    def _settle(
        self,
        row: MarkRow,
        key: ClaimedKey,
        result: ObjectResult,
        detail: str,
        decide: Decide,
        upload_window: timedelta,
    ) -> Removed:
        database = self._database
        if result is ObjectResult.FAILED:
            row.attempts += 1
            row.not_before = database.now + timedelta(seconds=2.0 ** min(row.attempts, 10))
            row.last_error = detail
            return Removed(failed=1, reasons=(Refusal(storage_key=key.mark.storage_key, reason=detail),))
        if result not in GONE and result is not ObjectResult.UNTOUCHED:
            self._drop(row, "spared", result, detail)
            return Removed()
        gone = _went(key, result)
        if (reason := self._kept_by(key, decide)) is not None:
            return self._keep(row, key, reason, upload_window, gone=gone)
        records, lost = self._remove_records(row, key, decide)
        if gone:
            database.tombstones[key.mark.storage_key] = database.now + upload_window
            database.gone_during[key.mark.storage_key] = len(database.passes)
        self._drop(row, "removed" if gone or records else "spared", result, detail)
        fresh = gone and not row.object_gone
        size = key.mark.bytes if fresh else 0
        return Removed(objects=int(fresh), records=records, bytes=size, lost=lost)

    def _kept_by(self, key: ClaimedKey, decide: Decide) -> str | None:
        """Why a row that is to go is not let go; one that is to stay is nobody's business."""
        going = self._going(key, decide)
        return next(
            (self._database.refuses[each.id] for each in going if each.id in self._database.refuses), None
        )

    def _going(self, key: ClaimedKey, decide: Decide) -> list[RecordRef]:
        """Rows of the key that go: as planned, or as decided anew."""
        records = self._database.records_of([key.mark.storage_key])
        again = decide(key.mark, records, self._database.now)
        going = set(key.decision.records) | (set(again.records) if isinstance(again, Remove) else set())
        refs = [RecordRef(id=record.id, version=record.version) for record in records]
        return [ref for ref in refs if ref in going]

    def _keep(
        self, row: MarkRow, key: ClaimedKey, reason: str, upload_window: timedelta, *, gone: bool
    ) -> Removed:
        """A row that stays after all: its object comes back where it can, else the claim is repeated."""
        database, name = self._database, key.mark.storage_key
        reasons = (Refusal(storage_key=name, reason=reason),)
        fresh = gone and not row.object_gone
        size = key.mark.bytes if fresh else 0
        row.object_gone |= gone
        if gone:
            database.tombstones[name] = database.now + upload_window
            database.gone_during[name] = len(database.passes)
        if gone and database.recoverable(name):
            database.queue(name)
            self._drop(row, "removed", ObjectResult.DELETED, reason)
            return Removed(objects=int(fresh), bytes=size, reasons=reasons)
        row.attempts += 1
        row.last_error = reason
        row.not_before = database.now + timedelta(seconds=2.0 ** min(row.attempts, 10))
        return Removed(objects=int(fresh), bytes=size, failed=1, reasons=reasons)

    def _remove_records(self, row: MarkRow, key: ClaimedKey, decide: Decide) -> tuple[int, int]:
        """By id and version; one that has changed is decided anew, and lost if it is to stay."""
        database, going = self._database, self._going(key, decide)
        removed = lost = 0
        for record in database.records_of([key.mark.storage_key]):
            ref = RecordRef(id=record.id, version=record.version)
            if ref in going:
                database.on_remove(database.rows[ref.id])
                gone = database.rows.pop(ref.id)
                self._note(row, "result", what="record", record_id=ref.id, removed=gone)
                removed += 1
            else:
                lost += key.decision.delete_object
        return removed, lost

    def _drop(self, row: MarkRow, event: str, result: ObjectResult | None, detail: str) -> None:
        self._note(row, event, f"{result}: {detail}" if result else detail, result=result)
        del self._database.marks[row.mark.storage_key]

    def _note(
        self,
        row: MarkRow,
        event: str,
        detail: str = "",
        *,
        what: str = "object",
        result: ObjectResult | None = None,
        record_id: str | None = None,
        removed: Row | None = None,
    ) -> None:
        entry = LedgerEntry(
            key=row.mark.storage_key,
            verdict=row.mark.verdict,
            event=event,
            at=self._database.now,
            operation_id=row.operation_id,
            epoch=row.epoch,
            detail=detail,
            pass_id=row.mark.pass_id,
            what=what,
            result=result,
            record_id=record_id,
            removed=removed,
        )
        self._database.note(entry)

    # --- looking ---

    async def due(
        self, policy: Policy, verdicts: Sequence[Verdict], decide: Decide, page_size: int = 1000
    ) -> AsyncIterator[Sequence[DueKey]]:
        found = []
        for row in [] if self._all_stopped() else self._claimable(policy, verdicts):
            decision = self._decide(row, decide)
            if isinstance(decision, Remove):
                found.append(DueKey(mark=row.mark, decision=decision, seen=row.previewed))
        for page in pages(found, page_size):
            await self.around.step()
            yield page

    @port
    async def note_preview(self, term: Term, keys: Sequence[str]) -> None:
        self._database.check(term)
        for key in keys:
            if key in self._database.marks:
                self._database.marks[key].previewed = True

    @port
    async def waiting(self, policy: Policy, verdicts: Sequence[Verdict]) -> Waiting:
        self._database.answer()
        rows = [
            row
            for row in self._database.marks.values()
            if self._armed(row, verdicts) and is_managed(row.mark.storage_key, policy.prefixes)
        ]
        paused = self._database.pause.paused
        waits = [
            row
            for row in rows
            if (paused or not (self._could_go(row) and self._behind_horizon(row)))
            and (row.operation_id is not None or self._database.hold_on(row.mark.storage_key) is None)
        ]
        unseen = [row for row in waits if row.mark.sightings < 2 and row.mark.verdict is Verdict.DANGLING]
        ends = [max(row.mark.due_at, row.not_before or row.mark.due_at) for row in waits if row not in unseen]
        due = min((end for end in ends if end > self._database.now), default=None)
        return Waiting(marks=len(waits), unseen=len(unseen), due_at=due)

    @port
    async def abandoned(self, term: Term) -> int:
        self._database.answer()
        return sum(row.epoch is not None and row.epoch != term.epoch for row in self._rows())

    @port
    async def drift(self) -> Mapping[Verdict, tuple[int, int, datetime | None]]:
        self._database.answer()
        found = {verdict: self._drift_of(verdict) for verdict in Verdict}
        return {verdict: counts for verdict, counts in found.items() if counts[0]}

    def _drift_of(self, verdict: Verdict) -> tuple[int, int, datetime | None]:
        marks = [row.mark for row in self._rows() if row.mark.verdict is verdict]
        oldest = min((mark.first_seen_at for mark in marks), default=None)
        return len(marks), sum(mark.bytes for mark in marks), oldest

    @port
    async def refused(self) -> RefusedMarks:
        self._database.answer()
        kept = [row for row in self._rows() if row.refusals]
        gone = [row for row in self._rows() if row.last_error is not None and row.object_gone]
        told = [
            Refusal(storage_key=row.mark.storage_key, reason=row.last_error or "") for row in (*gone, *kept)
        ]
        return RefusedMarks(kept=len(kept), gone=len(gone), examples=tuple(told[:REASONS_TOLD]))

    @port
    async def require_rights(self, *, undoable: bool) -> None:
        self._database.answer()
        if self._database.lacking and (undoable or self._database.lacking != "INSERT"):
            raise Halt(f"the role lacks {self._database.lacking}")

    @port
    async def blocked_by(self) -> str | None:
        self._database.answer()
        return f"transaction {min(self._database.open)}" if self._database.open else None

    @port
    async def held_back_by(self) -> str | None:
        database = self._database
        database.answer()
        stamps = [stamp for number, stamp in database.stamps.items() if stamp >= database.horizon()]
        return f"transaction {min(database.open)}" if stamps and database.open else None

    @port
    async def purge(self) -> None:
        database = self._database
        database.answer()
        database.tombstones = {key: ends for key, ends in database.tombstones.items() if ends > database.now}
        in_force = database.holds_in_force()
        database.holds = {key: hold for key, hold in database.holds.items() if hold in in_force}

    def _rows(self) -> Iterable[MarkRow]:
        return self._database.marks.values()


def _claimed(row: MarkRow) -> ClaimedKey:
    assert row.decision is not None
    return ClaimedKey(
        mark=row.mark,
        decision=row.decision,
        attempts=row.attempts,
        mode=row.mode,
        quarantine_key=row.quarantine_key,
    )


def _went(key: ClaimedKey, result: ObjectResult) -> bool:
    """Whether an object that was to be deleted is gone. A dangling record never had one."""
    return result in GONE and key.decision.delete_object


def _under(prefix: str, keys: Sequence[tuple[str, Verdict]]) -> Counter[Verdict]:
    return Counter(verdict for key, verdict in keys if key.startswith(prefix))
