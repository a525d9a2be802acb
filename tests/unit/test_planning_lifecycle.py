"""Which rules of a bucket take what an undo needs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from reconciler.model import (
    FOREVER,
    Capabilities,
    DeleteMode,
    LifecycleRule,
    ListingOrder,
    QuarantineBucket,
    QuarantineFound,
    Record,
    Versioning,
)
from reconciler.planning.expiry import Known
from reconciler.planning.lifecycle import areas, early_removals, expired_by_store, known_rules, too_early
from tests.doubles.build import policy, record

WEEK = timedelta(days=7)
PREFIXES = ("image/", "video/")
SOON, LATE = timedelta(days=1), timedelta(days=7)


def holding(*found: LifecycleRule, quarantine: QuarantineFound | None = None) -> Capabilities:
    return Capabilities(
        order=ListingOrder.BYTES,
        conditional_batch_delete=True,
        conditional_delete=True,
        lifecycle=found,
        quarantine=quarantine,
    )


def rule(prefix: str = "", **after: timedelta) -> LifecycleRule:
    return LifecycleRule(id="r", prefix=prefix, **after)


@pytest.mark.attack(61)
@pytest.mark.parametrize(
    ("found", "mode", "lines"),
    [
        (rule(expires=SOON), DeleteMode.QUARANTINE, 1),
        (rule(".reconciler/", expires=timedelta(0)), DeleteMode.QUARANTINE, 1),
        (rule(".reconciler/quarantine/ab", archives=SOON), DeleteMode.QUARANTINE, 1),
        (rule(".rec", expires=SOON, archives=SOON), DeleteMode.QUARANTINE, 2),
        (rule(expires=LATE, archives=LATE), DeleteMode.QUARANTINE, 0),
        (rule("image/", expires=SOON), DeleteMode.QUARANTINE, 0),
        (rule(noncurrent_expires=SOON), DeleteMode.QUARANTINE, 0),
        (rule(noncurrent_expires=SOON), DeleteMode.VERSIONED, 1),
        (rule("image/2024/", noncurrent_archives=SOON), DeleteMode.VERSIONED, 1),
        (rule("video", noncurrent_expires=SOON), DeleteMode.VERSIONED, 1),
        (rule("other/", noncurrent_expires=SOON), DeleteMode.VERSIONED, 0),
        (rule(noncurrent_expires=LATE), DeleteMode.VERSIONED, 0),
        (rule(expires=SOON), DeleteMode.VERSIONED, 0),
        (rule(expires=SOON, noncurrent_expires=SOON), DeleteMode.DIRECT, 0),
    ],
)
def test_what_comes_before_the_window_ends_is_told(
    found: LifecycleRule, mode: DeleteMode, lines: int
) -> None:
    told = too_early(holding(found), PREFIXES, mode, WEEK)
    assert len(told) == lines
    assert all("'r'" in line and "RECONCILER_UNDO_WINDOW is 7d" in line for line in told)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (rule("image/", expires=SOON), ["expires objects in managed prefixes after 1 day"]),
        (rule("video/old/", archives=timedelta(0)), ["archives objects in managed prefixes at once"]),
        (rule(".reconciler/", expires=LATE), ["identity.json after 7 days"]),
        (rule(expires=LATE), ["expires objects", "identity.json"]),
        (rule("other/", expires=SOON, archives=SOON), []),
        (rule(noncurrent_expires=SOON), []),
    ],
)
def test_what_goes_without_asking_the_records_is_told(found: LifecycleRule, words: list[str]) -> None:
    told = early_removals(holding(found), PREFIXES, policy())
    assert len(told) == len(words)
    for line, word in zip(told, words, strict=True):
        assert word in line


BY_AGE = policy(recent_access=timedelta(0))
CLEAR = Known(created=True, accessed=True, referenced=False)
ENOUGH = timedelta(days=90 + 2 + 7)
HELD = replace(CLEAR, holds={"image/": 1, "image/old/": 1})


@pytest.mark.parametrize(
    ("found", "known", "words"),
    [
        ([rule("image/", expires=89 * SOON)], CLEAR, ["before their retention ends, which is 90d: their"]),
        ([rule("image/", expires=timedelta(0))], None, ["at once, before their retention ends"]),
        ([rule("image/", expires=90 * SOON)], None, ["after 90 days: their records"]),
        ([rule("image/", expires=ENOUGH - SOON)], CLEAR, ["after 98 days: their records"]),
        ([rule("image/", expires=ENOUGH)], CLEAR, []),
        ([rule("image/", expires=ENOUGH)], None, ["after 99 days: their records"]),
        ([rule("image/old/", expires=ENOUGH)], HELD, ["It ignores: 1 hold in force may keep some of them"]),
        ([rule("video/", expires=ENOUGH)], HELD, []),
        ([rule(".reconciler/x", expires=SOON)], CLEAR, []),
        ([rule("image/", expires=SOON), rule("video/", expires=ENOUGH)], CLEAR, ["after 1 day, before"]),
    ],
)
def test_a_rule_that_is_earlier_than_retention_or_knows_less_is_told(
    found: list[LifecycleRule], known: Known | None, words: list[str]
) -> None:
    told = early_removals(holding(*found), PREFIXES, BY_AGE, known, WEEK)
    assert len(told) == len(words)
    for line, word in zip(told, words, strict=True):
        assert word in line


def test_a_retention_without_end_is_never_late_enough() -> None:
    told = early_removals(holding(rule("image/", expires=ENOUGH)), PREFIXES, policy(media_retention=FOREVER))
    assert len(told) == 1
    assert "which has no end" in told[0]


def test_the_database_is_asked_about_what_rules_expire() -> None:
    rules = rule(expires=SOON), rule("image/old/", expires=SOON), rule("video/", archives=SOON)
    assert areas(holding(*rules), PREFIXES) == ["image/", "image/old/", "video/"]
    assert areas(replace(holding(), lifecycle=None), PREFIXES) == []


ELSEWHERE = QuarantineBucket("copies", "media")


@pytest.mark.attack(117)
@pytest.mark.parametrize(
    ("found", "early", "removed"),
    [
        (rule(expires=SOON), 1, 1),
        (rule(".reconciler/quarantine/copies/media/", archives=SOON), 1, 0),
        (rule(".reconciler/quarantine/copies/other/", expires=SOON), 0, 0),
        (rule(".reconciler/quarantine/", expires=LATE), 0, 0),
        (rule(".reconciler/quarantine-of/", expires=LATE), 0, 1),
        (rule("image/", expires=SOON, archives=SOON), 0, 0),
    ],
)
def test_of_the_bucket_for_copies_the_rules_about_our_own_copies_are_told(
    found: LifecycleRule, early: int, removed: int
) -> None:
    """Whatever the rules of the objects' bucket say about copies: none are made there."""
    there = QuarantineFound(
        bucket=ELSEWHERE, versioning=Versioning.OFF, object_lock=False, lifecycle=(found,)
    )
    of_both = holding(rule(".reconciler/quarantine/", expires=SOON), quarantine=there)
    told = too_early(of_both, PREFIXES, DeleteMode.QUARANTINE, WEEK)
    assert len(told) == early
    assert all("in bucket 'copies'" in line for line in told)
    assert len(early_removals(of_both, PREFIXES, policy())) == removed


MADE = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
GONE = datetime(2026, 1, 19, tzinfo=UTC)
"""Three days later, rounded up to the next midnight: the example of S3's documentation."""
DAYS = timedelta(days=3)


def of_all(prefix: str = "image/", after: timedelta | None = DAYS) -> LifecycleRule:
    return LifecycleRule(id="r", prefix=prefix, expires=DAYS, expires_all=after)


@pytest.mark.parametrize(
    ("made", "expires_at"),
    [
        (MADE, GONE),
        (MADE.astimezone(timezone(timedelta(hours=-12))), GONE),
        (datetime(2026, 1, 15, tzinfo=UTC), GONE),
        (datetime(2026, 1, 15, 23, 59, 59, 999999, tzinfo=UTC), GONE),
    ],
)
def test_an_object_has_expired_from_the_midnight_that_ends_its_last_day(
    made: datetime, expires_at: datetime
) -> None:
    row, rules = record("image/a", created_at=made), [of_all("video/"), of_all()]
    assert expired_by_store(row, rules, expires_at - timedelta(microseconds=1)) == ""
    said = expired_by_store(row, rules, expires_at)
    assert said == "expired by the store: lifecycle rule 'r' expires 'image/' after 3 days"


@pytest.mark.parametrize(
    ("row", "rules"),
    [
        (record("image/a", created_at=MADE), []),
        (record("image/a", created_at=None), [of_all()]),
        (record("image/a", created_at=MADE), [of_all("image/b"), of_all("video/")]),
        (record("image/a", created_at=MADE), [of_all(after=None)]),
        (record("image/a", created_at=MADE), [of_all(after=timedelta.max)]),
        (record("image/a", created_at=MADE), [of_all(after=timedelta(days=4))]),
    ],
)
def test_what_is_not_certain_to_have_expired_is_loss(row: Record, rules: list[LifecycleRule]) -> None:
    assert expired_by_store(row, rules, GONE) == ""


def test_rules_that_may_be_out_of_date_explain_nothing() -> None:
    """Where versions may be locked the store is probed once."""
    assert known_rules(holding(of_all())) == (of_all(),)
    assert known_rules(replace(holding(of_all()), object_lock=True)) == ()
    assert known_rules(replace(holding(), lifecycle=None)) == ()
