"""Everything that a daemon exports, in its own registry."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics

from reconciler.telemetry.metrics import Metrics


def daemon_registry(
    *, version: str, operations: Sequence[str] = (), outcomes: Sequence[str] = ()
) -> tuple[CollectorRegistry, Metrics]:
    """Our metrics, and those of Prometheus' client about the process (memory, start, open files)."""
    # Otherwise the client adds to each counter and histogram a series with its creation time.
    disable_created_metrics()  # type: ignore[no-untyped-call]  # the client leaves it without types
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry, Metrics(registry, version=version, operations=operations, outcomes=outcomes)
