"""The rate holds over every stretch of time, and waits grow but never past their cap."""

from __future__ import annotations

import math
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.planning.pacing import TokenBucket, backoff, batch_size

rates = st.floats(0.1, 5000)


def send(bucket: TokenBucket, sizes: list[int], idle: list[float] | None = None) -> list[float]:
    """When each batch goes, if its sender waits as told and pauses `idle` before the next."""
    now, times = 100.0, []
    for index, size in enumerate(sizes):
        now += idle[index % len(idle)] if idle else 0.0
        now += bucket.reserve(now, size)
        times.append(now)
    return times


@given(rate=rates, shares=st.lists(st.floats(0, 1), min_size=1, max_size=40), idle=st.lists(st.floats(0, 5)))
def test_no_stretch_of_time_exceeds_the_rate_by_more_than_one_batch(
    rate: float, shares: list[float], idle: list[float]
) -> None:
    largest = batch_size(rate)
    sizes = [max(1, int(share * largest)) for share in shares]
    times = send(TokenBucket(rate), sizes, idle)
    totals = [0, *accumulate(sizes)]
    for first, start in enumerate(times):
        for last in range(first, len(times)):
            went = totals[last + 1] - totals[first]
            slack = 1e-6 * (went + 1)
            assert went <= rate * (times[last] - start) + max(largest, sizes[first]) + slack


@pytest.mark.parametrize("rate", [0.5, 7, 100, 1000.0, 1234.5])
def test_the_long_run_rate_is_exact_from_the_start(rate: float) -> None:
    sizes = [batch_size(rate)] * 50
    elapsed = send(TokenBucket(rate), sizes)[-1] - 100.0
    assert sum(sizes) / elapsed == pytest.approx(rate, rel=1e-9)


def test_an_idle_time_saves_up_one_batch_and_no_more() -> None:
    bucket = TokenBucket(10)
    assert bucket.reserve(0.0, 10) == pytest.approx(1.0)
    assert bucket.reserve(1000.0, 10) == 0.0
    assert bucket.reserve(1000.0, 10) == pytest.approx(1.0)


def test_unlimited_never_waits() -> None:
    assert send(TokenBucket(math.inf), [1000] * 5) == [100.0] * 5


def test_a_changed_rate_takes_force_at_once() -> None:
    bucket = TokenBucket(1)
    assert bucket.reserve(0.0, 1) == pytest.approx(1.0)
    bucket.change(1000)
    assert bucket.reserve(1.0, 1000) == pytest.approx(1.0)
    bucket.change(math.inf)
    assert bucket.reserve(1.0, 1000) == 0.0
    bucket.change(100)
    assert bucket.capacity == 100
    assert bucket.reserve(1.0, 100) == pytest.approx(1.0)


def test_a_capacity_of_ones_own_holds() -> None:
    bucket = TokenBucket(10, capacity=5)
    bucket.reserve(0.0, 1)
    assert bucket.reserve(100.0, 10) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("rate", "size"), [(0.2, 1), (1, 1), (99.9, 99), (1000, 1000), (5000, 1000), (math.inf, 1000)]
)
def test_a_call_carries_at_most_one_seconds_worth(rate: float, size: int) -> None:
    assert batch_size(rate) == size


@given(attempt=st.integers(1, 10_000), random=st.floats(0, 1, exclude_max=True))
def test_waits_are_jittered_and_capped(attempt: int, random: float) -> None:
    assert 0 <= backoff(attempt, 0.5, 60.0, random) < 60.0 or random == 0


def test_waits_double_from_the_first_failure_on() -> None:
    assert [backoff(attempt, 0.5, 60.0, 1.0) for attempt in (1, 2, 3, 8)] == [0.5, 1.0, 2.0, 60.0]
