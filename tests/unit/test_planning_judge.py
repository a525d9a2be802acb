"""What is on one side only, row by row of the verdict table."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from reconciler.model import DeleteMode, Departed, Finding, KeepReason, KeyShape, Verdict
from reconciler.planning.drift_rules import counts_as_missing, judge_departed, judge_missing, judge_object
from tests.doubles.build import DAY, HOUR, NOW, owner, policy, record, stored

PROTECTED = [
    ("images/a", KeepReason.OUTSIDE_PREFIX),
    ("image/", KeepReason.FOLDER_MARKER),
    ("image/a/", KeepReason.FOLDER_MARKER),
    ("image/\ufffd", KeepReason.REPLACEMENT_CHARACTER),
    ("image/\ufffd/", KeepReason.REPLACEMENT_CHARACTER),
    ("image/\0", KeepReason.UNKNOWN_SHAPE),
    ("image/a.txt", KeepReason.UNKNOWN_SHAPE),
    ("image/a.png\n", KeepReason.UNKNOWN_SHAPE),
]
SHAPED = policy(key_shape=KeyShape(r"image/.*\.png"))
INSTANT = timedelta(microseconds=1)


@pytest.mark.incident(18)
@pytest.mark.parametrize(("key", "reason"), PROTECTED)
def test_a_protected_key_is_kept_on_either_side(key: str, reason: KeepReason) -> None:
    """I-18, R-16, R-18."""
    assert judge_object(stored(key), SHAPED, NOW) is reason
    assert judge_missing(record(key), SHAPED, NOW) is reason
    assert not counts_as_missing(record(key), SHAPED, NOW)


def test_a_key_of_the_declared_shape_is_judged() -> None:
    assert isinstance(judge_object(stored("image/a.png"), SHAPED, NOW), Finding)


def test_an_old_object_without_a_record_is_an_orphan() -> None:
    obj = stored(size=7, etag="e", last_modified=NOW - 12 * DAY)
    assert judge_object(obj, policy(), NOW) == Finding(
        verdict=Verdict.ORPHAN,
        storage_key="image/a",
        bytes=7,
        reason="no record; last modified at 2026-05-20 12:00:00Z (grace period 48h)",
        object_etag="e",
        object_last_modified=NOW - 12 * DAY,
    )


def test_the_grace_period_ends_at_its_last_instant() -> None:
    young, old = NOW - 48 * HOUR + INSTANT, NOW - 48 * HOUR
    assert judge_object(stored(last_modified=young), policy(), NOW) is KeepReason.PENDING
    assert isinstance(judge_object(stored(last_modified=old), policy(), NOW), Finding)
    assert judge_missing(record(created_at=young), policy(), NOW) is KeepReason.PENDING
    assert isinstance(judge_missing(record(created_at=old), policy(), NOW), Finding)


def test_a_missing_or_future_time_protects_even_without_grace() -> None:
    none = policy(grace_period=timedelta(0))
    for since in (None, NOW + HOUR):
        assert judge_object(stored(last_modified=since), none, NOW) is KeepReason.PENDING
        assert judge_missing(record(created_at=since), none, NOW) is KeepReason.PENDING
        assert not counts_as_missing(record(created_at=since), none, NOW)


def test_a_grace_longer_than_the_calendar_protects() -> None:
    forever = policy(grace_period=timedelta.max)
    assert judge_object(stored(), forever, NOW) is KeepReason.PENDING


def test_what_is_switched_off_is_found_and_kept() -> None:
    off = policy(orphan_cleanup=False, dangling_cleanup=False)
    orphan, dangling = judge_object(stored(), off, NOW), judge_missing(record(), off, NOW)
    assert isinstance(orphan, Finding)
    assert isinstance(dangling, Finding)
    assert orphan.kept is dangling.kept is KeepReason.DISABLED
    assert not counts_as_missing(record(), off, NOW)


@pytest.mark.parametrize("size", [None, 0, 5])
def test_an_old_row_without_an_object_is_dangling(size: int | None) -> None:
    row = record(size_bytes=size, created_at=NOW - 3 * DAY)
    assert judge_missing(row, policy(), NOW) == Finding(
        verdict=Verdict.DANGLING,
        storage_key="image/a",
        bytes=0,
        reason="no object; row created at 2026-05-29 12:00:00Z (grace period 48h)",
        virtual_key_id="k1",
        record_created_at=NOW - 3 * DAY,
    )
    assert counts_as_missing(row, policy(), NOW)


def test_retention_goes_first_and_counts_against_the_dangling_cap_all_the_same() -> None:
    expired = record(expires_at=NOW)
    assert judge_missing(expired, policy(), NOW) is None
    assert counts_as_missing(expired, policy(), NOW)
    assert not counts_as_missing(record(expires_at=NOW, created_at=NOW - HOUR), policy(), NOW)


def test_a_retention_verdict_that_is_switched_off_still_goes_first() -> None:
    kept = record(owner=owner(enabled=False, disabled_since=NOW - 8 * DAY))
    assert judge_missing(kept, policy(), NOW) is None
    assert not counts_as_missing(kept, policy(), NOW)


@pytest.mark.parametrize("key", ["image/a//b", "image/a\\b", "image/../a", "image/./a"])
def test_a_key_that_the_store_takes_for_another_is_protected(key: str) -> None:
    assert judge_object(stored(key), policy(rewrites_keys=True), NOW) is KeepReason.UNKNOWN_SHAPE
    assert isinstance(judge_object(stored(key), policy(), NOW), Finding)
    assert isinstance(judge_object(stored("image/a.b/..c"), policy(rewrites_keys=True), NOW), Finding)


@pytest.mark.attack(44)
@pytest.mark.parametrize("character", ["x", "\u20ac"])
def test_a_key_that_cannot_be_marked_is_protected(character: str) -> None:
    longest = 2048 - len("image/")
    for number, kept in ((longest // len(character.encode()), False), (longest, True)):
        key = "image/" + character * number + ("x" if kept else "")
        assert (judge_object(stored(key), policy(), NOW) is KeepReason.UNKNOWN_SHAPE) is kept


# --- an object whose record left ---------------------------------------------------------------------


def note(key: str = "image/a") -> Departed:
    """The record left the table five hours ago."""
    return Departed(id=1, storage_key=key, left_at=NOW - 5 * HOUR, virtual_key="k1")


def test_an_object_whose_record_left_goes_without_a_grace_period() -> None:
    young = stored(size=7, etag="e", last_modified=NOW - 6 * HOUR)
    assert judge_departed(note(), young, policy()) == Finding(
        verdict=Verdict.DEPARTED,
        storage_key="image/a",
        bytes=7,
        reason="its record left the table at 2026-06-01 07:00:00Z",
        virtual_key_id="k1",
        object_etag="e",
        object_last_modified=NOW - 6 * HOUR,
    )


@pytest.mark.parametrize(("key", "reason"), PROTECTED)
def test_a_protected_key_is_kept_though_its_record_left(key: str, reason: KeepReason) -> None:
    assert judge_departed(note(key), stored(key), SHAPED) is reason


@pytest.mark.parametrize(
    ("mode", "latest"),
    [
        (DeleteMode.QUARANTINE, NOW - 5 * HOUR),
        (DeleteMode.VERSIONED, NOW - 5 * HOUR),
        (DeleteMode.DIRECT, NOW - 5 * HOUR - timedelta(minutes=5)),
    ],
)
def test_an_object_that_was_put_since_waits_for_its_row(mode: DeleteMode, latest: datetime) -> None:
    """Five minutes earlier already where it would go for good: the clocks may be that far apart."""
    rules = policy(delete_mode=mode)
    assert isinstance(judge_departed(note(), stored(last_modified=latest), rules), Finding)
    since = stored(last_modified=latest + INSTANT)
    assert judge_departed(note(), since, rules) is KeepReason.PENDING


@pytest.mark.parametrize("mode", [DeleteMode.QUARANTINE, DeleteMode.DIRECT])
def test_an_object_without_a_time_stays_though_its_record_left(mode: DeleteMode) -> None:
    timeless = stored(last_modified=None)
    assert judge_departed(note(), timeless, policy(delete_mode=mode)) is KeepReason.PENDING


def test_a_departed_records_object_is_found_and_kept_with_the_clean_up_of_orphans_off() -> None:
    found = judge_departed(note(), stored(), policy(orphan_cleanup=False))
    assert isinstance(found, Finding)
    assert (found.verdict, found.kept) == (Verdict.DEPARTED, KeepReason.DISABLED)
