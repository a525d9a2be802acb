"""`plan`: the same comparison and the same breaker, with nothing written and no lease taken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from reconciler.engine import identity
from reconciler.engine.passes import speak
from reconciler.engine.retention import Retention
from reconciler.engine.steering import Limits, Ports, Steering
from reconciler.engine.sweep import Sweep
from reconciler.model import (
    Backlog,
    Finding,
    Marker,
    Outcome,
    RangeProgress,
    Report,
    Tally,
    Trip,
    Verdict,
)
from reconciler.planning import breaker
from reconciler.planning.ranges import merge_prefixes, prefix_of
from reconciler.planning.reporting import rows_by_prefix


@dataclass(slots=True)
class EmitSink:
    """Hands findings to whoever prints them, and counts those that a pass would mark."""

    emit: Callable[[Sequence[Finding]], None]
    prefixes: Sequence[str]
    to_mark: Counter[Verdict] = field(default_factory=Counter)
    by_prefix: dict[str, Counter[Verdict]] = field(default_factory=dict)

    async def write(self, findings: Sequence[Finding], progress: RangeProgress | None) -> None:  # noqa: ARG002
        for finding in findings:
            prefix = prefix_of(finding.storage_key, self.prefixes)
            if finding.kept is None and prefix is not None:
                self.to_mark[finding.verdict] += 1
                self.by_prefix.setdefault(prefix, Counter())[finding.verdict] += 1
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
    sink = EmitSink(emit, merge_prefixes(steering.policy.prefixes))
    swept = await Sweep(ports, limits).survey(steering, sink)
    retained = await Retention(ports).survey(steering, sink)
    trips = [
        trip.reason
        for marker, tally in ((Marker.SWEEP, swept), (Marker.RETENTION, _whole(retained, swept)))
        if (trip := await _would_trip(ports, steering, marker, tally, sink))
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
    ports: Ports, steering: Steering, marker: Marker, tally: Tally, sink: EmitSink
) -> Trip | None:
    def counted(waiting: Backlog) -> Backlog:
        return breaker.with_findings(waiting, sink.to_mark, sink.by_prefix)

    return await speak(ports, steering, marker, tally, counted=counted)


def _whole(retained: Tally, swept: Tally) -> Tally:
    """A retention's tally with the rows that its findings are a fraction of."""
    return retained + rows_by_prefix({prefix: part.records for prefix, part in swept.by_prefix.items()})
