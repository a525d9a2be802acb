"""A batch is a second's worth at most, and waits grow but never past their cap."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.planning.pacing import backoff, batch_size


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
