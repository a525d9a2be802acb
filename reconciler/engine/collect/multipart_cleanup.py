"""Abort multipart uploads that were left incomplete, under the same write guard, rate and cap."""

from collections.abc import Sequence
from datetime import datetime

import anyio
import structlog

from reconciler.engine.runtime.context import Ports, SettingsInForce
from reconciler.engine.runtime.pace import Pace
from reconciler.engine.runtime.write_guard import Refused, WriteGuard
from reconciler.errors import KeyRefused, StoreUnavailable
from reconciler.model import GONE, QUARANTINE_PREFIX, Mode, Term, Upload
from reconciler.planning.keys import protection

log = structlog.get_logger(__name__)


class Leftovers:
    """Searches the managed prefixes, and our own quarantine, where a copy may have been cut off."""

    def __init__(
        self, ports: Ports, guard: WriteGuard, in_force: SettingsInForce, stopping: anyio.Event
    ) -> None:
        self._ports = ports
        self._guard = guard
        self._in_force = in_force
        self._stopping = stopping
        self._pace = Pace(ports.budget, ports.clock, ports.throttles.deleting, lambda: in_force().rate)

    async def run(self, term: Term) -> int:
        """Run one round. Returns how many were aborted, 0 in dry run. Raises LeaseLost, Halt, Retryable.

        A store that lists no uploads is left alone.
        """
        if not self._ports.capabilities.multipart_listing:
            return 0
        aborted, now = 0, await self._ports.records.now()
        policy = self._in_force().policy
        try:
            for prefix in dict.fromkeys((*policy.prefixes, QUARANTINE_PREFIX, policy.quarantine)):
                aborted += await self._under(prefix, term, now)
        except Refused as refusal:
            log.info("uploads are left alone", reason=str(refusal))
        return aborted

    async def _under(self, prefix: str, term: Term, now: datetime) -> int:
        """If uploads can no longer be listed, or not those of one prefix, the sweep goes on all the same."""
        aborted = 0
        try:
            async for page in self._ports.uploads.pages(prefix):
                aborted += await self._abort(term, await self._old(page, prefix, now))
        except (KeyRefused, StoreUnavailable) as error:
            log.warning("uploads could not be listed", reason=str(error))
        return aborted

    async def _old(self, page: Sequence[Upload], prefix: str, now: datetime) -> list[Upload]:
        """Uploads that may be aborted: begun long enough ago, to keys that are ours, neither on hold nor
        reserved.

        An upload is never old if the store does not say when it began.
        """
        settings = self._in_force()
        before = now - settings.abort_multipart_after
        old = [each for each in page if each.begun_at is not None and each.begun_at <= before]
        if prefix in {QUARANTINE_PREFIX, settings.policy.quarantine}:
            return old
        ours = [each for each in old if protection(each.key, settings.policy) is None]
        if not ours:
            return []
        keys = [each.key for each in ours]
        kept = {*await self._ports.holds.held(keys), *await self._ports.records.referenced(keys)}
        return [each for each in ours if each.key not in kept]

    async def _abort(self, term: Term, uploads: Sequence[Upload]) -> int:
        if not uploads:
            return 0
        if self._in_force().mode is Mode.DRY_RUN:
            log.info("uploads that a live run would abort", uploads=len(uploads))
            return 0
        aborted = 0
        rest = list(uploads)[: max(0, await self._allowed())]
        while rest and not self._stopping.is_set():
            rate = self._in_force().rate
            batch, rest = rest[: self._pace.batch_size(rate)], rest[self._pace.batch_size(rate) :]
            await self._pace.take(len(batch), rate)
            answers = await self._guard.abort(batch)
            gone = [each for each, answer in zip(batch, answers, strict=True) if answer.result in GONE]
            await self._ports.purges.aborted(term, gone)
            aborted += len(gone)
            log.info(
                "aborted uploads that were never completed", uploads=len(gone), failed=len(batch) - len(gone)
            )
        return aborted

    async def _allowed(self) -> int:
        """How many more the breaker allows within 24 hours."""
        limit = self._in_force().limits.max_count
        allowed = limit - await self._ports.purges.spent("aborted")
        if allowed <= 0:
            setting = "RECONCILER_BREAKER__MAX_COUNT"
            log.warning(
                "uploads are left alone: the limit for 24 hours is reached", limit=limit, setting=setting
            )
        return allowed
