"""Passes: list them, look at one, approve or discard one that tripped. None of it takes the lease."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from reconciler.catalog.open import Catalog
from reconciler.errors import ErrorKind, NotDone
from reconciler.model import PassDetail, PassKind, PassState
from reconciler.planning.formatting import counted

EXAMPLES = 5
"""Keys of each result that are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A pass as it is after a decision, and how many marks that released or withdrew.

    `added` is how many marks the superseded passes had added, about which nobody has decided.
    """

    detail: PassDetail
    marks: int
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


async def show(catalog: Catalog, pass_id: int) -> PassDetail:
    """One pass with its marks by prefix, examples, and what was deleted of it. Raises NotDone."""
    detail = await catalog.approvals.show(pass_id)
    ids = [*detail.together]
    return replace(detail, results=await catalog.history.of_pass(ids, detail.current.cutoff, EXAMPLES))


async def approve(
    catalog: Catalog,
    pass_id: int,
    *,
    by: str,
    understood: bool = False,
    plan: Iterable[str] | None = None,
) -> Decided:
    """Release the marks of a tripped pass. With the lines of a `plan`, only those that it lists; the others
    are withdrawn. Raises NotDone: where both sides tripped, it has to be said that this is `understood`.
    """
    only = None if plan is None else planned(plan)
    marks = await catalog.approvals.approve(pass_id, by, understood=understood, only=only)
    return await _decided(catalog, "approve", pass_id, marks, by)


async def _decided(catalog: Catalog, what: str, pass_id: int, marks: int, by: str) -> Decided:
    detail = await catalog.approvals.show(pass_id, 0)
    await catalog.orders.note(by, what, f"{detail.current.kind} pass {pass_id}, {counted(marks, 'mark')}")
    return Decided(detail=detail, marks=marks, added=await catalog.approvals.left(detail.supersedes))


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
    return await _decided(catalog, "discard", pass_id, await catalog.approvals.discard(pass_id, by), by)
