"""One site for all tests of a file, with media of several owners in each state that a medium can have."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import anyio
import pytest

from reconciler.embedded.postgres import EmbeddedPostgres
from tests.integration.site import make_site
from tests.media.scene import LARGE, SIZE, Scene, fill
from tests.servers import S3Server, fresh_bucket, fresh_database
from tests.support.own_logging import own_logging

__all__ = ["own_logging"]


@pytest.fixture(scope="module")
def scene(
    postgres: EmbeddedPostgres,
    migrated_template: str,
    administered: Callable[[str], None],
    seaweed: S3Server,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Scene]:
    secrets: Path = tmp_path_factory.mktemp("links") / "secrets"
    with (
        fresh_database(postgres, migrated_template, administered) as database,
        fresh_bucket(seaweed) as bucket,
    ):
        made = Scene(site=make_site(database, bucket, calm=True), secrets=secrets)
        anyio.run(fill, made)
        yield made


@pytest.fixture
async def large(scene: Scene) -> AsyncIterator[None]:
    """The large medium, ada's."""
    await scene.medium(LARGE, "ada")
    await scene.put(LARGE, body=os.urandom(1 << 20) * (SIZE >> 20))
    yield
    await scene.site.sql('DELETE FROM "MediaRecords" WHERE "StorageKey" = $1', LARGE)


@pytest.fixture(autouse=True)
def credentials(seaweed: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in seaweed.environment().items():
        monkeypatch.setenv(name, value)
