"""The common rate holds over every stretch of time, whoever takes from it."""

from __future__ import annotations

import math
from datetime import timedelta
from itertools import accumulate

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.engine.runtime.pace import Pace
from reconciler.engine.runtime.throttle import Throttle
from reconciler.planning.pacing import batch_size
from tests.doubles.budget import MemoryBudget
from tests.doubles.database import MemoryDatabase
from tests.doubles.observing import Surroundings

pytestmark = pytest.mark.anyio

rates = st.floats(0.1, 5000)


def send(rate: float, sizes: list[int], idle: list[float] | None = None) -> list[float]:
    """When each batch goes, if its sender pauses `idle` before it."""
    around = Surroundings()
    pace = Pace(MemoryBudget(MemoryDatabase(around)), around, Throttle("deleting", 1, around), lambda: rate)
    times = []

    async def run() -> None:
        for index, size in enumerate(sizes):
            around.tick(timedelta(seconds=idle[index % len(idle)] if idle else 0.0))
            await pace.take(size, rate)
            times.append(around.monotonic())

    anyio.run(run)
    return times


@pytest.mark.incident(21)
@given(rate=rates, shares=st.lists(st.floats(0, 1), min_size=1, max_size=20), idle=st.lists(st.floats(0, 5)))
def test_no_stretch_of_time_exceeds_the_rate_by_more_than_one_batch(
    rate: float, shares: list[float], idle: list[float]
) -> None:
    largest = batch_size(rate)
    sizes = [max(1, int(share * largest)) for share in shares]
    times = send(rate, sizes, idle)
    totals = [0, *accumulate(sizes)]
    for first, start in enumerate(times):
        for last in range(first, len(times)):
            went = totals[last + 1] - totals[first]
            slack = 1e-4 * rate + 1e-6  # the server's clock counts in microseconds
            assert went <= rate * (times[last] - start) + max(largest, sizes[first]) + slack


@pytest.mark.parametrize("rate", [0.5, 7, 100, 1000.0, 1234.5])
def test_the_long_run_rate_is_exact(rate: float) -> None:
    sizes = [batch_size(rate)] * 50
    elapsed = send(rate, sizes)[-1]
    assert sum(sizes) / elapsed == pytest.approx(rate, rel=1e-4)


def test_unlimited_never_waits() -> None:
    assert send(math.inf, [1000] * 5) == [0.0] * 5


async def test_a_rate_that_is_raised_ends_a_long_wait() -> None:
    around = Surroundings()
    slow, database = Throttle("deleting", 1, around), MemoryDatabase(around)
    pace = Pace(MemoryBudget(database), around, slow, lambda: 0.01 if around.monotonic() < 5 else 100.0)
    await pace.take(1, 0.01)
    assert 5 <= around.monotonic() <= 7
    began = around.monotonic()
    await pace.take(100, 100.0)
    assert around.monotonic() - began == pytest.approx(1), "and nothing is owed at the old rate"


async def test_a_rate_that_is_lowered_counts_from_the_next_batch_on() -> None:
    around = Surroundings()
    slow = Throttle("deleting", 1, around)
    pace = Pace(MemoryBudget(MemoryDatabase(around)), around, slow, lambda: 0.001)
    await pace.take(1, 0.1)
    assert around.monotonic() == pytest.approx(10)
