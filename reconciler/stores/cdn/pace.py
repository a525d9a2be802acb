"""A token bucket, for the limits that a provider has published."""

from dataclasses import dataclass

from reconciler.ports import Clock


@dataclass(frozen=True, slots=True)
class Limit:
    """So many a second, and so many at once after a rest."""

    rate: float
    burst: float


class Pace:
    """Lets so many through. Another replica's requests are not counted; the provider's 429 covers those."""

    def __init__(self, limit: Limit, clock: Clock) -> None:
        self._limit = limit
        self._clock = clock
        self._paid_until = clock.monotonic() - limit.burst / limit.rate

    async def take(self, number: int) -> None:
        """Wait until so many may be sent. More than the burst wait until they are paid for."""
        limit, now = self._limit, self._clock.monotonic()
        self._paid_until = max(self._paid_until, now - limit.burst / limit.rate) + number / limit.rate
        if (wait := self._paid_until - now) > 0:
            await self._clock.sleep(wait)
