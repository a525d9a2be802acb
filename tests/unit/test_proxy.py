"""The TCP proxy of the fault tests: what it promises, on a server that echoes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.proxy import Direction, Fault, Proxy, Schedule, tcp_proxy

pytestmark = pytest.mark.anyio

MESSAGE = bytes(range(256)) * 16


@asynccontextmanager
async def echoing(schedule: Schedule | None = None) -> AsyncIterator[Proxy]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while block := await reader.read(1000):
            writer.write(block)
        writer.close()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        async with tcp_proxy(host, port, schedule) as proxy:
            yield proxy


async def ask(proxy: Proxy, message: bytes = MESSAGE) -> bytes:
    reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
    try:
        writer.write(message)
        writer.write_eof()
        return await reader.read(-1)
    finally:
        writer.close()


def only(fault: Fault, direction: Direction = Direction.ANSWER) -> Schedule:
    return Schedule(seed=3, mean_bytes=1000, faults=[fault], directions=[direction], delay=0.001)


async def test_without_a_schedule_everything_passes() -> None:
    async with echoing() as proxy:
        assert await ask(proxy) == MESSAGE


@pytest.mark.parametrize("direction", Direction)
async def test_a_corrupted_stream_differs_in_few_bytes(direction: Direction) -> None:
    async with echoing(only(Fault.CORRUPT, direction)) as proxy:
        answer = await ask(proxy)
        differ = sum(one != other for one, other in zip(answer, MESSAGE, strict=True))
        assert differ == proxy.happened[Fault.CORRUPT] > 0


async def test_a_truncated_stream_is_a_beginning() -> None:
    async with echoing(only(Fault.TRUNCATE)) as proxy:
        answer = await ask(proxy)
        assert answer == MESSAGE[: len(answer)] != MESSAGE


async def test_a_delayed_stream_is_whole() -> None:
    async with echoing(only(Fault.DELAY)) as proxy:
        assert await ask(proxy) == MESSAGE
        assert proxy.happened[Fault.DELAY]


async def test_a_cut_resets_the_connection() -> None:
    async with echoing(only(Fault.CUT)) as proxy:
        with pytest.raises(ConnectionResetError):
            await ask(proxy)
        proxy.schedule = None
        proxy.refuse()
        with pytest.raises(ConnectionError):
            await ask(proxy)
        proxy.accept()
        assert await ask(proxy) == MESSAGE


async def test_a_seed_gives_the_same_faults_again() -> None:
    async def answers() -> list[bytes]:
        async with echoing(only(Fault.CORRUPT)) as proxy:
            return [await ask(proxy) for _ in range(3)]

    first = await answers()
    assert first == await answers()
    assert len(set(first)) == 3
