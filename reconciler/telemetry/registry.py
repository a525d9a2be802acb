"""All that a daemon exports, in a registry of its own."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics

from reconciler.telemetry.metrics import Metrics


def daemon_registry(
    *, version: str, operations: Sequence[str] = (), outcomes: Sequence[str] = ()
) -> tuple[CollectorRegistry, Metrics]:
    """Our metrics, and what Prometheus' own client tells of a process (memory, start, open files)."""
    # Or the client adds to each counter and histogram a series that says when it was made.
    disable_created_metrics()  # type: ignore[no-untyped-call]  # the client leaves it without types
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry, Metrics(registry, version=version, operations=operations, outcomes=outcomes)
