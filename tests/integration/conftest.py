"""Sites: on every store, and on the one with byte order or the one without."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from reconciler.embedded.postgres import EmbeddedPostgres
from tests.integration.site import Site, make_site
from tests.servers import Bucket, fresh_database


@pytest.fixture(autouse=True)
def not_probed(known_abilities: None) -> None:
    """The shared servers: what they can do is known."""


@pytest.fixture
def calm(request: pytest.FixtureRequest) -> bool:
    """By the nearest marker: `calm(False)` takes a single test out of a calm file."""
    mark = request.node.get_closest_marker("calm")
    return mark is not None and mark.args != (False,)


@pytest.fixture
def site(database: str, bucket: Bucket, calm: bool) -> Site:
    """Once on SeaweedFS (joined without order) and once on moto (joined in byte order)."""
    return make_site(database, bucket, calm=calm)


@pytest.fixture
def ordered_site(database: str, moto_bucket: Bucket, calm: bool) -> Site:
    return make_site(database, moto_bucket, calm=calm)


@pytest.fixture
def unordered_site(database: str, seaweed_bucket: Bucket, calm: bool) -> Site:
    return make_site(database, seaweed_bucket, calm=calm)


@pytest.fixture
def other_database(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[str]:
    """A second migrated database, of somebody else's."""
    with fresh_database(postgres, migrated_template) as url:
        yield url
