"""A writer, or a fault, strikes at every single call in turn, and each deletion is judged."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import timedelta

import pytest

from reconciler.errors import Halt
from reconciler.model import ListingOrder
from tests.doubles.build import policy
from tests.doubles.drift_rules import Judge
from tests.doubles.world import World

pytestmark = [
    pytest.mark.soak,
    pytest.mark.anyio,
    pytest.mark.no_cover,  # the same few hundred lines, thousands of times
]

DAY = timedelta(days=1)
Act = Callable[[World], None]


async def marked(*, compares: bool) -> tuple[World, Judge]:
    """One key of each kind, marked twice and due; `image/skipped` is live, and listings skip it."""
    if compares not in _MARKED:
        _MARKED[compares] = await _mark(compares=compares)
    before, _ = _MARKED[compares]
    # Throttles are of the program that runs, and cannot be copied.
    world, judge = copy.deepcopy(_MARKED[compares], {id(before.throttles): None})
    world.throttles = world.new_throttles()
    return world, judge


_MARKED: dict[bool, tuple[World, Judge]] = {}
"""By `compares`: as it is before the run that is disturbed, to be copied."""


async def _mark(*, compares: bool) -> tuple[World, Judge]:
    world = World(order=ListingOrder.BYTES, compares=compares, under=policy(delete_revoked=True))
    judge = Judge(world, frozenset())
    bucket, database = world.bucket, world.database
    for key in ("image/orphan", "image/expired", "image/skipped"):
        bucket.upload(key, age=3 * DAY)
    database.insert("image/expired", age=3 * DAY, expires_at=world.around.now)
    database.insert("image/dangling", age=3 * DAY)
    database.insert("image/skipped", age=3 * DAY)
    bucket.hidden.add("image/skipped")
    await world.run_once()
    world.around.tick(DAY)
    return world, judge


def insert_orphan(world: World) -> None:
    world.database.insert("image/orphan")


def upload_orphan(world: World) -> None:
    world.bucket.upload("image/orphan")


def upload_dangling(world: World) -> None:
    world.bucket.upload("image/dangling")


def insert_another(world: World) -> None:
    world.database.insert("image/expired")


def extend_expired(world: World) -> None:
    row = next(row for row in world.database.rows.values() if row.storage_key == "image/expired")
    world.database.update(row.id, expires_at=None)


def nothing(world: World) -> None:
    """To count the calls of a run that nothing disturbs."""


WRITERS = [
    (insert_orphan, "image/orphan"),
    (upload_orphan, "image/orphan"),
    (upload_dangling, "image/dangling"),
    (insert_another, "image/expired"),
    (extend_expired, "image/expired"),
]


async def run_with(act: Act, key: str, call: int, *, compares: bool) -> tuple[World, bool]:
    """One run with the act before that call; whether the run got that far and the key was there yet."""
    world, judge = await marked(compares=compares)
    struck = False

    def strike() -> None:
        nonlocal struck
        if key == "image/dangling" or key in world.bucket.objects:
            struck = True
            judge.touched(key)
            act(world)

    judge.run_begins()
    await world.run_once({call: strike})
    return world, struck


async def calls(*, compares: bool) -> int:
    world, _ = await run_with(nothing, "image/orphan", 0, compares=compares)
    return world.around.calls


@pytest.mark.parametrize("compares", [True, False])
@pytest.mark.parametrize(("act", "key"), WRITERS)
async def test_a_writer_before_the_last_look_is_never_harmed(act: Act, key: str, *, compares: bool) -> None:
    """R-1, R-6, R-19, R-28: the judge objects to any deletion of what it touched before the look."""
    saved = 0
    for call in range(await calls(compares=compares)):
        world, struck = await run_with(act, key, call, compares=compares)
        saved += struck and (key in world.bucket.objects)
    assert saved > 20


async def test_new_content_is_never_deleted_where_the_store_compares() -> None:
    """Up to the very call: the ETag decides in the store."""
    for call in range(await calls(compares=True)):
        world, struck = await run_with(upload_orphan, "image/orphan", call, compares=True)
        assert not struck or "image/orphan" in world.bucket.objects, f"deleted after call {call}"


async def test_a_wrong_endpoint_at_any_call_costs_no_row() -> None:
    """R-8: a 404 counts only when the bucket's own identity answers after it."""
    halted = 0
    for call in range(await calls(compares=True)):
        world, judge = await marked(compares=True)
        judge.run_begins()
        try:
            await world.run_once({call: lambda world=world: setattr(world.bucket, "foreign", True)})  # type: ignore[misc]  # bound now
        except Halt:
            halted += 1
        assert "image/skipped" in {row.storage_key for row in world.database.rows.values()}
    assert halted > 10
