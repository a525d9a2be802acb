"""Holds: keep keys, prefixes or a virtual key's media from deletion, and lift that again."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from reconciler.catalog.open import Catalog
from reconciler.errors import ErrorKind, NotDone
from reconciler.model import Hold, HoldFilter, HoldKind
from reconciler.model.moments import moment
from reconciler.planning.formatting import counted, named

PAGE = 1_000

Targets = Mapping[HoldKind, Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """Holds that are in force. `claimed` keys under them were claimed before, and may still be deleted."""

    holds: Sequence[Hold]
    claimed: Sequence[str]


async def add(
    catalog: Catalog, targets: Targets, *, reason: str, author: str, end: datetime | timedelta | None = None
) -> Added:
    """Put the targets on hold until `end`, or for so long, by the database's clock; None is until lifted.

    Raises NotDone for no target, one that cannot be held, an end that is past, no reason or author.
    """
    _check(targets)
    now = await catalog.records.now()
    until = now + end if isinstance(end, timedelta) else end
    if until is not None and until <= now:
        message = f"the end {moment(until)} is past; the database's clock says {moment(now)}"
        raise NotDone(ErrorKind.INVALID, "end_is_past", message, end=until, now=now)
    holds = [
        Hold(kind=kind, target=target, reason=reason, author=author, until=until)
        for kind, names in targets.items()
        for target in names
    ]
    claimed = await catalog.holds.add(holds)
    await catalog.orders.note(author, "hold add", f"{_told(targets)}: {reason}")
    return Added(holds=holds, claimed=claimed)


async def remove(
    catalog: Catalog,
    targets: Targets,
    *,
    by: str,
    author: str | None = None,
    all_authors: bool = False,
    dry_run: bool = False,
) -> int:
    """Lift the holds on these targets: those of `author`, everybody's, or else those of `by`, who lifts them.

    Returns how many there were. Raises NotDone where neither is said and somebody else has a hold on one of
    the targets: nothing is lifted then, so that nobody ends a hold unawares that another person needs.
    """
    _check(targets)
    if author and all_authors:
        raise NotDone(ErrorKind.INVALID, "author_and_all", "say one author, or all authors, but not both")
    asked = {kind: names for kind, names in targets.items() if names}
    standing = [each for kind, names in asked.items() for each in await catalog.holds.on(kind, names)]
    others = sorted({each.author for each in standing} - {by})
    if others and not (author or all_authors):
        message = f"nothing was lifted: there are holds by others than {by}: {named(others)}"
        raise NotDone(ErrorKind.CONFLICT, "holds_of_others", message, authors=others)
    # Without all_authors, one that somebody else adds meanwhile stays.
    whose = None if all_authors else author or by
    if dry_run:
        return sum(whose in {None, each.author} for each in standing)
    removed = [await catalog.holds.remove(kind, names, whose, by=by) for kind, names in asked.items()]
    if sum(removed):
        await catalog.orders.note(by, "hold remove", _told(targets))
    return sum(removed)


async def lift(catalog: Catalog, wanted: HoldFilter, *, by: str) -> int:
    """Lift every hold that the filter lets through. Returns how many there were."""
    lifted = await catalog.holds.lift(wanted, by=by)
    if lifted:
        await catalog.orders.note(by, "hold remove", counted(lifted, "hold"))
    return lifted


async def pages(catalog: Catalog, wanted: HoldFilter) -> AsyncIterator[Sequence[Hold]]:
    """The holds in force that the filter lets through."""
    after: Hold | None = None
    while page := await catalog.holds.page(wanted, after, PAGE):
        yield page
        after = page[-1]


def _told(targets: Targets) -> str:
    parts = [f"{kind.replace('_', ' ')} {named(names)}" for kind, names in targets.items() if names]
    return "; ".join(parts)


def _check(targets: Targets) -> None:
    named = [target for names in targets.values() for target in names]
    if not named:
        raise NotDone(ErrorKind.INVALID, "no_target", "say what")
    if "" in named:
        raise NotDone(ErrorKind.INVALID, "empty_target", "an empty name would hold everything or nothing")
