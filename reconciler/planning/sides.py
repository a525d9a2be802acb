"""Whether the two sides belong together: bucket and table, prefix by prefix, now and at the last pass.

A side that is empty or foreign makes everything on the other one a finding. A fraction cannot tell that
where there is little: so these are asked however few the findings are (R-68), and only where a finding
waits that would go for it. A `max_fraction` of 1 or more says that emptiness is meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction

from reconciler.model import RETENTION_VERDICTS, Backlog, BreakerLimits, KeepReason, Tally, Trip, Verdict
from reconciler.planning.wording import counted

HANDFUL = 5
"""Near misses that are no more than odd."""

NOTHING = Backlog(pending={}, gone={})

_RIGHT_TABLE = (
    "are RECONCILER_DATABASE_URL, RECONCILER_CATALOG__MEDIA_TABLE and its storage key the right ones"
)
_RIGHT_BUCKET = "are RECONCILER_BUCKET__NAME and RECONCILER_BUCKET__PREFIXES the right ones"


def emptied(
    what: str, tally: Tally, previous: Tally | None, backlog: Backlog, limits: BreakerLimits
) -> str | None:
    """Nothing where there was something, unless our own deletions account for all of it.

    Asked of the prefixes that both passes looked at: one that was added must not hide that the
    others are empty, and one that was taken out is not missed.
    """
    if previous is None or limits.max_fraction >= 1:
        return None
    _, seen, before, gone, _ = next(_compared(what, tally, previous, backlog))
    if seen or before <= gone:
        return None
    return (
        f"no {what} at all, where the last released pass saw {before:,}: is this the right "
        f"{'bucket' if what == 'objects' else 'database'}?"
    )


def foreign(tally: Tally, previous: Tally | None, backlog: Backlog, limits: BreakerLimits) -> str | None:
    """What says, however few the findings, that a side is not the one that belongs to the other."""
    if limits.max_fraction >= 1:
        return None
    empty = over_parts(_empty(*part) for part in parts(tally, backlog))
    return empty or _unrelated(tally, backlog) or _shrunk(tally, previous, backlog, limits)


def near_missed(tally: Tally, previous: Tally | None, limits: BreakerLimits) -> Trip | None:
    """More near misses than a handful, and than were let through before: the spelling is wrong (R-69).

    Above the limits of the breaker, the comparison itself is: then nothing at all is deleted.
    """
    now = tally.kept.get(KeepReason.NEAR_MISS, 0)
    before = previous.kept.get(KeepReason.NEAR_MISS, 0) if previous else 0
    if now <= max(HANDFUL, before):
        return None
    above = now >= limits.min_count and now > Fraction(str(limits.max_fraction)) * tally.objects
    return Trip(
        both_sides=above and limits.max_fraction < 1,
        reason=f"{now:,} objects and rows are near misses: the two sides spell their keys otherwise (a slash"
        " in front, an address, percent-encoding, case, a prefix). They are kept; `reconciler plan` shows"
        " each with its pair. Put the rows right, or map a column that holds the object's key",
    )


def parts(tally: Tally, backlog: Backlog) -> Iterator[tuple[str, Tally, Backlog]]:
    """The whole, then each prefix where there are several: where, what was seen, what would go."""
    yield "", tally, backlog
    if len(tally.by_prefix) > 1:
        for prefix, seen in sorted(tally.by_prefix.items()):
            yield f" under {prefix!r}", seen, backlog.by_prefix.get(prefix, NOTHING)


def over_parts(reasons: Iterable[str | None]) -> str | None:
    """Of the reasons of the whole and of its prefixes: the whole's, or else each prefix's."""
    whole, *each = reasons
    return whole or "; and ".join(filter(None, each)) or None


def summed(counts: Mapping[Verdict, int], kinds: Iterable[Verdict]) -> int:
    """How many there are of these verdicts."""
    return sum(counts.get(kind, 0) for kind in kinds)


def _empty(where: str, seen: Tally, backlog: Backlog) -> str | None:
    where = where or " in the managed prefixes"
    if backlog.pending.get(Verdict.ORPHAN) and seen.objects and not seen.records:
        return f"not one row{where}, and {counted(seen.objects, 'object')}: {_RIGHT_TABLE}?"
    if backlog.pending.get(Verdict.DANGLING) and seen.records and not seen.objects:
        return f"not one object{where}, and {counted(seen.records, 'row')}: {_RIGHT_BUCKET}?"
    return None


def _unrelated(seen: Tally, backlog: Backlog) -> str | None:
    findings = summed(backlog.pending, (Verdict.ORPHAN, Verdict.DANGLING))
    if not findings or not seen.records or seen.alone < max(seen.objects, 1):
        return None
    objects, rows = counted(seen.objects, "object"), counted(seen.records, "row")
    return f"none of {objects} is named by any of {rows}: {_RIGHT_TABLE}, and {_RIGHT_BUCKET}?"


def _shrunk(tally: Tally, previous: Tally | None, backlog: Backlog, limits: BreakerLimits) -> str | None:
    """What has lost more than the fraction since the last released pass, by another hand than ours.

    Rows are asked where orphans wait, and objects where dangling records do, in total or under that prefix.
    """
    if previous is None:
        return None
    reasons = [
        f"{seen:,} {what}{where}, where the last released pass saw {before:,}"
        f"{f' and {gone:,} went since by our hand' if gone else ''}: more than"
        f" RECONCILER_BREAKER__MAX_FRACTION={limits.max_fraction:g} of them got lost"
        for what, kind in (("rows", Verdict.ORPHAN), ("objects", Verdict.DANGLING))
        for where, seen, before, gone, waiting in _compared(what, tally, previous, backlog)
        if waiting.pending.get(kind) and before - gone - seen > Fraction(str(limits.max_fraction)) * before
    ]
    return "; and ".join(reasons) or None


def _compared(
    what: str, tally: Tally, previous: Tally, backlog: Backlog
) -> Iterator[tuple[str, int, int, int, Backlog]]:
    """Where, what is seen now, what was seen before, what went by our hand meanwhile, and what waits there.

    The whole first: of the prefixes that both passes looked at, where both told them apart; then each.
    """
    if not (tally.by_prefix and previous.by_prefix):
        yield "", _seen(what, tally), _seen(what, previous), _went(what, backlog), backlog
        return
    each = [
        (
            f" under {prefix!r}",
            _seen(what, tally.by_prefix[prefix]),
            _seen(what, previous.by_prefix[prefix]),
            _went(what, backlog.by_prefix.get(prefix, NOTHING)),
            backlog.by_prefix.get(prefix, NOTHING),
        )
        for prefix in sorted({*tally.by_prefix} & {*previous.by_prefix})
    ]
    yield "", sum(p[1] for p in each), sum(p[2] for p in each), sum(p[3] for p in each), backlog
    if len(each) > 1:
        yield from each


def _seen(what: str, tally: Tally) -> int:
    return tally.objects if what == "objects" else tally.records


def _went(what: str, backlog: Backlog) -> int:
    kinds = (Verdict.ORPHAN if what == "objects" else Verdict.DANGLING, *RETENTION_VERDICTS)
    if backlog.since is not None:
        return summed(backlog.since, kinds)
    return summed(backlog.gone, kinds) + summed(backlog.approved_gone, kinds)
