"""What people decide about passes, over the database in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace

from reconciler.catalog.passes.approvals import Approved
from reconciler.errors import ErrorKind, NotDone
from reconciler.model import Mark, Pass, PassDetail, PassKind, PassState, Verdict
from reconciler.model.keys import merge_prefixes, prefix_of
from tests.doubles.database import MemoryDatabase
from tests.doubles.observing import Surroundings, port


class MemoryApprovals:
    """Lists, shows, approves and discards."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    @property
    def around(self) -> Surroundings:
        return self._database.around

    @port
    async def listed(
        self,
        limit: int,
        *,
        everything: bool = False,
        state: PassState | None = None,
        kind: PassKind | None = None,
    ) -> Sequence[PassDetail]:
        self._database.answer()
        passes = [one for _, one in sorted(self._database.passes.items(), reverse=True)]
        passes.sort(key=lambda one: one.state is not PassState.TRIPPED)
        newest = {one.kind: one.id for one in reversed(passes) if one.state is PassState.TRIPPED}
        shown = [
            one
            for one in passes
            if everything or one.state is not PassState.TRIPPED or newest[one.kind] == one.id
            if state in {None, one.state} and kind in {None, one.kind}
        ]
        details = [replace(self._detail(one, ()), examples=()) for one in shown[:limit]]
        return details if everything else [self._decisive(each) for each in details]

    def _decisive(self, detail: PassDetail) -> PassDetail:
        chosen = detail.to_decide
        if chosen is None or detail.current.state is not PassState.TRIPPED:
            return detail
        together = [each for each in detail.together if each <= chosen]
        return replace(detail, current=self._database.passes[chosen], together=together)

    @port
    async def show(self, pass_id: int, examples: int = 5) -> PassDetail:
        self._database.answer()
        if pass_id not in self._database.passes:
            raise _unknown(pass_id)
        one = self._database.passes[pass_id]
        detail = self._detail(one, one.policy.prefixes if one.policy else ())
        return replace(detail, examples=_first(detail.examples, examples))

    def _detail(self, one: Pass, prefixes: Sequence[str]) -> PassDetail:
        together = [each.id for each in self._together(one)] or [one.id]
        rows = [row for _, row in sorted(self._database.marks.items()) if row.mark.pass_id in together]
        merged = merge_prefixes(prefixes)
        marks, sizes = Counter[tuple[str, Verdict]](), Counter[tuple[str, Verdict]]()
        for row in rows:
            part = prefix_of(row.mark.storage_key, merged) or "", row.mark.verdict
            marks[part] += 1
            sizes[part] += row.mark.bytes
        return PassDetail(
            current=one,
            marks=marks,
            bytes=sizes,
            examples=[row.mark for row in rows],
            together=together,
            to_decide=self._to_decide(together),
            supersedes=[each.id for each in self._database.passes.values() if each.superseded_by == one.id],
        )

    def _to_decide(self, together: Sequence[int]) -> int:
        passes, marked = self._database.passes, {row.mark.pass_id for row in self._database.marks.values()}
        chosen, *rest = together
        for each in rest:
            if each in marked or (passes[each].both_sides and not passes[chosen].both_sides):
                chosen = each
        return chosen

    @port
    async def left(self, ids: Sequence[int]) -> int:
        rows = self._database.marks.values()
        return sum(row.mark.pass_id in ids and row.operation_id is None for row in rows)

    def _together(self, one: Pass) -> list[Pass]:
        if one.state is not PassState.TRIPPED:
            return []
        return [each for each in self._tripped(one) if each.id <= one.id]

    def _tripped(self, one: Pass) -> list[Pass]:
        return [
            each
            for _, each in sorted(self._database.passes.items())
            if each.kind is one.kind and each.state is PassState.TRIPPED
        ]

    @port
    async def approve(
        self,
        pass_id: int,
        who: str,
        *,
        understood: bool = False,
        only: Collection[tuple[str, str]] | None = None,
    ) -> Approved:
        database = self._database
        one, together = self._decidable(pass_id, "approve")
        if any(each.both_sides for each in together) and not understood:
            raise NotDone(ErrorKind.CONFLICT, "both_sides", f"pass {pass_id}: say that this is understood")
        later = [each for each in self._tripped(one) if each.id > pass_id]
        stamp = database.next_xid()
        for each in together:
            database.passes[each.id] = replace(
                each, state=PassState.RELEASED, decided_by=who, decided_at=database.now
            )
            database.stamps[each.id] = stamp
        ids, withdrawn = {each.id for each in together}, 0
        if only is not None:
            later += [
                each
                for each in database.passes.values()
                if each.kind is one.kind and each.state is PassState.RUNNING
            ]
            for key, row in list(database.marks.items()):
                named = row.mark.variant_of or row.mark.storage_key, row.mark.verdict
                if row.mark.pass_id in ids and row.operation_id is None and named not in only:
                    del database.marks[key]
                    withdrawn += 1
        self._end(later, f"pass {pass_id} was approved", pass_id)
        rows = database.marks.values()
        released = sum(row.mark.pass_id in ids and row.operation_id is None for row in rows)
        return Approved(released, withdrawn)

    @port
    async def discard(self, pass_id: int, who: str) -> int:
        database = self._database
        one, together = self._decidable(pass_id, "discard")
        running = [
            each
            for each in database.passes.values()
            if each.kind is one.kind and each.state is PassState.RUNNING
        ]
        later = [each for each in self._tripped(one) if each.id > pass_id]
        self._end([*later, *running], f"pass {pass_id} was discarded", pass_id)
        for each in together:
            database.passes[each.id] = replace(
                each, state=PassState.DISCARDED, decided_by=who, decided_at=database.now
            )
        ids = {each.id for each in together}
        withdrawn = [
            key for key, row in database.marks.items() if row.mark.pass_id in ids and row.operation_id is None
        ]
        for key in withdrawn:
            del database.marks[key]
        return len(withdrawn)

    def _instead(self, one: Pass) -> str:
        waiting = [each.id for each in self._tripped(one)]
        waits = f"; pass {waiting[-1]} is the one that waits" if waiting else ""
        return f" by pass {one.superseded_by}{waits}" if one.superseded_by else waits

    def _decidable(self, pass_id: int, action: str) -> tuple[Pass, list[Pass]]:
        self._database.answer()
        one = self._database.passes.get(pass_id)
        if one is None:
            raise _unknown(pass_id)
        if one.state is not PassState.TRIPPED:
            raise NotDone(
                ErrorKind.CONFLICT,
                "pass_not_tripped",
                f"pass {pass_id} is {one.state}{self._instead(one)}, not tripped: nothing to {action}",
            )
        if not one.both_sides and any(each.id > pass_id and each.both_sides for each in self._tripped(one)):
            raise NotDone(
                ErrorKind.CONFLICT, "later_pass_first", f"a pass later than {pass_id} found both sides wrong"
            )
        return one, self._together(one)

    def _end(self, passes: Sequence[Pass], why: str, by: int) -> None:
        for each in passes:
            reason = f"{why}; before that decision it said: {each.trip_reason}" if each.trip_reason else why
            self._database.passes[each.id] = replace(
                each, state=PassState.SUPERSEDED, trip_reason=reason, superseded_by=by
            )


def _unknown(pass_id: int) -> NotDone:
    return NotDone(ErrorKind.NOT_FOUND, "no_such_pass", f"there is no pass {pass_id}")


def _first(marks: Sequence[Mark], count: int) -> list[Mark]:
    seen: Counter[Verdict] = Counter()
    first = []
    for mark in marks:
        seen[mark.verdict] += 1
        if seen[mark.verdict] <= count:
            first.append(mark)
    return first
