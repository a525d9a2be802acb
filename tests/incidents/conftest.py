"""Sites on both stores. Nobody dies here, so that no lease and no time-out has to be short."""

from __future__ import annotations

import pytest

from tests.integration.site import Site, make_site
from tests.servers import Bucket


@pytest.fixture(autouse=True)
def not_probed(known_abilities: None) -> None:
    """The shared servers: what they can do is known."""


@pytest.fixture
def site(database: str, bucket: Bucket) -> Site:
    """Once on SeaweedFS (joined without order) and once on moto (joined in byte order)."""
    return make_site(database, bucket, calm=True)


@pytest.fixture
def ordered_site(database: str, moto_bucket: Bucket) -> Site:
    return make_site(database, moto_bucket, calm=True)
