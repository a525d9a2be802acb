"""How much a store is asked for at once: less by half when it throttles, more by and by when it does not.

Additive increase, multiplicative decrease. Time is passed in, in seconds of any monotonic clock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

HALF = 0.5

COOLDOWN = 0.5
"""Seconds after a decrease in which requests that begin say nothing new: those before them wait as well."""

RECOVERY = 10.0
"""Seconds in which one halving is grown back."""

LONGEST_RECOVERY = 300.0
"""Seconds from nothing to the whole: what many halvings took must not take hours to come back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aimd:
    """A limit that follows what the store bears, between `floor` and `ceiling` (`math.inf`: none).

    It was `base` at the time `since` and grows by `step` a second; from `whole` on the ceiling is in
    force again.
    """

    ceiling: float
    floor: float
    base: float
    since: float
    step: float
    whole: float

    def value(self, now: float) -> float:
        """The limit in force."""
        if self.base >= self.whole:
            return self.ceiling
        grown = self.base + self.step * max(0.0, now - self.since)
        return self.ceiling if grown >= self.whole else grown

    def throttled(self, now: float, began: float, in_use: float) -> Aimd:
        """After a request that began at `began` was refused as one too many.

        Requests sent before the last decrease took hold do not count again. Where there was no limit,
        half of what was `in_use` is one from now on; with nothing in use there is nothing to halve.
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
