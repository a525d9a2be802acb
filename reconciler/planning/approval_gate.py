"""What a person has to decide, beyond the caps: undecided trips, and settings that delete more.

A trip is latched. While one of a kind's passes waits for a decision, every later pass of that kind
trips too, even one that is within its limits: whatever was wrong, a person has to see it before
anything is released (I-27).
"""

from collections.abc import Iterable
from dataclasses import fields, replace
from datetime import datetime, timedelta

from reconciler.model import (
    FOREVER,
    Finding,
    Match,
    Pass,
    PassKind,
    Policy,
    Quota,
    Record,
    Rule,
    Rules,
    StoredObject,
    Tally,
    Trip,
)
from reconciler.model.durations import duration_text
from reconciler.planning import drift_rules, formatting
from reconciler.planning.retention import judge_record

_OF_NO_VERDICT = frozenset({"delete_delay", "delete_mode", "rewrites_keys"})


def earlier(previous: Pass | None, policy: Policy) -> Policy | None:
    """The settings by which the last released pass judged, if they differ from these."""
    if previous is None or previous.policy is None:
        return None
    before = replace(previous.policy, **{name: getattr(policy, name) for name in _OF_NO_VERDICT})
    return None if before == policy else before


def latched(trip: Trip | None, undecided: Pass | None) -> Trip | None:
    """The pass's own trip, and the latch of the oldest undecided pass of its kind, if there is one.

    `undecided.both_sides` says whether any undecided pass found both sides wrong: that remains, however
    this one looks.
    """
    if undecided is None:
        return trip
    waits = f"pass {undecided.id} waits for a decision"
    if trip is None:
        reason = f"within its limits, but {waits}: {undecided.trip_reason}"
        return Trip(reason=reason, both_sides=undecided.both_sides)
    return Trip(reason=f"{trip.reason}; and {waits}", both_sides=trip.both_sides or undecided.both_sides)


def widened(tally: Tally, policy: Policy, previous: Pass | None) -> Trip | None:
    """The trip of a pass that finds what the settings of the last released one would have kept.

    Counted finding by finding, at the same moment, so that time and growth make nothing new: a retention of
    30 days instead of 90 concerns exactly what is between 30 and 90 days old, and a change that deletes
    nothing more needs no decision.
    """
    newly = {verdict: number for verdict, number in tally.newly.items() if number}
    before = earlier(previous, policy)
    # None also if these settings were approved while the pass was running.
    if previous is None or before is None or not newly:
        return None
    changed = "; ".join(_changed(before, policy))
    kinds = ", ".join(f"{number:,} {verdict}" for verdict, number in sorted(newly.items()))
    return Trip(
        reason=f"{formatting.counted(sum(newly.values()), 'finding')} ({kinds}) that the settings of the last"
        f" released pass, number {previous.id}, would have kept; changed since: {changed}"
    )


def has_ended(approved_at: datetime, due_at: datetime, now: datetime, ttl: timedelta) -> bool:
    """Whether an approval does not count any more for a mark that could go from `due_at` on.

    It counts for `ttl` from then, so that a delay that is longer does not void it.
    """
    return now - max(approved_at, due_at) >= ttl


def both(*trips: Trip | None) -> Trip | None:
    """Combine the trips into one."""
    found = [trip for trip in trips if trip is not None]
    if not found:
        return None
    reason = "; and ".join(trip.reason for trip in found)
    return Trip(reason=reason, both_sides=any(trip.both_sides for trip in found))


def split_new(
    finding: Finding, found: StoredObject | Record, before: Policy | None, now: datetime
) -> Finding:
    """The finding, noting whether it exists only since the settings changed. For `before` see `earlier`."""
    if before is None:
        return finding
    if isinstance(found, Record) and finding.verdict.spec.found_by is PassKind.RETENTION:
        return replace(finding, newly=is_newly_outlived(found, before, now))
    return replace(finding, newly=is_new(found, before, now))


def is_new(found: StoredObject | Record, before: Policy, now: datetime) -> bool:
    """Whether the earlier settings would have kept what is a finding now."""
    if isinstance(found, StoredObject):
        return not drift_rules.goes(drift_rules.judge_object(found, before, now))
    return not any(
        drift_rules.goes(each(found, before, now)) for each in (judge_record, drift_rules.judge_missing)
    )


def is_newly_outlived(row: Record, before: Policy, now: datetime) -> bool:
    """The same for a retention finding, whose object is assumed to be there."""
    return not drift_rules.goes(judge_record(row, before, now))


def _changed(before: Policy, after: Policy) -> list[str]:
    """The settings that differ, with both values, in the order in which they are declared; then the rules."""
    names = [each.name for each in fields(Policy) if each.name != "rules"]
    return [*_differences(before, after, names), *_rules_changed(before.rules, after.rules)]


def _differences(before: object, after: object, names: Iterable[str]) -> list[str]:
    pairs = [(name, getattr(before, name), getattr(after, name)) for name in names]
    return [f"{name} {_shown(old)} -> {_shown(new)}" for name, old, new in pairs if old != new]


def _rules_changed(before: Rules, after: Rules) -> list[str]:
    """Each rule that is new, gone or another one; if there is none, their order is."""
    was, now = ({rule.name: rule for rule in rules.each} for rules in (before, after))
    told = [f"rule {name} removed" for name in was if name not in now]
    for name, rule in now.items():
        if name not in was:
            told.append(f"rule {name} added")
        elif was[name] != rule:
            terms = [each.name for each in fields(Rule)]
            told.append(f"rule {name}: {', '.join(_differences(was[name], rule, terms))}")
    return told or (["the rules' order"] if before != after else [])


def _shown(value: object) -> str:
    if value == FOREVER:
        return "forever"
    if isinstance(value, timedelta):
        return duration_text(value)
    if isinstance(value, tuple):
        return ", ".join(repr(each) for each in value)
    if isinstance(value, Quota):
        most = formatting.limits(value.max_objects, value.max_bytes)
        return f"{most} a {value.owner.value.replace('_', ' ')}, evict {value.evict.value}"
    if isinstance(value, Match):
        return "; ".join(f"{name} {_shown(values)}" for name, values in value.given.items())
    return str(getattr(value, "pattern", value))
