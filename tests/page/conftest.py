"""One site, daemon and browser for all tests of a file."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from reconciler.embedded.postgres import EmbeddedPostgres
from tests.integration.site import Site, make_site
from tests.page.scene import Scene, scene
from tests.servers import S3Server, fresh_bucket, fresh_database
from tests.support import abilities

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def page_site(
    postgres: EmbeddedPostgres,
    migrated_template: str,
    administered: Callable[[str], None],
    seaweed: S3Server,
) -> Iterator[Site]:
    abilities.SHARED[seaweed.endpoint_url] = seaweed
    with (
        pytest.MonkeyPatch.context() as patched,
        fresh_database(postgres, migrated_template, administered) as database,
        fresh_bucket(seaweed) as bucket,
    ):
        abilities.know(patched)
        patched.setenv("PYTHONPATH", str(ROOT))
        patched.setenv("AWS_CONFIG_FILE", os.devnull)
        patched.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        patched.setenv("AWS_EC2_METADATA_DISABLED", "true")
        site = make_site(database, bucket, calm=True)
        site.environment["RECONCILER_DELETE_MODE"] = "quarantine"
        yield site


@pytest.fixture(scope="module")
async def shown(
    anyio_backend: str, page_site: Site, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Scene]:
    """The scene. A test that decides about its tripped sweep asks for `Scene.trip` first."""
    async with scene(page_site, tmp_path_factory.mktemp("page")) as made:
        yield made
