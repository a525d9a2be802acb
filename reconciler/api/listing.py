"""Lists: a page of JSON with a cursor, or all of it as a stream of lines, in the memory of one page."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from anyio.lowlevel import checkpoint
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.requests import Request
from starlette.responses import Response

from reconciler.api import problems
from reconciler.api.parameters import PAGE, cursor_at
from reconciler.api.problems import Problem
from reconciler.asgi.problems import RETRY_SECONDS
from reconciler.operations.as_json import Json

T = TypeVar("T")

NDJSON = "application/x-ndjson"

STREAMED = 1_000
"""What one reading of a stream fetches."""

KEEP_ALIVE_SECONDS = 10.0
"""After so long without a line a stream says that it is alive."""

STREAMS = 8
"""Streams at once in one replica; each holds a page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing(Generic[T]):
    """What is listed. `page` fetches so many, behind one or from where the request begins; `told` is one as
    JSON; `place` is what a cursor has to say to go on behind it.
    """

    page: Callable[[T | None, int], Awaitable[Sequence[T]]]
    told: Callable[[T], Json]
    place: Callable[[T], tuple[str | int, ...]]


class Streams:
    """The streams under way."""

    def __init__(self) -> None:
        self.open = 0


async def answer(
    request: Request, listing: Listing[T], limit: int | None, besides: Json | None = None
) -> Response:
    """The list, in the form that the request accepts; `besides` are further members of a page."""
    if NDJSON in request.headers.get("accept", ""):
        return _stream(request, listing, limit)
    size = limit or PAGE
    found = await listing.page(None, size + 1)
    shown = found[:size]
    more = cursor_at(*listing.place(shown[-1])) if len(found) > size else None
    data = [listing.told(each) for each in shown]
    return JSONResponse({**(besides or {}), "data": data, "next_cursor": more})


def _stream(request: Request, listing: Listing[T], limit: int | None) -> Response:
    streams: Streams = request.app.state.streams
    if streams.open >= STREAMS:
        detail = f"{STREAMS} streams are under way"
        raise Problem(503, "unavailable", detail, {"Retry-After": str(RETRY_SECONDS)})
    return StreamingResponse(_lines(streams, listing, limit), media_type=NDJSON)


async def _lines(streams: Streams, listing: Listing[T], limit: int | None) -> AsyncIterator[bytes]:
    """A line for each, then one that says that this was all. An error is a line too: its status is gone."""
    streams.open += 1
    sent = 0
    try:
        async for page in _pages(listing, limit):
            lines = [_line({"event": "data", "data": listing.told(each)}) for each in page]
            sent += len(lines)
            yield b"".join(lines) if lines else _line({"event": "ping"})
            # Else a client that is gone would not be noticed before the end.
            await checkpoint()
        yield _line({"event": "end", "lines": sent})
    except Exception as error:  # noqa: BLE001 - whoever reads has to know that lines are missing
        yield _line({"event": "error", "error": json.loads(bytes(problems.of(error).answer().body))})
    finally:
        streams.open -= 1


async def _pages(listing: Listing[T], limit: int | None) -> AsyncIterator[Sequence[T]]:
    """Page by page, and an empty one whenever the next takes long."""
    last, left = None, limit
    while left is None or left > 0:
        size = STREAMED if left is None else min(left, STREAMED)
        fetching = asyncio.ensure_future(listing.page(last, size))
        try:
            while not (await asyncio.wait({fetching}, timeout=KEEP_ALIVE_SECONDS))[0]:
                yield ()
            page = fetching.result()
        finally:
            fetching.cancel()
            with suppress(asyncio.CancelledError):
                if not fetching.done():
                    await fetching
        if page:
            yield page
            last = page[-1]
        if len(page) < size:
            return
        left = None if left is None else left - len(page)


def _line(content: Json) -> bytes:
    return (
        json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(errors="surrogatepass") + b"\n"
    )
