"""`reconciler run`: probes, metrics, hand-over and signals."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from urllib.error import HTTPError, URLError

import anyio
import anyio.abc
import anyio.to_thread
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.site import Site

pytestmark = pytest.mark.anyio

FAST = {"RECONCILER_SWEEP_INTERVAL": "1s", "RECONCILER_RETENTION_INTERVAL": "1s"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Daemon:
    def __init__(self, process: anyio.abc.Process, port: int) -> None:
        self.process = process
        self.port = port

    async def get(self, path: str) -> tuple[int, str]:
        def fetch() -> tuple[int, str]:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                    return answer.status, answer.read().decode()
            except HTTPError as error:
                with error:
                    return error.code, error.read().decode()
            except (URLError, ConnectionError):
                return 0, ""

        return await anyio.to_thread.run_sync(fetch)

    async def metric(self, name: str, **labels: str) -> float | None:
        _, text = await self.get("/metrics")
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return sample.value
        return None

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        with anyio.fail_after(30):
            return await self.process.wait()


@asynccontextmanager
async def daemon(site: Site, log: Path | None = None, /, **settings: str) -> AsyncIterator[Daemon]:
    """`reconciler run`; what it logs goes to the file `log`, where one is named."""
    port = free_port()
    environment = {
        **os.environ,
        **FAST,
        **site.settings(**settings),
        "RECONCILER_WEB__HOST": "127.0.0.1",
        "RECONCILER_WEB__PORT": str(port),
    }
    command = [sys.executable, "-m", "reconciler", "run"]
    with log.open("wb") if log else nullcontext() as stderr:
        process = await anyio.open_process(command, env=environment, stdout=None, stderr=stderr)
    try:
        yield Daemon(process, port)
    finally:
        if process.returncode is None:
            process.kill()
            with anyio.CancelScope(shield=True):
                await process.wait()
        await process.aclose()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Poll, bounded: the daemon tells its state over HTTP and in its tables, and in no other way."""
    with anyio.fail_after(60):
        while not await condition():  # noqa: ASYNC110 - as said
            await anyio.sleep(0.1)


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
        assert await running.stop() == 0


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
