"""What only the leader knows: gauges that vanish with its term."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import TypeAlias

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from reconciler.model import HoldKind, KeepReason, Marker, Tally, Verdict

NAMESPACE = "media_reconciler"

Drift: TypeAlias = Mapping[Verdict, tuple[int, int, datetime | None]]


class LeaderGauges(Collector):
    """What only the leader knows; a replica that does not lead exports none of it.

    A gauge that stayed behind after a demotion would go on telling an old truth.
    """

    def __init__(self, wall_clock: Callable[[], float]) -> None:
        self._now = wall_clock
        self.leading = False
        self.drift: Drift = {}
        self.waiting = 0
        self.hidden = (0, 0)
        self.blocked_by: str | None = None
        self.listed = Tally()
        self.kept: dict[Marker, Mapping[KeepReason, int]] = {}
        self.holds: Mapping[HoldKind, int] = {}

    def collect(self) -> Iterable[Metric]:
        if not self.leading:
            return
        keys = _family("drift_keys", "Marked storage keys that still have to go, by verdict.", "verdict")
        size = _family("drift_bytes", "Bytes of the marked storage keys, by verdict.", "verdict")
        age = _family(
            "drift_oldest_age_seconds",
            "Time since the oldest mark was first seen; 0 without marks.",
            "verdict",
        )
        for verdict in Verdict:
            number, total, oldest = self.drift.get(verdict, (0, 0, None))
            keys.add_metric([verdict], number)
            size.add_metric([verdict], total)
            age.add_metric([verdict], max(0.0, self._now() - oldest.timestamp()) if oldest else 0.0)
        waiting = _family(
            "marks_pending", "Armed marks that no claim could take now: not due, put off or claimed."
        )
        waiting.add_metric([], self.waiting)
        objects = _family("bucket_objects", "Objects that the last finished sweep listed.")
        objects.add_metric([], self.listed.objects)
        stored = _family("bucket_bytes", "Bytes of the objects that the last finished sweep listed.")
        stored.add_metric([], self.listed.bytes)
        yield from (keys, size, age, waiting, objects, stored, *self._blocking())
        yield from (*self._keeping(), *self._hiding())

    def _hiding(self) -> Iterable[Metric]:
        number = _family("hidden_objects", "Deleted objects that can still be brought back.")
        number.add_metric([], self.hidden[0])
        size = _family("hidden_bytes", "Bytes of deleted objects that are not freed before their purge.")
        size.add_metric([], self.hidden[1])
        return number, size

    def _blocking(self) -> Iterable[Metric]:
        text = "1 while an open transaction holds deletions back; the label names it."
        blocked = _family("deletion_blocked", text, "by")
        blocked.add_metric([self.blocked_by or ""], self.blocked_by is not None)
        return (blocked,)

    def _keeping(self) -> Iterable[Metric]:
        kept = _family(
            "kept_keys",
            "What looked like drift to the last released pass and stays, by reason.",
            "marker",
            "reason",
        )
        for marker in Marker:
            for reason in KeepReason:
                kept.add_metric([marker, reason], self.kept.get(marker, {}).get(reason, 0))
        holds = _family("holds", "Holds in force, by what they name.", "kind")
        for kind in HoldKind:
            holds.add_metric([kind], self.holds.get(kind, 0))
        return kept, holds

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not ask for values that a standby does not have."""
        return ()


def _family(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{NAMESPACE}_{name}", text, labels=labels)
