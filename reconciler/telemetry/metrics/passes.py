"""Metrics of passes: when they ran, how long they took, how they ended. Replicas recall each other's."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Gauge

from reconciler.model import Outcome, PassKind
from reconciler.telemetry.names import gauge, histogram
from reconciler.telemetry.observers import NullObserver

PASS_BUCKETS = (1, 2.5, 5, 10, 30, 60, 150, 300, 600, 1_800, 3_600, 7_200, 14_400, 21_600)
"""Seconds, 1 s to 6 h: a retention pass takes seconds, a sweep of a large bucket hours."""


class PassMetrics(NullObserver):
    """Two timestamps for each kind, and a histogram."""

    _now: Callable[[], float]

    def _make_passes(self, registry: CollectorRegistry) -> None:
        self._stamps: dict[tuple[Gauge, PassKind], float] = {}
        self._last_attempt = gauge(
            registry,
            "pass_last_attempt_timestamp_seconds",
            "When a pass last began; 0 for never.",
            "kind",
        )
        self._last_success = gauge(
            registry,
            "pass_last_success_timestamp_seconds",
            "When a pass last ended complete and released; 0 for never.",
            "kind",
        )
        name, text = "pass_duration_seconds", "How long passes took."
        self._durations = histogram(registry, name, text, PASS_BUCKETS, "kind", "outcome")
        for kind in PassKind:
            self._last_attempt.labels(kind)
            self._last_success.labels(kind)
            for outcome in Outcome:
                self._durations.labels(kind, outcome)

    def pass_started(self, kind: PassKind) -> None:
        self._stamp(self._last_attempt, kind, self._now())

    def _stamp(self, which: Gauge, kind: PassKind, seconds: float) -> None:
        """Never move a timestamp back: what this process saw may be newer than what is stored."""
        newest = max(self._stamps.get((which, kind), 0.0), seconds)
        self._stamps[which, kind] = newest
        which.labels(kind).set(newest)
