"""How the objects of departed records are looked at, so that a copy needs no other look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from reconciler.engine.detect.departures import Departures
from reconciler.errors import ListingBroken, StoreUnavailable
from reconciler.model import DeleteMode, Departed, ListingOrder, StoredObject, Term
from tests.doubles.build import OPEN, policy
from tests.doubles.passes import MemoryLease
from tests.doubles.world import World

pytestmark = pytest.mark.anyio


async def _pass(world: World, departures: Departures, term: Term, key: str, *, plain: bool = True) -> bool:
    """Let a record depart, and say whether its pass is taken for plain."""
    world.bucket.upload(key, age=timedelta(days=3))
    world.bucket.objects[key] = replace(world.bucket.objects[key], plain=plain)
    noted = Departed(id=1, storage_key=key, left_at=world.around.now, virtual_key=None)
    world.database.departures.append(noted)
    result = await departures.run(term, world.runtime, {"image/": 1_000})
    assert (sum(result.tally.found.values()), result.trip) == (1, None)
    return departures.lists_plainly(result.pass_id)


async def test_a_pass_is_plain_where_this_process_saw_all_of_its_objects(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What an earlier pass left behind joins the next one, which does not look at it."""
    world = World()
    lease = MemoryLease(world.database)
    term = await lease.acquire("one", timedelta(seconds=30))
    assert isinstance(term, Term)
    departures = Departures(world.ports)
    assert not await _pass(world, departures, term, "image/a"), "another process may have left some"
    assert await _pass(world, departures, term, "image/b")
    assert not await _pass(world, departures, term, "image/c", plain=False)
    assert await _pass(world, departures, term, "image/d")

    async def away(_: str) -> None:
        raise StoreUnavailable("for the test")

    with monkeypatch.context() as patch:
        patch.setattr(world.bucket, "head", away)
        with pytest.raises(StoreUnavailable):
            await _pass(world, departures, term, "image/e")
    world.database.departures.clear()
    assert not await _pass(world, departures, term, "image/f")
    assert await _pass(world, departures, term, "image/g")
    await lease.release(term)
    later = await lease.acquire("one", timedelta(seconds=30))
    assert isinstance(later, Term)
    assert not await _pass(world, departures, later, "image/h"), "another replica may have led"


# --- how they are looked at ---------------------------------------------------------------------------------

CLOSE = [f"image/close/{number:04}" for number in range(1_200)]
FAR = [f"image/far/{number:02}/a" for number in range(20)]
FILLER = [f"image/far/{number:02}/b/{other:03}" for number in range(20) for other in range(100)]


def _world(mode: DeleteMode = DeleteMode.QUARANTINE, order: ListingOrder = ListingOrder.BYTES) -> World:
    return World(under=policy(delete_mode=mode), order=order, limits=OPEN)


def _left(world: World, keys: Sequence[str], *, among: Sequence[str] = ()) -> None:
    for key in (*keys, *among):
        world.bucket.upload(key, age=timedelta(days=3))
    for number, key in enumerate(keys):
        noted = Departed(id=number, storage_key=key, left_at=world.around.now, virtual_key=None)
        world.database.departures.append(noted)


async def _looked_at(world: World, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], int]:
    """The keys whose objects were asked for one by one in a pass, and how many it found."""
    heads, head = list[str](), world.bucket.head

    async def noting(key: str) -> StoredObject | None:
        heads.append(key)
        return await head(key)

    monkeypatch.setattr(world.bucket, "head", noting)
    term = await world.take_lease()
    result = await Departures(world.ports).run(term, world.runtime, {"image/": 100_000})
    assert result.trip is None
    assert world.database.departures == []
    return heads, sum(result.tally.found.values())


async def test_objects_that_lie_close_together_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    world = _world()
    _left(world, CLOSE[::-1])
    heads, found = await _looked_at(world, monkeypatch)
    assert (sorted(heads), found) == ([CLOSE[0], CLOSE[1001]], len(CLOSE))
    seen = world.bucket.objects[CLOSE[7]]
    mark = world.database.marks[CLOSE[7]].mark
    assert (mark.object_etag, mark.bytes, mark.object_last_modified) == (
        seen.etag,
        seen.size,
        seen.last_modified,
    )


async def test_objects_that_lie_far_apart_are_looked_at_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    world = _world()
    _left(world, FAR * 3, among=FILLER)
    heads, found = await _looked_at(world, monkeypatch)
    assert (sorted(heads), found) == (FAR, len(FAR))


async def test_what_a_listing_leaves_out_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    world = _world()
    _left(world, CLOSE)
    world.bucket.hidden = set(CLOSE[100:103])
    world.bucket.lose(CLOSE[200])
    heads, found = await _looked_at(world, monkeypatch)
    assert {*CLOSE[100:103], CLOSE[200]} <= set(heads)
    assert found == len(CLOSE) - 1


async def test_a_listing_that_cannot_be_read_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    world = _world()
    _left(world, CLOSE)

    async def broken(*_: object, **__: object) -> None:
        raise ListingBroken("for the test")

    monkeypatch.setattr(world.bucket, "list_page", broken)
    heads, found = await _looked_at(world, monkeypatch)
    assert (len(heads), found) == (len(CLOSE), len(CLOSE))


async def test_a_listing_in_no_order_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    world = _world(order=ListingOrder.NONE)
    _left(world, CLOSE)
    _, found = await _looked_at(world, monkeypatch)
    assert found == len(CLOSE)


async def test_what_goes_for_good_is_looked_at_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing may lag behind a put of the same content, whose row is on its way."""
    world = _world(DeleteMode.DIRECT)
    _left(world, CLOSE[:200])
    heads, found = await _looked_at(world, monkeypatch)
    assert (sorted(heads), found) == (CLOSE[:200], 200)
