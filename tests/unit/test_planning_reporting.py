"""Counting findings, wording numbers, naming the outcome."""

from __future__ import annotations

from datetime import timedelta
from itertools import product

import pytest

from reconciler.model import Finding, KeepReason, Outcome, Tally, Verdict
from reconciler.planning.judge import judge_object
from reconciler.planning.reporting import outcome, tally_of
from reconciler.planning.wording import age, counted, setting
from tests.doubles.build import NOW, policy, stored


def test_the_outcome_is_the_first_that_applies() -> None:
    order = [Outcome.FAILED, Outcome.HALTED, Outcome.TRIPPED, Outcome.PENDING, Outcome.CONVERGED]
    for flags in product([True, False], repeat=4):
        failed, halted, tripped, waiting = flags
        expected = order[[*flags, True].index(True)]
        assert outcome(failed=failed, halted=halted, tripped=tripped, waiting=int(waiting)) is expected


def test_a_kept_finding_counts_as_found_and_as_kept() -> None:
    on, off = policy(), policy(orphan_cleanup=False)
    findings = [judge_object(stored(size=3), on, NOW), judge_object(stored(size=4), off, NOW)]
    tally = tally_of(
        [one for one in findings if isinstance(one, Finding)],
        [KeepReason.PENDING, KeepReason.PENDING],
        objects=9,
        records=8,
        size=7,
        missing=6,
    )
    assert tally == Tally(
        objects=9,
        records=8,
        bytes=7,
        missing=6,
        found={Verdict.ORPHAN: 2},
        found_bytes={Verdict.ORPHAN: 7},
        kept={KeepReason.PENDING: 2, KeepReason.DISABLED: 1},
    )
    assert tally_of() == Tally()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 seconds"),
        (1, "1 second"),
        (119, "119 seconds"),
        (120, "2 minutes"),
        (7199, "119 minutes"),
        (7200, "2 hours"),
        (30 * 3600, "30 hours"),
        (12 * 86400 + 5, "12 days"),
    ],
)
def test_ages_read_as_people_say_them(seconds: int, words: str) -> None:
    assert age(timedelta(seconds=seconds)) == words


@pytest.mark.parametrize("written", ["0s", "30s", "90s", "15m", "90m", "24h", "48h", "49h", "7d", "90d"])
def test_durations_read_as_they_are_written_in_the_settings(written: str) -> None:
    length = {"s": 1, "m": 60, "h": 3600, "d": 86400}[written[-1]]
    assert setting(timedelta(seconds=int(written[:-1]) * length)) == written


def test_numbers_carry_their_noun() -> None:
    assert counted(1, "orphan") == "1 orphan"
    assert counted(1200, "orphan") == "1,200 orphans"
