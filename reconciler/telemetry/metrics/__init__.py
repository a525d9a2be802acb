"""Prometheus metrics over an injected registry; the engine feeds them through `ports.Observer`.

Labels are closed sets, never a key or a prefix, and every child exists from the start, at zero, so that
a rate has something to start from. What only the leader knows is in `telemetry.leading`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from prometheus_client import CollectorRegistry

from reconciler.model import HoldKind, Marker, Outcome, Pass, Phase, Standing, Storage, Tally
from reconciler.telemetry.leading import Drift, LeaderGauges
from reconciler.telemetry.limits import LimitGauges
from reconciler.telemetry.metrics.calls import CallMetrics
from reconciler.telemetry.metrics.passes import PassMetrics
from reconciler.telemetry.metrics.state import StateMetrics
from reconciler.telemetry.metrics.work import WorkMetrics
from reconciler.telemetry.names import NAMESPACE
from reconciler.telemetry.sources import SourceGauges

__all__ = ["Metrics"]

SUCCESSES = frozenset({Outcome.CONVERGED, Outcome.PENDING})


class Metrics(StateMetrics, PassMetrics, WorkMetrics, CallMetrics):
    """Listens as `ports.Observer`; `request_ended` is what the bucket's adapter calls after each request.

    `operations` and `outcomes` are every label that a request can have, so that each child exists from
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
        self.limits = LimitGauges(NAMESPACE)
        registry.register(self.limits)
        self.sources = SourceGauges(NAMESPACE)
        registry.register(self.sources)

    # --- the term ---------------------------------------------------------------------------------

    @property
    def epoch(self) -> int | None:
        """Of the term that this replica leads in; None while it does not."""
        return self._of_leader.known.epoch if self._of_leader.leading else None

    def elected(self, epoch: int) -> None:
        # What an earlier term knew, or told while it ended, is not known to this one.
        self._of_leader.begin(epoch)

    def leading(self, *, leader: bool) -> None:
        self._leader.set(leader)
        self._of_leader.leading = leader

    # --- what the leader alone tells ---------------------------------------------------------------

    def refused(self, kept: int, gone: int) -> None:
        self._of_leader.known.refused = (kept, gone)

    def drift(self, by_verdict: Drift, waiting: int) -> None:
        self._of_leader.known.drift = dict(by_verdict)
        self._of_leader.known.waiting = waiting

    def hidden(self, objects: int, size: int) -> None:
        self._of_leader.known.hidden = (objects, size)

    def blocked(self, by: str | None) -> None:
        self._of_leader.known.blocked_by = by or ""

    def phase(self, marker: Marker, phase: Phase | None) -> None:
        self._of_leader.known.phases[marker] = phase

    def standing_read(self, standing: Standing) -> None:
        """How things stand, as the leader has just read it from the database."""
        known = self._of_leader.known
        known.standing, known.drift, known.hidden = standing, standing.drift, standing.hidden

    def storage_read(self, storage: Storage) -> None:
        """What is stored by media type and provider, as the leader has just counted it."""
        self._of_leader.known.storage = storage

    # --- passes, and what the database knows of them -----------------------------------------------

    def pass_finished(self, marker: Marker, outcome: Outcome, seconds: float, tally: Tally) -> None:
        self._durations.labels(marker, outcome).observe(seconds)
        if outcome in SUCCESSES:
            self._stamp(self._last_success, marker, self._now())
            self._remember(marker, tally)

    def pass_recalled(self, marker: Marker, last: Pass | None, last_success: Pass | None) -> None:
        """The marker's newest finished pass and its newest released one, whoever ran them."""
        if last is not None:
            self._stamp(self._last_attempt, marker, last.cutoff.timestamp())
        if last_success is None:
            return
        if last_success.finished_at is not None:
            self._stamp(self._last_success, marker, last_success.finished_at.timestamp())
        self._remember(marker, last_success.tally)

    def holds_recalled(self, in_force: Mapping[HoldKind, int]) -> None:
        """How many holds there are, whoever made them."""
        self._of_leader.holds = in_force

    def _remember(self, marker: Marker, tally: Tally) -> None:
        self._of_leader.kept[marker] = tally.kept
        if marker is Marker.SWEEP:
            self._of_leader.listed = tally
