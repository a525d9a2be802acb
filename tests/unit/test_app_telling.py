"""When the leader looks at the database for its metrics: at once in every term, then at intervals."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from prometheus_client import CollectorRegistry

from reconciler.app.metric_refresh import _while_leading
from reconciler.errors import CatalogUnavailable
from reconciler.telemetry.metrics import Metrics

pytestmark = pytest.mark.anyio


class Over(Exception):
    """The test has seen enough."""


class Hands:
    """A clock that a script moves: at each of its seconds a replica is elected (an epoch) or demoted."""

    def __init__(self, metrics: Metrics, script: Mapping[int, int | None], end: int) -> None:
        self._metrics = metrics
        self._script = dict(script)
        self._end = end
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def wall_clock(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        for at in [at for at in self._script if at <= self.now]:
            epoch = self._script.pop(at)
            if epoch is not None:
                self._metrics.elected(epoch)
            self._metrics.leading(leader=epoch is not None)
        if self.now >= self._end:
            raise Over


async def looks(script: Mapping[int, int | None], end: int, *, failing: int = 0) -> list[int]:
    """The seconds at which it looked, where each look asks for 100 s of rest, and 30 s follow a failure."""
    metrics = Metrics(CollectorRegistry(), version="0")
    clock = Hands(metrics, script, end)
    seen: list[int] = []

    async def look() -> float:
        seen.append(int(clock.now))
        if len(seen) <= failing:
            raise CatalogUnavailable("away")
        return 100.0

    with pytest.raises(Over):
        await _while_leading(look, metrics, clock, 30.0)
    return seen


async def test_a_standby_does_not_look() -> None:
    assert await looks({}, 500) == []


async def test_a_leader_looks_at_once_and_then_as_often_as_it_asks_to() -> None:
    assert await looks({5: 1}, 250) == [5, 105, 205]


async def test_a_demoted_replica_stops_looking() -> None:
    assert await looks({5: 1, 50: None}, 500) == [5]


async def test_another_term_begins_with_a_look_of_its_own() -> None:
    assert await looks({5: 1, 20: None, 30: 3}, 120) == [5, 30]


async def test_what_cannot_be_told_is_tried_again() -> None:
    assert await looks({5: 1}, 120, failing=2) == [5, 35, 65]
