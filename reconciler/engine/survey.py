"""`plan`: the same comparison and the same breaker, with nothing written and no lease taken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from reconciler.engine import identity
from reconciler.engine.retention import Retention
from reconciler.engine.steering import Limits, Ports, Steering
from reconciler.engine.sweep import Sweep
from reconciler.model import (
    Finding,
    Marker,
    Outcome,
    PassState,
    RangeProgress,
    Report,
    Tally,
    Trip,
    Verdict,
)
from reconciler.planning import breaker


@dataclass(slots=True)
class EmitSink:
    """Hands findings to whoever prints them, and counts those that a pass would mark."""

    emit: Callable[[Sequence[Finding]], None]
    to_mark: Counter[Verdict] = field(default_factory=Counter)

    async def write(self, findings: Sequence[Finding], progress: RangeProgress | None) -> None:  # noqa: ARG002
        self.to_mark.update(finding.verdict for finding in findings if finding.kept is None)
        if findings:
            self.emit(findings)


async def survey(
    ports: Ports, limits: Limits, steering: Steering, bucket: str, emit: Callable[[Sequence[Finding]], None]
) -> Report:
    """Every finding of one pass to `emit`, in no particular order; the outcome says if it would trip.

    Raises Halt where the bucket belongs to another database.
    """
    started = ports.clock.monotonic()
    await identity.verify(ports, bucket)
    sink = EmitSink(emit)
    swept = await Sweep(ports, limits).survey(steering, sink)
    retained = await Retention(ports).survey(steering, sink)
    trips = [
        trip.reason
        for marker, tally in ((Marker.SWEEP, swept), (Marker.RETENTION, retained))
        if (trip := await _would_trip(ports, steering, marker, tally, swept.records, sink))
    ]
    tally = swept + replace(retained, records=0)
    return Report(
        mode=steering.mode,
        outcome=Outcome.TRIPPED if trips else Outcome.CONVERGED,
        objects=tally.objects,
        records=tally.records,
        found=tally.found,
        kept=tally.kept,
        duration_seconds=ports.clock.monotonic() - started,
        detail="; ".join(trips),
    )


async def _would_trip(
    ports: Ports, steering: Steering, marker: Marker, tally: Tally, records: int, sink: EmitSink
) -> Trip | None:
    previous = await ports.passes.last(marker, PassState.ARMED)
    backlog = breaker.with_findings(await ports.passes.backlog(), sink.to_mark)
    before = previous.tally if previous else None
    return breaker.check(marker, tally, backlog, before, records, steering.limits)
