"""The collector: the only code that deletes anything. Claim, delete, confirm; forward only.

A crash between any two lines leaves marks, claims and intents in Postgres, and repeating them is harmless.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import inf

import anyio
import structlog

from reconciler import model
from reconciler.engine.collect import absence_checks, outcome, soft_delete
from reconciler.engine.collect.answers import Answers
from reconciler.engine.collect.deletion import delete_claimed
from reconciler.engine.collect.dry_run import preview
from reconciler.engine.collect.holds import hold_refused
from reconciler.engine.collect.rules import capper, decider, enabled, lapse
from reconciler.engine.lead.capabilities import require_rights
from reconciler.engine.lead.lease import Tenure
from reconciler.engine.lead.seal import Sealer
from reconciler.engine.runtime.broken_off import BrokenOff
from reconciler.engine.runtime.context import Limits, Ports, RuntimeSettings, SettingsInForce, ruled
from reconciler.engine.runtime.pace import Pace
from reconciler.engine.runtime.steps import step
from reconciler.engine.runtime.tasks import task_group
from reconciler.engine.runtime.write_guard import Refused, WriteGuard
from reconciler.errors import CatalogUnavailable, Halt, StoreUnavailable
from reconciler.ports import ClaimRequest

log = structlog.get_logger(__name__)

RESCUE_SECONDS = 5.0
"""How often a round looks for claims to take over, once it has found none."""

IN_TURN = 4
"""Of so many claims, one takes the longest due, whatever it is. The others take first what has departed, for
which people wait."""

HORIZON_PATIENCE = 30.0
"""Seconds to wait for older transactions before a claim is left for a later round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """The result of one round.

    `blocked`: an open transaction held deletions back. `waiting`: released marks that no claim could take
    now. `pause`: its state at the end. `tripped`: passes whose marks exceeded the caps at the claim.
    `stayed`: keys that were claimed and then kept, by what was found. `refused`: marks whose rows the
    database does not let go, as of the end.
    """

    removed: model.Removed = field(default_factory=model.Removed)
    blocked: bool = False
    waiting: model.Waiting = field(default_factory=model.Waiting)
    pause: model.Pause = field(default_factory=model.Pause)
    tripped: tuple[model.TrippedPass, ...] = ()
    stayed: Counter[model.ObjectResult] = field(default_factory=Counter)
    refused: model.RefusedMarks = field(default_factory=model.RefusedMarks)
    unanswered: bool = False
    """Keys failed for a reason that is not their own: the store was away, or overloaded."""
    full: str = ""
    """The store has no room: its message, and what a person has to do."""


@dataclass(slots=True)
class _Round:
    """State shared by the workers of one round. `away`: the marker could not be read. `cut_off`: the database
    did not answer. `enough`: stop. `drained`: nothing is due until a removed row frees its variants.
    `full`: the store has no room, with its message. `rescue_at`: when to look for unfinished claims again.
    """

    removed: model.Removed = field(default_factory=model.Removed)
    rescue_at: float = -inf
    blocked: bool = False
    enough: bool = False
    drained: bool = False
    unanswered: bool = False
    full: str = ""
    away: list[StoreUnavailable] = field(default_factory=list)
    cut_off: list[CatalogUnavailable] = field(default_factory=list)
    tripped: list[model.TrippedPass] = field(default_factory=list)
    stayed: Counter[model.ObjectResult] = field(default_factory=Counter)

    @property
    def over(self) -> bool:
        """No worker begins another batch."""
        return bool(self.enough or self.drained or self.away or self.cut_off)


class Collector:
    """Collects due marks until none is left, with several batches at once, at the set rate."""

    def __init__(
        self,
        ports: Ports,
        limits: Limits,
        in_force: SettingsInForce,
        stopping: anyio.Event,
        tenure: Tenure,
        sealer: Sealer,
        lists_plainly: Callable[[int], bool] = lambda _: False,
    ) -> None:
        """`lists_plainly`: whether a pass, by its id, listed only objects of the standard storage class."""
        self._lists_plainly = lists_plainly
        self._ports = ports
        self._limits = limits
        self._in_force = in_force
        self._stopping = stopping
        self._tenure = tenure
        self._sealer = sealer
        self.guard = self._guard = WriteGuard(ports, lambda: in_force().mode, self._leads, sealer.check)
        self._pace = Pace(ports.budget, ports.clock, ports.throttles.deleting, lambda: in_force().rate)
        self._intake = anyio.Lock()
        self._blocker: str | None = None
        self._left = False
        self._claims = 0
        self._broken_off = BrokenOff(ports.clock, limits.longest_call)

    async def run(self, term: model.Term, *, report_again: bool) -> Collected:
        """Run one round, until nothing due is left.

        In dry run, report every due mark once instead; with `report_again`, also those that an earlier dry
        run has reported. Raises LeaseLost, Halt, CatalogUnavailable.
        """
        settings = await self._settings()
        await self._ports.lease.observe_mode(term, settings.mode)
        await self._ports.marks.purge()
        if settings.mode is model.Mode.DRY_RUN:
            collected = Collected(
                removed=await preview(self._ports, term, settings, report_again=report_again)
            )
        elif (await self._ports.pause.look()).paused:
            collected = Collected()
        else:
            soft_delete.require_time(settings.policy, settings.undo_window, self._ports.capabilities)
            await require_rights(self._ports, settings)
            await self._sealer.settle(self._stopping)
            full = soft_delete.without_copies(settings.policy.delete_mode, self._ports.capabilities)
            # The purge still runs: it makes room (I-43).
            collected = Collected(full=full) if full else await self._collect(term)
        waiting = await self._ports.marks.waiting(settings.policy, enabled(settings))
        self._log_blocker(await self._ports.marks.held_back_by())
        refused = await self._ports.marks.refused()
        self._ports.observer.refused(refused.kept, refused.gone)
        pause = await self._ports.pause.look()
        return replace(collected, waiting=waiting, pause=pause, refused=refused)

    def _log_blocker(self, by: str | None) -> None:
        """Name the transaction that blocks deletions: always in the metric, in the log when it changes."""
        self._ports.observer.blocked(by)
        if by is not None and by != self._blocker:
            log.warning("an open transaction holds deletions back", blocked_by=by)
        self._blocker = by

    async def _settings(self) -> RuntimeSettings:
        """Those in force, with the rules of Conduit's policies, which are read for each claim and once more
        behind it: none that changed while it waited decides by what it was.
        """
        return await ruled(self._in_force(), self._ports.records)

    def _leads(self) -> bool:
        return self._ports.clock.monotonic() < self._tenure.good_until

    async def _guarded(self, claim: model.Claim) -> bool:
        """Whether the triggers hold off every writer that cannot see the claim, so that we need not wait.

        No trigger holds off a change of a virtual key, so where a verdict or a rule reads one we wait.
        """
        read = (await self._settings()).policy.owner_read
        return (
            all(read(key.mark.verdict) is model.OwnerRead.NOTHING for key in claim.keys)
            and await self._ports.marks.guarded()
        )

    async def wait_for_horizon(self, xid: int) -> bool:
        """Wait until every transaction open at `xid` has ended; False if one outlasts our patience."""
        delay = 0.002
        deadline = self._ports.clock.monotonic() + HORIZON_PATIENCE
        while not await self._ports.marks.horizon_passed(xid):
            if self._ports.clock.monotonic() > deadline or self._stopping.is_set():
                blocker = await self._ports.marks.blocked_by()
                log.warning("deletion waits for an open transaction", blocked_by=blocker)
                return False
            self._ports.observer.alive("collector")
            await self._ports.clock.sleep(delay)
            delay = min(delay * 2, 0.5)
        return True

    async def _collect(self, term: model.Term) -> Collected:
        if self._left and self._broken_off.ended:
            # No batch of that round is in hand any more. This also frees claims whose reply never reached us.
            await self._ports.marks.let_go(term)
            self._left = False
        left, self._left = self._left, True
        this, before = _Round(), -1
        while this.removed.records > before and not (this.enough or this.away or this.cut_off):
            before, this.drained = this.removed.records, False
            with self._broken_off.noticed():
                async with task_group() as group:
                    for _ in range(self._limits.delete_concurrency):
                        group.start_soon(self._work, term, this)
        if this.cut_off:
            raise this.cut_off[0]
        self._left = left
        if this.away and not this.removed.failed:
            raise this.away[0]
        return Collected(
            removed=this.removed,
            blocked=this.blocked,
            tripped=tuple(this.tripped),
            stayed=this.stayed,
            unanswered=this.unanswered,
            full=this.full,
        )

    async def _work(self, term: model.Term, this: _Round) -> None:
        """Claim and finish batches one by one. Whatever ends the round, everything that was sent is recorded.

        A database failure does not cancel another worker's request either: that one ends, answered or not,
        before its claim is taken up again.
        """
        try:
            while await self._one_batch(term, this):
                pass
        except Refused as refusal:
            log.info("collection stopped", reason=str(refusal))
            this.enough = True
        except StoreUnavailable as error:
            this.away.append(error)
        except CatalogUnavailable as error:
            this.cut_off.append(error)

    async def _one_batch(self, term: model.Term, this: _Round) -> bool:
        """Carry out one batch once the store has a slot free. Returns whether there may be another."""
        async with self._ports.throttles.deleting.slot():
            if self._stopping.is_set() or this.over:
                return False
            claim = await self._take(term, this)
            if claim is None:
                return False
            this.tripped += claim.tripped
            if claim.keys:
                bound = {"operation": str(claim.operation_id)}
                with step(self._ports.tracer, "batch", bound=bound, keys=len(claim.keys)):
                    async with soft_delete.extended(self._ports, claim):
                        await self._carry_out(term, claim, this)
            return True

    async def _carry_out(self, term: model.Term, claim: model.Claim, this: _Round) -> None:
        with step(self._ports.tracer, "settling"):
            guarded = await self._guarded(claim)
            settled = guarded or await self.wait_for_horizon(claim.xid)
        if not settled:
            this.blocked = True
            return
        removed, answers = await self._finish(term, claim, guarded=guarded)
        this.removed += removed
        this.stayed += answers.stayed()
        this.unanswered |= answers.unanswered
        this.full = this.full or answers.full
        this.enough |= answers.store_away or bool(this.full)

    async def _take(self, term: model.Term, this: _Round) -> model.Claim | None:
        """Take the next batch and pay for it; unfinished claims go first. None when nothing is due.

        One worker at a time, so each batch waits only for its own tokens, at most about a second.
        """
        async with self._intake:
            if this.enough or this.drained:  # another worker has just found this out
                return None
            await self._ports.clocks.require()
            settings = await self._settings()
            limit = self._pace.batch_size(settings.rate)
            with step(self._ports.tracer, "claim"):
                claim = await self._claim(term, settings, limit, this)
            if not claim.taken:
                this.drained = True
                return None
            for each in claim.tripped:
                log.error("breaker tripped at the claim", pass_id=each.pass_id, reason=each.reason)
            outcome.log_refused(claim)
            await self._pace.take(len(claim.keys), settings.rate)
            return claim

    async def _claim(
        self, term: model.Term, settings: RuntimeSettings, limit: int, this: _Round
    ) -> model.Claim:
        now = self._ports.clock.monotonic()
        if now >= this.rescue_at:
            if claim := await self._guard.rescue(term, self._limits.longest_call, limit):
                return claim
            this.rescue_at = now + RESCUE_SECONDS
        rules = decider(settings), capper(settings), lapse(settings)
        self._claims += 1
        first = self._claims % IN_TURN != 0
        wanted = ClaimRequest(settings.policy, enabled(settings), limit, *rules, departed_first=first)
        return await self._guard.claim(term, wanted)

    async def _finish(
        self, term: model.Term, claim: model.Claim, *, guarded: bool
    ) -> tuple[model.Removed, Answers]:
        """Look again, delete, confirm. Returns what was removed, and the result for each key."""
        self._ports.observer.alive("collector")
        settings, tracer, clock = await self._settings(), self._ports.tracer, self._ports.clock
        decide, answers, began = decider(settings), Answers(), clock.monotonic()
        with step(tracer, "deletion"):
            spared = await self._ports.marks.look_again(claim, decide, settings.policy, guarded=guarded)
            grace = settings.policy.grace_period
            claim = await delete_claimed(
                self._ports, self._guard, claim, spared, answers, self._lists_plainly, grace
            )
        with step(tracer, "confirmation"):
            window = settings.upload_window
            await self._withhold(claim, answers)
            await hold_refused(self._ports, claim, answers, settings.hold_for)
            removed = await self._guard.confirm(
                term, claim, answers.results, decide, window, answers.hidden, sent=answers.sent
            )
        tracer.note(objects=removed.objects, records=removed.records, failed=removed.failed)
        outcome.tell(self._ports.observer, claim, answers, removed, clock.monotonic() - began)
        await absence_checks.look_once_more(self._ports, claim.keys, answers.results)
        if answers.halt:
            raise Halt(answers.halt)
        return removed, answers

    async def _withhold(self, claim: model.Claim, answers: Answers) -> None:
        """If deletion was stopped in the middle of a batch, go on only with what was sent. Rows that needed
        no request stay claimed, as if their turn had not come.
        """
        alone = answers.rows_alone(claim.keys) if answers.sent else ()
        if alone and (reason := await self._guard.stopped()):
            for key in alone:
                answers.settle(key, model.ObjectResult.FAILED, reason)
