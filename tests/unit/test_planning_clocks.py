"""Which of three clocks is off is told from what they say, with all that a slow answer leaves open."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.planning.clocks import HALT_APART, Ahead, compare, read
from tests.doubles.build import NOW

pytestmark = pytest.mark.incident(26)

SECOND = timedelta(seconds=1)
seconds = st.floats(-1000, 1000).map(lambda value: timedelta(seconds=value))
waits = st.floats(0, 600).map(lambda value: timedelta(seconds=value))


def at(number: float) -> Ahead:
    """A clock known exactly."""
    return Ahead(low=number * SECOND, high=number * SECOND)


@given(truth=seconds, there=waits, back=waits)
def test_what_is_read_holds_the_truth_however_long_the_way(
    truth: timedelta, there: timedelta, back: timedelta
) -> None:
    told = (NOW + there + truth).replace(microsecond=0)
    ahead = read(NOW, told, NOW + there + back, SECOND)
    assert ahead.low <= truth <= ahead.high


@given(truth=seconds, other=seconds, way=waits)
def test_only_what_is_certain_counts(truth: timedelta, other: timedelta, way: timedelta) -> None:
    database = read(NOW, NOW + way + truth, NOW + way)
    store = read(NOW, NOW + other, NOW + way)
    furthest = max(abs(truth), abs(other), abs(truth - other))
    assert compare(database, store).apart <= furthest


def test_a_slow_answer_is_no_difference() -> None:
    slow = read(NOW, NOW + timedelta(minutes=9), NOW + timedelta(minutes=10))
    compared = compare(slow, None)
    assert (compared.apart, compared.line) == (timedelta(0), "")


@pytest.mark.parametrize(
    ("database", "store", "line"),
    [
        (0, 400, "the clock of the store is 6 minutes ahead of those of this machine and the database"),
        (0, -400, "the clock of the store is 6 minutes behind those of this machine and the database"),
        (400, 0, "the clock of the database is 6 minutes ahead of those of this machine and the store"),
        (-400, -400, "the clock of this machine is 6 minutes ahead of those of the database and the store"),
        (400, 401, "the clock of this machine is 6 minutes behind those of the store and the database"),
        (400, -400, "the clock of the database is 13 minutes ahead of that of the store"),
        (-400, None, "the clock of this machine is 6 minutes ahead of that of the database"),
        (20, -5, ""),
    ],
)
def test_the_one_that_the_two_others_speak_against_is_named(
    database: float, store: float | None, line: str
) -> None:
    assert compare(at(database), None if store is None else at(store)).line == line


@pytest.mark.parametrize(
    ("apart", "warns", "halts"), [(0, False, False), (30, False, False), (31, True, False), (301, True, True)]
)
def test_half_a_minute_warns_and_five_halt(apart: float, warns: bool, halts: bool) -> None:
    compared = compare(at(0), at(apart))
    assert (compared.warns, compared.halts) == (warns, halts)
    assert timedelta(minutes=5) == HALT_APART
