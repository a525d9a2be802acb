"""Whether the two sides belong together: bucket and table, prefix by prefix, now and at the last pass.

If a side is empty or foreign, everything on the other side is a finding. A fraction cannot show that when
there is little: so these checks apply however few the findings are (R-68), but only if a finding waits
that would be deleted for it. A `max_fraction` of 1 or more says that emptiness is meant.
"""

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction

from reconciler.model import RETENTION_VERDICTS, Backlog, BreakerLimits, KeepReason, Tally, Trip, Verdict
from reconciler.planning.formatting import counted

HANDFUL = 5
"""This many near misses are merely odd."""

NOTHING = Backlog(pending={}, gone={})

_RIGHT_TABLE = (
    "are RECONCILER_DATABASE_URL, RECONCILER_CATALOG__MEDIA_TABLE and its storage key the right ones"
)
_RIGHT_BUCKET = "are RECONCILER_BUCKET__NAME and RECONCILER_BUCKET__PREFIXES the right ones"


def emptied(
    what: str, tally: Tally, previous: Tally | None, backlog: Backlog, limits: BreakerLimits
) -> str | None:
    """Trips if a side is empty that was not, unless our own deletions account for all of it.

    Compares the prefixes that both passes looked at: an added prefix must not hide that the others are
    empty, and a removed one is not missed.
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
    """Evidence, however few the findings, that a side does not belong to the other."""
    if limits.max_fraction >= 1:
        return None
    empty = over_parts(_empty(*part) for part in parts(tally, backlog))
    return empty or _unrelated(tally, backlog) or _shrunk(tally, previous, backlog, limits)


def near_missed(tally: Tally, previous: Tally | None, limits: BreakerLimits) -> Trip | None:
    """More near misses than a handful, and than were let through before: the spelling is wrong (R-69).

    Above the breaker's limits, the comparison itself is wrong: then nothing at all is deleted.
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
    """The whole, then each prefix if there are several: where, what was seen, what would be deleted."""
    yield "", tally, backlog
    if len(tally.by_prefix) > 1:
        for prefix, seen in sorted(tally.by_prefix.items()):
            yield f" under {prefix!r}", seen, backlog.by_prefix.get(prefix, NOTHING)


def over_parts(reasons: Iterable[str | None]) -> str | None:
    """The reason for the whole if there is one, or else each prefix's reason."""
    whole, *each = reasons
    return whole or "; and ".join(filter(None, each)) or None


def summed(counts: Mapping[Verdict, int], kinds: Iterable[Verdict]) -> int:
    """How many there are of these verdicts."""
    return sum(counts.get(kind, 0) for kind in kinds)


def _empty(where: str, seen: Tally, backlog: Backlog) -> str | None:
    # Of one prefix among others, further columns may be what names the objects; of the whole they are not.
    named = seen.named if where else 0
    where = where or " in the managed prefixes"
    if backlog.pending.get(Verdict.ORPHAN) and not seen.records and 2 * named < seen.objects:
        some = f", of which further columns name {named:,}" if named else ""
        return f"not one row{where}, and {counted(seen.objects, 'object')}{some}: {_RIGHT_TABLE}?"
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
    """What has lost more than the fraction since the last released pass, without our doing.

    Rows are checked if orphans wait, and objects if dangling records do, in total or under that prefix.
    """
    if previous is None:
        return None
    reasons = [
        f"{seen:,} {what}{where}, where the last released pass saw {before:,}"
        f"{f' and {gone:,} deleted by us since' if gone else ''}: more than"
        f" RECONCILER_BREAKER__MAX_FRACTION={limits.max_fraction:g} of them got lost"
        for what, kind in (("rows", Verdict.ORPHAN), ("objects", Verdict.DANGLING))
        for where, seen, before, gone, waiting in _compared(what, tally, previous, backlog)
        if waiting.pending.get(kind) and before - gone - seen > Fraction(str(limits.max_fraction)) * before
    ]
    return "; and ".join(reasons) or None


def _compared(
    what: str, tally: Tally, previous: Tally, backlog: Backlog
) -> Iterator[tuple[str, int, int, int, Backlog]]:
    """Where, what is seen now, what was seen before, what we deleted meanwhile, and what waits there.

    First the whole (the prefixes that both passes looked at, if both counted by prefix), then each prefix.
    """
    if not (tally.by_prefix and previous.by_prefix):
        yield "", _seen(what, tally), _seen(what, previous), went(what, backlog), backlog
        return
    each = [
        (
            f" under {prefix!r}",
            _seen(what, tally.by_prefix[prefix]),
            _seen(what, previous.by_prefix[prefix]),
            went(what, backlog.by_prefix.get(prefix, NOTHING)),
            backlog.by_prefix.get(prefix, NOTHING),
        )
        for prefix in sorted({*tally.by_prefix} & {*previous.by_prefix})
    ]
    yield "", sum(p[1] for p in each), sum(p[2] for p in each), sum(p[3] for p in each), backlog
    if len(each) > 1:
        yield from each


def _seen(what: str, tally: Tally) -> int:
    return tally.objects if what == "objects" else tally.records


def went(what: str, backlog: Backlog) -> int:
    """How much of a side we deleted since the last released pass, or in 24 h where that is not told."""
    alone = (Verdict.ORPHAN, Verdict.DEPARTED) if what == "objects" else (Verdict.DANGLING,)
    kinds = (*alone, *RETENTION_VERDICTS)
    if backlog.since is not None:
        return summed(backlog.since, kinds)
    return summed(backlog.gone, kinds) + summed(backlog.approved_gone, kinds)
