"""A daemon that is asked to stop: it takes nothing more, ends what it has begun, and only then lets go."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import anyio
import anyio.lowlevel
import pytest

from reconciler.engine.daemon import Daemon
from reconciler.errors import StoreUnavailable
from reconciler.model import Deletion, DeletionResult, HeldBy, Identity, PassKind, Term
from tests.doubles.build import tuning
from tests.doubles.jobs import Asked
from tests.doubles.passes import MemoryLease
from tests.doubles.world import World

pytestmark = pytest.mark.anyio

DAY = timedelta(days=1)
LONG = 100
"""Turns of the event loop in which everything else may go on."""


async def with_orphans_due(*keys: str) -> World:
    world = World()
    world.limits = tuning(delete_concurrency=1)
    world.in_force(rate=1.0)  # a batch is one key
    for key in keys:
        world.bucket.upload(key, age=3 * DAY)
    world.database.insert("image/live", age=3 * DAY)
    world.bucket.upload("image/live", age=3 * DAY)
    await world.run_once()
    world.around.tick(DAY)
    return world


async def run(world: World, stopping: anyio.Event) -> None:
    with anyio.fail_after(30):
        async with world.around.only_idle_time_passes():
            await Daemon(world.ports, world.limits, world.cycle(stopping), stopping).run()


@pytest.mark.incident(34)
async def test_the_lease_is_given_up_only_when_what_was_begun_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = await with_orphans_due("image/a", "image/b", "image/c")
    stopping, delete, released = anyio.Event(), world.bucket.delete, list[bool]()

    async def stopped_meanwhile(batch: Sequence[Deletion]) -> Sequence[DeletionResult]:
        stopping.set()
        for _ in range(LONG):
            await anyio.lowlevel.checkpoint()
            released.append(world.database.released)
        return await delete(batch)

    monkeypatch.setattr(world.bucket, "delete", stopped_meanwhile)
    await run(world, stopping)
    assert released == [False] * LONG, "another replica could lead while a request is on its way"
    assert world.database.released
    assert world.bucket.deleted == ["image/a"], "no batch is taken after the stop"
    assert sorted(world.database.marks) == ["image/b", "image/c"]
    assert all(row.operation_id is None for row in world.database.marks.values()), "no claim is left"


@pytest.mark.incident(34)
async def test_a_daemon_that_is_stopped_while_it_is_elected_begins_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = await with_orphans_due("image/a")
    stopping, read, before = anyio.Event(), world.bucket.read, len(world.database.passes)

    async def stopped_meanwhile() -> Identity | None:
        stopping.set()
        return await read()

    monkeypatch.setattr(world.bucket, "read", stopped_meanwhile)
    await run(world, stopping)
    assert world.database.released
    assert (len(world.database.passes), world.bucket.deleted) == (before, [])


@pytest.mark.incident(34)
async def test_a_standby_that_is_stopped_takes_no_lease_that_is_free_by_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = await with_orphans_due("image/a")
    stopping, acquire = anyio.Event(), MemoryLease.acquire
    leader = await acquire(MemoryLease(world.database), "leader", timedelta(seconds=30))
    assert isinstance(leader, Term)

    async def stopped_meanwhile(lease: MemoryLease, holder: str, ttl: timedelta) -> Term | HeldBy:
        answer = await acquire(lease, holder, ttl)
        stopping.set()
        await lease.release(leader)
        return answer

    monkeypatch.setattr(MemoryLease, "acquire", stopped_meanwhile)
    await run(world, stopping)
    assert world.database.term == leader
    assert True not in world.observer.leader


async def once_answered(monkeypatch: pytest.MonkeyPatch, world: World, *asked: Asked) -> None:
    """Run a daemon until every order is answered."""
    stopping, answered = anyio.Event(), world.jobs.answered

    async def stop_then(kind: PassKind, holder: str, pass_id: int) -> None:
        await answered(kind, holder, pass_id)
        if all(each.pass_id is not None for each in asked):
            stopping.set()

    world.limits = tuning(sweep_interval=1000 * DAY, retention_interval=1000 * DAY)
    world.jobs.asked += asked
    monkeypatch.setattr(world.jobs, "answered", stop_then)
    await run(world, stopping)


async def test_a_pass_that_is_asked_for_begins_although_its_interval_is_not_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = await with_orphans_due("image/a")
    before = max(world.database.passes)
    sweep, retention = Asked(PassKind.SWEEP), Asked(PassKind.RETENTION)
    await once_answered(monkeypatch, world, sweep, retention)
    for each in (sweep, retention):
        assert each.pass_id is not None
        assert each.pass_id > before
        assert world.database.passes[each.pass_id].kind is each.kind


async def test_what_another_term_began_to_answer_is_taken_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await with_orphans_due("image/a")
    left = Asked(PassKind.SWEEP, by="another/1 in epoch 1")
    await once_answered(monkeypatch, world, left)
    assert left.by != "another/1 in epoch 1"


async def test_a_pass_that_fails_says_so_and_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await with_orphans_due("image/a")
    asked, list_page, failures = Asked(PassKind.SWEEP), world.bucket.list_page, [1]

    async def away_once(*arguments: object, **named: object) -> object:
        if failures:
            failures.clear()
            raise StoreUnavailable("it is away")
        return await list_page(*arguments, **named)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(world.bucket, "list_page", away_once)
    await once_answered(monkeypatch, world, asked)
    assert asked.errors == ["it is away"]
