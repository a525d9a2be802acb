"""A site on which every command of the documents has something to do, run in the test's own program."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import pytest
import structlog

from tests.integration.site import Site, make_site
from tests.servers import Bucket


@contextmanager
def tripped_site(database: str, bucket: Bucket) -> Iterator[Site]:
    """Live, with a quarantine and a breaker that trips at the sixth: something went, and two passes wait.

    Its settings are the environment, and logging is as it was behind the body.
    """
    site = make_site(database, bucket)
    site.environment.update(RECONCILER_DELETE_MODE="quarantine", RECONCILER_BREAKER__MAX_COUNT="5")
    anyio.run(_trip, site)
    with pytest.MonkeyPatch.context() as monkeypatch, _own_logging():
        for name, value in site.environment.items():
            monkeypatch.setenv(name, value)
        yield site


async def _trip(site: Site) -> None:
    await site.tracked("image/live")
    await site.put("image/gone")
    await site.once()
    await site.put(*(f"image/orphan-{number}" for number in range(6)))
    owner = await site.virtual_key()
    await site.tracked(*(f"video/old-{number}" for number in range(6)), owner=owner)
    await site.sql(
        'UPDATE "MediaRecords" SET "ExpiresAt" = now() - interval \'1 day\' WHERE "VirtualKeyId" = $1', owner
    )
    await site.once()
    await site.sql(
        "INSERT INTO reconciler.switched_off (channel, address, kinds, reason)"
        " VALUES ('webhook', '', '{object deleted}', 'it answered 410')"
    )
    assert [state for _, _, state in await site.passes()][-2:] == ["tripped", "tripped"]


@contextmanager
def _own_logging() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    structlog.reset_defaults()
    root.setLevel(level)
    root.handlers[:] = handlers
