"""An object's bytes on their way to a client: little of them in memory at a time, and always let go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Protocol

import anyio
from anyio.lowlevel import checkpoint
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from reconciler.errors import StoreUnavailable
from reconciler.media import problems
from reconciler.media.problems import Problem
from reconciler.stores.s3.reading import Body


class Places:
    """How many media are sent at once, in all and of one owner."""

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._taken: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        return self._taken.total()

    def take(self, owner: str) -> Callable[[], None]:
        """A place for media of that owner; call the result to give it back. Raises Problem: 429 or 503."""
        if self._taken[owner] >= self._most_of_one:
            raise Problem(429, "too_many_requests", "too many media of this owner are being sent", AGAIN)
        if self._taken.total() >= self._most:
            raise Problem(503, "too_many_requests", "too many media are being sent", AGAIN)
        self._taken[owner] += 1

        def give_back() -> None:
            self._taken[owner] -= 1
            if not self._taken[owner]:
                del self._taken[owner]

        return give_back


AGAIN = {"Retry-After": "1"}

AT_ONCE = 128 << 10
"""Bytes of a body that is read to its end before any of it is sent: that takes one write, and nobody has to
watch meanwhile whether the client is still there.
"""


class Ended(Protocol):
    """Is told how many bytes were sent, and whether these were all."""

    def __call__(self, size: int, *, whole: bool) -> None: ...


class Sent(Response):
    """The answer that sends a body. Whatever becomes of it, the body is closed and `ended` called."""

    def __init__(self, status: int, headers: Mapping[str, str], body: Body, ended: Ended) -> None:
        super().__init__(status_code=status, headers=dict(headers))
        self.headers["Content-Length"] = str(body.medium.size)
        self._opened = body
        self._ended = ended
        self._sent = 0

    def drop(self) -> None:
        """Let the body go unsent; `ended` is not called."""
        self._opened.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises what sending and reading raise: the server then cuts the connection, so that the client sees
        that something is missing. Of a body that is sent at once, nothing is sent then but a problem.
        """
        try:
            if self._opened.medium.size <= AT_ONCE:
                await self._send_at_once(scope, receive, send)
            else:
                await self._send_while_there(receive, send)
        finally:
            self._opened.close()
            self._ended(self._sent, whole=self._sent == self._opened.medium.size)

    async def _send_at_once(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = b"".join([chunk async for chunk in self._opened.chunks()])
        except StoreUnavailable as error:
            await problems.of(error).answer()(scope, receive, send)
            return
        await self._begin(send)
        await send({"type": "http.response.body", "body": body, "more_body": False})
        self._sent = len(body)

    async def _send_while_there(self, receive: Receive, send: Send) -> None:
        async with anyio.create_task_group() as group:

            async def until_gone() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                group.cancel_scope.cancel()

            group.start_soon(until_gone)
            await self._send(send)
            group.cancel_scope.cancel()

    async def _begin(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})

    async def _send(self, send: Send) -> None:
        await self._begin(send)
        async for chunk in self._opened.chunks():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            self._sent += len(chunk)
            del chunk  # not to be held while the client takes its time
            # A store that is faster than the client would never let a cancellation in: once nobody listens,
            # `send` no longer waits, and the whole object would be read for nobody.
            await checkpoint()
            # Waits until the client has taken it: only then is more read.
            await send({"type": "http.response.body", "body": b"", "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
