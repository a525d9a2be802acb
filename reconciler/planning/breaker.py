"""The breaker: whether a complete pass may be released, or a person has to look first.

A pass trips when what it would remove is strictly above the fraction, the count, or the dangling cap, or
when a side is empty that was not before. However few its findings, it also trips if one side is empty and
the other is not, if no object and no row belong together, or if a side has lost more than the fraction
since the last released pass (R-68). Each condition is enough by itself. The fraction is checked for every
managed prefix as well as in total: a small prefix must not vanish within a large bucket. (Count and
dangling cap hold in total, hence in each prefix.) What would be removed includes every mark not yet
collected and the deletions of the last 24 hours, so that slices thinner than the limit trip too. Those
deletions count on both sides of the fraction: they were part of what there was to remove from. What a
person has approved does not count. A record whose object the store expired by itself counts, but not to the
dangling cap. Findings whose clean-up is switched off have no mark and do not count. If nothing waits to be
released, there is nothing to hold back.

The same caps are checked again for each batch to be claimed: see `at_claim`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from reconciler.model import RETENTION_VERDICTS, Backlog, BreakerLimits, PassKind, Tally, Trip, Verdict
from reconciler.planning import sides
from reconciler.planning.formatting import counted

_SETTING = "RECONCILER_BREAKER__"
_APPROVED = " (not counting what was approved)"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drift:
    """One numerator with its denominator, and their names."""

    noun: str
    pending: int
    gone: int
    whole: int
    of: str
    where: str = ""
    tail: str = ""

    @property
    def total(self) -> int:
        return self.pending + self.gone

    def __str__(self) -> str:
        # Deletions were part of what there was to delete, so they are in the divisor too.
        whole = self.whole + self.gone
        share = f", {100 * self.total / whole:.1f} % of {counted(whole, self.of)}" if whole else ""
        new = f"{self.pending:,} new {self.noun}{'' if self.pending == 1 else 's'}"
        found = (
            f"{new}{self.tail}{self.where} + {self.gone:,} deleted in the last 24 h{_APPROVED} ="
            f" {self.total:,}"
            if self.gone
            else f"{counted(self.pending, self.noun)}{self.tail}{self.where}"
        )
        return f"{found}{share}" if share else f"{found}, of none"


def check(
    kind: PassKind, tally: Tally, backlog: Backlog, previous: Tally | None, limits: BreakerLimits
) -> Trip | None:
    """The trip that holds the pass back, or None if it may be released.

    `tally` is what the pass saw (without a listing, `records` is what its findings are a fraction
    of), `previous` what the last *released* pass of the same kind saw (not the last tripped one: a
    second look at the same emptiness must not let it through). `backlog.pending` already holds this pass's
    own marks; for a plan, which writes none, see `with_findings`. A `max_fraction` of 1 or more means that
    no fraction is too large, and that emptiness is meant.
    """
    no_rows = sides.emptied("rows", tally, previous, backlog, limits)
    if kind is PassKind.RETENTION:
        return _first(no_rows, _retention_over(tally, backlog, limits))
    if kind is PassKind.DEPARTURE:
        return _first(_all_departed(tally, backlog, limits), _departed_over(tally, backlog, limits))
    orphans = _orphans_over(tally, backlog, limits)
    dangling = _too_many_missing(tally, backlog, limits) or _dangling_over(tally, backlog, limits)
    if orphans and dangling:
        return _both_sides(orphans, dangling)
    no_objects = sides.emptied("objects", tally, previous, backlog, limits)
    foreign = None if no_objects or no_rows else sides.foreign(tally, previous, backlog, limits)
    return _first(no_objects, no_rows, foreign, orphans, dangling)


def at_claim(kind: PassKind, seen: Tally, backlog: Backlog, limits: BreakerLimits) -> str | None:
    """Why the marks of a batch must not be claimed, or None: the caps, applied where deletion begins.

    `backlog.pending` is the batch, `backlog.gone` what was claimed in the last 24 hours, both without
    what a person has approved; `seen` is what the last released pass of the kind saw. Never stricter
    than `check` was, unless the limits were lowered or the whole has shrunk since.
    """
    if kind is PassKind.RETENTION:
        return _retention_over(seen, backlog, limits)
    if kind is PassKind.DEPARTURE:
        return _departed_over(seen, backlog, limits)
    missing = _too_many_missing(Tally(), backlog, limits)
    return _orphans_over(seen, backlog, limits) or missing or _dangling_over(seen, backlog, limits)


def with_findings(
    backlog: Backlog,
    to_mark: Mapping[Verdict, int],
    by_prefix: Mapping[str, Mapping[Verdict, int]] | None = None,
) -> Backlog:
    """The backlog as if a pass had marked these findings (those with `kept` None).

    Older marks of a verdict are assumed to be among what was found again, the approved ones included.
    """
    found = by_prefix or {}
    verdicts = {*backlog.pending, *to_mark}
    pending = {
        verdict: max(
            backlog.pending.get(verdict, 0), to_mark.get(verdict, 0) - backlog.approved.get(verdict, 0)
        )
        for verdict in verdicts
    }
    return Backlog(
        pending=pending,
        gone=backlog.gone,
        approved=backlog.approved,
        approved_gone=backlog.approved_gone,
        approved_missing=backlog.approved_missing,
        since=backlog.since,
        by_store=backlog.by_store,
        by_store_gone=backlog.by_store_gone,
        by_prefix={
            prefix: with_findings(backlog.by_prefix.get(prefix, sides.NOTHING), found.get(prefix, {}))
            for prefix in {**backlog.by_prefix, **found}
        },
    )


def _first(*reasons: str | None) -> Trip | None:
    found = [reason for reason in reasons if reason]
    return Trip(reason="; and ".join(found)) if found else None


def _both_sides(orphans: str, dangling: str) -> Trip:
    reason = (
        "objects without records and records without objects are both above their limits, so the "
        "comparison itself looks wrong (another bucket, database or prefix, or keys written "
        f"differently on the two sides); nothing at all is deleted until a person has decided: {orphans}; "
        f"and {dangling}"
    )
    return Trip(reason=reason, both_sides=True)


def _orphans_over(tally: Tally, backlog: Backlog, limits: BreakerLimits) -> str | None:
    kinds = (Verdict.ORPHAN,)
    return _over(
        (
            _drift("orphan", kinds, part, seen.objects, "object", where)
            for where, seen, part in sides.parts(tally, backlog)
        ),
        limits,
    )


def _dangling_over(tally: Tally, backlog: Backlog, limits: BreakerLimits) -> str | None:
    return _rows_over("dangling record", (Verdict.DANGLING,), tally, backlog, limits)


def _retention_over(tally: Tally, backlog: Backlog, limits: BreakerLimits) -> str | None:
    return _rows_over("record", RETENTION_VERDICTS, tally, backlog, limits, past_retention=True)


def _departed_over(tally: Tally, backlog: Backlog, limits: BreakerLimits) -> str | None:
    return _rows_over("departed record", (Verdict.DEPARTED,), tally, backlog, limits)


def _all_departed(tally: Tally, backlog: Backlog, limits: BreakerLimits) -> str | None:
    """However few they are: a DELETE without a condition, in a small table too."""
    departed = backlog.pending.get(Verdict.DEPARTED, 0)
    left = tally.records - tally.found.get(Verdict.DEPARTED, 0)
    if limits.max_fraction >= 1 or not departed or left > 0:
        return None
    return f"{counted(departed, 'record')} left the table, and not one is left in the managed prefixes"


def _rows_over(
    noun: str,
    kinds: Iterable[Verdict],
    tally: Tally,
    backlog: Backlog,
    limits: BreakerLimits,
    *,
    past_retention: bool = False,
) -> str | None:
    return _over(
        (
            _drift(noun, kinds, part, seen.records, "row", where, past_retention=past_retention)
            for where, seen, part in sides.parts(tally, backlog)
        ),
        limits,
    )


def _drift(
    noun: str,
    kinds: Iterable[Verdict],
    backlog: Backlog,
    whole: int,
    of: str,
    where: str,
    *,
    past_retention: bool = False,
) -> _Drift:
    kinds = tuple(kinds)
    pending, gone = sides.summed(backlog.pending, kinds), sides.summed(backlog.gone, kinds)
    each = ", ".join(f"{backlog.pending[kind]:,} {kind}" for kind in kinds if backlog.pending.get(kind))
    tail = f" past retention ({each})" if past_retention else ""
    return _Drift(noun=noun, pending=pending, gone=gone, whole=whole, of=of, where=where, tail=tail)


def _over(drifts: Iterable[_Drift], limits: BreakerLimits) -> str | None:
    """The limits that are exceeded, in words."""
    return sides.over_parts(_too_much(drift, limits) for drift in drifts)


def _too_much(drift: _Drift, limits: BreakerLimits) -> str | None:
    if drift.pending == 0:
        return None
    if drift.total > limits.max_count:
        return f"{drift}; the limit is {limits.max_count:,} ({_SETTING}MAX_COUNT)"
    if drift.total < limits.min_count or limits.max_fraction >= 1:
        return None
    # As written in decimal: 0.1 is a tenth, not the binary number next to it.
    if drift.total > Fraction(str(limits.max_fraction)) * (drift.whole + drift.gone):
        return f"{drift}; the limit is {100 * limits.max_fraction:g} % ({_SETTING}MAX_FRACTION)"
    return None


def _too_many_missing(tally: Tally, backlog: Backlog, limits: BreakerLimits) -> str | None:
    pending = backlog.pending.get(Verdict.DANGLING, 0) - backlog.by_store
    now_missing = max(tally.missing - backlog.approved_missing, pending)
    gone = backlog.gone.get(Verdict.DANGLING, 0) - backlog.by_store_gone
    if now_missing <= 0 or now_missing + gone <= limits.max_dangling:
        return None
    past = f" + {gone:,} removed in the last 24 h{_APPROVED} = {now_missing + gone:,}" if gone else ""
    return (
        f"{counted(now_missing, 'record')} without an object{past}; the limit is {limits.max_dangling:,}"
        f" ({_SETTING}MAX_DANGLING). This may be data loss: look at the bucket first"
    )
