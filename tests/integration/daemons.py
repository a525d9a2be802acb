"""`reconciler run` as tests start it, ask it and stop it."""

from __future__ import annotations

import os
import signal
import socket
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.error import HTTPError, URLError

import anyio
import anyio.abc
import anyio.to_thread
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.site import Site
from tests.support.abilities import kind_in
from tests.support.forks import FORKER, Fork

FAST = {"RECONCILER_SWEEP_INTERVAL": "1s", "RECONCILER_RETENTION_INTERVAL": "1s"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Daemon:
    def __init__(self, process: anyio.abc.Process | Fork, port: int) -> None:
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
    """`reconciler run`, told what our stores can do; it logs to the file `log`, where one is named."""
    environment = {**FAST, **site.settings(**settings)}
    async with forked("run", environment | kind_in(environment), log) as running:
        yield running


@asynccontextmanager
async def forked(
    command: str, environment: Mapping[str, str], log: Path | None = None
) -> AsyncIterator[Daemon]:
    """A command of the program that goes on, on a free port; killed where it has not ended by then."""
    port = free_port()
    ours = f"/proc/{os.getpid()}/fd"
    process = await anyio.to_thread.run_sync(
        partial(
            FORKER.start,
            "tests.cli.program",
            command,
            environment={**os.environ, **environment, **_web(port)},
            out=f"{ours}/1",
            told=str(log) if log else f"{ours}/2",
        )
    )
    try:
        yield Daemon(process, port)
    finally:
        process.kill()
        with anyio.CancelScope(shield=True):
            await process.wait()


@asynccontextmanager
async def started(command: Sequence[str], environment: Mapping[str, str]) -> AsyncIterator[Daemon]:
    """A daemon by any command, and not as a fork; likewise."""
    port = free_port()
    process = await anyio.open_process(
        command, env={**os.environ, **environment, **_web(port)}, stdout=None, stderr=None
    )
    try:
        yield Daemon(process, port)
    finally:
        if process.returncode is None:
            process.kill()
            with anyio.CancelScope(shield=True):
                await process.wait()
        await process.aclose()


def _web(port: int) -> dict[str, str]:
    return {"RECONCILER_WEB__HOST": "127.0.0.1", "RECONCILER_WEB__PORT": str(port)}


async def until(condition: Callable[[], Awaitable[bool]], *, within: float = 60) -> None:
    """Poll, bounded: the daemon tells its state over HTTP and in its tables, and in no other way."""
    with anyio.fail_after(within):
        while not await condition():  # noqa: ASYNC110 - as said
            await anyio.sleep(0.1)
