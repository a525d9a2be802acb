"""A site and its truth, made by the seed."""

from __future__ import annotations

import pytest

from tests.faults.rounds import say
from tests.faults.truth import Truth, new_truth
from tests.integration.site import Site, make_site
from tests.servers import Bucket


@pytest.fixture
def site(database: str, seaweed_bucket: Bucket) -> Site:
    return make_site(database, seaweed_bucket)


@pytest.fixture
async def truth(site: Site, request: pytest.FixtureRequest) -> Truth:
    say(request.node.nodeid)
    return await new_truth(site, request.node.name)
