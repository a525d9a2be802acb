"""How fast we write to the store: the share of the common budget that one batch has to wait for."""

from __future__ import annotations

from reconciler.engine.throttle import Throttle
from reconciler.planning.pacing import batch_size
from reconciler.ports import Budget, Clock


class Pace:
    """Keys a second, over all replicas and over everything that deletes, copies or aborts.

    The set rate, or less while the store throttles.
    """

    def __init__(self, budget: Budget, clock: Clock, throttle: Throttle) -> None:
        self._budget = budget
        self._clock = clock
        self._throttle = throttle

    def batch_size(self, rate: float) -> int:
        """The most keys to take at once, at a set rate of keys a second (infinite for unlimited)."""
        return batch_size(self._throttle.rate(rate))

    async def take(self, keys: int, rate: float) -> None:
        """Wait until `keys` keys, a batch at most, may go at the set rate."""
        if keys:
            allowed = self._throttle.rate(rate)
            wait = await self._budget.reserve(keys, allowed, batch_size(allowed))
            await self._clock.sleep(wait)
            self._throttle.taken(keys)
