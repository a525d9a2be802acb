"""Prometheus metrics over an injected registry; the engine feeds them through `ports.Observer`.

Labels are closed sets, never a key or a prefix, and every child exists from the start, at zero, so that
a rate has something to start from.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from reconciler.model import Capabilities, HoldKind, Marker, Mode, ObjectResult, Outcome, Pass, Tally, Verdict
from reconciler.telemetry.leading import NAMESPACE, Drift, LeaderGauges
from reconciler.telemetry.limits import LimitGauges
from reconciler.telemetry.observers import Quiet

PASS_BUCKETS = (1, 2.5, 5, 10, 30, 60, 150, 300, 600, 1_800, 3_600, 7_200, 14_400, 21_600)
"""Seconds, 1 s to 6 h: a retention pass takes seconds, a sweep of a large bucket hours."""

REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
ACTIONS: Mapping[str, tuple[str, ...]] = {
    "delete_object": tuple(ObjectResult),
    "delete_record": ("deleted", "lost"),
}
"""Actions and their results. A record that is `lost` became live after its object had gone."""

RECORD_RESULTS = {"record": "deleted", "lost": "lost"}
SUCCESSES = frozenset({Outcome.CONVERGED, Outcome.PENDING})


def store_labels(found: Capabilities) -> dict[str, str]:
    """The abilities as labels, each of a handful of values."""
    compares = {"batch": found.conditional_batch_delete, "single": found.conditional_delete}
    copies = {"conditional": found.copy_conditional, "plain": found.copy}

    def first(kinds: Mapping[str, bool]) -> str:
        return next((kind for kind, can in kinds.items() if can), "none")

    return {
        "listing_order": found.order,
        "start_after": _flag(found.start_after),
        "rewrites_keys": _flag(found.rewrites_keys),
        "batch_digest": found.batch_digest or "none",
        "batch_size": str(found.batch_size),
        "conditional_delete": first(compares),
        "versioning": found.versioning,
        "undelete": _flag(found.undelete),
        "object_lock": _flag(found.object_lock),
        "copy": first(copies),
        "multipart_copy": _flag(found.multipart_copy),
        "multipart_listing": _flag(found.multipart_listing),
        "probed": _flag(found.probed),
    }


def _flag(value: bool) -> str:  # noqa: FBT001 - a value, not a choice
    return "true" if value else "false"


class Metrics(Quiet):
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
        self._stamps: dict[tuple[Gauge, Marker], float] = {}
        self._make_state(registry, version)
        self._make_passes(registry)
        self._make_reading(registry)
        self._make_requests(registry, operations, outcomes)
        self._make_actions(registry)
        self._leader_gauges = LeaderGauges(wall_clock)
        registry.register(self._leader_gauges)
        self.limits = LimitGauges(NAMESPACE)
        registry.register(self.limits)

    # --- ports.Observer ---------------------------------------------------------------------------

    def page_listed(self, keys: int) -> None:
        self._pages.inc()
        self._keys.inc(keys)

    def records_read(self, rows: int) -> None:
        self._rows.inc(rows)

    def pass_started(self, marker: Marker) -> None:
        self._stamp(self._last_attempt, marker, self._now())

    def pass_finished(self, marker: Marker, outcome: Outcome, seconds: float, tally: Tally) -> None:
        self._durations.labels(marker, outcome).observe(seconds)
        if outcome in SUCCESSES:
            self._stamp(self._last_success, marker, self._now())
            self._remember(marker, tally)

    def deleted(self, mode: Mode, verdict: Verdict, result: str, keys: int, size: int) -> None:
        del verdict  # the drift gauges and the ledger tell it; here it would only multiply the series
        if result in RECORD_RESULTS:
            self._actions.labels("delete_record", RECORD_RESULTS[result], mode).inc(keys)
        else:
            self._actions.labels("delete_object", result, mode).inc(keys)
            self._deleted_bytes.labels(mode).inc(size)

    def drift(self, by_verdict: Drift, waiting: int) -> None:
        self._leader_gauges.drift = dict(by_verdict)
        self._leader_gauges.waiting = waiting

    def hidden(self, objects: int, size: int) -> None:
        self._leader_gauges.hidden = (objects, size)

    def purged(self, objects: int, size: int) -> None:
        self._purged_objects.inc(objects)
        self._freed_bytes.inc(size)

    def halted(self, reason: str | None) -> None:
        self._halted.set(reason is not None)

    def paused(self, *, paused: bool) -> None:
        self._paused.set(paused)

    def blocked(self, by: str | None) -> None:
        self._leader_gauges.blocked_by = by

    def clocks(self, ahead: Mapping[str, float]) -> None:
        for name, seconds in ahead.items():
            self._clocks.labels(name.removeprefix("the ")).set(seconds)

    def leading(self, *, leader: bool) -> None:
        self._leader.set(leader)
        if leader != self._leader_gauges.leading:
            # What an earlier term knew is not known to this one.
            self._leader_gauges.drift, self._leader_gauges.waiting = {}, 0
            self._leader_gauges.hidden = (0, 0)
            self._leader_gauges.blocked_by = None
        self._leader_gauges.leading = leader

    # --- the bucket's requests --------------------------------------------------------------------

    def request_ended(self, operation: str, outcome: str, seconds: float) -> None:
        """One attempt, of an operation as S3 names it (ListObjectsV2)."""
        self._requests.labels(operation, outcome).inc()
        self._request_seconds.labels(operation).observe(seconds)

    # --- the store's abilities --------------------------------------------------------------------

    def store_probed(self, found: Capabilities) -> None:
        """What the store was seen to do just now."""
        self._store.info(store_labels(found))
        self._probed.set(self._now())

    # --- the database's memory --------------------------------------------------------------------

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
        self._leader_gauges.holds = in_force

    def _remember(self, marker: Marker, tally: Tally) -> None:
        self._leader_gauges.kept[marker] = tally.kept
        if marker is Marker.SWEEP:
            self._leader_gauges.listed = tally

    def _stamp(self, gauge: Gauge, marker: Marker, seconds: float) -> None:
        """A timestamp never goes back: what this process saw may be newer than what is stored."""
        newest = max(self._stamps.get((gauge, marker), 0.0), seconds)
        self._stamps[gauge, marker] = newest
        gauge.labels(marker).set(newest)

    # --- settings ---------------------------------------------------------------------------------

    def settings_in_force(self, mode: Mode) -> None:
        """The mode that the write gateway now applies."""
        self._dry_run.set(mode is Mode.DRY_RUN)

    def settings_read(self, *, valid: bool) -> None:
        """How the last reading of the settings' files went."""
        self._reload_ok.set(valid)
        if valid:
            self._reloaded.set(self._now())

    # --- making them ------------------------------------------------------------------------------

    def _make_state(self, registry: CollectorRegistry, version: str) -> None:
        def gauge(name: str, text: str) -> Gauge:
            return Gauge(name, text, namespace=NAMESPACE, registry=registry)

        Info("build", "The running version.", namespace=NAMESPACE, registry=registry).info(
            {"version": version}
        )
        self._leader = gauge("leader", "1 while this replica holds the lease.")
        self._halted = gauge("halted", "1 while the daemon stays idle until a person has acted.")
        self._paused = gauge("paused", "1 while an operator has stopped every deletion, as last read.")
        self._clocks = Gauge(
            "clock_ahead_seconds",
            "How far another clock is ahead of this machine's, as last compared.",
            ("clock",),
            namespace=NAMESPACE,
            registry=registry,
        )
        for clock in ("database", "store"):
            self._clocks.labels(clock)
        self._dry_run = gauge("dry_run", "1 while the write gateway refuses every deletion.")
        self._store = Info(
            "store",
            "What the object store was last seen to do, on scratch keys.",
            namespace=NAMESPACE,
            registry=registry,
        )
        self._probed = gauge("store_probed_timestamp_seconds", "When the store was last probed; 0 for never.")
        self._reload_ok = gauge("config_last_reload_successful", "1 if the settings last read were valid.")
        self._reloaded = gauge(
            "config_last_reload_success_timestamp_seconds", "When valid settings were last read."
        )

    def _make_passes(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str) -> Gauge:
            made = Gauge(name, text, ("marker",), namespace=NAMESPACE, registry=registry)
            for marker in Marker:
                made.labels(marker)
            return made

        self._last_attempt = gauge(
            "pass_last_attempt_timestamp_seconds", "When a pass last began; 0 for never."
        )
        self._last_success = gauge(
            "pass_last_success_timestamp_seconds",
            "When a pass last ended complete and released; 0 for never.",
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
            for outcome in Outcome:
                self._durations.labels(marker, outcome)

    def _make_reading(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str) -> Counter:
            return Counter(name, text, namespace=NAMESPACE, registry=registry)

        self._pages = counter("pages_listed", "Pages that the bucket listed.")
        self._keys = counter("keys_listed", "Keys that the bucket listed.")
        self._rows = counter("records_read", "Rows of the media table that were compared.")

    def _make_requests(
        self, registry: CollectorRegistry, operations: Sequence[str], outcomes: Sequence[str]
    ) -> None:
        self._requests = Counter(
            "requests",
            "Requests to the object store.",
            ("operation", "outcome"),
            namespace=NAMESPACE,
            registry=registry,
        )
        self._request_seconds = Histogram(
            "request_duration_seconds",
            "How long requests to the object store took.",
            ("operation",),
            namespace=NAMESPACE,
            registry=registry,
            buckets=REQUEST_BUCKETS,
        )
        for operation in operations:
            self._request_seconds.labels(operation)
            for outcome in outcomes:
                self._requests.labels(operation, outcome)

    def _make_actions(self, registry: CollectorRegistry) -> None:
        self._actions = Counter(
            "actions",
            "Storage keys and rows acted on, by what came of it; in dry run what would have gone.",
            ("action", "result", "mode"),
            namespace=NAMESPACE,
            registry=registry,
        )
        self._deleted_bytes = Counter(
            "deleted_bytes",
            "Bytes of the objects known to be gone; in dry run of those that would have gone.",
            ("mode",),
            namespace=NAMESPACE,
            registry=registry,
        )
        self._purged_objects = Counter(
            "purged_objects",
            "Deleted objects that can no longer be brought back.",
            namespace=NAMESPACE,
            registry=registry,
        )
        self._freed_bytes = Counter(
            "freed_bytes",
            "Bytes that purges gave back to the store.",
            namespace=NAMESPACE,
            registry=registry,
        )
        for mode in Mode:
            self._deleted_bytes.labels(mode)
            for action, results in ACTIONS.items():
                for result in results:
                    self._actions.labels(action, result, mode)
