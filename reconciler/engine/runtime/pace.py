"""How fast we write to the store: a batch waits for its share of the common budget."""

from collections.abc import Callable

from reconciler.engine.runtime.throttle import Throttle
from reconciler.planning.pacing import batch_size
from reconciler.ports import Budget, Clock

LOOK_SECONDS = 1.0
"""How often a wait checks whether the rate was raised."""


class Pace:
    """Keys a second, over all replicas and over everything that deletes, copies or aborts.

    It is the set rate, or less while the store throttles. `set_now` gives the rate set at the moment.
    """

    def __init__(
        self, budget: Budget, clock: Clock, throttle: Throttle, set_now: Callable[[], float]
    ) -> None:
        self._budget = budget
        self._clock = clock
        self._throttle = throttle
        self._set_now = set_now

    def batch_size(self, rate: float) -> int:
        """The most keys to take at once, at a set rate of keys a second (infinite for unlimited)."""
        return batch_size(self._throttle.rate(rate))

    async def take(self, keys: int, rate: float) -> None:
        """Wait until `keys` keys, at most a batch, may be sent at the set rate.

        Below one key a second the wait may be long: a rate raised meanwhile applies at once, and a lower one
        from the next batch on.
        """
        if not keys:
            return
        allowed = self._throttle.rate(rate)
        wait = await self._budget.reserve(keys, allowed, batch_size(allowed))
        while wait > LOOK_SECONDS:
            await self._clock.sleep(LOOK_SECONDS)
            wait -= LOOK_SECONDS
            if (raised := self._set_now()) > rate:
                owed = min(wait * allowed, keys)
                await self._budget.reserve(-owed, allowed, 0)
                rate, allowed = raised, self._throttle.rate(raised)
                wait = await self._budget.reserve(owed, allowed, batch_size(allowed))
        await self._clock.sleep(wait)
        self._throttle.taken(keys)
