"""Slow down when the store throttles: fewer keys a second, fewer requests at once.

Listing and deleting have a throttle each, as they have connections each, so that neither starves the
other.
"""

import math
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import structlog

from reconciler.model import Copied, CopyRequest, ObjectPage
from reconciler.planning import aimd
from reconciler.ports import PAGE_SIZE, Clock, Copies, Listing

log = structlog.get_logger(__name__)

THROTTLED = "throttled"
"""The outcome of a request that the store refused as one too many."""

LISTINGS = frozenset({"ListObjectsV2", "ListObjectVersions", "ListMultipartUploads"})
"""Operations that use the listing's connections, or that cost a store as much."""

COPIES = frozenset({"CopyObject", "UploadPartCopy"})

WINDOW = 5.0
"""Seconds over which the keys in use are counted: longer than a batch takes."""


class Throttle:
    """The current limits of one kind of request: keys a second, and requests in flight."""

    def __init__(self, kind: str, in_flight: int, clock: Clock) -> None:
        self._kind = kind
        self._clock = clock
        self._rate = aimd.start(math.inf)
        self._in_flight = aimd.start(in_flight)
        self._slots = anyio.CapacityLimiter(in_flight)
        self._taken: deque[tuple[float, int]] = deque()

    def rate(self, wanted: float) -> float:
        """Keys a second that may be sent, if `wanted` (infinite for unlimited) is set."""
        return min(wanted, self._rate.value(self._clock.monotonic()))

    @property
    def in_flight(self) -> int:
        """Requests that may be under way at once."""
        return int(self._in_flight.value(self._clock.monotonic()))

    @property
    def under_way(self) -> int:
        """Requests that are under way."""
        return self._slots.borrowed_tokens

    def taken(self, keys: int) -> None:
        """Note keys that are sent now: how much the store could take, or could not."""
        self._taken.append((self._clock.monotonic(), keys))
        self._forget()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold one request's slot; waits while as many are under way as may be."""
        self._slots.total_tokens = self.in_flight
        async with self._slots:
            yield

    def request_ended(self, outcome: str, seconds: float) -> None:
        """Note one attempt: its outcome as the bucket's adapter names it, and how long it took."""
        if outcome != THROTTLED:
            return
        now = self._clock.monotonic()
        self._forget()
        before = self._in_flight
        began = now - seconds
        self._rate = self._rate.throttled(now, began, self._keys_a_second(now))
        self._in_flight = before.throttled(now, began, in_use=self.under_way)
        if self._in_flight is not before:
            self._slots.total_tokens = self.in_flight
            log.warning(
                "the store throttles: slowing down",
                requests=self._kind,
                in_flight=self.in_flight,
                keys_a_second=round(self.rate(math.inf), 1),
            )

    def _keys_a_second(self, now: float) -> float:
        if not self._taken:
            return 0.0
        return sum(keys for _, keys in self._taken) / max(1.0, now - self._taken[0][0])

    def _forget(self) -> None:
        now = self._clock.monotonic()
        while self._taken and self._taken[0][0] < now - WINDOW:
            self._taken.popleft()


class Throttles:
    """One throttle for listing, one for copies, one for all else; the bucket's adapter reports attempts."""

    def __init__(self, *, listing: int, deleting: int, copying: int, clock: Clock) -> None:
        self.listing = Throttle("listing", listing, clock)
        self.deleting = Throttle("deleting", deleting, clock)
        self.copying = Throttle("copying", copying, clock)

    def request_ended(self, operation: str, outcome: str, seconds: float) -> None:
        """Note one attempt of an operation, by its name in S3."""
        throttle = self.listing if operation in LISTINGS else self.deleting
        throttle.request_ended(outcome, seconds)
        if operation in COPIES:
            self.copying.request_ended(outcome, seconds)


class ThrottledListing:
    """`ports.Listing` with as many pages at once as the store can take."""

    def __init__(self, listing: Listing, throttle: Throttle) -> None:
        self._listing = listing
        self._throttle = throttle

    async def list_page(
        self, prefix: str, *, start_after: str = "", token: str | None = None, page_size: int = PAGE_SIZE
    ) -> ObjectPage:
        async with self._throttle.slot():
            return await self._listing.list_page(
                prefix, start_after=start_after, token=token, page_size=page_size
            )


class ThrottledCopies:
    """`ports.Copies` with as many at once as the store can take."""

    def __init__(self, copies: Copies, throttle: Throttle) -> None:
        self._copies = copies
        self._throttle = throttle

    async def copy(self, wanted: CopyRequest) -> Copied:
        async with self._throttle.slot():
            return await self._copies.copy(wanted)
