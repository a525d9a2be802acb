"""Metrics of passes: when they ran, how long they took, how they ended. Replicas recall each other's."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Gauge, Histogram

from reconciler.model import Marker, Outcome
from reconciler.telemetry.names import NAMESPACE, gauge
from reconciler.telemetry.observers import Quiet

PASS_BUCKETS = (1, 2.5, 5, 10, 30, 60, 150, 300, 600, 1_800, 3_600, 7_200, 14_400, 21_600)
"""Seconds, 1 s to 6 h: a retention pass takes seconds, a sweep of a large bucket hours."""


class PassMetrics(Quiet):
    """Two timestamps for each marker, and a histogram."""

    _now: Callable[[], float]

    def _make_passes(self, registry: CollectorRegistry) -> None:
        self._stamps: dict[tuple[Gauge, Marker], float] = {}
        self._last_attempt = gauge(
            registry,
            "pass_last_attempt_timestamp_seconds",
            "When a pass last began; 0 for never.",
            "marker",
        )
        self._last_success = gauge(
            registry,
            "pass_last_success_timestamp_seconds",
            "When a pass last ended complete and released; 0 for never.",
            "marker",
        )
        self._durations = Histogram(
            "pass_duration_seconds",
            "How long passes took.",
            ("marker", "outcome"),
            namespace=NAMESPACE,
            registry=registry,
            buckets=PASS_BUCKETS,
        )
        for marker in Marker:
            self._last_attempt.labels(marker)
            self._last_success.labels(marker)
            for outcome in Outcome:
                self._durations.labels(marker, outcome)

    def pass_started(self, marker: Marker) -> None:
        self._stamp(self._last_attempt, marker, self._now())

    def _stamp(self, which: Gauge, marker: Marker, seconds: float) -> None:
        """Never move a timestamp back: what this process saw may be newer than what is stored."""
        newest = max(self._stamps.get((which, marker), 0.0), seconds)
        self._stamps[which, marker] = newest
        which.labels(marker).set(newest)
