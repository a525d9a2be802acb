"""Retention verdicts: which, in which order, from which instant on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model import Finding, KeepReason, Policy, Record, Verdict
from reconciler.planning.retention import judge_record
from tests.doubles.build import DAY, HOUR, NOW, owner, policy, record

INSTANT = timedelta(microseconds=1)
DISABLED = owner(enabled=False, disabled_since=NOW - 7 * DAY)
REVOKE = policy(delete_revoked=True)


def verdict(row: Record, under: Policy | None = None) -> Verdict | None:
    finding = judge_record(row, under or policy(), NOW)
    return finding.verdict if finding else None


def test_a_row_in_retention_of_an_active_key_stays() -> None:
    assert judge_record(record(), policy(), NOW) is None


@pytest.mark.parametrize(
    ("changes", "after"),
    [
        ({"expires_at": NOW}, {"expires_at": NOW + INSTANT}),
        ({"deleted_at": NOW - 48 * HOUR}, {"deleted_at": NOW - 48 * HOUR + INSTANT}),
    ],
)
def test_expired_from_its_instant_on(changes: dict[str, Any], after: dict[str, Any]) -> None:
    assert verdict(record(**changes)) is Verdict.EXPIRED
    assert verdict(record(**after)) is None


def test_a_soft_deleted_row_may_expire_before_its_grace() -> None:
    assert verdict(record(deleted_at=NOW, expires_at=NOW)) is Verdict.EXPIRED


@pytest.mark.parametrize(
    ("created", "accessed", "stale"),
    [
        (NOW - 90 * DAY, None, True),
        (NOW - 90 * DAY + INSTANT, None, False),
        (NOW - 90 * DAY, NOW - 30 * DAY, True),
        (NOW - 90 * DAY, NOW - 30 * DAY + INSTANT, False),
        (NOW - 90 * DAY, NOW + DAY, False),
        (None, None, False),
        (None, NOW - 400 * DAY, False),
    ],
)
def test_stale_when_old_and_not_recently_accessed(created: Any, accessed: Any, *, stale: bool) -> None:
    row = record(created_at=created, last_accessed_at=accessed)
    assert verdict(row) is (Verdict.STALE if stale else None)


def test_an_access_in_the_future_protects_even_without_a_recent_window() -> None:
    row = record(created_at=NOW - 400 * DAY, last_accessed_at=NOW + INSTANT)
    assert verdict(row, policy(recent_access=timedelta(0))) is None


@pytest.mark.parametrize(
    ("of", "revoked"),
    [
        (DISABLED, True),
        (owner(enabled=False, disabled_since=NOW - 7 * DAY + INSTANT), False),
        (owner(enabled=False, disabled_since=None), False),
        (owner(enabled=True, disabled_since=NOW - 70 * DAY), False),
        (owner(expires_at=NOW - 7 * DAY), True),
        (owner(expires_at=NOW - 7 * DAY + INSTANT), False),
        (owner(enabled=False, disabled_since=NOW, expires_at=NOW - 7 * DAY), True),
    ],
)
def test_revoked_when_its_key_was_disabled_or_expired_for_the_grace(of: Any, *, revoked: bool) -> None:
    assert verdict(record(owner=of), REVOKE) is (Verdict.REVOKED if revoked else None)


def test_ownerless_when_it_names_a_key_that_does_not_exist() -> None:
    assert verdict(record(owner=None)) is Verdict.OWNERLESS
    assert verdict(record(owner=None, virtual_key_id=None)) is None


def test_the_first_that_applies_wins() -> None:
    old: dict[str, Any] = {"created_at": NOW - 400 * DAY, "expires_at": NOW}
    assert verdict(record(**old, owner=None), REVOKE) is Verdict.OWNERLESS
    assert verdict(record(**old, owner=DISABLED), REVOKE) is Verdict.REVOKED
    assert verdict(record(**old), REVOKE) is Verdict.EXPIRED


def test_under_the_policy_keep_revoked_is_found_and_kept_unless_another_applies() -> None:
    kept = judge_record(record(owner=DISABLED), policy(), NOW)
    assert kept is not None
    assert (kept.verdict, kept.kept) == (Verdict.REVOKED, KeepReason.DISABLED)
    assert verdict(record(owner=DISABLED, expires_at=NOW)) is Verdict.EXPIRED
    assert verdict(record(owner=DISABLED, created_at=NOW - 90 * DAY)) is Verdict.STALE


@pytest.mark.parametrize(
    "row",
    [
        record(owner=None),
        record(owner=DISABLED),
        record(expires_at=NOW),
        record(created_at=NOW - 400 * DAY),
    ],
)
def test_with_clean_up_off_everything_is_found_and_kept(row: Record) -> None:
    on = judge_record(row, REVOKE, NOW)
    off = judge_record(row, policy(auto_cleanup=False, delete_revoked=True), NOW)
    assert on is not None
    assert off is not None
    assert (on.verdict, on.kept) == (off.verdict, None)
    assert off.kept is KeepReason.DISABLED


@pytest.mark.parametrize("key", ["images/a", "image/a/", "image/\ufffd", ".reconciler/identity"])
def test_a_protected_key_is_never_a_finding(key: str) -> None:
    assert judge_record(record(key, expires_at=NOW), policy(), NOW) is None


def test_a_finding_tells_what_the_row_says() -> None:
    row = record(expires_at=NOW - 3 * HOUR, size_bytes=None)
    assert judge_record(row, policy(), NOW) == Finding(
        verdict=Verdict.EXPIRED,
        storage_key="image/a",
        bytes=0,
        reason="expired at 2026-06-01 09:00:00Z",
        virtual_key_id="k1",
        record_created_at=NOW - 10 * DAY,
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"owner": None}, "virtual key k1 does not exist"),
        ({"owner": DISABLED}, "virtual key k1 disabled at 2026-05-25 12:00:00Z (key grace 7d)"),
        (
            {"owner": owner(expires_at=NOW - 9 * DAY)},
            "virtual key k1 expired at 2026-05-23 12:00:00Z (key grace 7d)",
        ),
        ({"deleted_at": NOW - 5 * DAY}, "soft-deleted at 2026-05-27 12:00:00Z (grace period 48h)"),
        ({"created_at": NOW - 99 * DAY}, "created at 2026-02-22 12:00:00Z (retention 90d), never accessed"),
        (
            {"created_at": NOW - 99 * DAY, "last_accessed_at": NOW - 40 * DAY},
            "created at 2026-02-22 12:00:00Z (retention 90d), last accessed at 2026-04-22 12:00:00Z",
        ),
    ],
)
def test_the_reason_is_a_sentence_with_numbers(changes: dict[str, Any], reason: str) -> None:
    finding = judge_record(record(**changes), REVOKE, NOW)
    assert finding is not None
    assert finding.reason == reason


times = st.one_of(st.none(), st.timedeltas(-400 * DAY, DAY).map(lambda age: NOW + age))
rows = st.builds(
    record,
    owner=st.one_of(
        st.none(),
        st.builds(owner, enabled=st.booleans(), expires_at=times, disabled_since=times),
    ),
    virtual_key_id=st.sampled_from([None, "k1"]),
    created_at=times,
    expires_at=times,
    last_accessed_at=times,
    deleted_at=times,
)


@given(row=rows, later=st.timedeltas(timedelta(0), 400 * DAY), revoke=st.booleans())
def test_time_alone_never_rescues_a_row(row: Record, later: timedelta, *, revoke: bool) -> None:
    """Were it otherwise, whether a row goes would depend on when a pass happened to look."""
    under = policy(delete_revoked=revoke)
    before, after = judge_record(row, under, NOW), judge_record(row, under, NOW + later)
    if before is not None and before.kept is None:
        assert after is not None
        assert after.kept is None
    assert judge_record(row, under, NOW) == before
