"""A site and its truth, made by the seed."""

from __future__ import annotations

import random

import pytest

from tests.faults.rounds import SEED, say
from tests.faults.truth import Truth
from tests.integration.site import Site, make_site
from tests.servers import Bucket


@pytest.fixture
def site(database: str, seaweed_bucket: Bucket) -> Site:
    return make_site(database, seaweed_bucket)


@pytest.fixture
async def truth(site: Site, request: pytest.FixtureRequest) -> Truth:
    say(request.node.nodeid)
    return Truth(site, random.Random(f"{SEED}/{request.node.name}"), await site.virtual_key())
