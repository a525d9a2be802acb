"""`reconciler media` as a program: it gets ready, serves, and ends what it has begun."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import httpx
import pytest

from reconciler.app.media import describe
from reconciler.errors import ConfigError
from reconciler.settings import load
from reconciler.telemetry.metrics.media import media_registry
from tests.integration.daemons import Daemon, forked, free_port, until
from tests.media.scene import ADAS, LARGE, SIZE, Scene, path

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def program(scene: Scene, **settings: str) -> AsyncIterator[tuple[Daemon, str]]:
    """The program and the address at which it serves."""
    port = free_port()
    environment = scene.site.settings(media__host="127.0.0.1", media__port=str(port), **settings)
    async with forked("media", environment) as running:
        yield running, f"http://127.0.0.1:{port}"


async def ready(running: Daemon) -> bool:
    return (await running.get("/readyz"))[0] == 200


async def test_it_gets_ready_serves_and_sends_to_its_end_what_it_has_begun(scene: Scene, large: None) -> None:
    ada = scene.people["ada"].headers
    async with (
        program(scene) as (running, address),
        httpx.AsyncClient(base_url=address, trust_env=False, timeout=30) as client,
    ):
        await until(lambda: ready(running))
        assert (await client.get(path(ADAS), headers=ada)).status_code == 200
        assert (await client.get("/v1/openapi.json")).json()["openapi"].startswith("3.")
        assert await running.metric("media_reconciler_media_requests_total", outcome="sent") == 1
        async with client.stream("GET", path(LARGE), headers=ada) as answer:
            parts = answer.aiter_raw(1 << 16)
            size = len(await anext(parts))
            running.process.send_signal(signal.SIGTERM)

            async def going() -> bool:
                return (await running.get("/readyz"))[1] == "not yet: taking requests\n"

            await until(going)
            assert (await running.get("/healthz"))[0] == 200
            size += sum([len(part) async for part in parts])
        assert size == SIZE
        with anyio.fail_after(30):
            assert await running.process.wait() == 0
    (found,) = await scene.site.sql(
        'SELECT "AccessCount", "LastAccessedAt" IS NOT NULL FROM "MediaRecords" WHERE "StorageKey" = $1',
        LARGE,
    )
    assert tuple(found) == (1, True)


async def test_it_is_not_ready_before_it_knows_who_asks(scene: Scene) -> None:
    """The tables lack the column: it says so, and serves as soon as they have it."""
    async with program(scene, catalog__key_columns__key_hash="") as (running, address):

        async def alive() -> bool:
            return (await running.get("/healthz"))[0] == 200

        await until(alive)
        assert (await running.get("/readyz"))[0] == 503
        async with httpx.AsyncClient(base_url=address, trust_env=False) as client:
            assert (await client.get(path(ADAS))).status_code == 503
        assert await running.stop() == 0


def test_links_need_something_to_sign_with(scene: Scene) -> None:
    settings = load({**os.environ, **scene.site.settings(media__access="signed")})

    def nothing() -> None:
        raise AssertionError("nobody asks it")

    with pytest.raises(ConfigError, match="LINK_KEYS_FILE"):
        describe(settings, nothing, media_registry(version="")[1])  # type: ignore[arg-type]  # never called
