"""Supervised loops: they rest, wake, stamp their progress, and back off after errors."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio
import structlog
from structlog.contextvars import bound_contextvars

from reconciler.engine.runtime.tasks import ended_by
from reconciler.errors import ConfigError, Halt, LeaseLost, PassEnded, ReconcilerError, Retryable
from reconciler.planning import pacing
from reconciler.ports import Clock, Observer

log = structlog.get_logger(__name__)

STAMP_SECONDS = 5.0
"""How often a sleeping loop stamps its progress, so that a long sleep does not look like a dead loop."""

BACKOFF_BASE = 1.0
BACKOFF_CAP = 300.0


class WakeEvent:
    """Wakes a waiting task; a ring while no task waits is remembered once."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def ring(self) -> None:
        self._event.set()

    def rung(self) -> bool:
        """Whether it was rung since a task waited last."""
        return self._event.is_set()

    async def wait(self) -> None:
        await self._event.wait()
        self._event = anyio.Event()


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """One supervised loop: what it runs, how long it rests, and what may wake it earlier.

    `first_after` is in seconds, awaited once, so that a restart does not repeat a fresh pass.
    """

    name: str
    act: Callable[[], Awaitable[None]]
    seconds: float
    first_after: Callable[[], Awaitable[float]]
    bell: WakeEvent | None = None


class Supervisor:
    """Runs loops until `stopping` is set."""

    def __init__(self, observer: Observer, clock: Clock, stopping: anyio.Event) -> None:
        self._observer = observer
        self._clock = clock
        self._stopping = stopping

    async def supervise(self, loop: Loop) -> None:
        """Run a loop until the daemon stops. Errors back off; a halt or a lost lease ends the term."""
        with bound_contextvars(loop=loop.name):
            await self._repeat(loop)

    async def _repeat(self, loop: Loop) -> None:
        failures = 0
        await self.rest(loop.name, await self._first_rest(loop), loop.bell)
        while not self._stopping.is_set():
            self._observer.alive(loop.name)
            try:
                await loop.act()
            except (Halt, LeaseLost, ConfigError):
                raise
            except PassEnded as ended:
                log.info("pass superseded, beginning anew", reason=str(ended))
                await self.rest(loop.name, backoff(1))
            except ReconcilerError as error:
                failures += 1
                log.warning("loop failed", reason=str(error), failures=failures)
                await self.rest(loop.name, backoff(failures))
            except Exception:
                failures += 1
                log.exception("loop failed on a fault of the program", failures=failures)
                await self.rest(loop.name, backoff(failures))
            else:
                failures = 0
                await self.rest(loop.name, loop.seconds * random.uniform(0.9, 1.1), loop.bell)

    async def _first_rest(self, loop: Loop) -> float:
        try:
            return await loop.first_after()
        except LeaseLost:
            raise
        except Retryable as error:
            log.warning("last pass unknown, starting one", reason=str(error))
            return 0.0

    async def rest(self, name: str, seconds: float, bell: WakeEvent | None = None) -> None:
        """Sleep, stamping progress; a bell or the stop signal ends it."""
        self._observer.resting(name, seconds)
        clock = self._clock
        end = clock.monotonic() + seconds
        async with ended_by(self._stopping), ended_by(bell or WakeEvent()):
            while (left := end - clock.monotonic()) > 0:
                self._observer.alive(name)
                await clock.sleep(min(left, STAMP_SECONDS))


def backoff(failures: int) -> float:
    return pacing.backoff(failures, BACKOFF_BASE, BACKOFF_CAP, random.random())
