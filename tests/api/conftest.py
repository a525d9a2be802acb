"""A site for each test, with the admin API served over it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api.serving import Api, serving
from tests.integration.site import Site, make_site
from tests.servers import Bucket


@pytest.fixture(autouse=True)
def not_probed(known_abilities: None) -> None:
    """The shared servers: what they can do is known."""


@pytest.fixture
def site(database: str, seaweed_bucket: Bucket) -> Site:
    return make_site(database, seaweed_bucket, calm=True)


@pytest.fixture
async def api(site: Site, tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(site, tmp_path) as made:
        yield made
