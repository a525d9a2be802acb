"""One pass of each kind and a collection, under one term: `once` runs it, and `run` repeats it."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import anyio
import structlog

from reconciler.engine.collect.collector import Collected, Collector
from reconciler.engine.collect.erasing import Eraser
from reconciler.engine.collect.multipart_cleanup import Leftovers
from reconciler.engine.collect.purge import Purger
from reconciler.engine.detect.departures import Departures
from reconciler.engine.detect.passes import PassResult, count_rows, what_to_do
from reconciler.engine.detect.retention import Retention
from reconciler.engine.detect.sweep import Sweep
from reconciler.engine.lead import erasures, lease, ownership
from reconciler.engine.lead.capabilities import require_rights
from reconciler.engine.lead.lease import Tenure
from reconciler.engine.lead.seal import Sealer
from reconciler.engine.recover.adopting import Adopter
from reconciler.engine.recover.restore_queue import Healer
from reconciler.engine.runtime.context import Limits, Ports, RuntimeSettings, SettingsInForce, ruled
from reconciler.engine.runtime.pause import notice_of
from reconciler.engine.runtime.steps import step
from reconciler.engine.runtime.tasks import ended_by
from reconciler.engine.tell.telling import Teller
from reconciler.errors import Halt, PassEnded
from reconciler.model import (
    Adopted,
    BegunAdoption,
    KeepReason,
    Mode,
    Outcome,
    PassKind,
    PassState,
    Phase,
    Report,
    Tally,
    Term,
    Terms,
    TrippedPass,
    Verdict,
)
from reconciler.model.keys import merge_prefixes
from reconciler.planning import formatting, group_policies, reporting
from reconciler.ports import Attribute

log = structlog.get_logger(__name__)

ABANDONED_POLL_SECONDS = 1.0

TELL_SECONDS = 60.0
"""How long a single run tells others what it did; what is left is told by the next one."""


@dataclass(slots=True)
class Progress:
    """What a run has done so far, so that a run that fails halfway can still report it."""

    mode: Mode
    tally: Tally = field(default_factory=Tally)
    trips: list[TrippedPass] = field(default_factory=list)
    collected: Collected = field(default_factory=Collected)
    to_decide: dict[int, int] = field(default_factory=dict)
    """Of a tripped pass, the earlier one to decide about, if whoever asks for the report knows it."""

    def report(self, seconds: float, *, failed: str = "", halted: str = "") -> Report:
        """The report as it stands, with the reason for a failure or a halt if there was one."""
        pause = self.collected.pause
        waiting = self.collected.waiting.marks + self.collected.blocked + pause.paused
        # Keys that failed for want of room are the reason of the halt, and no failures of their own.
        failures = 0 if self.collected.full else self.collected.removed.failed
        outcome = reporting.outcome(
            failed=bool(failed or failures),
            halted=bool(halted),
            tripped=bool(self.tripped),
            waiting=waiting,
        )
        kept = {**self.tally.kept}
        kept[KeepReason.PENDING] = kept.get(KeepReason.PENDING, 0) + self.collected.waiting.marks
        return Report(
            mode=self.mode,
            outcome=outcome,
            objects=self.tally.objects,
            records=self.tally.records,
            found=self.tally.found,
            removed=self.collected.removed,
            kept=kept,
            duration_seconds=seconds,
            detail=failed or halted or self._detail(outcome),
            notice="\n".join(filter(None, self._notices())),
        )

    def _notices(self) -> tuple[str, ...]:
        done = self.collected
        return (
            notice_of(done.pause),
            formatting.stayed(done.stayed),
            formatting.refused(done.refused),
            formatting.reasons(done.removed.reasons),
        )

    @property
    def tripped(self) -> Sequence[TrippedPass]:
        """Passes that tripped, and those whose marks exceeded the caps at the claim."""
        return [*self.trips, *self.collected.tripped]

    def _trips(self) -> list[str]:
        told, reasons = [], set[str]()
        for each in self.tripped:
            decide = self.to_decide.get(each.pass_id, each.pass_id)
            told.append(what_to_do(each, decide, again=each.reason in reasons))
            reasons.add(each.reason)
        return told

    def _detail(self, outcome: Outcome) -> str:
        if outcome is Outcome.FAILED:
            failed = self.collected.removed.failed
            stay = "it stays claimed and is" if failed == 1 else "they stay claimed and are"
            return f"{formatting.counted(failed, 'key')} could not be deleted; {stay} repeated"
        if outcome is Outcome.TRIPPED:
            return "; ".join(self._trips())
        if self.collected.blocked:
            return "an open database transaction holds deletions back; see the log for its pid"
        if outcome is Outcome.PENDING and self.collected.waiting.marks:
            return f"{formatting.waiting(self.collected.waiting)}; see `reconciler marks list`"
        return ""


class Cycle:
    """The passes and the collector, wired to the same ports; `run` gives each a loop of its own."""

    def __init__(
        self, ports: Ports, limits: Limits, in_force: SettingsInForce, stopping: anyio.Event, bucket: str
    ) -> None:
        self._ports = ports
        self._limits = limits
        self._in_force = in_force
        self._stopping = stopping
        self._bucket = bucket
        self._sweep = Sweep(ports, limits)
        self._retention = Retention(ports)
        self._departures = Departures(ports)
        self._looked_at_keys: datetime | None = None
        self._doubts: Sequence[str] = ()
        self.tenure = Tenure()
        self._sealer = Sealer(ports, bucket, limits.lease_ttl, self.tenure)
        self._collector = Collector(
            ports, limits, in_force, stopping, self.tenure, self._sealer, self._lists_plainly
        )
        self._healer = Healer(ports, self._collector.guard, in_force)
        self._leftovers = Leftovers(ports, self._collector.guard, in_force, stopping)
        self._eraser = Eraser(ports, self._collector.guard, in_force, bucket)
        horizon = self._collector.wait_for_horizon
        self.tellers = [Teller(ports, channel) for channel in ports.channels]
        self._purger = Purger(ports, self._collector.guard, in_force, stopping, limits.longest_call, horizon)

    def _lists_plainly(self, pass_id: int) -> bool:
        return self._sweep.lists_plainly(pass_id) or self._departures.lists_plainly(pass_id)

    async def first_contact(self, term: Term) -> None:
        """Tie the bucket to this database, or check the tie, and put this term's seal on the bucket.

        Raises Halt if the bucket is another database's, if the clocks are too far apart, or if a right is
        missing that deleting needs.
        """
        await require_rights(self._ports, self._in_force())
        await self._ports.clocks.require()
        await ownership.first_contact(self._ports, self._bucket, self._in_force().policy.prefixes)
        await self._sealer.take(term)
        await erasures.require_known(self._ports)
        await self._open_channels(term)

    async def _open_channels(self, term: Term) -> None:
        subscriptions = [channel.subscription for channel in self._ports.channels]
        await self._ports.outbox.open(term, subscriptions, self._in_force().ledger_retention)

    async def keep(self, term: Term) -> None:
        """Renew the lease until cancelled. Raises LeaseLost once another replica may have it."""
        ports, ttl = self._ports, self._limits.lease_ttl
        await lease.keep(ports.lease, term, ttl, ports.clock, self.tenure, ports.observer.renewed)

    async def watch(self) -> None:
        """Check and renew the seal until cancelled, after `first_contact` made it. Raises LeaseLost, Halt."""
        await self._sealer.watch()

    async def sweep(self, term: Term) -> PassResult:
        """Run one sweep, after checking the bucket's identity again and aborting old uploads."""
        await self.first_contact(term)
        await self._leftovers.run(term)
        swept = await self._observed(PassKind.SWEEP, term)
        if swept.trip is None and swept.tally.found.get(Verdict.ADOPT):
            await self._adopt(swept.pass_id)
        return swept

    async def _adopt(self, pass_id: int) -> None:
        """Make the rows for the objects of a released sweep whose owners are known."""
        settings = await ruled(self._in_force(), self._ports.records)
        adoptions = self._ports.adoptions
        if settings.adoption is None or settings.mode is not Mode.LIVE:
            return
        if not await adoptions.noted():
            log.warning(
                "nothing is adopted without the triggers: a row that the gateway deletes would be made again",
                advice="reconciler migrate --install-triggers",
            )
            return
        settled = Counter[str]()

        def count(page: Sequence[Adopted]) -> None:
            results = Counter(each.why or "adopted" for each in page)
            settled.update(results)
            self._ports.observer.adopted(results)

        guard, terms = self._collector.guard, settings.adoption
        adopter = Adopter(
            self._ports,
            guard,
            settings.policy,
            terms,
            count,
            dry_run=False,
        )
        adoption = BegunAdoption(id=pass_id, listed=True)
        await adoptions.listed(adoption, {})
        async with ended_by(self._stopping):
            await adopter.run(adoption)
            await adoptions.end(adoption, settings.ledger_retention)
        log.info("objects adopted", pass_id=pass_id, **settled)

    async def retention(self, term: Term) -> PassResult:
        """Run one retention pass."""
        return await self._observed(PassKind.RETENTION, term)

    async def keys_ended(self) -> bool:
        """Whether the media of some virtual key have become due since the last look: revoked or expired."""
        records, policy = self._ports.records, self._in_force().policy
        now = await records.now()
        await records.observe_keys(now)
        since, self._looked_at_keys = self._looked_at_keys, now
        if since is None:
            last = await self._ports.passes.last(PassKind.RETENTION)
            since = last.cutoff if last else now
        terms: list[Terms] = [policy, *policy.rules.each]
        graces = {each.key_grace for each in terms if policy.allows(Verdict.REVOKED, each)}
        return any([await records.keys_ended(since, now, grace) for grace in graces])

    async def departures(self, term: Term) -> PassResult | None:
        """Run one departure pass, if any record has left; None if none has."""
        if not await self._ports.departures.waiting():
            return None
        return await self._observed(PassKind.DEPARTURE, term)

    async def collect(
        self, term: Term, *, report_again: bool, awaited: Callable[[], bool] = lambda: False
    ) -> Collected:
        """Run one round of the collector, then one of the purge, and update the drift figures.

        The purge gives way where the next round is `awaited`.
        """
        bound = {"epoch": term.epoch}
        with step(self._ports.tracer, "collection", bound=bound, mode=str(self._in_force().mode)):
            await self._eraser.begin(term)
            await self._healer.run()
            collected = await self._collector.run(term, report_again=report_again)
            await self._eraser.begin(term)
            await self._healer.run()
            await self._purger.run(term, awaited)
            await self._eraser.finish(term)
            removed = collected.removed
            self._ports.tracer.note(objects=removed.objects, records=removed.records, failed=removed.failed)
        self._ports.observer.drift(await self._ports.marks.drift(), collected.waiting.marks)
        return collected

    async def released(self, *results: PassResult) -> bool:
        """Wait until the horizon is past the passes' stamps: only then can a claim take their marks."""
        stamps = [result.stamp for result in results if result.stamp is not None]
        return not stamps or await self._collector.wait_for_horizon(max(stamps))

    async def everything(self, term: Term, progress: Progress) -> None:
        """Run every pass once, then collect until nothing due is left. Fills `progress` on the way.

        `stopping` ends the passes at once, and the collector after the batches in hand.
        """
        released = False
        async with ended_by(self._stopping):
            await self._eraser.begin(term)
            departed = await self.departures(term)
            swept = await self.sweep(term)
            _count(progress, swept)
            retained = await self.retention(term)
            others = [retained] if departed is None else [departed, retained]
            for each in others:
                _count(progress, replace(each, tally=replace(each.tally, records=0)))
            released = await self.released(swept, *others)
        progress.collected = await self.collect(term, report_again=True)
        if progress.mode is Mode.LIVE:
            await self._finish_abandoned(term, progress)
        blocked = progress.collected.blocked or not released
        progress.collected = replace(progress.collected, blocked=blocked)
        with anyio.move_on_after(TELL_SECONDS):
            for teller in self.tellers:
                await teller.tell(term)
        if progress.collected.full:
            raise Halt(progress.collected.full)

    async def _observed(self, kind: PassKind, term: Term) -> PassResult:
        settings = await ruled(self._in_force(), self._ports.records)
        if settings.by_group_policy and kind is PassKind.RETENTION:
            await self._say_doubts()
        bound: dict[str, Attribute] = {"kind": str(kind), "epoch": term.epoch}
        attributes = {"mode": str(settings.mode), "config_hash": settings.config_hash}
        with step(self._ports.tracer, "pass", bound=bound, **attributes):
            return await self._timed(kind, term, settings)

    async def _say_doubts(self) -> None:
        """Log what keeps media that a policy may let go, when that changes."""
        doubts = group_policies.doubts(await self._ports.records.group_policies())
        for line in doubts:
            if line not in self._doubts:
                log.warning("media is kept by a doubt about Conduit's policies", reason=line)
        self._doubts = doubts

    async def _timed(self, kind: PassKind, term: Term, settings: RuntimeSettings) -> PassResult:
        observer, clock = self._ports.observer, self._ports.clock
        await self._ports.lease.observe_mode(term, settings.mode)
        observer.pass_started(kind)
        observer.phase(kind, Phase.PREPARING)
        started = clock.monotonic()
        tally, outcome = Tally(), Outcome.FAILED
        try:
            result = await self._run(kind, term, settings)
            tally = result.tally
            outcome = Outcome.TRIPPED if result.trip else Outcome.CONVERGED
        except PassEnded:
            outcome = Outcome.SUPERSEDED
            raise
        finally:
            observer.phase(kind, None)
            observer.pass_finished(kind, outcome, clock.monotonic() - started, tally)
            self._ports.tracer.note(
                outcome=str(outcome),
                objects=tally.objects,
                records=tally.records,
                found=sum(tally.found.values()),
            )
        return result

    async def _run(self, kind: PassKind, term: Term, settings: RuntimeSettings) -> PassResult:
        if kind is PassKind.SWEEP:
            return await self._sweep.run(term, settings)
        rows = await self._rows_in_prefixes(settings)
        if kind is PassKind.DEPARTURE:
            return await self._departures.run(term, settings, rows)
        return await self._retention.run(term, settings, rows)

    async def _rows_in_prefixes(self, settings: RuntimeSettings) -> Mapping[str, int]:
        """The rows as the last sweep counted them, if it did: counting every few minutes costs too much."""
        prefixes = settings.policy.prefixes
        last = await self._ports.passes.last(PassKind.SWEEP, PassState.RELEASED)
        seen = last.tally.by_prefix if last is not None else {}
        if sorted(seen) == sorted(merge_prefixes(prefixes)):
            return {prefix: tally.records for prefix, tally in seen.items()}
        return await count_rows(self._ports, prefixes)

    async def _finish_abandoned(self, term: Term, progress: Progress) -> None:
        """Finish what a killed replica claimed, once none of its requests can still be on their way."""
        deadline = self._ports.clock.monotonic() + self._limits.longest_call.total_seconds() + 5
        while await self._abandoned(term) and not self._stopping.is_set():
            if self._ports.clock.monotonic() > deadline or progress.collected.pause.paused:
                return
            await self._ports.clock.sleep(ABANDONED_POLL_SECONDS)
            before, more = progress.collected, await self.collect(term, report_again=False)
            progress.collected = replace(
                more,
                removed=before.removed + more.removed,
                tripped=before.tripped + more.tripped,
                stayed=before.stayed + more.stayed,
                unanswered=before.unanswered or more.unanswered,
                full=before.full or more.full,
            )

    async def _abandoned(self, term: Term) -> bool:
        return bool(await self._ports.marks.abandoned(term) or await self._ports.purges.abandoned())


def _count(progress: Progress, result: PassResult) -> None:
    progress.tally += result.tally
    if result.trip is not None:
        progress.trips.append(TrippedPass(pass_id=result.pass_id, reason=result.trip.reason))
