"""A request's body on its way to the store: hashed, measured, and a piece of it in memory at a time."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable

import anyio
from starlette.requests import Request

from reconciler.media.problems import Problem
from reconciler.planning.formatting import counted

IDLE_SECONDS = 60.0
"""How long a client may send nothing."""

CLOSE = {"Connection": "close"}
"""With every refusal of a body that was not read to its end."""


class Received:
    """Reads a body in pieces of `size` bytes but for the last. Each piece is let go before the next is read.

    `largest` bytes may come. `alive` is awaited as they come, whatever it does then.
    """

    def __init__(
        self, request: Request, size: int, largest: int, alive: Callable[[], Awaitable[None]]
    ) -> None:
        self._chunks = request.stream()
        self._size = size
        self._largest = largest
        self._alive = alive
        self._left = b""
        self._hash = hashlib.sha256()
        self.received = 0
        self.ended = False

    @property
    def sha256(self) -> str:
        """Of all that was received, in hexadecimal digits."""
        return self._hash.hexdigest()

    async def piece(self) -> bytes:
        """The next piece; shorter than `size`, or empty, at the end. Raises Problem: 408, 413.

        Raises ClientDisconnect where the client has gone.
        """
        parts, length = [self._left], len(self._left)
        self._left = b""
        while length < self._size and not self.ended:
            chunk = await self._chunk()
            await self._alive()
            parts.append(chunk)
            length += len(chunk)
        whole = b"".join(parts)
        parts.clear()
        if length <= self._size:
            return whole
        self._left = whole[self._size :]
        return whole[: self._size]

    async def rest(self) -> AsyncIterator[bytes]:
        """The pieces that are still to come."""
        while not self.ended or self._left:
            piece = await self.piece()
            if piece:
                yield piece

    async def read_on(self) -> None:
        """Read to the end, for the hash alone."""
        while not self.ended:
            await self.piece()

    async def _chunk(self) -> bytes:
        try:
            with anyio.fail_after(IDLE_SECONDS):
                chunk = await anext(self._chunks, None)
        except TimeoutError:
            raise Problem(408, "too_slow", f"nothing came for {IDLE_SECONDS:g} s", CLOSE) from None
        if not chunk:
            self.ended = chunk is None
            return b""
        self.received += len(chunk)
        if self.received > self._largest:
            raise too_large(self._largest)
        self._hash.update(chunk)
        return chunk


def too_large(largest: int) -> Problem:
    return Problem(
        413, "too_large", f"media of this type may have {counted(largest, 'byte')}", CLOSE, {"limit": largest}
    )
