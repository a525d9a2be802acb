"""Answers that are given again for a moment: what many poll costs the engine next to nothing."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio
from fastapi.responses import JSONResponse
from starlette.requests import Request
from starlette.responses import Response

from reconciler.api.listing import NDJSON

FRESH_SECONDS = 1.0
"""How old an answer may be. Requests are answered where the engine works, and share its processor."""

KEPT = 64
"""Answers that are remembered."""

LARGEST = 1 << 18
"""Bytes of an answer that is remembered."""

OK = 200


@dataclass(slots=True)
class _Answer:
    """What was last answered, and when; one request at a time finds it anew."""

    alone: anyio.Lock = field(default_factory=anyio.Lock)
    at: float = 0.0
    body: bytes | None = None


class Answers:
    """What was answered lately, by path and query: whoever may look at all sees the same.

    A change that passes here makes all of it stale; what changes elsewhere is seen within `seconds`.
    """

    def __init__(
        self, monotonic: Callable[[], float] = time.monotonic, seconds: float = FRESH_SECONDS
    ) -> None:
        self._monotonic = monotonic
        self._seconds = seconds
        self._known: OrderedDict[tuple[str, str], _Answer] = OrderedDict()

    def forget(self) -> None:
        """Answer everything anew. What is being looked up now is for those who wait for it already."""
        self._known.clear()

    async def look(self, find: Callable[[Request], Awaitable[Response]], request: Request) -> Response:
        """The answer, from memory where it is fresh. A stream is always found anew."""
        if NDJSON in request.headers.get("accept", ""):
            return await find(request)
        known = self._of((request.scope["path"], request.url.query))
        async with known.alone:
            if known.body is None or self._monotonic() >= known.at + self._seconds:
                begun = self._monotonic()
                answer = await find(request)
                whole = isinstance(answer, JSONResponse) and answer.status_code == OK
                if not whole or len(answer.body) > LARGEST:
                    return answer
                known.at, known.body = begun, bytes(answer.body)
            # One of its own for each: whatever surrounds a request adds to its answer's headers.
            return Response(known.body, media_type="application/json")

    def _of(self, asked: tuple[str, str]) -> _Answer:
        known = self._known.setdefault(asked, _Answer())
        self._known.move_to_end(asked)
        if len(self._known) > KEPT:
            self._known.popitem(last=False)
        return known
