"""What is asked of a store halves when it throttles, grows back slowly, and settles at what it bears."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.planning.aimd import COOLDOWN, LONGEST_RECOVERY, RECOVERY, Aimd, start

ceilings = st.one_of(st.floats(1, 10_000), st.just(math.inf))
waits = st.floats(0, 100)


def after(limit: Aimd, steps: list[tuple[float, float]]) -> tuple[Aimd, float]:
    """The limit after refusals, each so many seconds after the last and with so much in use; the time."""
    now = 0.0
    for wait, in_use in steps:
        now += wait
        limit = limit.throttled(now, now, in_use)
    return limit, now


@given(ceiling=ceilings, steps=st.lists(st.tuples(waits, st.floats(0, 10_000))), later=waits)
def test_the_limit_stays_between_floor_and_ceiling(
    ceiling: float, steps: list[tuple[float, float]], later: float
) -> None:
    limit, now = after(start(ceiling), steps)
    assert limit.floor <= limit.value(now + later) <= ceiling


@given(ceiling=ceilings, steps=st.lists(st.tuples(waits, st.floats(1, 10_000))), waited=waits, longer=waits)
def test_it_never_falls_by_itself_and_grows_by_no_more_than_its_step(
    ceiling: float, steps: list[tuple[float, float]], waited: float, longer: float
) -> None:
    limit, now = after(start(ceiling), steps)
    early, late = limit.value(now + waited), limit.value(now + waited + longer)
    assert early <= late
    if late < limit.whole:
        assert late - early <= limit.step * longer * (1 + 1e-6) + 1e-6


@given(ceiling=st.floats(1, 10_000), steps=st.lists(st.tuples(waits, st.floats(1, 10_000))), wait=waits)
def test_a_refusal_halves_and_never_raises(
    ceiling: float, steps: list[tuple[float, float]], wait: float
) -> None:
    limit, now = after(start(ceiling), steps)
    now += wait
    before = limit.value(now)
    halved = limit.throttled(now, now, before).value(now)
    if now < limit.since + COOLDOWN:
        assert halved == before
    else:
        assert halved == pytest.approx(max(limit.floor, before / 2))


def test_requests_sent_before_a_decrease_do_not_count_again() -> None:
    limit = start(32.0).throttled(100.0, 99.0, 32)
    for began in (90.0, 99.9, 100.0, 100.0 + COOLDOWN - 0.01):
        assert limit.throttled(101.0, began, 32) is limit
    assert limit.throttled(101.0, 100.0 + COOLDOWN, 32).value(101.0) < limit.value(101.0)


@given(ceiling=ceilings, steps=st.lists(st.tuples(waits, st.floats(1, 10_000)), min_size=1))
def test_it_comes_back_whole_in_minutes_however_deep_it_fell(
    ceiling: float, steps: list[tuple[float, float]]
) -> None:
    limit, now = after(start(ceiling), steps)
    assert limit.value(now + LONGEST_RECOVERY + 1) == ceiling


def test_one_halving_is_grown_back_in_seconds() -> None:
    limit = start(100.0).throttled(0.0, 0.0, 100)
    assert limit.value(RECOVERY / 2) == pytest.approx(75)
    assert limit.value(RECOVERY) == pytest.approx(100)


def test_without_a_limit_half_of_what_was_in_use_becomes_one() -> None:
    limit = start(math.inf).throttled(0.0, 0.0, 3000)
    assert limit.value(0.0) == 1500
    assert limit.value(LONGEST_RECOVERY + 1) == math.inf
    unused = start(math.inf)
    assert unused.throttled(0.0, 0.0, 0) is unused


@pytest.mark.incident(21)
@settings(max_examples=25)
@given(bears=st.floats(20, 5_000), wanted=st.floats(1.0, 50))
def test_it_settles_at_what_the_store_bears(bears: float, wanted: float) -> None:
    """A store that refuses whatever goes beyond its rate, asked ten times a second for ten minutes."""
    limit, set_rate = start(math.inf), bears * wanted
    sent = refused = 0.0
    for tick in range(6_000):
        now = tick / 10
        rate = min(set_rate, limit.value(now))
        over = max(0.0, rate - bears)
        if over > 0:
            limit = limit.throttled(now, now, rate)
        sent += rate - over
        refused += over
    assert sent / 6_000 >= 0.6 * min(set_rate, bears)
    assert refused <= 0.15 * sent
