"""Prometheus metrics over an injected registry; the engine feeds them through `ports.Observer`.

Labels are closed sets, never a key; of managed prefixes and providers, twenty are exported by name and the
rest as one. Every child exists from the start, at zero, so that a rate has a first value. `telemetry.leader`
has what only the leader knows.
"""

import time
from collections.abc import Callable, Mapping, Sequence

from reconciler.lean import hollow

with (  # its own servers: 1 MiB
    hollow("http.server", "BaseHTTPRequestHandler"),
    hollow("wsgiref.simple_server", "WSGIRequestHandler", "WSGIServer", "make_server"),
):
    from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics

from reconciler.model import (
    ErasureCase,
    HintsStanding,
    HoldKind,
    InventoryUsed,
    Lately,
    LookResult,
    Outcome,
    Pass,
    PassKind,
    Phase,
    QuotaStanding,
    Reading,
    Standing,
    Storage,
    Tally,
    Unsent,
)
from reconciler.telemetry.leader import Drift, LeaderGauges
from reconciler.telemetry.limits import LimitGauges
from reconciler.telemetry.metrics.calls import CallMetrics
from reconciler.telemetry.metrics.passes import PassMetrics
from reconciler.telemetry.metrics.state import StateMetrics
from reconciler.telemetry.metrics.work import WorkMetrics
from reconciler.telemetry.sources import SourceGauges

SUCCESSES = frozenset({Outcome.CONVERGED, Outcome.PENDING})


class Metrics(StateMetrics, PassMetrics, WorkMetrics, CallMetrics):
    """Listens as `ports.Observer`; the bucket's adapter calls `request_ended` after each request.

    `operations` and `outcomes` are all labels that a request can have, so that each child exists from
    the start.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        version: str,
        operations: Sequence[str] = (),
        outcomes: Sequence[str] = (),
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._now = wall_clock
        self._make_state(registry, version)
        self._make_passes(registry)
        self._make_work(registry)
        self._make_calls(registry, operations, outcomes)
        self._of_leader = LeaderGauges(wall_clock)
        registry.register(self._of_leader)
        self.limits = LimitGauges()
        registry.register(self.limits)
        self.sources = SourceGauges()
        registry.register(self.sources)

    # --- the term ---------------------------------------------------------------------------------

    @property
    def epoch(self) -> int | None:
        """The epoch of the term in which this replica leads; None while it does not lead."""
        return self._of_leader.known.epoch if self._of_leader.leading else None

    def elected(self, epoch: int) -> None:
        # This term does not know what an earlier one knew, or reported while it ended.
        self._of_leader.begin(epoch)

    def leading(self, *, leader: bool) -> None:
        self._leader.set(leader)
        self._of_leader.leading = leader

    # --- what only the leader reports --------------------------------------------------------------

    def refused(self, kept: int, gone: int) -> None:
        self._of_leader.known.refused = (kept, gone)

    def drift(self, by_verdict: Drift, waiting: int) -> None:
        self._of_leader.known.drift = dict(by_verdict)
        self._of_leader.known.waiting = waiting

    def hidden(self, objects: int, size: int) -> None:
        self._of_leader.known.hidden = (objects, size)

    def blocked(self, by: str | None) -> None:
        self._of_leader.known.blocked_by = by or ""

    def phase(self, kind: PassKind, phase: Phase | None) -> None:
        self._of_leader.known.phases[kind] = phase

    def resting(self, loop: str, seconds: float) -> None:
        if loop in set(PassKind):
            self._of_leader.known.next_pass[PassKind(loop)] = self._now() + seconds

    def queue_read(self, *, readable: bool) -> None:
        self._of_leader.known.queue_readable = readable

    def events_read(self, reading: Reading, events: int, seconds: float | None) -> None:
        self._count_events(reading, events)
        if seconds is not None:
            self._of_leader.known.events_late = max(0.0, seconds)

    def inventory_taken(self, used: InventoryUsed) -> None:
        self._of_leader.known.inventory = used

    def hinted(self, looks: Mapping[LookResult, int], standing: HintsStanding) -> None:
        self._count_looks(looks)
        self._of_leader.known.hints = standing

    def standing_read(self, standing: Standing) -> None:
        """Take the state of marks and passes that the leader has just read from the database."""
        known = self._of_leader.known
        known.standing, known.drift, known.hidden = standing, standing.drift, standing.hidden

    def storage_read(self, storage: Storage) -> None:
        """Take the storage by media type and provider that the leader has just counted."""
        self._of_leader.known.storage = storage

    def quotas_read(self, standings: Sequence[QuotaStanding]) -> None:
        """Take how the leader has just found quotas used."""
        self._of_leader.known.quotas = standings

    def outbox_read(self, unsent: Mapping[str, Unsent]) -> None:
        """Take what the leader has just found in the outbox, by channel."""
        self._of_leader.known.unsent = unsent

    def erasures_read(self, erasures: Sequence[ErasureCase]) -> None:
        """Take the erasures that the leader has just found open, the oldest first."""
        self._of_leader.known.erasures = erasures

    def lately_read(self, lately: Lately) -> None:
        """Take what the leader has just added up of the ledger."""
        self._of_leader.known.lately = lately

    # --- passes, and what the database knows of them -----------------------------------------------

    def pass_finished(self, kind: PassKind, outcome: Outcome, seconds: float, tally: Tally) -> None:
        self._durations.labels(kind, outcome).observe(seconds)
        if outcome in SUCCESSES:
            self._stamp(self._last_success, kind, self._now())
            self._remember(kind, tally)

    def pass_recalled(self, kind: PassKind, last: Pass | None, last_success: Pass | None) -> None:
        """Take the kind's newest finished pass and its newest released one, run by any replica."""
        if last is not None:
            self._stamp(self._last_attempt, kind, last.cutoff.timestamp())
        if last_success is None:
            return
        if last_success.finished_at is not None:
            self._stamp(self._last_success, kind, last_success.finished_at.timestamp())
        self._remember(kind, last_success.tally)

    def holds_recalled(self, in_force: Mapping[HoldKind, int]) -> None:
        """Take the number of holds in force, made by anyone."""
        self._of_leader.holds = in_force

    def _remember(self, kind: PassKind, tally: Tally) -> None:
        self._of_leader.kept[kind] = tally.kept
        if kind is PassKind.SWEEP:
            self._of_leader.listed = tally


def daemon_registry(
    *, version: str, operations: Sequence[str] = (), outcomes: Sequence[str] = ()
) -> tuple[CollectorRegistry, Metrics]:
    """Our metrics, and those of Prometheus' client about the process (memory, start, open files)."""
    # Otherwise the client adds to each counter and histogram a series with its creation time.
    disable_created_metrics()  # type: ignore[no-untyped-call]  # the client leaves it without types
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry, Metrics(registry, version=version, operations=operations, outcomes=outcomes)
