"""Which rules of a bucket take what an undo needs."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler.model import (
    Capabilities,
    DeleteMode,
    LifecycleRule,
    ListingOrder,
    QuarantineBucket,
    QuarantineFound,
    Versioning,
)
from reconciler.planning.lifecycle import early_removals, too_early

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
    told = early_removals(holding(found), PREFIXES)
    assert len(told) == len(words)
    for line, word in zip(told, words, strict=True):
        assert word in line


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
    assert len(early_removals(of_both, PREFIXES)) == removed
