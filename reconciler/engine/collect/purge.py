"""Purge: delete for good what was not brought back in time, under the same write guard, rate and cap."""

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import anyio
import structlog

from reconciler.engine.collect.freeing import LOOKS_AT_ONCE, Freeing
from reconciler.engine.runtime.broken_off import BrokenOff
from reconciler.engine.runtime.context import Ports, RuntimeSettings, SettingsInForce
from reconciler.engine.runtime.pace import Pace
from reconciler.engine.runtime.tasks import for_each, task_group
from reconciler.engine.runtime.write_guard import Refused, WriteGuard
from reconciler.errors import CatalogUnavailable, KeyRefused, Retryable, StoreUnavailable
from reconciler.model import HiddenObject, Mode, Term

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Purged:
    """What one round freed, and how many the store did not delete this time. `size` in bytes."""

    objects: int = 0
    size: int = 0
    failed: int = 0


@dataclass(slots=True)
class _Round:
    """How many more the workers of one round may purge, and what cut some of them off."""

    allowed: int
    awaited: Callable[[], bool]
    cut_off: list[Retryable] = field(default_factory=list)


class Purger:
    """Purges until nothing is left that may be purged, several batches at once.

    Claims are committed before any request is sent.
    """

    def __init__(
        self,
        ports: Ports,
        guard: WriteGuard,
        in_force: SettingsInForce,
        stopping: anyio.Event,
        longest_call: timedelta,
        settled: Callable[[int], Awaitable[bool]],
    ) -> None:
        """`settled` waits until every transaction open at an id has ended; False if one outlasts the wait."""
        self._ports = ports
        self._guard = guard
        self._in_force = in_force
        self._stopping = stopping
        self._longest_call = longest_call
        self._broken_off = BrokenOff(ports.clock, longest_call)
        self._settled = settled
        self._intake = anyio.Lock()
        self._freeing = Freeing(ports, guard, in_force)
        self._pace = Pace(ports.budget, ports.clock, ports.throttles.deleting, lambda: in_force().rate)

    async def run(self, term: Term, awaited: Callable[[], bool] = lambda: False) -> Purged:
        """Run one round, of one batch a worker at most where the next collection is `awaited`.

        Nothing is deleted in dry run or while paused. Raises LeaseLost, Halt, Retryable.
        """
        purged, settings = Purged(), self._in_force()
        if not (await self._ports.pause.look()).paused:
            if settings.mode is Mode.LIVE:
                if self._broken_off.ended:
                    await self._ports.purges.hand_back(term, self._longest_call)
                with self._broken_off.noticed():
                    await self._purge(term, purged, awaited)
            await self._ports.purges.forget(term, settings.undo_window, settings.ledger_retention)
            await self._ports.departures.forget(term, settings.ledger_retention)
        self._ports.observer.hidden(*await self._ports.purges.hidden())
        return purged

    async def _purge(self, term: Term, purged: Purged, awaited: Callable[[], bool]) -> None:
        this = _Round(allowed=await self._allowed(), awaited=awaited)
        async with task_group() as group:
            for _ in range(self._ports.throttles.deleting.in_flight):
                group.start_soon(self._work, term, this, purged)
        if this.cut_off:
            raise this.cut_off[0]

    async def _work(self, term: Term, this: _Round, purged: Purged) -> None:
        """Purge batch by batch. Where one is cut off, the others still record what they have purged."""
        try:
            while await self._one_batch(term, this, purged):
                pass
        except Refused as refusal:
            log.info("purge stopped", reason=str(refusal))
            this.allowed = 0
        except (StoreUnavailable, CatalogUnavailable) as error:
            this.cut_off.append(error)
            this.allowed = 0

    async def _one_batch(self, term: Term, this: _Round, purged: Purged) -> bool:
        """Claim and free one batch once the store has a slot free. Returns whether there may be another."""
        async with self._ports.throttles.deleting.slot():
            due = await self._take(term, this)
            if not due:
                return False
            gone = await self._freeing.free(term, due)
            await self._ports.purges.done(term, [each.id for each in gone])
        freed = sum(each.hidden.size for each in gone)
        purged.objects += len(gone)
        purged.size += freed
        purged.failed += len(due) - len(gone)
        self._ports.observer.purged(len(gone), freed)
        log.info("hidden objects purged", objects=len(gone), bytes=freed, failed=len(due) - len(gone))
        # What has departed waits for the next collection, and a purge of months may take hours.
        return not this.awaited()

    async def _take(self, term: Term, this: _Round) -> Sequence[HiddenObject]:
        """Claim the next batch and pay for it, one worker at a time. Empty: nothing more may be purged."""
        async with self._intake:
            if this.allowed <= 0 or self._stopping.is_set():
                return ()
            settings = self._in_force()
            limit = min(self._pace.batch_size(settings.rate), this.allowed)
            due = await self._claim(term, settings, limit)
            this.allowed = this.allowed - len(due) if due else 0
            await self._pace.take(len(due), settings.rate)
            return due

    async def _claim(self, term: Term, settings: RuntimeSettings, limit: int) -> Sequence[HiddenObject]:
        """Claim like any deletion: take, wait for writers that could not see the claim, look again.

        If a row names a key that has no object, what is hidden of it is needed: it is queued to come back.
        """
        purges, rewrites_keys = self._ports.purges, settings.policy.rewrites_keys
        window = settings.undo_window
        named = await purges.named(window, limit, rewrites_keys=rewrites_keys)
        there = await self._there(named)
        if lost := [key for key in named if key not in there]:
            await self._ports.recovery.queue(lost, "a row names it, and its copy was about to be purged")
        due = await purges.claim(term, window, limit, there=there, rewrites_keys=rewrites_keys)
        if not due or not await self._settled(await purges.horizon()):
            return ()
        ids = [each.id for each in due if each.holdable]
        spared = await purges.look_again(term, ids, there=there, rewrites_keys=rewrites_keys)
        return [each for each in due if each.id not in spared]

    async def _there(self, keys: Sequence[str]) -> set[str]:
        """The keys at which an object lies. If the store does not say, what is hidden may be needed."""
        there: set[str] = set()

        async def look(key: str) -> None:
            with contextlib.suppress(KeyRefused):
                if await self._ports.store.head(key) is not None:
                    there.add(key)

        await for_each(keys, look, concurrency=LOOKS_AT_ONCE)
        return there

    async def _allowed(self) -> int:
        """How many more the breaker allows within 24 hours. What is not claimed can still come back."""
        limit = self._in_force().limits.max_count
        allowed = limit - await self._ports.purges.spent("purged")
        if allowed <= 0:
            setting = "RECONCILER_BREAKER__MAX_COUNT"
            log.warning("purge held back: the limit for 24 hours is reached", limit=limit, setting=setting)
        return allowed
