"""Which rules of a bucket take what an undo needs."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler.model import DeleteMode, LifecycleRule
from reconciler.planning.lifecycle import early_removals, too_early

WEEK = timedelta(days=7)
PREFIXES = ("image/", "video/")
SOON, LATE = timedelta(days=1), timedelta(days=7)


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
    told = too_early([found], PREFIXES, mode, WEEK)
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
    told = early_removals([found], PREFIXES)
    assert len(told) == len(words)
    for line, word in zip(told, words, strict=True):
        assert word in line
