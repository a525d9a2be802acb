"""A TCP proxy between a program and a server, which does to the stream what networks do to it.

It listens on a port of its own, in the test's event loop, and passes bytes both ways. `cut`, `refuse`,
`stall` and `accept` act at once, for tests that choose the moment; a `Schedule` chooses it by a seed::

    async with tcp_proxy(host, port) as proxy:
        site = ...through proxy.host, proxy.port...
        proxy.cut()                      # RST on every open connection
        proxy.schedule = Schedule(seed=7, mean_bytes=20_000)   # from the next connection on

Two connections may be opened in either order, so a seed fixes what happens to the n-th connection, and
not which caller has it.
"""

from __future__ import annotations

import asyncio
import random
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from socket import SO_LINGER, SOL_SOCKET
from urllib.parse import urlsplit, urlunsplit

CHUNK = 64 * 1024


class Fault(StrEnum):
    """What happens at one point of a stream."""

    CUT = "cut"
    """RST both ways: what was not read yet is lost."""
    TRUNCATE = "truncate"
    """An orderly end in mid-message, both ways."""
    DELAY = "delay"
    """Nothing for `Schedule.delay` seconds, then on."""
    CORRUPT = "corrupt"
    """One byte becomes another."""


class Direction(StrEnum):
    """REQUEST goes from the program to the server."""

    REQUEST = "request"
    ANSWER = "answer"


Rewrite = Callable[[Direction, bytes], bytes]
"""Changes a chunk on its way; the lengths may differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Faults by chance: about one in every `mean_bytes` of each direction, from each connection's start.

    `spare` bytes at the start of a connection pass untouched. `delay` is the longest, in seconds.
    """

    seed: int
    mean_bytes: float
    faults: Sequence[Fault] = tuple(Fault)
    directions: Sequence[Direction] = tuple(Direction)
    spare: int = 0
    delay: float = 0.3

    def chances(self, connection: int, direction: Direction) -> _Chances:
        chance = random.Random(f"{self.seed}/{connection}/{direction}")
        return _Chances(self, chance if direction in self.directions else None)


class _Chances:
    """Where in one direction of one connection the next fault is, and which."""

    def __init__(self, schedule: Schedule, chance: random.Random | None) -> None:
        self._schedule = schedule
        self._chance = chance
        self._passed = 0
        self._next = schedule.spare + self._gap() if chance else None

    def _gap(self) -> int:
        assert self._chance
        return 1 + int(self._chance.expovariate(1 / self._schedule.mean_bytes))

    def ahead(self, size: int) -> tuple[int, Fault, random.Random] | None:
        """The offset within the next `size` bytes of a fault, and its kind; None if none is there."""
        if self._next is None or self._chance is None or self._next >= self._passed + size:
            return None
        offset = self._next - self._passed
        fault = self._chance.choice(self._schedule.faults)
        self._next += self._gap()
        return offset, fault, self._chance

    def passed(self, size: int) -> None:
        self._passed += size


@dataclass(slots=True, eq=False)
class _Pair:
    """The two halves of one connection."""

    number: int
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter

    def reset(self) -> None:
        for writer in (self.client, self.server):
            sock = writer.get_extra_info("socket")
            with suppress(OSError):
                sock.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    def end(self) -> None:
        for writer in (self.client, self.server):
            writer.close()


@dataclass(slots=True, kw_only=True)
class Proxy:
    """`host` and `port` are where the program connects to; `happened` counts the faults so far."""

    host: str
    port: int
    to_host: str
    to_port: int
    schedule: Schedule | None = None
    rewrite: Rewrite | None = None
    happened: Counter[str] = field(default_factory=Counter)
    connections: int = 0
    _open: set[_Pair] = field(default_factory=set)
    _refusing: bool = False
    _flowing: asyncio.Event = field(default_factory=asyncio.Event)

    def through(self, url: str) -> str:
        """The same address by way of the proxy."""
        parts = urlsplit(url)
        login = parts.netloc.rpartition("@")[0]
        at = f"{login}@" if login else ""
        return urlunsplit(parts._replace(netloc=f"{at}{self.host}:{self.port}"))

    def cut(self) -> int:
        """Reset every open connection; new ones are let in. Returns how many there were."""
        pairs = list(self._open)
        for pair in pairs:
            pair.reset()
        return len(pairs)

    def refuse(self) -> None:
        """As if nothing listened: open connections are reset, new ones at once."""
        self._refusing = True
        self.cut()

    def stall(self) -> None:
        """Nothing passes any more and nothing is said, as behind a dead route. New connections stall too."""
        self._flowing.clear()

    def accept(self) -> None:
        """Ends `refuse` and `stall`; what was stalled goes on."""
        self._refusing = False
        self._flowing.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        try:
            server_reader, server_writer = await asyncio.open_connection(self.to_host, self.to_port)
        except OSError:
            writer.transport.abort()
            return
        self.connections += 1
        pair = _Pair(self.connections, writer, server_writer)
        self._open.add(pair)
        try:
            await asyncio.gather(
                self._pass(pair, Direction.REQUEST, reader, server_writer),
                self._pass(pair, Direction.ANSWER, server_reader, writer),
            )
        finally:
            self._open.discard(pair)
            pair.end()

    async def _pass(
        self, pair: _Pair, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        chances = self.schedule.chances(pair.number, direction) if self.schedule else None
        with suppress(OSError):
            while block := await reader.read(CHUNK):
                await self._flowing.wait()
                if self.rewrite is not None:
                    block = self.rewrite(direction, block)
                if not await self._send(pair, writer, block, chances):
                    return
            if writer.can_write_eof() and not writer.is_closing():
                writer.write_eof()

    async def _send(
        self, pair: _Pair, writer: asyncio.StreamWriter, block: bytes, chances: _Chances | None
    ) -> bool:
        """Pass a block on, with the faults that fall into it; False where the connection has ended."""
        while chances is not None and (ahead := chances.ahead(len(block))) is not None:
            offset, fault, chance = ahead
            self.happened[fault] += 1
            before, block = block[:offset], block[offset:]
            chances.passed(len(before))
            writer.write(before)
            match fault:
                case Fault.CUT:
                    pair.reset()
                    return False
                case Fault.TRUNCATE:
                    await writer.drain()
                    pair.end()
                    return False
                case Fault.DELAY:
                    # The schedule of a connection may have ended since it was made.
                    await asyncio.sleep(chance.uniform(0, self.schedule.delay if self.schedule else 0.0))
                case Fault.CORRUPT:
                    block = bytes([block[0] ^ chance.randrange(1, 256)]) + block[1:]
        if chances is not None:
            chances.passed(len(block))
        writer.write(block)
        await writer.drain()
        return True


@asynccontextmanager
async def tcp_proxy(to_host: str, to_port: int, schedule: Schedule | None = None) -> AsyncIterator[Proxy]:
    """A proxy in this event loop, on a free port of the loopback, for as long as the context lasts."""
    proxy = Proxy(host="127.0.0.1", port=0, to_host=to_host, to_port=to_port, schedule=schedule)
    proxy.accept()
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        serving.add(task)
        try:
            await proxy.serve(reader, writer)
        finally:
            serving.discard(task)

    server = await asyncio.start_server(serve, proxy.host, 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.accept()
        proxy.cut()
        if left := list(serving):
            await asyncio.wait(left)
        await server.wait_closed()


@asynccontextmanager
async def proxy_of(url: str, schedule: Schedule | None = None) -> AsyncIterator[Proxy]:
    """A proxy in front of the server that the address names; `Proxy.through` makes addresses."""
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    async with tcp_proxy(parts.hostname, parts.port, schedule) as proxy:
        yield proxy
