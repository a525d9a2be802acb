"""The daemon: take the lease, run the supervised loops while it lasts, and hand it over cleanly."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial

import anyio
import structlog
from structlog.contextvars import bound_contextvars

from reconciler.engine.cycle import Cycle
from reconciler.engine.detect.hints import HintedLooks
from reconciler.engine.detect.passes import PassResult
from reconciler.engine.lead import lease
from reconciler.engine.runtime.context import Limits, Ports
from reconciler.engine.runtime.loops import STAMP_SECONDS, Loop, Supervisor, WakeEvent, backoff
from reconciler.engine.runtime.tasks import ended_by, task_group
from reconciler.errors import Halt, LeaseLost, ReconcilerError, Retryable
from reconciler.model import HeldBy, PassKind, Term
from reconciler.planning.formatting import counted

log = structlog.get_logger(__name__)

DEPARTURE_SECONDS = 4.0
"""Seconds between two looks for records that have left; they are announced as well, where that works."""

JOBS_SECONDS = 1.0
"""Seconds between two looks for passes that somebody asked for."""

KEYS_SECONDS = 5.0
"""Seconds between two looks for virtual keys that have been disabled, or have expired, for long enough."""

EVENTS_SECONDS = 1.0
"""Seconds between two readings of the queue of the store's events, each of which waits for a message."""

HINTS_SECONDS = 5.0
"""Seconds between two looks for hints that are due: what an event names is looked at within a minute."""

COLLECT_SECONDS = 10.0
"""Seconds between two rounds of the collector, unless a pass was released meanwhile."""

TELL_SECONDS = 2.0
"""Seconds between two looks for messages to send."""

HALT_SECONDS = 60.0
"""How often a halted daemon checks whether a person has acted."""

STANDBY_SECONDS = 1.0
"""How often a standby asks for the lease, so that it takes one that is handed over within two seconds."""

DRAIN_SECONDS = 20.0
"""How long the batch in hand may take after a signal; what it leaves unfinished rolls forward later."""


RELEASE_SECONDS = 5.0


class Daemon:
    """Leads when it can, stands by when it cannot, and idles when a person has to act."""

    def __init__(
        self,
        ports: Ports,
        limits: Limits,
        cycle: Cycle,
        stopping: anyio.Event,
        hinted: HintedLooks | None = None,
    ) -> None:
        self._hinted = hinted
        self._ports = ports
        self._limits = limits
        self._cycle = cycle
        self._stopping = stopping
        self._armed = WakeEvent()
        self._departed = WakeEvent()
        self._ended = WakeEvent()
        self._asked = WakeEvent()
        self._loops = Supervisor(ports.observer, ports.clock, stopping)
        self._holder = lease.holder_name()

    async def run(self) -> None:
        """Run until `stopping` is set. Raises ConfigError, and Halt if there is no pause switch to read."""
        async with task_group() as group:
            group.start_soon(self._ports.pause.watch)
            await self._lead_or_stand_by()
            group.cancel_scope.cancel()

    async def _lead_or_stand_by(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                await self._stand_for_election()
                failures = 0
            except Halt as halt:
                log.error("halted: a person has to act", reason=str(halt))
                self._ports.observer.halted(str(halt))
                await self._loops.rest("leadership", HALT_SECONDS)
            except LeaseLost as lost:
                log.warning("lease lost, standing by", reason=str(lost))
            except Retryable as error:
                failures += 1
                log.warning("not leading, trying again", reason=str(error), failures=failures)
                await self._loops.rest("leadership", backoff(failures))

    async def _stand_for_election(self) -> None:
        ttl = self._limits.lease_ttl
        self._ports.observer.alive("leadership")
        clock, tenure = self._ports.clock, self._cycle.tenure
        got = await lease.acquire(self._ports.lease, self._holder, ttl, clock, timedelta(0), tenure)
        if isinstance(got, HeldBy):
            self._ports.observer.leading(leader=False)
            # Whatever halted us, another replica leads now or is finding out; this one waits for no person.
            self._ports.observer.halted(None)
            log.debug("standing by", holder=got.holder)
            # At most until the lease ends: a dead leader is replaced within its TTL.
            pauses = (ttl.total_seconds() / 3, STANDBY_SECONDS, got.remaining.total_seconds())
            await self._loops.rest("leadership", min(pauses))
            return
        with bound_contextvars(epoch=got.epoch):
            log.info("leading", holder=self._holder)
            try:
                await self._lead(got)
            finally:
                self._ports.observer.leading(leader=False)
                with anyio.move_on_after(RELEASE_SECONDS, shield=True):
                    await lease.release(self._ports.lease, got)
                log.info("no longer leading")

    async def _lead(self, term: Term) -> None:
        """Run the loops while the lease is renewed. A signal ends passes at once and drains the collector."""
        async with task_group() as group:
            group.start_soon(self._keep, term)
            group.start_soon(self._stamp_leadership)
            async with ended_by(self._stopping):
                await self._cycle.first_contact(term)
                self._ports.observer.halted(None)
                self._ports.observer.elected(term.epoch)
                self._ports.observer.leading(leader=True)
            if not self._stopping.is_set():
                await self._work(term)
            group.cancel_scope.cancel()

    async def _keep(self, term: Term) -> None:
        """Renew the lease. Report its loss at once, although work under way may take a while to end."""
        try:
            await self._cycle.keep(term)
        except LeaseLost:
            self._ports.observer.leading(leader=False)
            raise

    async def _work(self, term: Term) -> None:
        async with task_group() as group:
            group.start_soon(self._cycle.watch)
            group.start_soon(self._ports.departures.listen, self._departed.ring)
            drained = anyio.Event()
            group.start_soon(self._collect_until_stopped, term, drained)
            async with task_group() as kinds:
                for loop in (*self._markers(term), *self._of_events()):
                    kinds.start_soon(self._loops.supervise, loop)
                await self._stopping.wait()
                kinds.cancel_scope.cancel()
            with anyio.move_on_after(DRAIN_SECONDS):
                await drained.wait()
            group.cancel_scope.cancel()

    def _markers(self, term: Term) -> tuple[Loop, ...]:
        async def sweep() -> None:
            await self._cycle.released(await self._answering(term, PassKind.SWEEP, self._cycle.sweep))
            self._armed.ring()

        async def retain() -> None:
            await self._cycle.released(await self._answering(term, PassKind.RETENTION, self._cycle.retention))
            self._armed.ring()

        async def look_for_jobs() -> None:
            wanted = await self._ports.jobs.wanted(self._of(term))
            if PassKind.SWEEP in wanted:
                self._asked.ring()
            if PassKind.RETENTION in wanted:
                self._ended.ring()

        async def depart() -> None:
            departed = await self._cycle.departures(term)
            if departed is not None:
                await self._cycle.released(departed)
                self._armed.ring()

        async def look_at_keys() -> None:
            if await self._cycle.keys_ended():
                self._ended.ring()

        limits = self._limits
        sweep_seconds = limits.sweep_interval.total_seconds()
        retain_seconds = limits.retention_interval.total_seconds()
        return (
            Loop(
                name="sweep",
                act=sweep,
                seconds=sweep_seconds,
                first_after=lambda: self._since_last(PassKind.SWEEP, sweep_seconds),
                bell=self._asked,
            ),
            Loop(
                name="retention",
                act=retain,
                seconds=retain_seconds,
                first_after=lambda: self._since_last(PassKind.RETENTION, retain_seconds),
                bell=self._ended,
            ),
            Loop(name="jobs", act=look_for_jobs, seconds=JOBS_SECONDS, first_after=at_once),
            Loop(name="keys", act=look_at_keys, seconds=KEYS_SECONDS, first_after=at_once),
            Loop(
                name="departures",
                act=depart,
                seconds=DEPARTURE_SECONDS,
                first_after=at_once,
                bell=self._departed,
            ),
            *(
                Loop(name=each.loop, act=partial(each.tell, term), seconds=TELL_SECONDS, first_after=at_once)
                for each in self._cycle.tellers
            ),
        )

    def _of_events(self) -> tuple[Loop, ...]:
        """Where the store tells of its objects by a queue."""
        hinted = self._hinted
        if hinted is None:
            return ()

        noted = WakeEvent()

        async def read() -> None:
            await hinted.read(noted.ring)

        async def look() -> None:
            if await hinted.look():
                self._armed.ring()

        return (
            Loop(name="events", act=read, seconds=EVENTS_SECONDS, first_after=at_once),
            Loop(name="hints", act=look, seconds=HINTS_SECONDS, first_after=at_once, bell=noted),
        )

    async def _answering(
        self, term: Term, kind: PassKind, run: Callable[[Term], Awaitable[PassResult]]
    ) -> PassResult:
        """Run a pass, which answers whoever asked for one of its kind before it began."""
        jobs, holder = self._ports.jobs, self._of(term)
        await jobs.begin(kind, holder)
        try:
            result = await run(term)
        except ReconcilerError as error:
            with suppress(Retryable):
                await jobs.failed(kind, holder, str(error))
            raise
        await jobs.answered(kind, holder, result.pass_id)
        return result

    def _of(self, term: Term) -> str:
        """What a term is called in jobs."""
        return f"{self._holder} in epoch {term.epoch}"

    async def _collect_until_stopped(self, term: Term, drained: anyio.Event) -> None:
        async def collect() -> None:
            collected = await self._cycle.collect(term, report_again=False, awaited=self._armed.rung)
            if collected.full:
                raise Halt(collected.full)
            if collected.unanswered:
                message = f"{counted(collected.removed.failed, 'key')} could not be deleted"
                raise Retryable(message)

        loop = Loop(
            name="collector", act=collect, seconds=COLLECT_SECONDS, first_after=at_once, bell=self._armed
        )
        await self._loops.supervise(loop)
        drained.set()

    async def _since_last(self, kind: PassKind, interval: float) -> float:
        """What is left of the interval since the last pass ended, no matter which replica ran it."""
        last = await self._ports.passes.last(kind)
        if last is None or last.finished_at is None:
            return 0.0
        elapsed = await self._ports.records.now() - last.finished_at
        return max(0.0, interval - elapsed.total_seconds())

    async def _stamp_leadership(self) -> None:
        while True:
            self._ports.observer.alive("leadership")
            await self._ports.clock.sleep(STAMP_SECONDS)


async def at_once() -> float:
    """For a loop that does not rest first."""
    return 0.0
