"""Compare three clocks: which one is off, and by how much at least, however long reading it took."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import combinations

from reconciler.planning import formatting

POD, DATABASE, STORE = "this machine", "the database", "the store"

WARN_APART = timedelta(seconds=30)
"""From this difference on, ages and logs mislead."""

HALT_APART = timedelta(minutes=5)
"""From this difference on, no age can be trusted; S3 itself refuses signatures from 15 minutes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """How far a clock is ahead of this machine's: at least `low`, at most `high`; negative if behind."""

    low: timedelta = timedelta(0)
    high: timedelta = timedelta(0)

    @property
    def seconds(self) -> float:
        """The middle of what is possible."""
        return (self.low + self.high).total_seconds() / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """The result of a comparison: the clocks' places, the largest certain difference, and it in words."""

    ahead: Mapping[str, Ahead] = field(default_factory=dict)
    apart: timedelta = timedelta(0)
    line: str = ""

    @property
    def warns(self) -> bool:
        return self.apart > WARN_APART

    @property
    def halts(self) -> bool:
        return self.apart > HALT_APART


def read(before: datetime, time: datetime, after: datetime, resolution: timedelta = timedelta(0)) -> Ahead:
    """A clock that showed `time`, cut off to `resolution`, at some moment between two of this machine's."""
    return Ahead(low=time - after, high=time + resolution - before)


def compare(database: Ahead, store: Ahead | None) -> Compared:
    """Compare the clocks of this machine, the database and, if it gives the time, the store."""
    others = {DATABASE: database} if store is None else {DATABASE: database, STORE: store}
    ahead = {POD: Ahead(), **others}
    first, second = max(combinations(ahead, 2), key=lambda pair: abs(_apart(ahead, *pair)))
    apart = abs(_apart(ahead, first, second))
    line = _line(ahead, first, second) if apart > WARN_APART else ""
    return Compared(ahead=others, apart=apart, line=line)


def _apart(ahead: Mapping[str, Ahead], one: str, other: str) -> timedelta:
    """How far `one` is ahead of `other` for certain; negative if behind, zero if they may agree."""
    if ahead[one].low > ahead[other].high:
        return ahead[one].low - ahead[other].high
    return min(timedelta(0), ahead[one].high - ahead[other].low)


def _line(ahead: Mapping[str, Ahead], first: str, second: str) -> str:
    """Names the clock that the two others contradict, if those agree with each other; else both clocks."""
    for odd, one, other in ((first, second, _third(ahead, first, second)), (second, first, None)):
        third = other or _third(ahead, first, second)
        if third is not None and abs(_apart(ahead, one, third)) <= WARN_APART:
            return f"the clock of {odd} is {_way(_apart(ahead, odd, one))} those of {one} and {third}"
    return f"the clock of {first} is {_way(_apart(ahead, first, second))} that of {second}"


def _third(ahead: Mapping[str, Ahead], first: str, second: str) -> str | None:
    return next((name for name in ahead if name not in {first, second}), None)


def _way(apart: timedelta) -> str:
    return f"{formatting.age(abs(apart))} {'ahead of' if apart > timedelta(0) else 'behind'}"
