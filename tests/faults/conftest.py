"""A site and its truth, made by the seed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.faults.rounds import say
from tests.faults.truth import Truth, new_truth
from tests.integration.site import Site, make_site
from tests.servers import Bucket


@pytest.fixture(autouse=True)
def not_probed(known_abilities: None) -> None:
    """The shared servers: what they can do is known."""


@pytest.fixture
def site(database: str, seaweed_bucket: Bucket) -> Site:
    return make_site(database, seaweed_bucket)


@pytest.fixture
async def truth(site: Site, request: pytest.FixtureRequest) -> Truth:
    say(request.node.nodeid)
    return await new_truth(site, request.node.name)


@pytest.fixture(autouse=True)
async def quiet_driver() -> AsyncIterator[None]:
    """Asyncpg leaves a future behind where a connection ends while it asks for TLS: nothing for a test."""
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    assert before

    def handler(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if "unexpected connection_lost()" not in str(context.get("exception")):
            before(loop, context)

    loop.set_exception_handler(handler)
    yield
    loop.set_exception_handler(before)
