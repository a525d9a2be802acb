"""`plan`: the same comparison and the same breaker, without writing anything or taking the lease."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from reconciler.engine.detect.departures import Departures
from reconciler.engine.detect.near_misses import PAGE, Gathered
from reconciler.engine.detect.passes import speak
from reconciler.engine.detect.retention import Retention
from reconciler.engine.detect.sweep import Sweep
from reconciler.engine.lead import ownership
from reconciler.engine.runtime.context import Limits, Ports, RuntimeSettings
from reconciler.errors import ErrorKind, NotDone
from reconciler.model import (
    Backlog,
    Finding,
    KeepReason,
    Outcome,
    PassKind,
    RangeProgress,
    Report,
    Tally,
    Trip,
    Verdict,
)
from reconciler.model.keys import managed_parts, merge_prefixes, prefix_of
from reconciler.planning import breaker
from reconciler.planning.reporting import rows_by_prefix
from reconciler.ports import Departures as Departing

HELD = 50_000
"""Findings that a plan holds back until it knows whether they have a pair."""

_PAIRED = frozenset({Verdict.ORPHAN, Verdict.DANGLING})


@dataclass(slots=True)
class EmitSink:
    """Passes findings to a printer, and counts those that a pass would mark."""

    emit: Callable[[Sequence[Finding]], None]
    prefixes: Sequence[str]
    gathered: Gathered = field(default_factory=Gathered)
    held: list[Finding] = field(default_factory=list)
    to_mark: Counter[Verdict] = field(default_factory=Counter)
    by_prefix: dict[str, Counter[Verdict]] = field(default_factory=dict)
    by_store: int = 0

    async def write(self, findings: Sequence[Finding], progress: RangeProgress | None) -> None:  # noqa: ARG002
        """Hand findings on. Those that may have a pair wait until all are known, while there is room."""
        rest: list[Finding] = []
        for each in findings:
            may_pair = each.verdict in _PAIRED and each.kept is None and len(self.held) < HELD
            (self.held if may_pair else rest).append(each)
        self._hand_on(rest)

    def settle(self) -> Tally:
        """Hand on what was held back, each with its pair. Returns what paired rows add to the tally."""
        paired = [self._paired(each) for each in self.held]
        self.held.clear()
        for start in range(0, len(paired), PAGE):
            self._hand_on(paired[start : start + PAGE])
        near = [each for each in paired if each.kept is KeepReason.NEAR_MISS]
        rows = [each for each in near if each.verdict is Verdict.DANGLING]
        missing = sum(not each.by_store for each in rows)
        return Tally(kept={KeepReason.NEAR_MISS: len(rows)}, missing=-missing) if rows else Tally()

    def _paired(self, finding: Finding) -> Finding:
        pair = self.gathered.pair_of(finding)
        if pair is None:
            return finding
        other = "row" if finding.verdict is Verdict.ORPHAN else "object"
        reason = f"{finding.reason}; near miss: the {other} {pair!r} spells its key otherwise"
        return replace(finding, kept=KeepReason.NEAR_MISS, reason=reason)

    def add_records(self, findings: Sequence[Finding]) -> None:
        """What goes with others, which are counted."""
        if findings:
            self.emit(findings)

    def _hand_on(self, findings: Sequence[Finding]) -> None:
        for finding in findings:
            prefix = prefix_of(finding.storage_key, self.prefixes)
            if finding.kept is None and prefix is not None:
                self.to_mark[finding.verdict] += 1
                self.by_store += finding.by_store
                self.by_prefix.setdefault(prefix, Counter())[finding.verdict] += 1
        if findings:
            self.emit(findings)


class _Marked:
    """What departed, as if the plan had marked it: the sweep leaves it to that."""

    def __init__(self, marked: Departing, keys: frozenset[str]) -> None:
        self._marked = marked
        self._keys = keys
        self.waiting, self.page, self.pending = marked.waiting, marked.page, marked.pending
        self.listen, self.forget = marked.listen, marked.forget

    async def marked(self, keys: Sequence[str]) -> frozenset[str]:
        return await self._marked.marked(keys) | self._keys.intersection(keys)


async def survey(
    ports: Ports,
    limits: Limits,
    settings: RuntimeSettings,
    bucket: str,
    emit: Callable[[Sequence[Finding]], None],
    ahead: timedelta = timedelta(0),
) -> Report:
    """Pass every finding of one pass to `emit`, in no particular order; the outcome says if it would trip.

    `ahead`: judged as if it were so much later, on what is there now. Raises Halt if the bucket belongs to
    another database.
    """
    started = ports.clock.monotonic()
    await ownership.verify(ports, bucket)
    sink = EmitSink(emit, merge_prefixes(settings.policy.prefixes))
    planned = replace(ports, near_misses=sink.gathered)
    now = await ports.records.now() + ahead
    departed, keys = await Departures(ports).survey(settings, sink)
    planned = replace(planned, departures=_Marked(ports.departures, frozenset(keys)))
    swept = await Sweep(planned, limits).survey(settings, sink, bucket, now)
    swept += sink.settle()
    retained = await Retention(ports).survey(settings, sink, sink.add_records, now)
    trips = [
        trip.reason
        for kind, tally in (
            (PassKind.SWEEP, swept),
            (PassKind.RETENTION, _whole(retained, swept)),
            (PassKind.DEPARTURE, _whole(departed, swept) + Tally(records=sum(departed.found.values()))),
        )
        if (trip := await _would_trip(ports, settings, kind, tally, sink))
    ]
    tally = swept + replace(retained, records=0) + departed
    return Report(
        mode=settings.mode,
        outcome=Outcome.TRIPPED if trips else Outcome.CONVERGED,
        objects=tally.objects,
        records=tally.records,
        found=tally.found,
        kept=tally.kept,
        duration_seconds=ports.clock.monotonic() - started,
        detail="; ".join(trips),
    )


async def look(
    ports: Ports,
    limits: Limits,
    settings: RuntimeSettings,
    bucket: str,
    emit: Callable[[Sequence[Finding]], None],
    prefix: str,
) -> Tally:
    """Pass what a sweep would find under a prefix to `emit`, listing nothing else; without pass, mark, lease.

    Whether the breaker would stop it, only a whole sweep can tell. Raises NotDone where the prefix has
    nothing that is managed, Halt if the bucket belongs to another database.
    """
    within = managed(prefix, settings.policy.prefixes)
    await ownership.verify(ports, bucket)
    sink = EmitSink(emit, within)
    planned = replace(ports, near_misses=sink.gathered)
    tally = await Sweep(planned, limits).survey(settings, sink, bucket, await ports.records.now(), within)
    return tally + sink.settle()


def managed(prefix: str, prefixes: Iterable[str]) -> tuple[str, ...]:
    """The parts of the managed prefixes whose keys begin with `prefix`. Raises NotDone where none is."""
    found = managed_parts(prefix, prefixes)
    if not found:
        message = f"{prefix}: no managed prefix has such keys (RECONCILER_BUCKET__PREFIXES)"
        raise NotDone(ErrorKind.CONFLICT, "not_managed", message, prefix=prefix)
    return found


async def _would_trip(
    ports: Ports, settings: RuntimeSettings, kind: PassKind, tally: Tally, sink: EmitSink
) -> Trip | None:
    def counted(waiting: Backlog) -> Backlog:
        found = breaker.with_findings(waiting, sink.to_mark, sink.by_prefix)
        return replace(found, by_store=max(found.by_store, sink.by_store))

    return await speak(ports, settings, kind, tally, counted=counted)


def _whole(retained: Tally, swept: Tally) -> Tally:
    """The tally of the retention pass, with the rows that its findings are a fraction of."""
    return retained + rows_by_prefix({prefix: part.records for prefix, part in swept.by_prefix.items()})
