"""Passes: list them, look at one, approve or discard one that tripped. None of it takes the lease."""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from reconciler.catalog.open import Catalog
from reconciler.errors import ErrorKind, NotDone
from reconciler.model import Pass, PassDetail, PassKind, PassState, Tally
from reconciler.operations.status import approved
from reconciler.planning.formatting import counted

EXAMPLES = 5
"""Keys of each result that are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A pass as it is after a decision, and how many marks that released or withdrew.

    `withdrawn` is how many of them were withdrawn, by a discard, or are beside them, since the plan of an
    approval left them out. `added` is how many marks the superseded passes had added, about which nobody has
    decided.
    """

    detail: PassDetail
    marks: int
    withdrawn: int = 0
    added: int = 0


async def newest(
    catalog: Catalog,
    limit: int,
    *,
    everything: bool = False,
    state: PassState | None = None,
    kind: PassKind | None = None,
) -> Sequence[PassDetail]:
    """The passes that wait for a decision, then the newest of the others, of that state and kind; without
    `everything` none that a later tripped one takes in.
    """
    return await catalog.approvals.listed(limit, everything=everything, state=state, kind=kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a running pass has come, by what the last released one of its kind looked at.

    `fraction` and `ends_at` None: there was none, or too little is done to tell.
    """

    objects: int
    records: int
    ranges_done: int
    ranges: int
    fraction: float | None
    ends_at: datetime | None


async def page(
    catalog: Catalog,
    before: int | None = None,
    size: int = 100,
    *,
    state: PassState | None = None,
    kind: PassKind | None = None,
) -> Sequence[PassDetail]:
    """Every pass of that state and kind, the newest first, behind the one `before`."""
    return await catalog.approvals.page(before, size, state=state, kind=kind)


async def progress(catalog: Catalog, current: Pass) -> Progress | None:
    """How far it has come; None where it no longer runs."""
    if current.state is not PassState.RUNNING:
        return None
    ranges = await catalog.passes.ranges(current.id)
    tally = sum((each.tally for each in ranges), Tally())
    last = await catalog.passes.last(current.kind, PassState.RELEASED)
    expected = last.tally.objects + last.tally.records if last else 0
    seen = tally.objects + tally.records
    fraction = min(1.0, seen / expected) if expected and seen else None
    ends_at = None
    if fraction is not None:
        now = await catalog.records.now()
        ends_at = current.cutoff + (now - current.cutoff) / fraction
    return Progress(
        objects=tally.objects,
        records=tally.records,
        ranges_done=sum(each.done for each in ranges),
        ranges=len(ranges),
        fraction=fraction,
        ends_at=ends_at,
    )


async def show(catalog: Catalog, pass_id: int) -> PassDetail:
    """One pass with its marks by prefix, examples, and what was deleted of it. Raises NotDone."""
    detail = await catalog.approvals.show(pass_id)
    ids, since = [*detail.together], detail.current.cutoff
    results = await catalog.history.of_pass(ids, since, EXAMPLES)
    detail = await _with_approval(catalog, detail)
    found = [verdict for verdict, number in detail.current.tally.found.items() if number]
    if not found or results:
        return replace(detail, results=results)
    return replace(detail, earlier=await catalog.history.of_earlier(pass_id, since, found))


async def _with_approval(catalog: Catalog, detail: PassDetail) -> PassDetail:
    if detail.current.state is not PassState.RELEASED or detail.current.decided_at is None:
        return detail
    at = detail.current.decided_at
    given = (each for each in await approved(catalog) if (each.kind, each.at) == (detail.current.kind, at))
    return replace(detail, approval=next(given, None))


async def approve(
    catalog: Catalog,
    pass_id: int,
    *,
    by: str,
    understood: bool = False,
    only: Collection[tuple[str, str]] | None = None,
) -> Decided:
    """Release the marks of a tripped pass; with `only`, those of these storage keys and verdicts, and the
    others are withdrawn. Raises NotDone: where both sides tripped, it has to be said that this is
    `understood`.
    """
    done = await catalog.approvals.approve(pass_id, by, understood=understood, only=only)
    return await _decided(catalog, "approve", pass_id, *done, by=by)


async def undecided(
    catalog: Catalog,
    pass_id: int,
    action: str = "decide",
    *,
    only: Collection[tuple[str, str]] | None = None,
) -> Decided:
    """What a decision about this pass would be about; `only` as for an approval. Raises NotDone where there
    is none to make.
    """
    await catalog.approvals.require(pass_id, action)
    detail = await catalog.approvals.show(pass_id, 0)
    marks = sum(detail.marks.values())
    listed = marks if only is None else await catalog.approvals.listed_by(detail.together, only)
    return Decided(detail=detail, marks=listed, withdrawn=marks - listed)


async def _decided(
    catalog: Catalog, what: str, pass_id: int, marks: int, withdrawn: int, *, by: str
) -> Decided:
    detail = await _with_approval(catalog, await catalog.approvals.show(pass_id, 0))
    await catalog.orders.note(by, what, f"{detail.current.kind} pass {pass_id}, {counted(marks, 'mark')}")
    added = await catalog.approvals.left(detail.supersedes)
    return Decided(detail=detail, marks=marks, withdrawn=withdrawn, added=added)


def planned(lines: Iterable[str]) -> set[tuple[str, str]]:
    """The storage keys, with verdicts, that a plan's lines of JSON say are to go. Raises NotDone."""
    listed = set()
    for number, line in enumerate(lines, 1):
        try:
            finding = json.loads(line)
            key, verdict, due = (finding[name] for name in ("storage_key", "verdict", "due_at"))
        except (ValueError, TypeError, KeyError):
            message = f"line {number} of the plan is no finding: it has to be one that `plan` wrote as jsonl"
            raise NotDone(ErrorKind.INVALID, "no_plan", message, line=number) from None
        if due is not None:
            listed.add((key, verdict))
    return listed


async def discard(catalog: Catalog, pass_id: int, *, by: str) -> Decided:
    """Withdraw the marks of a tripped pass. Raises NotDone."""
    withdrawn = await catalog.approvals.discard(pass_id, by)
    return await _decided(catalog, "discard", pass_id, withdrawn, withdrawn, by=by)
