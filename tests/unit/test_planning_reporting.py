"""Counting findings, wording numbers, naming the outcome."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import product

import pytest

from reconciler.model import (
    Finding,
    KeepReason,
    ObjectResult,
    Outcome,
    Pause,
    Refusal,
    RefusedMarks,
    Tally,
    Verdict,
)
from reconciler.model.durations import duration_text
from reconciler.model.moments import minute, moment
from reconciler.planning.drift_rules import judge_object
from reconciler.planning.formatting import age, counted, pause, reasons, refused, stayed
from reconciler.planning.reporting import outcome, tally_of
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
    assert duration_text(timedelta(seconds=int(written[:-1]) * length)) == written


def test_times_have_one_form_for_people() -> None:
    there = datetime(2026, 11, 22, 21, 55, 1, 999_999, tzinfo=timezone(timedelta(hours=2)))
    assert moment(there) == moment(there.astimezone(UTC).replace(tzinfo=None)) == "2026-11-22 19:55:01Z"
    assert (minute(there), moment(None)) == ("2026-11-22 19:55Z", "")


def test_numbers_carry_their_noun() -> None:
    assert [counted(number, "pass") for number in (1, 2)] == ["1 pass", "2 passes"]
    assert counted(1, "orphan") == "1 orphan"
    assert counted(1200, "orphan") == "1,200 orphans"


REFUSALS = tuple(Refusal(storage_key=f"image/{name}", reason="a trigger keeps the row") for name in "abcd")
LISTED = (
    "image/a: a trigger keeps the row; image/b: a trigger keeps the row; image/c: a trigger keeps the row"
)
MEND = (
    " Mend what keeps them, then `reconciler marks retry`;"
    " all of them: `reconciler marks list --state refused`"
)


@pytest.mark.parametrize(
    ("marks", "words"),
    [
        (RefusedMarks(), ""),
        (
            RefusedMarks(kept=1, examples=REFUSALS[:1]),
            (
                "1 key stays: the database does not let go its row, so its object stays"
                f" (image/a: a trigger keeps the row).{MEND}"
            ),
        ),
        (
            RefusedMarks(kept=1200, gone=2, examples=REFUSALS),
            (
                "1,200 keys stay: the database does not let go their rows, so their objects stay;"
                " 2 keys lost the object and stay: the database does not let go the row,"
                f" and the object cannot come back by itself ({LISTED}).{MEND}"
            ),
        ),
        (
            RefusedMarks(gone=1, examples=REFUSALS[:1]),
            (
                "1 key lost the object and stays: the database does not let go the row,"
                f" and the object cannot come back by itself (image/a: a trigger keeps the row).{MEND}"
            ),
        ),
    ],
)
def test_keys_that_their_rows_keep_are_counted_with_a_way_out(marks: RefusedMarks, words: str) -> None:
    assert refused(marks) == words


def test_reasons_are_those_of_the_first_few() -> None:
    assert reasons(()) == ""
    assert reasons(REFUSALS) == f"not deleted: {LISTED}"


@pytest.mark.parametrize(
    ("results", "words"),
    [
        ({}, ""),
        (
            {ObjectResult.SPARED: 1},
            "1 key was due and stays after a second decision (1: is kept by its row or by a hold)",
        ),
        (
            {ObjectResult.SPARED: 2, ObjectResult.CHANGED: 1},
            (
                "3 keys were due and stay after a second decision"
                " (2: is kept by its row or by a hold; 1: is another object than the one marked)"
            ),
        ),
    ],
)
def test_keys_that_stay_after_all_are_counted_by_why(results: dict[ObjectResult, int], words: str) -> None:
    assert stayed(results) == words


def test_a_pause_says_since_when_by_whom_and_why_as_far_as_it_is_known() -> None:
    assert pause(Pause(paused=True)) == "paused"
    at = datetime(2026, 11, 22, 19, 55, 1, tzinfo=UTC)
    assert pause(Pause(paused=True, at=at, by="alice@host", reason="a restore is under way")) == (
        "paused since 2026-11-22 19:55:01Z by alice@host (a restore is under way)"
    )
