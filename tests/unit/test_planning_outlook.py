"""What is said of the future is what a pass will say then."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model import (
    FOREVER,
    RETENTION_VERDICTS,
    VERDICTS,
    Evict,
    Finding,
    Hold,
    HoldKind,
    Judgement,
    KeepReason,
    NearKey,
    Outlook,
    Policy,
    Quota,
    QuotaOwner,
    Record,
    RuleSeen,
    Seen,
    StoredObject,
    Usage,
    Verdict,
)
from reconciler.planning import drift_rules, outlook, retention
from tests.doubles.build import DAY, HOUR, NOW, owner, policy, record, stored

MOMENT = timedelta(microseconds=1)

dates = st.none() | st.integers(-4_000, 4_000).map(lambda hours: NOW + hours * HOUR)
spans = st.integers(0, 2_000).map(lambda hours: hours * HOUR)
owners = st.none() | st.builds(owner, enabled=st.booleans(), expires_at=dates, disabled_since=dates)
rows = st.builds(
    record, created_at=dates, expires_at=dates, last_accessed_at=dates, deleted_at=dates, owner=owners
)
holds = st.none() | st.builds(
    Hold, kind=st.just(HoldKind.KEY), target=st.just("image/a"), reason=st.just("why"), author=st.just("ada"),
    until=dates,
)  # fmt: skip
policies = st.builds(
    policy,
    grace_period=spans,
    media_retention=spans.map(lambda span: span + HOUR),
    recent_access=spans,
    key_grace=spans,
    delete_revoked=st.booleans(),
    auto_cleanup=st.booleans(),
    orphan_cleanup=st.booleans(),
    dangling_cleanup=st.booleans(),
)
keys = st.builds(
    Seen,
    key=st.just("image/a"),
    object=st.none() | st.builds(stored, last_modified=dates),
    rows=st.lists(rows, max_size=2),
    near=st.lists(st.builds(NearKey, storage_key=st.just("/image/a"), row=st.just(True)), max_size=1),
    hold=holds,
    recoverable=st.booleans(),
    row_missing=st.booleans(),
)


def word(judgement: Judgement) -> tuple[Verdict | None, KeepReason | None]:
    return judgement.verdict, judgement.kept


def test_a_reservation_keeps_its_object_until_it_ends() -> None:
    until = NOW + HOUR
    old = stored(last_modified=NOW - 400 * DAY)
    seen = Seen(key="image/a", object=old, named=["reservations"], reserved_until=until)
    told = outlook.outlook(seen, policy(), NOW)
    assert word(told.now) == (None, None)
    assert told.changes_at == until
    assert told.then is not None
    assert word(told.then) == (Verdict.ORPHAN, None)


@given(keys, policies, st.integers(0, 10_000))
def test_until_the_change_nothing_changes_and_then_it_does(seen: Seen, policy: Policy, hours: int) -> None:
    told = outlook.outlook(seen, policy, NOW)
    then = NOW + hours * HOUR
    if told.changes_at is None:
        assert word(outlook.stand(seen, policy, then)) == word(told.now)
        return
    assert told.then is not None
    assert word(told.then) != word(told.now)
    assert outlook.stand(seen, policy, told.changes_at) == told.then
    for before in (told.changes_at - MOMENT, min(then, told.changes_at - MOMENT)):
        assert word(outlook.stand(seen, policy, before)) == word(told.now)


@given(rows, policies)
def test_a_row_with_its_object_stands_as_retention_says(row: Record, policy: Policy) -> None:
    seen = Seen(key="image/a", object=stored(), rows=[row])
    found = retention.judge_record(row, policy, NOW)
    assert word(outlook.stand(seen, policy, NOW)) == ((found.verdict, found.kept) if found else (None, None))


@given(rows, policies)
def test_a_row_without_its_object_stands_as_both_passes_say(row: Record, policy: Policy) -> None:
    found = retention.judge_record(row, policy, NOW) or drift_rules.judge_missing(row, policy, NOW)
    assert found is not None
    expected = (found.verdict, found.kept) if isinstance(found, Finding) else (None, found)
    assert word(outlook.stand(Seen(key="image/a", rows=[row]), policy, NOW)) == expected


@given(rows, policies)
def test_a_rule_holds_from_when_it_is_said_to(row: Record, policy: Policy) -> None:
    seen = Seen(key="image/a", object=stored(), rows=[row])
    for rule in outlook.rules_of_row(seen, row, policy, NOW):
        assert rule.holds == bool(retention.reasons(row, policy, NOW)[rule.verdict])
        if rule.holds_from is not None:
            assert not rule.holds
            assert retention.reasons(row, policy, rule.holds_from)[rule.verdict] == rule.reason != ""
            assert not retention.reasons(row, policy, rule.holds_from - MOMENT)[rule.verdict]


def at(told: Outlook) -> tuple[Verdict | None, datetime | None]:
    return (told.then.verdict if told.then else None), told.changes_at


LIMITED = policy(
    delete_revoked=True,
    quota=Quota(name="", max_bytes=None, max_objects=1, owner=QuotaOwner.VIRTUAL_KEY, evict=Evict.OLDEST),
)
USAGE = Usage(
    counting=LIMITED.counting, owner="k1", size=1, bytes=2, objects=2, bytes_before=0, objects_before=0
)
CASES: Sequence[tuple[Seen, Verdict, datetime]] = [
    (Seen(key="image/a", object=stored(last_modified=NOW)), Verdict.ORPHAN, NOW + 48 * HOUR),
    (Seen(key="image/a", rows=[record(created_at=NOW)]), Verdict.DANGLING, NOW + 48 * HOUR),
    (
        Seen(key="image/a", object=stored(), rows=[record(created_at=NOW)]),
        Verdict.STALE,
        NOW + 90 * DAY,
    ),
    (
        Seen(key="image/a", object=stored(), rows=[record(expires_at=NOW + DAY)]),
        Verdict.EXPIRED,
        NOW + DAY,
    ),
    (
        Seen(key="image/a", object=stored(), rows=[record(owner=owner(expires_at=NOW))]),
        Verdict.REVOKED,
        NOW + 7 * DAY,
    ),
    (
        Seen(key="image/a", object=stored(), rows=[record(created_at=NOW, usage=USAGE)]),
        Verdict.OVER_QUOTA,
        NOW + 48 * HOUR,
    ),
]


@pytest.mark.parametrize(("seen", "verdict", "when"), CASES, ids=[each[1] for each in CASES])
def test_each_verdict_has_its_date(seen: Seen, verdict: Verdict, when: datetime) -> None:
    assert at(outlook.outlook(seen, LIMITED, NOW)) == (verdict, when)


def test_there_is_a_case_for_every_verdict_that_time_brings() -> None:
    assert {verdict for _, verdict, _ in CASES} == {*VERDICTS} - {Verdict.OWNERLESS, Verdict.DEPARTED}


def test_an_object_whose_row_has_left_goes_however_young_it_is() -> None:
    seen = Seen(key="image/a", object=stored(last_modified=NOW), departed="its record left")
    told = outlook.outlook(seen, policy(), NOW)
    assert (told.now.verdict, told.now.goes, told.changes_at) == (Verdict.DEPARTED, True, None)
    back = Seen(key="image/a", object=stored(), rows=[record()], departed="its record left")
    assert outlook.stand(back, policy(), NOW).verdict is None


def test_what_keeps_a_finding_is_told() -> None:
    old = stored(last_modified=NOW - 9 * DAY)
    near = NearKey(storage_key="/image/a", row=True)
    alone = NearKey(storage_key="image/A", object=old)
    hold = Hold(kind=HoldKind.KEY, target="image/a", reason="case 7", author="ada", until=NOW + DAY)
    for seen, kept in (
        (Seen(key="image/a", object=old, near=[near]), KeepReason.NEAR_MISS),
        (Seen(key="image/a", object=old, row_missing=True), KeepReason.RECOVERABLE),
        (Seen(key="image/a", object=old, hold=hold), KeepReason.HOLD),
        (Seen(key="image/a", rows=[record()], recoverable=True), KeepReason.RECOVERABLE),
        (Seen(key="image/a", rows=[record()], near=[alone]), KeepReason.NEAR_MISS),
        (Seen(key="other/a", object=stored("other/a")), KeepReason.OUTSIDE_PREFIX),
    ):
        told = outlook.outlook(seen, policy(), NOW)
        assert (told.now.kept, told.now.goes) == (kept, False), seen
    held = outlook.outlook(Seen(key="image/a", object=old, hold=hold), policy(), NOW)
    assert (held.changes_at, held.then and held.then.goes) == (NOW + DAY, True)
    assert (
        outlook.outlook(
            Seen(key="image/a", object=old, named=["app.users.avatar"]), policy(), NOW
        ).now.verdict
        is None
    )


def test_a_row_that_stays_keeps_the_object_for_the_others() -> None:
    seen = Seen(key="image/a", object=stored(), rows=[record(), record(expires_at=NOW - DAY)])
    now = outlook.stand(seen, policy(), NOW)
    assert now.verdict is Verdict.EXPIRED
    assert now.reason.endswith("1 of 2 rows stay, and the object with them")


def test_a_key_without_an_object_and_a_row_is_told_as_that() -> None:
    told = outlook.outlook(Seen(key="image/a"), policy(), NOW)
    assert told == Outlook(now=Judgement(reason="neither an object nor a row has this key"))


def test_a_row_of_a_protected_key_stays_whatever_its_rules_say() -> None:
    for key, kept in (("other/a", KeepReason.OUTSIDE_PREFIX), ("image/a/", KeepReason.FOLDER_MARKER)):
        row = record(key, expires_at=NOW - DAY)
        for obj in (None, stored(key)):
            told = outlook.outlook(Seen(key=key, object=obj, rows=[row]), policy(), NOW)
            assert (word(told.now), told.changes_at) == ((None, kept), None)
            assert told.now.reason == "the key is protected, whatever else is known of it"


def test_a_like_key_that_is_whole_or_young_spares_no_row() -> None:
    """What another row names, or may yet be named, is not this row's object."""
    whole = NearKey(storage_key="image/A", object=stored("image/A"), row=True)
    young = NearKey(storage_key="image/A", object=stored("image/A", last_modified=NOW))
    for near in (whole, young):
        now = outlook.stand(Seen(key="image/a", rows=[record()], near=[near]), policy(), NOW)
        assert word(now) == (Verdict.DANGLING, None)
    alone = NearKey(storage_key="/image/a", object=stored())
    now = outlook.stand(Seen(key="image/a", rows=[record()], near=[whole, alone]), policy(), NOW)
    assert word(now) == (Verdict.DANGLING, KeepReason.NEAR_MISS)
    assert now.reason.endswith("near miss: the object '/image/a' spells its key otherwise")


def test_a_like_row_that_has_its_own_object_spares_no_object() -> None:
    whole = NearKey(storage_key="image/A", object=stored("image/A"), row=True)
    now = outlook.stand(Seen(key="image/a", object=stored(), near=[whole]), policy(), NOW)
    assert word(now) == (Verdict.ORPHAN, None)
    outside = NearKey(storage_key="other/a", object=stored("other/a"), row=True)
    now = outlook.stand(Seen(key="image/a", object=stored(), near=[whole, outside]), policy(), NOW)
    assert word(now) == (Verdict.ORPHAN, KeepReason.NEAR_MISS)
    assert now.reason.endswith("near miss: the row 'other/a' spells its key otherwise")


def test_a_retention_without_an_end_brings_no_date_and_hides_no_other() -> None:
    forever = policy(media_retention=FOREVER)
    seen = Seen(key="image/a", object=stored(), rows=[record()])
    assert outlook.outlook(seen, forever, NOW).changes_at is None
    ends = Seen(key="image/a", object=stored(), rows=[record(expires_at=NOW + DAY)])
    assert at(outlook.outlook(ends, forever, NOW)) == (Verdict.EXPIRED, NOW + DAY)


def test_the_rule_of_an_object_says_from_when_it_holds() -> None:
    def rule(obj: StoredObject, **changes: bool) -> RuleSeen:
        (only,) = outlook.rules_of_object(Seen(key="image/a", object=obj), policy(**changes), NOW)
        assert (only.verdict, only.compared) == (Verdict.ORPHAN, {"last_modified": obj.last_modified})
        return only

    young = rule(stored(last_modified=NOW - HOUR))
    assert (young.holds, young.holds_from, young.switched_off) == (False, NOW + 47 * HOUR, False)
    assert young.reason == "no record; last modified at 2026-06-01 11:00:00Z (grace period 48h)"
    old = rule(stored(), orphan_cleanup=False)
    assert (old.holds, old.holds_from, old.switched_off) == (True, None, True)
    assert old.reason == "no record; last modified at 2026-05-22 12:00:00Z (grace period 48h)"
    timeless = rule(stored(last_modified=None))
    assert (timeless.holds, timeless.holds_from, timeless.reason) == (False, None, "")


def test_no_rule_of_objects_is_asked_where_there_is_a_row_or_no_object() -> None:
    for seen in (Seen(key="image/a"), Seen(key="image/a", object=stored(), rows=[record()])):
        assert not outlook.rules_of_object(seen, policy(), NOW)


def test_a_row_is_asked_for_its_object_only_where_that_is_missing() -> None:
    row = record(created_at=NOW - HOUR)
    whole = Seen(key="image/a", object=stored(), rows=[row])
    assert {each.verdict for each in outlook.rules_of_row(whole, row, policy(), NOW)} == {*RETENTION_VERDICTS}
    missing = Seen(key="image/a", rows=[row])
    told = {each.verdict: each for each in outlook.rules_of_row(missing, row, policy(), NOW)}
    assert told.keys() == {*RETENTION_VERDICTS, Verdict.DANGLING}
    assert told[Verdict.DANGLING] == RuleSeen(
        verdict=Verdict.DANGLING,
        holds=False,
        reason="no object; row created at 2026-06-01 11:00:00Z (grace period 48h)",
        holds_from=NOW + 47 * HOUR,
        switched_off=False,
        compared={"created_at": NOW - HOUR},
    )
