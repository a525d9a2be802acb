"""Health for the probes: whether every loop still moves, and whether the daemon is ready."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from reconciler.model import Mode, Verdict
from reconciler.telemetry.observers import NullObserver

CONFIGURATION = "configuration valid"
SCHEMA = "schema at head"
FIRST_CONTACT = "first contact made"
TAKING = "taking requests"
"""Conditions of readiness. A standby meets all of them, like the leader; `TAKING` is
the media service's, which ends what it has begun before it stops."""

ALWAYS: Mapping[str, timedelta] = {"leadership": timedelta(minutes=2)}
"""Loops of every replica and their allowed silence. Leadership stamps every 5 s, and one statement to an
unresponsive database ends well within two minutes."""

WHILE_LEADING: Mapping[str, timedelta] = {
    "sweep": timedelta(minutes=30),
    "retention": timedelta(minutes=30),
    "departures": timedelta(minutes=30),
    "keys": timedelta(minutes=30),
    "jobs": timedelta(minutes=30),
    "collector": timedelta(minutes=15),
}
"""Loops of the leader. They stamp with every page and batch, and every few seconds while idle. The join of
an unordered listing is one statement, which may take many minutes without a stamp."""


PAUSE, PAUSE_SILENCE = "pause", timedelta(minutes=1)
"""The watch on the pause switch, from the first connection on. One look at it takes seconds at most."""


@dataclass(slots=True)
class _Loop:
    silence: timedelta
    stamped: float


class Health(NullObserver):
    """The loops' progress stamps and the conditions of readiness. Listens as `ports.Observer`.

    Liveness never depends on whether S3 or Postgres can be reached: a loop that backs off stamps too.
    `monotonic` returns seconds.
    """

    def __init__(
        self,
        *,
        conditions: Sequence[str] = (CONFIGURATION, SCHEMA, FIRST_CONTACT),
        always: Mapping[str, timedelta] = ALWAYS,
        while_leading: Mapping[str, timedelta] = WHILE_LEADING,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._unmet = list(conditions)
        self._while_leading = while_leading
        self._loops: dict[str, _Loop] = {}
        for loop, silence in always.items():
            self.watch(loop, silence)

    def watch(self, loop: str, silence: timedelta) -> None:
        """From now on, the loop must stamp at least once in every `silence`."""
        self._loops[loop] = _Loop(silence, self._monotonic())

    def unwatch(self, loop: str) -> None:
        """Stop watching a loop that has ended as it should."""
        self._loops.pop(loop, None)

    @contextmanager
    def watching(self, loop: str, silence: timedelta) -> Iterator[None]:
        """Watch the loop for as long as the context lasts."""
        self.watch(loop, silence)
        try:
            yield
        finally:
            self.unwatch(loop)

    def alive(self, loop: str) -> None:
        """Record the loop's progress stamp. The stamp of an unwatched loop is dropped."""
        if watched := self._loops.get(loop):
            watched.stamped = self._monotonic()

    def page_listed(self, keys: int) -> None:  # noqa: ARG002 - any page is progress, an empty one too
        self.alive("sweep")

    def records_read(self, rows: int) -> None:  # noqa: ARG002 - as above; either kind reads rows
        self.alive("sweep")
        self.alive("retention")
        self.alive("departures")

    def deleted(self, mode: Mode, verdict: Verdict, result: str, keys: int, size: int) -> None:  # noqa: ARG002
        self.alive("collector")

    def leading(self, *, leader: bool) -> None:
        """Watch the leader's loops from the start of a term to its end."""
        for loop, silence in self._while_leading.items():
            if not leader:
                self.unwatch(loop)
            elif loop not in self._loops:
                self.watch(loop, silence)

    def meet(self, condition: str) -> None:
        """Record that a condition of readiness holds from now on."""
        if condition in self._unmet:
            self._unmet.remove(condition)

    def miss(self, condition: str) -> None:
        """Record that a condition of readiness does not hold, or no longer."""
        if condition not in self._unmet:
            self._unmet.append(condition)

    def stuck(self) -> Sequence[str]:
        """One line for each loop that has been silent for too long, by name."""
        now = self._monotonic()
        return [
            f"{name}: silent for {now - loop.stamped:.0f} s, allowed are {loop.silence.total_seconds():.0f} s"
            for name, loop in sorted(self._loops.items())
            if now - loop.stamped > loop.silence.total_seconds()
        ]

    def unmet(self) -> Sequence[str]:
        """The conditions of readiness that do not hold yet."""
        return tuple(self._unmet)
