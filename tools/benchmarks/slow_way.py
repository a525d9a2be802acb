"""`python -m tools.benchmarks.slow_way URL`: a way to a server on which every request arrives late.

As over a long line: requests wait side by side, and answers pass at once. It listens on loopback, prints its
port, and ends with standard input.
"""

import argparse
import asyncio
import os
import threading
from typing import cast
from urllib.parse import urlsplit


class _Answers(asyncio.Protocol):
    """Passes the server's bytes to the client."""

    def __init__(self, client: asyncio.Transport) -> None:
        self._client = client

    def data_received(self, data: bytes) -> None:
        self._client.write(data)

    def connection_lost(self, _: Exception | None) -> None:
        self._client.close()


class _Requests(asyncio.Protocol):
    """Passes the client's bytes to the server, in their order, each `delay` seconds after it came."""

    def __init__(self, place: tuple[str, int], delay: float) -> None:
        self._place = place
        self._delay = delay
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        client = cast("asyncio.Transport", transport)
        client.pause_reading()
        self._connecting = self._loop.create_task(self._connect(client))

    async def _connect(self, client: asyncio.Transport) -> None:
        self._server, _ = await self._loop.create_connection(lambda: _Answers(client), *self._place)
        client.resume_reading()

    def data_received(self, data: bytes) -> None:
        self._loop.call_later(self._delay, self._server.write, data)

    def connection_lost(self, _: Exception | None) -> None:
        if self._connecting.done():
            self._loop.call_later(self._delay, self._server.close)


async def _serve(place: tuple[str, int], delay: float) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def wait_for_end() -> None:
        while os.read(0, 1 << 16):
            pass
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=wait_for_end, daemon=True).start()
    server = await loop.create_server(lambda: _Requests(place, delay), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await ended.wait()
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.benchmarks.slow_way", description=__doc__)
    parser.add_argument("url", help="the server's address")
    parser.add_argument("--delay-ms", type=float, default=30, help="how late requests arrive")
    options = parser.parse_args()
    server = urlsplit(options.url)
    asyncio.run(_serve((server.hostname or "", server.port or 80), options.delay_ms / 1000))


if __name__ == "__main__":
    main()
