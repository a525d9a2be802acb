"""What the two kinds of pass share: where findings go, and how a complete pass is released."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog

from reconciler.engine.steering import Ports, Steering
from reconciler.model import Finding, Marker, Pass, PassState, RangeProgress, Tally, Term, Trip
from reconciler.planning import breaker

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PassResult:
    """A finished pass: what it saw, and the stamp it was armed with, or why it was not."""

    marker: Marker
    tally: Tally
    stamp: int | None = None
    trip: Trip | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkSink:
    """Writes findings as marks, with the watermark in the same transaction."""

    ports: Ports
    term: Term
    current: Pass
    delete_delay: timedelta

    async def write(self, findings: Sequence[Finding], progress: RangeProgress | None) -> None:
        if findings or progress is not None:
            passes = self.ports.passes
            await passes.record(self.term, self.current, findings, self.delete_delay, progress)


async def release(
    ports: Ports, steering: Steering, term: Term, current: Pass, tally: Tally, records: int
) -> PassResult:
    """The breaker speaks over a complete pass; then its marks are armed, in a later transaction.

    `records` is what dangling and retention findings are a fraction of.
    """
    previous = await ports.passes.last(current.marker, PassState.ARMED)
    backlog = await ports.passes.backlog()
    before = previous.tally if previous else None
    trip = breaker.check(current.marker, tally, backlog, before, records, steering.limits)
    say = log.bind(pass_id=current.id, marker=str(current.marker), epoch=term.epoch)
    if trip is not None:
        await ports.passes.trip(term, current, tally, trip)
        say.error("breaker tripped: nothing of this pass is released", reason=trip.reason)
        return PassResult(marker=current.marker, tally=tally, trip=trip)
    stamp = await ports.passes.arm(term, current, tally)
    found = {str(verdict): number for verdict, number in tally.found.items() if number}
    say.info("pass armed", objects=tally.objects, records=tally.records, found=found)
    return PassResult(marker=current.marker, tally=tally, stamp=stamp)
