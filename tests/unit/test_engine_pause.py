"""A pause stops what has not been sent, within a second, and what was claimed goes on after it."""

from __future__ import annotations

from datetime import timedelta

import anyio
import pytest
import structlog

from reconciler.engine.runtime.pause import FRESH_SECONDS, PauseWatch
from reconciler.model import Claim, Mode, Outcome, Pause, Removed, StoredObject
from tests.doubles.build import OPEN
from tests.doubles.pause import MemoryPauseSwitch
from tests.doubles.world import World

pytestmark = pytest.mark.anyio

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


async def due(*names: str) -> World:
    """A world whose orphans are marked and due."""
    world = World(limits=OPEN)
    for name in names:
        world.bucket.upload(f"image/{name}", age=3 * DAY)
    await world.run_once()
    world.around.tick(DAY)
    return world


def pause(world: World) -> None:
    world.database.pause = Pause(paused=True, at=world.around.now, by="alice@host", reason="a restore")


async def test_nothing_is_claimed_while_paused_and_the_report_says_so() -> None:
    world = await due("a")
    pause(world)
    report = await world.run_once()
    assert (report.outcome, report.removed) == (Outcome.PENDING, Removed())
    assert report.notice.startswith("paused since 2026-06-02 12:00:00Z by alice@host (a restore)")
    assert "reconciler resume" in report.notice
    assert report.found, "listing and marking go on"
    world.database.pause = Pause()
    assert (await world.run_once()).removed.objects == 1


async def test_a_pause_without_anything_due_is_pending_as_well() -> None:
    world = World(limits=OPEN)
    pause(world)
    assert (await world.run_once()).outcome is Outcome.PENDING


async def test_a_dry_run_previews_while_paused() -> None:
    world = World(limits=OPEN)
    world.in_force(mode=Mode.DRY_RUN)
    world.bucket.upload("image/a", age=3 * DAY)
    await world.run_once()
    world.around.tick(DAY)
    pause(world)
    report = await world.run_once()
    assert (report.removed.objects, bool(report.notice)) == (1, True)


async def test_a_claim_made_before_the_pause_stays_claimed_and_rolls_forward_after_it() -> None:
    world = await due("a")

    def stop(_: Claim) -> None:
        pause(world)
        world.around.tick(timedelta(seconds=FRESH_SECONDS))

    world.marks.on_look = stop
    report = await world.run_once()
    assert (report.outcome, report.removed) == (Outcome.PENDING, Removed())
    assert "image/a" in world.bucket.objects
    assert world.database.marks["image/a"].operation_id is not None
    world.marks.on_look = lambda _: None
    world.around.tick(HOUR)
    assert (await world.run_once()).removed == Removed()
    world.database.pause = Pause()
    assert (await world.run_once()).removed.objects == 1


async def test_what_was_sent_before_the_pause_is_written_down() -> None:
    world = await due("a", "b")

    def stop(_: StoredObject) -> None:
        pause(world)
        world.around.tick(timedelta(seconds=FRESH_SECONDS))

    world.bucket.on_delete = stop
    report = await world.run_once()
    assert (report.outcome, report.removed.objects) == (Outcome.PENDING, 2)
    assert not world.database.marks


async def test_rows_whose_claim_sent_nothing_stay_while_paused() -> None:
    world = World(limits=OPEN)
    world.database.insert("image/a", age=3 * DAY)
    await world.run_once()
    world.around.tick(DAY)

    def stop(_: Claim) -> None:
        pause(world)
        world.around.tick(timedelta(seconds=FRESH_SECONDS))

    world.marks.on_look = stop
    assert (await world.run_once()).removed == Removed()
    assert len(world.database.rows) == 1


async def test_a_reading_is_never_older_than_half_a_second() -> None:
    world = World(limits=OPEN)
    watch = world.ports.pause
    assert not (await watch.look()).paused
    pause(world)
    assert not (await watch.look()).paused, "one reading serves many writes"
    world.around.tick(timedelta(seconds=FRESH_SECONDS))
    assert (await watch.look()).paused


async def test_a_change_is_logged_once_with_who_and_why_and_measured() -> None:
    world = World(limits=OPEN)
    watch = PauseWatch(MemoryPauseSwitch(world.database), world.around, world.observer)
    with structlog.testing.capture_logs() as logs:
        for standing in (Pause(), Pause(paused=True, by="alice", reason="why"), Pause(by="bob")):
            world.database.pause = standing
            for _ in range(2):
                await watch.look()
                world.around.tick(timedelta(seconds=FRESH_SECONDS))
    assert [(line["event"], line["by"]) for line in logs] == [
        ("paused: nothing is deleted", "alice"),
        ("resumed", "bob"),
    ]
    assert logs[0]["reason"] == "why"
    assert world.observer.pauses == [False, False, True, True, False, False]


async def test_a_database_that_is_away_is_waited_for_and_told_of_once() -> None:
    world = World(limits=OPEN)
    watch = PauseWatch(MemoryPauseSwitch(world.database), world.around, world.observer)
    world.database.away = True
    with structlog.testing.capture_logs() as logs:
        async with anyio.create_task_group() as group:
            group.start_soon(watch.watch)
            while world.observer.told["pause alive"] < 4:
                await anyio.lowlevel.checkpoint()
            world.database.away = False
            pause(world)
            while not world.observer.pauses:
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
    assert [line["event"] for line in logs] == [
        "the pause switch cannot be read; nothing is written",
        "paused: nothing is deleted",
    ]
