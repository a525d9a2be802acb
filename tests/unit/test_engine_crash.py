"""The program dies at every single call in turn, and the next one ends where it would have ended."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler.model import ListingOrder, Outcome
from tests.doubles.bucket import IDENTITY_KEY
from tests.doubles.observing import Crash, crash
from tests.doubles.world import World

pytestmark = [pytest.mark.anyio, pytest.mark.soak]

DAY = timedelta(days=1)
KEPT = {"image/live", "image/young", "image/folder/", "images/sibling", "video/shared"}


def drifted(order: ListingOrder, *, compares: bool = True) -> World:
    """Every kind of drift, a day before its marks fall due; the listing takes many pages."""
    world = World(order=order, compares=compares, page_size=2)
    bucket, database = world.bucket, world.database
    for key in ("image/live", "image/expired", "image/stale", "video/shared"):
        bucket.upload(key, age=200 * DAY)
    database.insert("image/live", age=3 * DAY)
    database.insert("image/expired", age=3 * DAY, expires_at=world.around.now)
    database.insert("image/stale", age=91 * DAY)
    database.insert("image/ownerless", age=3 * DAY, virtual_key_id="gone")
    bucket.upload("image/ownerless", age=3 * DAY)
    database.insert("video/shared", age=3 * DAY)
    database.insert("video/shared", age=91 * DAY)
    for key in ("image/orphan-1", "image/orphan-2", "video/orphan-3", "image/folder/", "images/sibling"):
        bucket.upload(key, age=3 * DAY)
    bucket.upload("image/young", age=-DAY)
    database.insert("image/dangling", age=3 * DAY)
    return world


async def settled(world: World) -> tuple[set[str], list[str]]:
    """Run to the end of the work in hand; what is left in the bucket and in the table."""
    report = await world.run_once()
    assert report.outcome in {Outcome.CONVERGED, Outcome.PENDING}
    assert report.removed.lost == 0
    rows = sorted(row.storage_key for row in world.database.rows.values())
    return set(world.bucket.objects) - {IDENTITY_KEY}, rows


ORDERS = pytest.mark.parametrize("order", list(ListingOrder))


async def calls_of(order: ListingOrder) -> int:
    world = drifted(order)
    await world.run_once()
    world.around.tick(DAY)
    await world.run_once()
    return world.around.calls


@ORDERS
async def test_a_run_that_is_not_disturbed_removes_exactly_the_drift(order: ListingOrder) -> None:
    world = drifted(order)
    first = await world.run_once()
    assert first.outcome is Outcome.PENDING
    assert first.removed.objects == first.removed.records == 0
    world.around.tick(DAY)
    objects, rows = await settled(world)
    assert objects == KEPT
    assert rows == ["image/live", "video/shared"]
    assert not world.database.marks
    assert {entry.event for entry in world.database.ledger} == {"intent", "removed", "result"}


@pytest.mark.no_cover  # the same few hundred lines, tens of thousands of times
@ORDERS
async def test_killed_at_any_call_the_next_run_ends_in_the_same_state(order: ListingOrder) -> None:
    for call in range(await calls_of(order)):
        world = drifted(order)
        await world.run_once()
        world.around.tick(DAY)
        with pytest.raises(Crash):
            await world.run_once({call: crash})
        assert await settled(world) == (KEPT, ["image/live", "video/shared"]), f"killed at call {call}"
        assert not world.database.marks
        went = {entry.key for entry in world.database.ledger if entry.event == "removed"}
        assert set(world.bucket.deleted) <= went, "a deletion is missing from the ledger"
