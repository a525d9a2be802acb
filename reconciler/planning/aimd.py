"""AIMD limit: halve it when the store throttles, grow it back linearly when it does not.

Additive increase, multiplicative decrease. Time is passed in, in seconds of any monotonic clock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

HALF = 0.5

COOLDOWN = 0.5
"""Seconds after a decrease in which new requests say nothing new: those before them still wait too."""

RECOVERY = 10.0
"""Seconds in which one halving is grown back."""

LONGEST_RECOVERY = 300.0
"""Seconds to grow from nothing to the whole: the loss of many halvings must not take hours to regain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aimd:
    """A limit that follows what the store can take, between `floor` and `ceiling` (`math.inf`: none).

    It was `base` at the time `since` and grows by `step` a second; from `whole` on, the ceiling is in
    force again.
    """

    ceiling: float
    floor: float
    base: float
    since: float
    step: float
    whole: float

    def value(self, now: float) -> float:
        """The current limit."""
        if self.base >= self.whole:
            return self.ceiling
        grown = self.base + self.step * max(0.0, now - self.since)
        return self.ceiling if grown >= self.whole else grown

    def throttled(self, now: float, began: float, in_use: float) -> Aimd:
        """The limit after a request that began at `began` was refused as one too many.

        Requests sent before the last decrease took effect do not count again. If there was no limit, half of
        what was `in_use` becomes the limit; with nothing in use there is nothing to halve.
        """
        value = self.value(now)
        before = value if math.isfinite(value) else in_use
        if began < self.since + COOLDOWN or before <= 0:
            return self
        whole = self.whole if math.isfinite(self.whole) else 2 * before
        step = max(before * HALF / RECOVERY, whole / LONGEST_RECOVERY)
        return replace(self, base=max(self.floor, before * HALF), since=now, step=step, whole=whole)


def start(ceiling: float, floor: float = 1.0) -> Aimd:
    """At the ceiling, since nothing speaks against it yet."""
    return Aimd(ceiling=ceiling, floor=floor, base=ceiling, since=-math.inf, step=0.0, whole=ceiling)
