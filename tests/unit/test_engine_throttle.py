"""A store that throttles slows down what it throttled, and nothing else, until it bears more again."""

from __future__ import annotations

import math
from datetime import timedelta

import anyio
import anyio.lowlevel
import pytest

from reconciler.engine.runtime.pace import Pace
from reconciler.engine.runtime.throttle import Throttle, ThrottledListing, Throttles
from reconciler.model import ObjectPage
from tests.doubles.bucket import MemoryBucket
from tests.doubles.budget import MemoryBudget
from tests.doubles.build import OPEN, page
from tests.doubles.database import MemoryDatabase
from tests.doubles.observing import Surroundings
from tests.doubles.world import World

pytestmark = [pytest.mark.anyio, pytest.mark.incident(21)]

MINUTES = timedelta(minutes=10)


async def test_what_is_deleted_unlimited_gets_a_rate_once_the_store_throttles() -> None:
    around = Surroundings()
    throttle = Throttle("deleting", 32, around)
    pace = Pace(MemoryBudget(MemoryDatabase(around)), around, throttle, lambda: 0.0)
    for _ in range(4):
        await pace.take(1000, math.inf)
    assert around.monotonic() == 0, "nothing held it up"
    around.tick(timedelta(seconds=1))
    throttle.request_ended("throttled", 0.1)
    assert throttle.rate(math.inf) == pytest.approx(2000)
    assert throttle.rate(300.0) == 300, "a set rate below it holds"
    began = around.monotonic()
    for _ in range(4):
        await pace.take(1000, math.inf)
    assert around.monotonic() - began > 1, "four thousand keys at two thousand a second, one batch saved up"
    around.tick(MINUTES)
    assert throttle.rate(math.inf) == math.inf


async def test_batches_get_no_larger_than_a_second_of_the_rate_in_force() -> None:
    around = Surroundings()
    throttle = Throttle("deleting", 32, around)
    pace = Pace(MemoryBudget(MemoryDatabase(around)), around, throttle, lambda: 0.0)
    await pace.take(100, 100.0)
    throttle.request_ended("throttled", 0.0)
    assert pace.batch_size(100.0) == 50


async def test_only_what_is_throttled_slows_down() -> None:
    around = Surroundings()
    both = Throttles(listing=16, deleting=32, copying=128, clock=around)
    for outcome in ("ok", "missing", "refused", "unavailable"):
        both.request_ended("ListObjectsV2", outcome, 0.1)
    assert (both.listing.in_flight, both.deleting.in_flight) == (16, 32)
    both.request_ended("ListObjectsV2", "throttled", 0.1)
    assert (both.listing.in_flight, both.deleting.in_flight) == (8, 32)
    both.request_ended("DeleteObjects", "throttled", 0.1)
    assert (both.listing.in_flight, both.deleting.in_flight) == (8, 16)
    assert both.copying.in_flight == 128
    around.tick(MINUTES)
    assert (both.listing.in_flight, both.deleting.in_flight) == (16, 32)
    both.request_ended("CopyObject", "throttled", 0.1)
    assert (both.copying.in_flight, both.deleting.in_flight) == (64, 16), "a copy is part of a deletion"


async def test_no_more_pages_are_listed_at_once_than_the_store_bears() -> None:
    around = Surroundings()
    throttle = Throttle("listing", 4, around)
    under_way = most = 0
    let_go = anyio.Event()

    class Slow(MemoryBucket):
        async def list_page(
            self, prefix: str, *, start_after: str = "", token: str | None = None, page_size: int = 1
        ) -> ObjectPage:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await let_go.wait()
            under_way -= 1
            return page()

    listing = ThrottledListing(Slow(around), throttle)
    throttle.request_ended("throttled", 0.0)
    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(listing.list_page, "image/")
        await anyio.wait_all_tasks_blocked()
        assert under_way == 2
        let_go.set()
    assert most == 2


async def test_a_collector_has_no_more_batches_under_way_than_the_store_bears() -> None:
    world = World(limits=OPEN)
    for name in "abcdef":
        world.bucket.upload(f"image/{name}", age=timedelta(days=3))
    await world.run_once()
    world.around.tick(timedelta(days=1))
    world.throttles.deleting.request_ended("throttled", 0.0)
    assert world.throttles.deleting.in_flight == 1
    held: list[int] = []

    def look(_: object) -> None:
        held.append(world.throttles.deleting.under_way)

    world.in_force(rate=1.0)
    world.marks.on_look = look
    assert (await world.run_once()).removed.objects == 6
    assert held == [1] * 6
