"""`reconciler run`: probes, metrics, hand-over and signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import anyio
import pytest

from tests.integration.daemons import Daemon, daemon, free_port, until
from tests.integration.site import Site

pytestmark = pytest.mark.anyio


async def test_the_daemon_converges_and_tells_so(site: Site) -> None:
    await site.tracked("image/live")
    await site.put("image/orphan")
    async with daemon(site) as running:

        async def converged() -> bool:
            return await site.keys() == {"image/live"}

        await until(converged)
        assert (await running.get("/readyz"))[0] == 200
        assert (await running.get("/healthz"))[0] == 200
        assert await running.metric("media_reconciler_leader") == 1
        seen = {"batch_digest": "crc32", "batch_size": "1000", "probed": "true"}
        assert await running.metric("media_reconciler_store_info", **seen) == 1

        async def counted() -> bool:
            deleted = {"action": "delete_object", "result": "deleted", "mode": "live"}
            return await running.metric("media_reconciler_actions_total", **deleted) == 1

        await until(counted)
        assert await running.stop() == 0


async def test_a_standby_takes_over_when_the_leader_stops_politely(ordered_site: Site) -> None:
    async with daemon(ordered_site) as first:

        async def leads(which: Daemon) -> bool:
            return await which.metric("media_reconciler_leader") == 1

        await until(lambda: leads(first))
        async with daemon(ordered_site) as second:

            async def ready() -> bool:
                return (await second.get("/readyz"))[0] == 200

            await until(ready)
            assert await second.metric("media_reconciler_leader") == 0
            assert await first.stop() == 0
            await until(lambda: leads(second))
            assert await second.stop(signal.SIGINT) == 0


@pytest.mark.incident(29)
async def test_a_halted_daemon_stays_alive_and_says_so(ordered_site: Site) -> None:
    await ordered_site.once(dry_run="true")
    ordered_site.bucket.client.delete_object(Bucket=ordered_site.bucket.name, Key=".reconciler/identity.json")
    async with daemon(ordered_site) as running:

        async def halted() -> bool:
            return await running.metric("media_reconciler_halted") == 1

        await until(halted)
        assert (await running.get("/healthz"))[0] == 200

        async def said() -> bool:
            async with ordered_site.catalog() as catalog:
                return any(each.halted for each in await catalog.replicas.heard())

        await until(said)
        assert await running.stop() == 0
        async with ordered_site.catalog() as catalog:
            assert not await catalog.replicas.heard(), "it took away what it said"


async def test_the_runtime_file_switches_dry_run_while_it_runs(
    ordered_site: Site, tmp_path: os.PathLike[str]
) -> None:
    runtime = anyio.Path(tmp_path) / "runtime.yaml"
    await runtime.write_text("dry_run: true\n")
    await ordered_site.put("image/orphan")
    ordered_site.environment["RECONCILER_RUNTIME_FILE"] = str(runtime)
    async with daemon(ordered_site) as running:

        async def previewed() -> bool:
            would = {"action": "delete_object", "result": "deleted", "mode": "dry_run"}
            return await running.metric("media_reconciler_actions_total", **would) == 1

        await until(previewed)
        assert await ordered_site.keys() == {"image/orphan"}
        await runtime.write_text("dry_run: false\n")

        async def gone() -> bool:
            return await ordered_site.keys() == set()

        await until(gone)
        assert await running.stop() == 0


async def test_a_daemon_starts_before_its_database_does(ordered_site: Site) -> None:
    async with daemon(ordered_site, database_url=f"postgresql://u:p@127.0.0.1:{free_port()}/x") as running:

        async def serving() -> bool:
            return (await running.get("/healthz"))[0] == 200

        await until(serving)
        status, text = await running.get("/readyz")
        assert (status, "schema" in text) == (503, True)
        assert await running.stop() == 0


def test_run_refuses_settings_that_cannot_work() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "reconciler", "run"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "RECONCILER_DATABASE_URL" in ended.stderr
    assert "Traceback" not in ended.stderr
