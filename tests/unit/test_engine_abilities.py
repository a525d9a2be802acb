"""What the store can do is asked again from time to time, and a daemon starts over where it changed."""

from __future__ import annotations

import anyio
import pytest

from reconciler.engine.lead.capabilities import PROBE_SECONDS, abilities, keep_probing
from reconciler.errors import StoreUnavailable
from reconciler.model import Capabilities, ListingOrder
from tests.doubles.world import World

pytestmark = pytest.mark.anyio


@pytest.mark.incident(24)
async def test_a_store_that_changes_ends_what_was_wired_for_it() -> None:
    """An upgrade that ignores If-Match must not be believed for as long as the daemon runs."""
    world, told = World(), list[Capabilities]()
    ports = world.ports

    def change(found: Capabilities) -> None:
        told.append(found)
        if len(told) == 2:
            world.bucket.compares = False

    with pytest.raises(StoreUnavailable, match="starting over"):
        await keep_probing(ports, None, change)
    assert [found.conditional_delete for found in told] == [True, True, False]
    assert world.around.elapsed.total_seconds() == 3 * PROBE_SECONDS


async def test_a_store_that_does_not_answer_has_not_changed() -> None:
    world, told = World(), list[Capabilities]()
    world.bucket.away = True

    async with anyio.create_task_group() as group:
        group.start_soon(keep_probing, world.ports, None, told.append)
        while world.around.elapsed.total_seconds() < 5 * PROBE_SECONDS:
            await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    assert told == []


async def test_a_declared_order_is_the_one_in_use() -> None:
    world = World(order=ListingOrder.NONE)
    assert (await abilities(world.bucket, None)).order is ListingOrder.NONE
    assert (await abilities(world.bucket, ListingOrder.BYTES)).order is ListingOrder.BYTES
