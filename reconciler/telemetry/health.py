"""What the probes ask: whether every loop still moves, and whether the daemon may be relied on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

READY_CONDITIONS = ("configuration valid", "schema at head", "first contact made")
"""All of them are met once by a standby as well as by the leader."""


@dataclass(slots=True)
class _Loop:
    silence: timedelta
    stamped: float


class Health:
    """The loops' own progress stamps and the conditions of readiness.

    Liveness never depends on whether S3 or Postgres can be reached: a loop that backs off stamps too.
    `monotonic` counts seconds.
    """

    def __init__(
        self,
        conditions: Sequence[str] = READY_CONDITIONS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._loops: dict[str, _Loop] = {}
        self._unmet = list(conditions)

    def watch(self, loop: str, silence: timedelta) -> None:
        """From now on the loop has to stamp at least once in every `silence`."""
        self._loops[loop] = _Loop(silence, self._monotonic())

    def unwatch(self, loop: str) -> None:
        """The loop has ended as it should."""
        self._loops.pop(loop, None)

    def alive(self, loop: str) -> None:
        """The loop's progress stamp; that of a loop nobody watches is dropped."""
        if watched := self._loops.get(loop):
            watched.stamped = self._monotonic()

    def meet(self, condition: str) -> None:
        """A condition of readiness holds from now on."""
        if condition in self._unmet:
            self._unmet.remove(condition)

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
