"""What is costly to look at: looked at by one at a time, and kept for a while for all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import anyio

T = TypeVar("T")

PATIENT = 10
"""A look that took so long is kept for this many times as long: looking takes a tenth of the time at most."""


class Kept(Generic[T]):
    """The last look, which is good for `seconds` or for `PATIENT` times what it took."""

    def __init__(
        self, look: Callable[[], Awaitable[T]], seconds: float, monotonic: Callable[[], float]
    ) -> None:
        self._look = look
        self._seconds = seconds
        self._monotonic = monotonic
        self._alone = anyio.Lock()
        self._until = 0.0
        self._forgotten = 0
        self.last: T | None = None

    def forget(self) -> None:
        """The next look is a new one; what one that is under way finds is not kept."""
        self._until = 0.0
        self._forgotten += 1

    @property
    def fresh(self) -> bool:
        return self.last is not None and self._monotonic() < self._until

    async def now(self) -> T:
        """Raises what the look raises."""
        async with self._alone:
            if self.last is None or not self.fresh:
                begun, forgotten = self._monotonic(), self._forgotten
                self.last = await self._look()
                ended = self._monotonic()
                if forgotten == self._forgotten:
                    self._until = ended + max(self._seconds, PATIENT * (ended - begun))
            return self.last

    async def within(self, seconds: float) -> T | None:
        """The same, but the last one, or None, where it takes longer."""
        with anyio.move_on_after(seconds):
            return await self.now()
        return self.last
