"""What waits for a person: undecided trips, and settings that let more go than before."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model import Finding, KeepReason, KeyShape, Mode, Pass, PassKind, Policy, Tally, Trip, Verdict
from reconciler.planning import approval_gate, drift_rules, retention
from reconciler.planning.reporting import found_by_prefix, newly_of, rows_by_prefix
from tests.doubles.build import DAY, HOUR, NOW, owner, policy, record, stored

TOO_MANY = Trip(reason="too many")


def a_pass(**changes: Any) -> Pass:
    values: dict[str, Any] = {
        "id": 7,
        "kind": PassKind.SWEEP,
        "cutoff": NOW,
        "config_hash": "c",
        "mode": Mode.LIVE,
        "order": None,
        "trip_reason": "far too many",
        "policy": policy(),
    }
    return Pass(**{**values, **changes})


# --- the latch -------------------------------------------------------------------------------------


def test_without_an_undecided_pass_a_pass_speaks_for_itself() -> None:
    assert approval_gate.latched(None, None) is None
    assert approval_gate.latched(TOO_MANY, None) == TOO_MANY


@pytest.mark.incident(27)
def test_a_pass_in_order_trips_while_another_is_undecided() -> None:
    """Nothing un-trips by itself."""
    assert approval_gate.latched(None, a_pass()) == Trip(
        reason="within its limits, but pass 7 waits for a decision: far too many"
    )


def test_a_pass_that_trips_itself_says_both() -> None:
    reason = "too many; and pass 7 waits for a decision"
    assert approval_gate.latched(TOO_MANY, a_pass()) == Trip(reason=reason)


@pytest.mark.parametrize("own", [None, TOO_MANY, replace(TOO_MANY, both_sides=True)])
@pytest.mark.parametrize("before", [True, False])
def test_both_sides_stay_wrong_until_a_person_decides(own: Trip | None, *, before: bool) -> None:
    trip = approval_gate.latched(own, a_pass(both_sides=before))
    assert trip is not None
    assert trip.both_sides == (before or (own is not None and own.both_sides))


def test_trips_are_told_together() -> None:
    assert approval_gate.both(None, None) is None
    assert approval_gate.both(TOO_MANY, None) == TOO_MANY
    wrong = Trip(reason="wrong", both_sides=True)
    assert approval_gate.both(TOO_MANY, wrong) == Trip(reason="too many; and wrong", both_sides=True)


# --- the end of an approval ------------------------------------------------------------------------


@given(st.integers(-100, 100), st.integers(-100, 100), st.integers(1, 100))
def test_an_approval_counts_from_when_the_mark_could_go_and_no_longer(
    approved: int, due: int, ttl: int
) -> None:
    end = NOW + max(approved, due) * HOUR + ttl * HOUR
    for now, expected in ((end, True), (end - timedelta(microseconds=1), False)):
        ended = approval_gate.has_ended(NOW + approved * HOUR, NOW + due * HOUR, now, ttl * HOUR)
        assert ended is expected


# --- settings that let more go ---------------------------------------------------------------------


@pytest.mark.incident(11)
def test_a_pass_that_finds_what_the_earlier_settings_kept_trips_and_says_which() -> None:
    shorter = policy(media_retention=30 * DAY, prefixes=("image/",), key_shape=KeyShape("image/.*"))
    tally = Tally(newly={Verdict.STALE: 1200, Verdict.EXPIRED: 1, Verdict.ORPHAN: 0})
    trip = approval_gate.widened(tally, shorter, a_pass())
    assert trip == Trip(
        reason="1,201 findings (1 expired, 1,200 stale) that the settings of the last released pass, number"
        " 7, would have kept; changed since: prefixes 'image/', 'video/' -> 'image/';"
        " media_retention 90d -> 30d; key_shape None -> image/.*"
    )


@pytest.mark.parametrize(
    ("previous", "newly"),
    [
        (None, {Verdict.STALE: 5}),
        (a_pass(policy=None), {Verdict.STALE: 5}),
        (a_pass(policy=policy(media_retention=30 * DAY)), {Verdict.STALE: 5}),
        (a_pass(), {}),
        (a_pass(), {Verdict.STALE: 0}),
    ],
    ids=["first pass", "unknown", "approved meanwhile", "nothing more", "none"],
)
def test_a_change_that_lets_nothing_more_go_needs_nobody(
    previous: Pass | None, newly: dict[Verdict, int]
) -> None:
    assert approval_gate.widened(Tally(newly=newly), policy(media_retention=30 * DAY), previous) is None


def test_settings_that_change_no_verdict_are_no_change() -> None:
    later = policy(delete_delay=0 * HOUR, rewrites_keys=True)
    assert approval_gate.earlier(a_pass(), later) is None
    assert approval_gate.earlier(None, later) is None
    before = approval_gate.earlier(a_pass(), replace(later, grace_period=HOUR))
    assert before == replace(later, grace_period=48 * HOUR)


ages = st.integers(0, 200).map(lambda days: days * DAY)
changed = st.fixed_dictionaries(
    {},
    optional={
        "media_retention": st.sampled_from([30 * DAY, 90 * DAY, 150 * DAY]),
        "grace_period": st.sampled_from([0 * DAY, 2 * DAY, 20 * DAY]),
        "prefixes": st.sampled_from([("image/",), ("video/",), ("image/", "video/")]),
        "auto_cleanup": st.booleans(),
        "orphan_cleanup": st.booleans(),
        "dangling_cleanup": st.booleans(),
        "delete_revoked": st.booleans(),
    },
)


@pytest.mark.incident(11)
@given(before=changed, after=changed, age=ages, key=st.sampled_from(["image/a", "video/a"]))
def test_new_is_exactly_what_goes_now_and_did_not_before(
    before: dict[str, Any], after: dict[str, Any], age: Any, key: str
) -> None:
    """Judged at the same moment: neither time nor growth makes anything new."""
    old, new = policy(**before), policy(**after)
    seen = stored(key, last_modified=NOW - age)
    assert approval_gate.is_new(seen, old, NOW) != goes(drift_rules.judge_object(seen, old, NOW))
    row = record(key, created_at=NOW - age, owner=owner(enabled=False, disabled_since=NOW - 50 * DAY))
    outlived = goes(retention.judge_record(row, old, NOW))
    assert approval_gate.is_newly_outlived(row, old, NOW) != outlived
    assert approval_gate.is_new(row, old, NOW) != (outlived or goes(drift_rules.judge_missing(row, old, NOW)))
    if old == new:
        assert approval_gate.earlier(a_pass(policy=old), new) is None


@given(age=ages, days=st.integers(1, 200), more=st.integers(0, 100))
def test_a_longer_retention_makes_nothing_new_and_a_shorter_one_just_what_is_between(
    age: Any, days: int, more: int
) -> None:
    row = record(created_at=NOW - age)
    shorter, longer = policy(media_retention=days * DAY), policy(media_retention=(days + more) * DAY)
    if goes(retention.judge_record(row, longer, NOW)):
        assert not approval_gate.is_newly_outlived(row, shorter, NOW)
    if goes(retention.judge_record(row, shorter, NOW)):
        assert approval_gate.is_newly_outlived(row, longer, NOW) == (age < (days + more) * DAY)


def finding(verdict: Verdict, **changes: Any) -> Finding:
    values: dict[str, Any] = {"storage_key": "image/a", "bytes": 1, "reason": "for the test"}
    return Finding(verdict=verdict, **{**values, **changes})


def goes(verdict: object) -> bool:
    return getattr(verdict, "kept", verdict) is None and verdict is not None


# --- how it is counted -----------------------------------------------------------------------------


def test_only_what_is_to_go_counts_as_new() -> None:
    found = [
        finding(Verdict.STALE, newly=True),
        finding(Verdict.STALE),
        finding(Verdict.ORPHAN, newly=True, kept=KeepReason.HOLD),
    ]
    assert newly_of(found) == Tally(newly={Verdict.STALE: 1})


def test_findings_and_rows_are_counted_by_prefix() -> None:
    found = [finding(Verdict.STALE, storage_key=key) for key in ("image/a", "image/b", "other/a")]
    tally = found_by_prefix(found, ("image/", "video/")) + rows_by_prefix({"image/": 3, "video/": 4})
    assert tally.records == 7
    assert tally.by_prefix["image/"] == Tally(
        records=3, found={Verdict.STALE: 2}, found_bytes={Verdict.STALE: 2}
    )
    assert tally.by_prefix["video/"] == Tally(records=4)


def test_policies_are_compared_by_value() -> None:
    one: Policy = policy(key_shape=KeyShape("a+"))
    assert approval_gate.earlier(a_pass(policy=one), policy(key_shape=KeyShape("a+"))) is None
