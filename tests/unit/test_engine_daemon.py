"""The daemon between two terms, on doubles."""

from __future__ import annotations

from datetime import timedelta

import anyio
import pytest

from reconciler.engine.daemon import Daemon
from reconciler.model import HeldBy
from tests.doubles.world import World

pytestmark = pytest.mark.anyio


async def test_a_replica_that_halted_waits_for_nobody_once_another_one_leads() -> None:
    world = World()
    assert not isinstance(await world.ports.lease.acquire("another", timedelta(minutes=1)), HeldBy)
    daemon = Daemon(world.ports, world.limits, world.cycle(), stopping := anyio.Event())
    stopping.set()
    await daemon._stand_for_election()
    assert world.observer.halts == [None]
