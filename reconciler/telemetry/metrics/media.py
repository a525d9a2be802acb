"""Metrics of the media service, whose processes have a registry of their own."""

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics

from reconciler.telemetry.metrics.calls import OutsideMetrics
from reconciler.telemetry.names import counter, gauge, info

OUTCOMES = ("sent", "cut", "answered", "refused", "failed")
"""`sent` whole, as far as it was asked for; `cut` before its end; `answered` without a body: HEAD, 304, a
redirect; `refused` with 404; `failed` for want of the database, the store, a place or a range."""


UPLOADS = ("recorded", "refused", "cut", "failed")
"""`recorded` with a row; `refused` as not what may be uploaded; `cut` where the client went away; `failed`
for want of the database or the store."""


class MediaMetrics(OutsideMetrics):
    """Counts what was answered; the bucket's adapter and the catalog report their calls."""

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        version: str,
        operations: Sequence[str] = (),
        outcomes: Sequence[str] = (),
    ) -> None:
        info(registry, "build", "The running version.").info({"version": version})
        self._make_outside(registry, operations, outcomes)
        self._served = counter(
            registry, "media_requests", "Requests for media, by what came of them.", "outcome"
        )
        for outcome in OUTCOMES:
            self._served.labels(outcome)
        self._bytes = counter(registry, "media_sent_bytes", "Bytes of media that were sent.")
        self._uploads = counter(registry, "media_uploads", "Uploads, by what came of them.", "outcome")
        for outcome in UPLOADS:
            self._uploads.labels(outcome)
        self._received = counter(registry, "media_received_bytes", "Bytes of media that were recorded.")
        self._open = gauge(registry, "media_open_requests", "Media that are being sent.")

    def served(self, outcome: str, size: int) -> None:
        """Count one request that has ended, and the bytes that it was sent."""
        self._served.labels(outcome).inc()
        self._bytes.inc(size)

    def uploaded(self, outcome: str, size: int) -> None:
        """Count one upload that has ended, and the bytes of what was recorded."""
        self._uploads.labels(outcome).inc()
        self._received.inc(size)

    def follow_open(self, count: Callable[[], float]) -> None:
        """Export this count of what is being sent at each scrape."""
        self._open.set_function(count)


def media_registry(
    *, version: str, operations: Sequence[str] = (), outcomes: Sequence[str] = ()
) -> tuple[CollectorRegistry, MediaMetrics]:
    """The service's metrics, and those of Prometheus' client about the process."""
    disable_created_metrics()  # type: ignore[no-untyped-call]  # as for the daemon's
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry, MediaMetrics(registry, version=version, operations=operations, outcomes=outcomes)
