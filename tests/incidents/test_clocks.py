"""Clocks that disagree: nothing is claimed by them, and the one that is off is named."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import structlog

from reconciler import app
from reconciler.errors import Halt
from reconciler.model import Outcome
from reconciler.stores.s3 import open_bucket
from tests.doubles.build import OPEN
from tests.doubles.world import World
from tests.integration.site import Site, make_site
from tests.servers import Bucket
from tests.support.buckets import config_of
from tests.support.faulty_store import Answer, Request, serving
from tests.support.quirky_store import Quirks, QuirkyStore

pytestmark = [pytest.mark.anyio, pytest.mark.incident(26)]

MINUTE = timedelta(minutes=1)


@asynccontextmanager
async def store_ahead(by: timedelta) -> AsyncIterator[QuirkyStore]:
    """A store whose clock is off."""
    store = QuirkyStore(Quirks())

    def answer(request: Request) -> Answer:
        date = {"Date": format_datetime(datetime.now(UTC) + by, usegmt=True)}
        usual = store.answer(request)
        return replace(usual, headers={**usual.headers, **date})

    async with serving(answer) as store.endpoint_url:
        yield store


def machine_ahead(monkeypatch: pytest.MonkeyPatch, by: timedelta) -> None:
    monkeypatch.setattr(app.SystemClock, "wall_clock", lambda _: datetime.now(UTC) + by)


async def test_a_store_whose_clock_is_off_halts_before_anything_is_claimed(database: str) -> None:
    async with store_ahead(6 * MINUTE) as store:
        store.put("image/orphan")
        site = make_site(database, store.bucket())
        report = await site.once(delete_mode="direct")
        assert (report.outcome, report.removed.objects) == (Outcome.HALTED, 0)
        named = "the clock of the store is 5 minutes ahead of those of this machine and the database"
        assert report.detail.startswith(named.replace("5", "6")) or report.detail.startswith(named)
        assert store.keys() == {"image/orphan"}
        assert await site.sql("SELECT 1 FROM reconciler.passes") == [], "nor is anything judged by it"


async def test_a_machine_whose_clock_is_off_halts(
    ordered_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ordered_site.put("image/orphan")
    machine_ahead(monkeypatch, -6 * MINUTE)
    report = await ordered_site.once()
    assert report.outcome is Outcome.HALTED
    assert report.detail.startswith("the clock of this machine is ")
    assert " behind those of the " in report.detail
    monkeypatch.undo()
    for name, value in ordered_site.bucket.server.environment().items():
        monkeypatch.setenv(name, value)
    assert (await ordered_site.once()).removed.objects == 1


async def test_a_minute_warns_and_goes_on(ordered_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    await ordered_site.put("image/orphan")
    machine_ahead(monkeypatch, MINUTE)
    with structlog.testing.capture_logs() as logs:
        report = await ordered_site.once()
    assert report.removed.objects == 1
    (line,) = [line for line in logs if line["event"] == "clocks apart"]
    assert line["reason"].startswith("the clock of this machine is ")
    planned, _ = await ordered_site.plan()
    assert planned.notice.startswith("the clock of this machine is ")


async def test_every_store_tells_its_time(bucket: Bucket) -> None:
    async with open_bucket(config_of(bucket)) as opened:
        before = datetime.now(UTC).replace(microsecond=0)
        date = await opened.clock.date()
        assert date is not None
        assert before <= date <= datetime.now(UTC)


async def test_a_refusal_tells_the_time_as_well(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    async with open_bucket(config_of(bucket)) as opened:
        assert await opened.clock.date() is not None


async def test_a_clock_that_jumps_while_the_collector_runs_stops_it() -> None:
    """The comparison is made again and again, not at the start alone."""
    world = World(limits=OPEN)
    for name in "abcdef":
        world.bucket.upload(f"image/{name}", age=timedelta(days=3))
    await world.run_once()
    world.around.tick(timedelta(days=1))

    def jump(_: object) -> None:
        world.around.machine_ahead = timedelta(hours=1)
        world.around.tick(MINUTE)

    world.in_force(rate=1.0)
    world.marks.on_look = jump
    with pytest.raises(Halt, match="the clock of this machine is 60 minutes ahead"):
        await world.run_once()
    assert len(world.bucket.deleted) <= world.limits.delete_concurrency, "what was in hand, and no more"
    assert world.observer.ahead["the database"] == -3600


async def test_a_store_that_tells_no_time_is_left_out() -> None:
    world = World()
    world.bucket.tells_time = False
    world.bucket.upload("image/a", age=timedelta(days=3))
    assert (await world.run_once()).found
    world.around.machine_ahead = timedelta(hours=1)
    world.around.tick(MINUTE)
    with pytest.raises(Halt, match="this machine is 60 minutes ahead of that of the database"):
        await world.run_once()
