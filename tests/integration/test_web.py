"""The HTTP side over a real socket: metrics, probes, and how the server starts and stops."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio
import anyio.abc
import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

from reconciler.errors import ConfigError
from reconciler.web import server
from reconciler.web.quick import QuickProtocol
from reconciler.web.routes import build_app
from reconciler.web.server import serve

pytestmark = pytest.mark.anyio


class Answers:
    """What the probes are to say."""

    def __init__(self) -> None:
        self.silent: list[str] = []
        self.missing: list[str] = []

    def stuck(self) -> Sequence[str]:
        return self.silent

    def unmet(self) -> Sequence[str]:
        return self.missing


@pytest.fixture
def registry() -> CollectorRegistry:
    made = CollectorRegistry()
    Counter("tested", "For the test.", registry=made).inc(3)
    return made


@pytest.fixture
def answers() -> Answers:
    return Answers()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def serving(
    registry: CollectorRegistry, answers: Answers, protocol: type[asyncio.Protocol] = server.Plain
) -> AsyncIterator[httpx.AsyncClient]:
    port = free_port()
    started = anyio.Event()
    async with anyio.create_task_group() as group:

        async def run() -> None:
            app = build_app(registry, answers)
            await serve(app, "127.0.0.1", port, protocol=protocol, started=started)

        group.start_soon(run)
        with anyio.fail_after(20):
            await started.wait()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            yield client
        group.cancel_scope.cancel()


async def test_metrics_are_served_as_prometheus_reads_them(
    registry: CollectorRegistry, answers: Answers
) -> None:
    async with serving(registry, answers) as client:
        answer = await client.get("/metrics")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain; version=")
        families = {family.name: family for family in text_string_to_metric_families(answer.text)}
        assert families["tested"].samples[0].value == 3
        scraped = await client.get("/metrics", headers={"accept": "application/openmetrics-text"})
        assert scraped.headers["content-type"].startswith("application/openmetrics-text")


async def test_liveness_names_the_stuck_loop(registry: CollectorRegistry, answers: Answers) -> None:
    async with serving(registry, answers) as client:
        well = await client.get("/healthz")
        assert (well.status_code, well.text) == (200, "ok\n")
        answers.silent.append("sweep: silent for 99 s, allowed are 60 s")
        stuck = await client.get("/healthz")
        assert (stuck.status_code, stuck.text) == (503, "sweep: silent for 99 s, allowed are 60 s\n")


async def test_readiness_names_what_is_missing(registry: CollectorRegistry, answers: Answers) -> None:
    async with serving(registry, answers) as client:
        answers.missing.append("schema at head")
        waiting = await client.get("/readyz")
        assert (waiting.status_code, waiting.text) == (503, "not yet: schema at head\n")
        answers.missing.clear()
        assert (await client.get("/readyz")).status_code == 200


async def test_everything_else_is_not_found(registry: CollectorRegistry, answers: Answers) -> None:
    async with serving(registry, answers) as client:
        for path in ("/", "/metrics/", "/docs", "/healthz/x"):
            assert (await client.get(path)).status_code == 404
        assert (await client.post("/metrics")).status_code == 405


async def test_a_port_in_use_is_a_configuration_error_that_names_the_setting(
    registry: CollectorRegistry, answers: Answers
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"127\.0\.0\.1 port {port}.*RECONCILER_WEB__PORT") as caught:
            await serve(build_app(registry, answers), "127.0.0.1", port, started=anyio.Event())
    assert "\n" not in str(caught.value)


async def test_an_address_that_is_not_ours_is_a_configuration_error(
    registry: CollectorRegistry, answers: Answers
) -> None:
    with pytest.raises(ConfigError, match="RECONCILER_WEB__HOST"):
        await serve(build_app(registry, answers), "192.0.2.1", 0, started=anyio.Event())


async def test_cancelling_ends_it_within_a_second_with_connections_open(
    registry: CollectorRegistry, answers: Answers
) -> None:
    port, started = free_port(), anyio.Event()
    async with anyio.create_task_group() as group:

        async def run() -> None:
            await serve(build_app(registry, answers), "127.0.0.1", port, started=started)

        group.start_soon(run)
        with anyio.fail_after(20):
            await started.wait()
        # One client keeps its connection alive, another is in the middle of its request.
        idle = await anyio.connect_tcp("127.0.0.1", port)
        await idle.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await idle.receive()).startswith(b"HTTP/1.1 200")
        half = await anyio.connect_tcp("127.0.0.1", port)
        await half.send(b"GET /healthz HTTP/1.1\r\nHost:")
        before = anyio.current_time()
        group.cancel_scope.cancel()
    took = anyio.current_time() - before
    assert took < 1
    with anyio.CancelScope(shield=True):
        await idle.aclose()
        await half.aclose()
    with pytest.raises(OSError, match=r"connect|attempts"):
        await anyio.connect_tcp("127.0.0.1", port)


@pytest.mark.parametrize("protocol", [server.Plain, QuickProtocol])
async def test_a_request_whose_head_does_not_come_is_given_up_and_others_are_not(
    registry: CollectorRegistry,
    answers: Answers,
    monkeypatch: pytest.MonkeyPatch,
    protocol: type[asyncio.Protocol],
) -> None:
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.2)
    async with serving(registry, answers, protocol) as client:
        assert (await client.get("/healthz")).status_code == 200
        port = client.base_url.port
        assert port is not None
        for begun in (b"", b"GET /healthz HTTP/1.1\r\nHost:"):
            async with await anyio.connect_tcp("127.0.0.1", port) as slow:
                if begun:
                    await slow.send(begun)
                with anyio.fail_after(10), pytest.raises(anyio.EndOfStream):
                    await slow.receive()
        assert (await client.get("/healthz")).status_code == 200


async def test_signals_stay_with_the_program(registry: CollectorRegistry, answers: Answers) -> None:
    import signal  # noqa: PLC0415 - for this test alone

    before = (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))
    async with serving(registry, answers):
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


async def test_a_head_that_does_not_end_is_cut_off_however_it_is_fed(
    registry: CollectorRegistry, answers: Answers
) -> None:
    """A parser that keeps all of it: a name, a value, many of both, or the size of a chunk."""
    endless = {
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: ": b"a" * 1024,
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n": b"A: a\r\n" * 200,
        b"GET /": b"a" * 1024,
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n": b"0" * 1024,
    }
    async with serving(registry, answers, QuickProtocol) as client:
        port = client.base_url.port
        assert port is not None
        for begun, more in endless.items():
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                with anyio.fail_after(10):
                    await _feed(stream, begun, more)
        assert (await client.get("/healthz")).status_code == 200


async def _feed(stream: anyio.abc.SocketStream, begun: bytes, more: bytes) -> None:
    """Until the connection is closed."""
    await stream.send(begun)
    try:
        for _ in range(100):
            await stream.send(more)
        while True:
            await stream.receive()
    except (anyio.BrokenResourceError, anyio.EndOfStream):
        return
