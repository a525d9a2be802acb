"""Quotas: which row is beyond one, what a change of quotas lets go, and how it is said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler.model import (
    FOREVER,
    Cancel,
    Evict,
    KeepReason,
    Match,
    Policy,
    Quota,
    QuotaOwner,
    Remove,
    Rule,
    Rules,
    Seen,
    Tally,
    Usage,
    Verdict,
)
from reconciler.planning import approval_gate, outlook, published
from reconciler.planning.claim_decision import decide
from reconciler.planning.retention import judge_record
from tests.doubles.build import DAY, HOUR, NOW, mark, policy, record, stored
from tests.unit.test_planning_approval_gate import a_pass

OVER = Verdict.OVER_QUOTA


def quota(**changes: Any) -> Quota:
    values: dict[str, Any] = {
        "name": "",
        "max_bytes": None,
        "max_objects": 10,
        "owner": QuotaOwner.VIRTUAL_KEY,
        "evict": Evict.OLDEST,
    }
    return Quota(**{**values, **changes})


def keeps(under: Policy, **changes: Any) -> Usage:
    """Twelve objects of 10 bytes, of which this is the first to go."""
    values: dict[str, Any] = {
        "counting": under.counting,
        "owner": "k1",
        "size": 10,
        "bytes": 120,
        "objects": 12,
        "bytes_before": 0,
        "objects_before": 0,
    }
    return Usage(**{**values, **changes})


LIMITED = policy(quota=quota())
ROW = record(usage=keeps(LIMITED))


def found(row: Any, under: Policy = LIMITED) -> Verdict | None:
    finding = judge_record(row, under, NOW)
    return finding.verdict if finding else None


def test_its_reason_has_what_was_compared() -> None:
    finding = judge_record(ROW, LIMITED, NOW)
    assert finding is not None
    assert (finding.verdict, finding.kept) == (OVER, None)
    assert finding.reason == (
        "virtual key k1 keeps 12 objects, 120 B (quota 10 objects), goes first; created at"
        " 2026-05-22 12:00:00Z, never accessed"
    )
    second = replace(ROW, usage=keeps(LIMITED, objects_before=1, bytes_before=10))
    then = judge_record(second, LIMITED, NOW)
    assert then is not None
    assert "(quota 10 objects), goes after 1 object, 10 B; created" in then.reason
    off = judge_record(ROW, replace(LIMITED, auto_cleanup=False), NOW)
    assert off is not None
    assert off.kept is KeepReason.DISABLED


@pytest.mark.parametrize(
    ("limit", "usage", "goes"),
    [
        ({"max_objects": 10}, {"objects": 11}, True),
        ({"max_objects": 10}, {"objects": 10}, False),
        ({"max_objects": 10}, {"objects": 12, "objects_before": 1}, True),
        ({"max_objects": 10}, {"objects": 12, "objects_before": 2}, False),
        ({"max_bytes": 100}, {"bytes": 101}, True),
        ({"max_bytes": 100}, {"bytes": 100}, False),
        ({"max_bytes": 100}, {"bytes": 120, "bytes_before": 19}, True),
        ({"max_bytes": 100}, {"bytes": 120, "bytes_before": 20}, False),
        ({"max_bytes": 100}, {"bytes": 101, "size": 0}, False),
        ({"max_objects": 10, "max_bytes": 100}, {"objects": 11, "bytes": 1, "size": 0}, True),
        ({"max_objects": 10, "max_bytes": 100}, {"objects": 1, "bytes": 101}, True),
        ({"max_objects": 10, "max_bytes": 100}, {"objects": 10, "bytes": 100}, False),
    ],
)
def test_a_row_goes_while_what_goes_before_it_leaves_too_much(
    limit: dict[str, int], usage: dict[str, int], goes: bool
) -> None:
    under = policy(quota=quota(**{"max_objects": None, **limit}))
    assert (found(record(usage=keeps(under, **usage)), under) is OVER) is goes


@pytest.mark.attack(109)
@pytest.mark.parametrize(
    "row",
    [
        record(usage=None),
        replace(ROW, created_at=None),
        replace(ROW, created_at=NOW - 48 * HOUR + HOUR / 60),
        replace(ROW, last_accessed_at=NOW - 30 * DAY + HOUR),
        replace(ROW, owner=None, virtual_key_id=None),
        replace(ROW, storage_key="elsewhere/a"),
    ],
    ids=["uncounted", "without a date", "fresh", "accessed", "nobody's", "outside"],
)
def test_what_protects_it(row: Any) -> None:
    assert found(row) is None
    at_the_bound = replace(ROW, created_at=NOW - 48 * HOUR, last_accessed_at=NOW - 30 * DAY)
    assert found(at_the_bound) is OVER


def test_a_quota_that_never_evicts_finds_nothing() -> None:
    soft = policy(quota=quota(evict=Evict.NEVER))
    assert found(record(usage=keeps(soft)), soft) is None


def test_what_goes_anyway_goes_as_that() -> None:
    assert found(replace(ROW, created_at=NOW - 99 * DAY)) is Verdict.STALE
    assert found(replace(ROW, expires_at=NOW)) is Verdict.EXPIRED


# --- a rule's own, and changes ---------------------------------------------------------------------------


def rule(name: str, own: Quota | None, **match: Any) -> Rule:
    return Rule(
        name=name,
        match=Match(**(match or {"media_type": ("image",)})),
        media_retention=FOREVER,
        recent_access=DAY,
        key_grace=DAY,
        delete_revoked=False,
        quota=own,
    )


def test_the_rule_that_holds_says_which_quota() -> None:
    under = policy(quota=quota(max_objects=100), rules=Rules((rule("images", quota(name="images")),)))
    row = record(media_type="image", usage=keeps(under))
    finding = judge_record(row, under, NOW)
    assert finding is not None
    assert finding.reason.endswith("; rule images")
    assert found(replace(row, media_type="video"), under) is None
    assert [each.name for each in under.quotas] == ["images", ""]


@pytest.mark.attack(112)
def test_sums_that_were_counted_under_other_rules_say_nothing() -> None:
    """Another rule before it takes media out of the account, or into it: the sum is another one."""
    images = policy(quota=quota(), rules=Rules((rule("images", None),)))
    other = policy(quota=quota(), rules=Rules((rule("images", None, media_type=("video",)),)))
    row = record(usage=keeps(images))
    assert found(row, images) is OVER
    assert found(row, other) is None
    assert found(row, replace(images, quota=quota(evict=Evict.LEAST_RECENTLY_ACCESSED))) is None
    assert found(row, replace(images, prefixes=("image/",))) is None


def test_rules_that_count_under_the_global_quota_change_no_sum() -> None:
    more = replace(LIMITED, rules=Rules((rule("images", quota()),)))
    assert more.counting == LIMITED.counting


@pytest.mark.attack(112)
@pytest.mark.parametrize(
    ("before", "newly"),
    [
        (policy(), True),
        (policy(quota=quota(evict=Evict.NEVER)), True),
        (policy(quota=quota(max_objects=12)), True),
        (policy(quota=quota(max_objects=11)), False),
        (policy(quota=quota(max_objects=5)), False),
        (policy(quota=quota(evict=Evict.LEAST_RECENTLY_ACCESSED)), True),
        (policy(quota=quota(), rules=Rules((rule("all", None),))), True),
    ],
    ids=["none", "soft", "higher", "a little higher", "lower", "another order", "others counted"],
)
def test_a_quota_that_lets_more_go_trips(before: Policy, newly: bool) -> None:
    finding = judge_record(ROW, LIMITED, NOW)
    assert finding is not None
    assert approval_gate.split_new(finding, ROW, before, NOW).newly is newly
    trip = approval_gate.widened(Tally(newly={OVER: int(newly)}), LIMITED, a_pass(policy=before))
    assert (trip is not None) is newly
    if trip is not None and before.quota is None:
        assert "quota None -> 10 objects a virtual key, evict oldest" in trip.reason


# --- the claim ------------------------------------------------------------------------------------------


@pytest.mark.attack(106)
def test_a_claim_asks_the_sum_of_that_moment() -> None:
    assert isinstance(decide(mark(OVER), [ROW], LIMITED, NOW), Remove)
    less = replace(ROW, usage=keeps(LIMITED, objects=10))
    decision = decide(mark(OVER), [less], LIMITED, NOW)
    assert isinstance(decision, Cancel)
    assert decision.reason == "its owner is not over the quota now, or keeps what else is evicted first"
    assert isinstance(decide(mark(OVER), [replace(ROW, usage=None)], LIMITED, NOW), Cancel)
    assert isinstance(decide(mark(OVER), [ROW], policy(), NOW), Cancel)


# --- in words -------------------------------------------------------------------------------------------


def test_explain_has_the_sums_and_what_they_are_compared_with() -> None:
    seen = Seen(key=ROW.storage_key, object=stored(), rows=[ROW])
    (told,) = [each for each in outlook.rules_of_row(seen, ROW, LIMITED, NOW) if each.verdict is OVER]
    assert told.holds
    sums = {"owner": "k1", "objects": 12, "bytes": 120, "objects_before": 0, "bytes_before": 0}
    assert {**told.compared, **sums, "quota_objects": 10, "quota_bytes": None} == told.compared
    fresh = replace(ROW, created_at=NOW - HOUR)
    later = outlook.outlook(replace(seen, rows=[fresh]), LIMITED, NOW, fresh)
    assert (later.changes_at, later.then and later.then.verdict) == (NOW + 47 * HOUR, OVER)


OLDEST = "A key group may keep 10 files of it; beyond that the oldest is deleted first, but none of the last"
LEAST = "A virtual key may keep 1 file of it; beyond that the least recently accessed is deleted first, but"


@pytest.mark.parametrize(
    ("limit", "grace", "said"),
    [
        (None, 0, ""),
        (
            quota(max_bytes=10 * 2**30, evict=Evict.NEVER),
            0,
            "A virtual key may keep 10.0 GiB and 10 files of it; nothing is deleted for keeping more",
        ),
        (
            quota(owner=QuotaOwner.KEY_GROUP),
            2,
            f"{OLDEST} 2 days and none that was accessed in the last 30 days",
        ),
        (
            quota(max_objects=1, evict=Evict.LEAST_RECENTLY_ACCESSED),
            0,
            f"{LEAST} none that was accessed in the last 30 days",
        ),
    ],
)
def test_a_quota_is_told_to_the_gateways_users(limit: Quota | None, grace: int, said: str) -> None:
    under = policy(quota=limit, grace_period=grace * DAY)
    assert published.of_quota(under, under) == said
    if limit is not None:
        assert published.of_quota(rule("a", limit), under) == "Counts towards the limit of everything else"
        own = rule("a", replace(limit, name="a"))
        assert published.of_quota(own, under).startswith("A ")


def test_without_a_time_of_access_none_is_promised_to_protect() -> None:
    under = policy(quota=quota(evict=Evict.OLDEST), grace_period=0 * DAY, recent_access=0 * DAY)
    assert published.of_quota(under, under).endswith("beyond that the oldest is deleted first")
