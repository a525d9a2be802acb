"""Whose objects were looked at when they departed, so that a copy needs no other look."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from reconciler.engine.detect.departures import Departures
from reconciler.errors import StoreUnavailable
from reconciler.model import Departed, Term
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
