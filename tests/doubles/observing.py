"""The world outside bucket and catalog: time that tests move, crashes that tests place, an observer."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, ParamSpec, TypeAlias, TypeVar

import anyio
import anyio.lowlevel

from reconciler.model import Mode, Outcome, PassKind, Phase, Tally, Verdict
from reconciler.ports import Observer

P = ParamSpec("P")
R = TypeVar("R")
Act: TypeAlias = Callable[[], Awaitable[None] | None]
"""What happens before a call: at once, or while the program that calls stands still."""

IDLE = 20
"""Turns of the event loop without a call on any port, after which all are taken to be asleep."""

EPOCH = datetime(2026, 6, 1, 12, tzinfo=UTC)


class Crash(BaseException):
    """The program dies here."""


class Surroundings:
    """One clock for server and program, and a count of the calls on every port.

    `sleep` takes no time of ours: it moves the clock. `at` places an act before the call of that
    number, counted from 0 at `restart`: a writer's commit in the middle of a pass, or a crash.
    """

    def __init__(self) -> None:
        self.elapsed = timedelta(0)
        self.calls = 0
        self.machine_ahead = timedelta(0)
        self.within = ""
        self._acts: dict[int, Act] = {}
        self._points: dict[str, Act] = {}
        self._sleepers: list[tuple[timedelta, anyio.Event]] | None = None

    @property
    def now(self) -> datetime:
        return EPOCH + self.elapsed

    def tick(self, duration: timedelta) -> None:
        self.elapsed += duration

    def restart(self) -> None:
        """A new program: nothing is placed, and calls count from 0."""
        self.calls = 0
        self._acts.clear()
        self._points.clear()

    def at(self, call: int, act: Act) -> None:
        self._acts[call] = act

    def at_point(self, point: str, act: Act) -> None:
        """Once: before a double's method, "MemoryBucket.delete", or "after MemoryBucket.delete"."""
        self._points[point] = act

    async def step(self, within: str = "-") -> None:
        """A point where the program can be interrupted, `within` a double's method or after it."""
        await anyio.lowlevel.checkpoint()
        act = self._acts.pop(self.calls, None) or self._points.pop(within, None)
        self.calls += 1
        self.within = within
        if act is not None:
            takes_time = act()
            if takes_time is not None:
                await takes_time

    def wall_clock(self) -> datetime:
        """The program's machine, whose clock may be wrong."""
        return self.now + self.machine_ahead

    def monotonic(self) -> float:
        return self.elapsed.total_seconds()

    async def sleep(self, seconds: float) -> None:
        # A fraction of a microsecond would round to no time at all, and who waits for the rest would spin.
        least = timedelta.resolution if seconds else timedelta(0)
        end = self.elapsed + max(timedelta(seconds=seconds), least)
        if self._sleepers is None:
            await anyio.lowlevel.checkpoint()
            self.elapsed = max(self.elapsed, end)
            return
        sleeper = (end, anyio.Event())
        self._sleepers.append(sleeper)
        try:
            await sleeper[1].wait()
        finally:
            self._sleepers.remove(sleeper)

    @asynccontextmanager
    async def only_idle_time_passes(self) -> AsyncIterator[None]:
        """For a program of many tasks: the clock moves to the next end of a sleep once nothing happens."""
        self._sleepers = []

        async def move_on() -> None:
            while True:
                calls = self.calls
                for _ in range(IDLE):
                    await anyio.lowlevel.checkpoint()
                if self.calls == calls and self._sleepers:
                    end, woken = min(self._sleepers, key=lambda sleeper: sleeper[0])
                    self.elapsed = max(self.elapsed, end)
                    woken.set()

        async with anyio.create_task_group() as group:
            group.start_soon(move_on)
            yield
            group.cancel_scope.cancel()
        self._sleepers = None


def crash() -> None:
    """For `Surroundings.at`."""
    raise Crash


def port(method: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, Coroutine[Any, Any, R]]:
    """A port's method, interruptible before it takes effect and after."""

    @functools.wraps(method)
    async def interruptible(*args: P.args, **kwargs: P.kwargs) -> R:
        around: Surroundings = args[0].around  # type: ignore[attr-defined]  # every double has it
        await around.step(method.__qualname__)
        result = await method(*args, **kwargs)
        await around.step(f"after {method.__qualname__}")
        return result

    return interruptible


class RecordingObserver(Observer):
    """Remembers what the engine told it."""

    def __init__(self) -> None:
        self.told: Counter[str] = Counter()
        self.results: Counter[tuple[Mode, Verdict, str]] = Counter()
        self.sizes: Counter[tuple[Mode, Verdict]] = Counter()
        self.outcomes: list[tuple[PassKind, Outcome]] = []
        self.halts: list[str | None] = []
        self.leader: list[bool] = []
        self.pauses: list[bool] = []
        self.ahead: Mapping[str, float] = {}
        self.blockers: list[str | None] = []
        self.phases: list[tuple[PassKind, Phase | None]] = []
        self.epochs: list[int] = []
        self.renewals: Counter[str] = Counter()
        self.rows_refused = (0, 0)

    def page_listed(self, keys: int) -> None:
        self.told["pages"] += 1
        self.told["keys"] += keys

    def records_read(self, rows: int) -> None:
        self.told["rows"] += rows

    def pass_started(self, kind: PassKind) -> None:
        self.told[f"{kind} started"] += 1

    def pass_finished(self, kind: PassKind, outcome: Outcome, seconds: float, tally: Tally) -> None:
        self.outcomes.append((kind, outcome))

    def phase(self, kind: PassKind, phase: Phase | None) -> None:
        self.phases.append((kind, phase))

    def elected(self, epoch: int) -> None:
        self.epochs.append(epoch)

    def renewed(self, outcome: str) -> None:
        self.renewals[outcome] += 1

    def deleted(self, mode: Mode, verdict: Verdict, result: str, keys: int, size: int) -> None:
        self.results[mode, verdict, result] += keys
        self.sizes[mode, verdict] += size

    def refused(self, kept: int, gone: int) -> None:
        self.rows_refused = (kept, gone)

    def drift(self, by_verdict: Mapping[Verdict, tuple[int, int, Any]], waiting: int) -> None:
        self.told["drift"] += 1

    def hidden(self, objects: int, size: int) -> None:
        self.told["hidden"] = objects

    def purged(self, objects: int, size: int) -> None:
        self.told["purged"] += objects

    def alive(self, loop: str) -> None:
        self.told[f"{loop} alive"] += 1

    def halted(self, reason: str | None) -> None:
        self.halts.append(reason)

    def leading(self, *, leader: bool) -> None:
        self.leader.append(leader)

    def paused(self, *, paused: bool, since: datetime | None) -> None:
        self.pauses.append(paused)

    def clocks(self, ahead: Mapping[str, float]) -> None:
        self.ahead = dict(ahead)

    def blocked(self, by: str | None) -> None:
        self.blockers.append(by)
