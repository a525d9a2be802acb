"""What all kinds of pass share: where findings go, and how a complete pass is released."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import structlog
from structlog.contextvars import bound_contextvars

from reconciler import model
from reconciler.engine.runtime.context import Ports, RuntimeSettings
from reconciler.engine.runtime.steps import step
from reconciler.errors import BadValue
from reconciler.model.keys import merge_prefixes
from reconciler.planning import approval_gate, breaker, sides

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PassResult:
    """A finished pass: what it saw, and the stamp with which it was released, or why it was not."""

    kind: model.PassKind
    pass_id: int
    tally: model.Tally
    stamp: int | None = None
    trip: model.Trip | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkSink:
    """Writes findings as marks, with the watermark in the same transaction."""

    ports: Ports
    term: model.Term
    current: model.Pass
    delete_delay: timedelta

    async def write(self, findings: Sequence[model.Finding], progress: model.RangeProgress | None) -> None:
        if findings or progress is not None:
            try:
                await self._record(findings, progress)
            except (BadValue, ValueError, TypeError, OverflowError) as error:
                await self._record_without(error, findings, progress)

    async def _record(self, findings: Sequence[model.Finding], progress: model.RangeProgress | None) -> None:
        passes = self.ports.passes
        adopted = [each for each in findings if each.verdict is model.Verdict.ADOPT]
        if adopted and self.current.mode is model.Mode.LIVE:
            found = [model.Candidate(storage_key=each.storage_key, size=each.bytes) for each in adopted]
            await self.ports.adoptions.found(self.current.id, found)
        await passes.record(self.term, self.current, findings, self.delete_delay, progress)

    async def _record_without(
        self, error: Exception, findings: Sequence[model.Finding], progress: model.RangeProgress | None
    ) -> None:
        """Split the findings in halves until the one that the database cannot take is left out."""
        middle = len(findings) // 2
        if middle:
            await self.write(findings[:middle], None)
            await self.write(findings[middle:], progress)
            return
        if not findings:
            raise error
        key = findings[0].storage_key
        log.error("a finding cannot be stored, and its key is kept", storage_key=key, reason=str(error))
        if progress is not None:
            await self._record((), progress)


@contextmanager
def under_pass(ports: Ports, current: model.Pass) -> Iterator[None]:
    """Bind the pass to every log line inside, and to the current step."""
    ports.tracer.note(pass_id=current.id)
    with bound_contextvars(pass_id=current.id):
        log.info("pass under way", mode=str(current.mode), config_hash=current.config_hash)
        yield


async def earlier_policy(ports: Ports, kind: model.PassKind, policy: model.Policy) -> model.Policy | None:
    """The policy by which the last released pass of this kind judged, if it was a different one."""
    return approval_gate.earlier(await ports.passes.last(kind, model.PassState.RELEASED), policy)


async def count_rows(ports: Ports, prefixes: Sequence[str]) -> Mapping[str, int]:
    """Count the rows under each managed prefix."""
    merged = merge_prefixes(prefixes)
    return {prefix: await ports.records.count([prefix]) for prefix in merged}


async def speak(
    ports: Ports,
    settings: RuntimeSettings,
    kind: model.PassKind,
    tally: model.Tally,
    current: model.Pass | None = None,
    counted: Callable[[model.Backlog], model.Backlog] = lambda backlog: backlog,
) -> model.Trip | None:
    """The breaker's answer about the complete pass `current`, or a plan: caps, settings and latch.

    For a retention pass, `tally.records` is what its findings are a fraction of. `counted` adds to the
    backlog what a plan has found and not marked.
    """
    previous = await ports.passes.last(kind, model.PassState.RELEASED)
    since = previous.cutoff if previous else None
    backlog = counted(await ports.passes.backlog(settings.policy.prefixes, current, since))
    before = previous.tally if previous else None
    trip = approval_gate.both(
        breaker.check(kind, tally, backlog, before, settings.limits),
        approval_gate.widened(tally, settings.policy, previous),
        sides.near_missed(tally, before, settings.limits),
    )
    return approval_gate.latched(trip, await ports.passes.undecided(kind))


async def release(
    ports: Ports, settings: RuntimeSettings, term: model.Term, current: model.Pass, tally: model.Tally
) -> PassResult:
    """Ask the breaker about a complete pass; then release its marks, in a later transaction."""
    ports.observer.phase(current.kind, model.Phase.RELEASING)
    with step(ports.tracer, "arming"):
        return await _release(ports, settings, term, current, tally)


async def _release(
    ports: Ports, settings: RuntimeSettings, term: model.Term, current: model.Pass, tally: model.Tally
) -> PassResult:
    trip = await speak(ports, settings, current.kind, tally, current)
    if trip is not None:
        await ports.passes.trip(term, current, tally, trip)
        log.error("breaker tripped: nothing of this pass is released", reason=trip.reason)
        return PassResult(kind=current.kind, pass_id=current.id, tally=tally, trip=trip)
    stamp = await ports.passes.arm(term, current, tally)
    found = {str(verdict): number for verdict, number in tally.found.items() if number}
    log.info("pass released", objects=tally.objects, records=tally.records, found=found)
    return PassResult(kind=current.kind, pass_id=current.id, tally=tally, stamp=stamp)


def what_to_do(tripped: model.TrippedPass, decide: int, *, again: bool = False) -> str:
    """Describe a trip in one line, with the commands that a person needs. `decide`: the pass to decide about,
    an earlier one where this one has added nothing. `again`: another line has given the same reason.
    """
    adds = "" if decide == tripped.pass_id else f" and adds nothing to pass {decide}"
    why = " for the same reason" if again else f": {tripped.reason}"
    end = "" if why.endswith("?") else "."
    return (
        f"pass {tripped.pass_id} tripped{adds}{why}{end} Look at it with `reconciler passes show {decide}`,"
        f" then `reconciler approve {decide}` or `reconciler discard {decide}`"
    )
