"""How fast: a token bucket of keys a second, and the wait after a failure. Time is passed in."""

from __future__ import annotations

import math

MAX_BATCH = 1000
"""S3's limit for one DeleteObjects call."""

_MAX_DOUBLINGS = 60


def batch_size(rate: float) -> int:
    """Keys for one call at `rate` keys a second (`math.inf`: unlimited): at most one second's worth."""
    return int(min(MAX_BATCH, max(1, rate)))


class TokenBucket:
    """A schedule of keys a second; `rate` may be `math.inf`, `capacity` is what an idle time saves up.

    Starts empty: by any time `t` after the first call at most `rate * t` keys have gone, and in any
    second after an idle time at most `capacity` more. State is one instant, so that a changed rate
    neither forgives nor multiplies what was promised before.
    """

    def __init__(self, rate: float, capacity: float | None = None) -> None:
        self._paid_until: float | None = None
        self.change(rate, capacity)

    def change(self, rate: float, capacity: float | None = None) -> None:
        """From the next call on; `capacity` is one batch of that rate unless said otherwise."""
        self.rate = rate
        self.capacity = batch_size(rate) if capacity is None else capacity

    def reserve(self, now: float, n: int) -> float:
        """Take `n` tokens and return the seconds to wait before they may be used."""
        if math.isinf(self.rate):
            self._paid_until = now
            return 0.0
        paid_until = now if self._paid_until is None else self._paid_until
        self._paid_until = max(paid_until, now - self.capacity / self.rate) + n / self.rate
        return max(0.0, self._paid_until - now)


def backoff(attempt: int, base: float, cap: float, random: float) -> float:
    """Seconds to wait after failure number `attempt` (the first is 1): full jitter, capped.

    `random` is drawn by the caller from [0, 1).
    """
    return random * min(cap, base * 2.0 ** min(attempt - 1, _MAX_DOUBLINGS))
