"""The seal on the bucket's marker, where programs die and networks garble."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest

from reconciler.model import Identity, Outcome, Seal
from tests.doubles.surroundings import Crash, crash
from tests.doubles.world import World

pytestmark = pytest.mark.anyio


async def test_a_crash_at_any_point_of_the_first_contact_contests_nothing() -> None:
    """Not even between the nonce in the database and the first seal in the bucket."""
    for call in range(1000):
        world = World()
        try:
            await world.run_once({call: crash})
        except Crash:
            assert (await world.run_once()).outcome is Outcome.CONVERGED, call
            continue
        assert call > 20
        return
    raise AssertionError("no run came to its end")


async def test_a_marker_that_was_garbled_on_its_way_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flipped digit is a valid nonce, and contesting the bucket for it would last until a person acts."""
    world = World()
    await world.run_once()
    read, readings = world.bucket.read, 0

    async def garbled() -> Identity | None:
        nonlocal readings
        readings += 1
        seen = await read()
        if readings % 2 and seen is not None:
            return replace(seen, seal=Seal(epoch=1, nonce=uuid4()))
        return seen

    monkeypatch.setattr(world.bucket, "read", garbled)
    assert (await world.run_once()).outcome is Outcome.CONVERGED
    assert readings > 1
    marker = await read()
    assert marker is not None
    assert not marker.contested
