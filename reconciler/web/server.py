"""Run uvicorn inside our task group: it handles no signal, and a cancellation ends it within a second."""

import asyncio
import socket
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import anyio
from starlette.types import ASGIApp

from reconciler.errors import ConfigError
from reconciler.lean import hollow

with (  # its command line, with click, and how it sets up logging: 1.8 MiB
    hollow("uvicorn.main", "Server", "main", "run"),
    hollow("logging.config"),
):
    from uvicorn.config import Config
    from uvicorn.protocols.http.h11_impl import H11Protocol
    from uvicorn.server import Server

GRACE = 0.5
"""Seconds that open requests get when the server is cancelled: a scrape takes milliseconds."""


HEAD_SECONDS = 10.0
"""How long the head of a request may take to come, from the connection or from its first byte on."""


class Impatient(asyncio.Protocol):
    """Closes a connection on which the head of a request does not come in time: uvicorn waits for ever.

    To be mixed into a protocol of uvicorn's, which has these fields.
    """

    cycle: Any
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # None before the first request, whatever its type says.
        if self.cycle is None or self.cycle.response_complete:
            self._wait_for_head()
        elif self._late is not None:
            self._late.cancel()
            self._late = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._late is not None:
            self._late.cancel()
        super().connection_lost(exc)

    def _wait_for_head(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(HEAD_SECONDS, self.transport.close)


class Plain(Impatient, H11Protocol):
    """The usual protocol, in Python alone."""


class _Server(Server):
    """uvicorn's server without its signal handlers: our caller's cancellation decides when to stop.

    It waits for that, where uvicorn looks ten times a second.
    """

    def __init__(self, config: Config, started: anyio.Event) -> None:
        super().__init__(config)
        self._serving = started
        self._ending = anyio.Event()

    async def main_loop(self) -> None:
        self._serving.set()
        while not await self.on_tick(0):  # which renews the header Date
            with anyio.move_on_after(1):
                await self._ending.wait()

    def end(self) -> None:
        self.should_exit = True
        self._ending.set()

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]  # a generator there
        return nullcontext()


async def serve(
    app: ASGIApp,
    host: str,
    port: int,
    *,
    section: str = "WEB",
    grace: float = GRACE,
    protocol: type[asyncio.Protocol] = Plain,
    started: anyio.Event,
) -> None:
    """Serve until cancelled; `started` is set once requests are answered. `section` of the settings has host
    and port. Requests that are open at the cancellation get `grace` seconds, and no new ones are taken.
    `protocol` is one of uvicorn's with `Impatient` mixed in.

    Raises ConfigError where it cannot listen on the address, before anything else happens.
    """
    listener = listen(host, port, section)
    try:
        await _serve_on(app, listener, grace, protocol, started)
    finally:
        listener.close()


def listen(host: str, port: int, section: str) -> socket.socket:
    """A bound socket; port 0 takes a free one. Raises ConfigError that names the settings to change."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(_cannot_listen(host, port, section, error)) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise ConfigError(_cannot_listen(host, port, section, error)) from error
    listener.setblocking(False)  # noqa: FBT003 - the standard library's signature
    return listener


def _cannot_listen(host: str, port: int, section: str, error: OSError) -> str:
    return (
        f"cannot listen on {host} port {port} ({error.strerror}); set RECONCILER_{section}__PORT to a free"
        f" port (0 takes any) or RECONCILER_{section}__HOST to an address of this machine"
    )


async def _serve_on(
    app: ASGIApp,
    listener: socket.socket,
    grace: float,
    protocol: type[asyncio.Protocol],
    started: anyio.Event,
) -> None:
    config = Config(
        app,
        http=protocol,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        proxy_headers=False,  # who asks is who is connected: a header could name anybody
        timeout_graceful_shutdown=grace,  # type: ignore[arg-type]  # declared whole, passed on to wait_for
    )
    server = _Server(config, started)

    async def run() -> None:
        # Shielded: uvicorn closes its connections only when asked to stop, not when cancelled.
        with anyio.CancelScope(shield=True):
            await server.serve(sockets=[listener])

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        try:
            await anyio.sleep_forever()
        finally:
            server.end()
