"""A bucket, a database and a program between them, all in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import inf
from uuid import UUID

import anyio

from reconciler.engine.cycle import Cycle, Progress
from reconciler.engine.recover.undo import Undo, Undone
from reconciler.engine.runtime.clocks import Clocks
from reconciler.engine.runtime.context import Ports
from reconciler.engine.runtime.pause import PauseWatch
from reconciler.engine.runtime.throttle import Throttles
from reconciler.engine.runtime.write_guard import WriteGuard
from reconciler.model import (
    BreakerLimits,
    HeldBy,
    ListingOrder,
    Mode,
    PassState,
    Policy,
    Report,
    Returned,
    Term,
    UndoScope,
)
from reconciler.ports import Channel
from tests.doubles.adoptions import MemoryAdoptions, MemoryDescriptions
from tests.doubles.approvals import MemoryApprovals
from tests.doubles.bucket import MemoryBucket, no_other_bucket
from tests.doubles.budget import MemoryBudget
from tests.doubles.build import LIMITS, policy, runtime, tuning
from tests.doubles.database import MemoryDatabase
from tests.doubles.departures import MemoryDepartures
from tests.doubles.erasures import no_erasures
from tests.doubles.holds import MemoryHolds
from tests.doubles.jobs import MemoryJobs
from tests.doubles.marks import MemoryMarks
from tests.doubles.nearmisses import MemoryNearMisses
from tests.doubles.observing import Act, RecordingObserver, Surroundings, crash
from tests.doubles.outbox import MemoryOutbox
from tests.doubles.passes import MemoryLease, MemoryPasses, MemorySite
from tests.doubles.pause import MemoryPauseSwitch
from tests.doubles.records import MemoryRecords, MemoryStagingArea
from tests.doubles.recovery import MemoryPurges, MemoryRecovery

BUCKET = "media"


class World:
    """Everything that outlives a program, and a program to run once.

    `runtime` may be replaced between runs; `limits` and the doubles' own switches likewise.
    """

    def __init__(
        self,
        *,
        order: ListingOrder = ListingOrder.BYTES,
        compares: bool = True,
        page_size: int = 1000,
        under: Policy | None = None,
        versioned: bool = False,
        limits: BreakerLimits = LIMITS,
    ) -> None:
        self.around = Surroundings()
        self.bucket = MemoryBucket(
            self.around, order=order, compares=compares, page_size=page_size, versioned=versioned
        )
        self.database = MemoryDatabase(self.around)
        self.observer = RecordingObserver()
        self.marks = MemoryMarks(self.database)
        self.jobs = MemoryJobs(self.database)
        self.outbox = MemoryOutbox(self.database)
        self.channels: list[Channel] = []
        self.throttles = self.new_throttles()
        self.limits = tuning(listing_concurrency=2, delete_concurrency=2)
        self.runtime = runtime(policy=under or policy(), limits=limits, config_hash="c1", rate=inf)

    def new_throttles(self) -> Throttles:
        """For a program that runs beside another one."""
        return Throttles(listing=2, deleting=2, copying=2, clock=self.around)

    def in_force(self, **changes: object) -> None:
        """Change settings; the configuration's hash changes with them."""
        hashed = {} if "mode" in changes else {"config_hash": repr(changes)}
        self.runtime = replace(self.runtime, **hashed, **changes)  # type: ignore[arg-type]  # any field

    @property
    def ports(self) -> Ports:
        return Ports(
            listing=self.bucket,
            store=self.bucket,
            descriptions=MemoryDescriptions(self.bucket),
            copies=self.bucket,
            versions=self.bucket.versions,
            uploads=self.bucket.uploads,
            identity=self.bucket,
            prober=self.bucket,
            records=MemoryRecords(self.database),
            staging=MemoryStagingArea(self.database),
            passes=MemoryPasses(self.database),
            departures=MemoryDepartures(self.database),
            jobs=self.jobs,
            near_misses=MemoryNearMisses(self.database),
            marks=self.marks,
            lease=MemoryLease(self.database),
            site=MemorySite(self.database),
            quarantines=no_other_bucket(MemorySite(self.database), self.around),
            **no_erasures(),
            budget=MemoryBudget(self.database),
            throttles=self.throttles,
            clocks=Clocks(MemoryRecords(self.database).now, self.bucket, self.around, self.observer),
            pause=PauseWatch(MemoryPauseSwitch(self.database), self.around, self.observer),
            holds=MemoryHolds(self.database),
            recovery=MemoryRecovery(self.database),
            adoptions=MemoryAdoptions(),
            purges=MemoryPurges(self.database),
            outbox=self.outbox,
            channels=self.channels,
            clock=self.around,
            observer=self.observer,
            capabilities=self.bucket.capabilities,
        )

    def cycle(self, stopping: anyio.Event | None = None) -> Cycle:
        """A new program, as a restart would make it, whose lease nobody has to keep."""
        cycle = Cycle(self.ports, self.limits, lambda: self.runtime, stopping or anyio.Event(), BUCKET)
        cycle.tenure.good_until = inf
        return cycle

    async def undo(self, scope: UndoScope, *, mode: Mode = Mode.LIVE) -> Undone:
        """What `undo` does, by ada, beside whoever leads."""
        ports, told = self.ports, list[Returned]()

        async def sealed(_: float) -> UUID:
            raise AssertionError("an undo claims and deletes nothing")

        guard = WriteGuard(ports, lambda: mode, lambda: True, sealed)
        runtime = replace(self.runtime, mode=mode)
        return await Undo(ports, guard, lambda: runtime, "ada", told.append).run(scope)

    async def decide(self, *, approve: bool = True) -> int:
        """A person approves, or discards, everything that has tripped. Returns how many marks."""
        approvals = MemoryApprovals(self.database)
        marks = 0
        for detail in await approvals.listed(100):
            if detail.current.state is not PassState.TRIPPED:
                continue
            if approve:
                marks += (await approvals.approve(detail.current.id, "ada", understood=True)).released
            else:
                marks += await approvals.discard(detail.current.id, "ada")
        return marks

    async def take_lease(self) -> Term:
        """Wait for whoever holds it to let it lapse, and lead."""
        while isinstance(got := await self.ports.lease.acquire("test", self.limits.lease_ttl), HeldBy):
            self.around.tick(self.limits.lease_ttl)
        return got

    async def run_once(
        self, acts: Mapping[int, Act] | None = None, *, leads_for: float = inf, killed_at: str = ""
    ) -> Report:
        """What `once` does, from lease to release, with `acts` before the calls of those numbers.

        `killed_at`: a point where it crashes, see `Surroundings.at_point`.

        Nobody renews its lease: it is sure of it for `leads_for` seconds.
        """
        self.around.restart()
        for call, act in (acts or {}).items():
            self.around.at(call, act)
        self.around.at_point(killed_at, crash)
        term = await self.take_lease()
        progress = Progress(mode=self.runtime.mode)
        started = self.around.monotonic()
        cycle = self.cycle()
        cycle.tenure.good_until = started + leads_for
        await cycle.everything(term, progress)
        await self.ports.lease.release(term)
        return progress.report(self.around.monotonic() - started)
