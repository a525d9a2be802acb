"""Whether a complete pass may be released, or somebody has to look first.

A pass trips when what it would remove is strictly above the fraction, or above the count, or above
the dangling cap, or when a side is empty that was not. What would be removed takes in every mark
not yet collected and what went in the last 24 hours, so that slices thinner than the limit trip
too. What went counts on both sides of the fraction: it is part of what there was to remove from.
Findings whose clean-up is switched off have no mark and do not count. Where nothing waits to be
released there is nothing to hold back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from reconciler.model import RETENTION_VERDICTS, Backlog, BreakerLimits, Marker, Tally, Trip, Verdict
from reconciler.planning.wording import counted

_SETTING = "RECONCILER_BREAKER__"
_MEANT = "if this is meant, raise it for one run"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drift:
    """One numerator with its denominator, and their names."""

    noun: str
    pending: int
    gone: int
    whole: int
    of: str

    @property
    def total(self) -> int:
        return self.pending + self.gone

    def __str__(self) -> str:
        share = f" ({100 * self.total / (self.whole + self.gone):.1f} %)" if self.whole + self.gone else ""
        past = f"; {self.gone:,} of them went in the last 24 hours" if self.gone else ""
        return f"{counted(self.total, self.noun)} against {counted(self.whole, self.of)}{share}{past}"


def check(
    marker: Marker,
    tally: Tally,
    backlog: Backlog,
    previous: Tally | None,
    records: int,
    limits: BreakerLimits,
) -> Trip | None:
    """The trip that holds the pass back, or None where it may be released.

    `tally` is what the pass saw, `previous` what the last *released* pass of the same marker saw
    (not the last tripped one: a second look at the same emptiness must not let it through),
    `records` the rows in the managed prefixes. `backlog.pending` holds this pass's own marks
    already; for a plan, which writes none, see `with_findings`. A `max_fraction` of 1 or more
    means: no fraction is too large, and emptiness is meant.
    """
    if marker is Marker.RETENTION:
        return _first(
            _emptied("rows", records, previous.records if previous else 0, _rows_gone(backlog), limits),
            _too_much(_retention(backlog, records), limits),
        )
    orphans = _too_much(_orphans(tally, backlog), limits)
    dangling = _too_many_missing(tally, backlog, limits) or _too_much(_dangling(backlog, records), limits)
    if orphans and dangling:
        return _both_sides(orphans, dangling)
    return _first(
        _emptied(
            "objects", tally.objects, previous.objects if previous else 0, _objects_gone(backlog), limits
        ),
        _emptied("rows", records, previous.records if previous else 0, _rows_gone(backlog), limits),
        orphans,
        dangling,
    )


def with_findings(backlog: Backlog, to_mark: Mapping[Verdict, int]) -> Backlog:
    """The backlog as if a pass had marked these findings (those with `kept` None).

    Older marks of a verdict are taken to be among what was found again.
    """
    verdicts = {*backlog.pending, *to_mark}
    pending = {verdict: max(backlog.pending.get(verdict, 0), to_mark.get(verdict, 0)) for verdict in verdicts}
    return Backlog(pending=pending, gone=backlog.gone)


def _first(*reasons: str | None) -> Trip | None:
    found = [reason for reason in reasons if reason]
    return Trip(reason="; and ".join(found)) if found else None


def _both_sides(orphans: str, dangling: str) -> Trip:
    reason = (
        "objects without records and records without objects are both above their limits, so the "
        "comparison itself looks wrong (another bucket, database or prefix, or keys written "
        f"differently on the two sides); nothing at all is deleted until a pass is in order: {orphans}; "
        f"and {dangling}"
    )
    return Trip(reason=reason, both_sides=True)


def _orphans(tally: Tally, backlog: Backlog) -> _Drift:
    kinds = (Verdict.ORPHAN,)
    return _drift("orphan", kinds, backlog, tally.objects, "listed object")


def _dangling(backlog: Backlog, records: int) -> _Drift:
    kinds = (Verdict.DANGLING,)
    return _drift("dangling record", kinds, backlog, records, "row")


def _retention(backlog: Backlog, records: int) -> _Drift:
    return _drift("outlived record", RETENTION_VERDICTS, backlog, records, "row")


def _drift(noun: str, kinds: Iterable[Verdict], backlog: Backlog, whole: int, of: str) -> _Drift:
    kinds = tuple(kinds)
    return _Drift(
        noun=noun, pending=_sum(backlog.pending, kinds), gone=_sum(backlog.gone, kinds), whole=whole, of=of
    )


def _too_much(drift: _Drift, limits: BreakerLimits) -> str | None:
    if drift.pending == 0:
        return None
    if drift.total > limits.max_count:
        return f"{drift}: above {_SETTING}MAX_COUNT={limits.max_count}; {_MEANT}"
    if drift.total < limits.min_count or limits.max_fraction >= 1:
        return None
    # As written in decimal: 0.1 is a tenth, not the binary number beside it.
    if drift.total > Fraction(str(limits.max_fraction)) * (drift.whole + drift.gone):
        return f"{drift}: above {_SETTING}MAX_FRACTION={limits.max_fraction:g}; {_MEANT}"
    return None


def _too_many_missing(tally: Tally, backlog: Backlog, limits: BreakerLimits) -> str | None:
    now_missing = max(tally.missing, backlog.pending.get(Verdict.DANGLING, 0))
    gone = backlog.gone.get(Verdict.DANGLING, 0)
    if now_missing == 0 or now_missing + gone <= limits.max_dangling:
        return None
    past = f" and {gone:,} removed in the last 24 hours" if gone else ""
    return (
        f"{counted(now_missing, 'record')} without an object{past}: above "
        f"{_SETTING}MAX_DANGLING={limits.max_dangling}; this may be data loss, look at the bucket first; "
        f"{_MEANT}"
    )


def _emptied(what: str, seen: int, before: int, gone: int, limits: BreakerLimits) -> str | None:
    """Nothing where there was something, unless our own deletions account for all of it."""
    if seen or before <= gone or limits.max_fraction >= 1:
        return None
    return (
        f"no {what} at all, where the last pass saw {before:,}: is this the right "
        f"{'bucket' if what == 'objects' else 'database'}? If it is meant, set "
        f"{_SETTING}MAX_FRACTION=1 for one run"
    )


def _objects_gone(backlog: Backlog) -> int:
    return _sum(backlog.gone, (Verdict.ORPHAN, *RETENTION_VERDICTS))


def _rows_gone(backlog: Backlog) -> int:
    return _sum(backlog.gone, (Verdict.DANGLING, *RETENTION_VERDICTS))


def _sum(counts: Mapping[Verdict, int], kinds: Iterable[Verdict]) -> int:
    return sum(counts.get(kind, 0) for kind in kinds)
