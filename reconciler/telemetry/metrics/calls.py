"""Metrics of calls to the outside: the store's requests, the database's transactions, the lease."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry

from reconciler.telemetry.names import counter, histogram
from reconciler.telemetry.observers import NullObserver

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
CALL_OUTCOMES = ("ok", "retried", "failed")
"""`retried`: another transaction won, or no connection was available, and the call was tried again."""

REFUSALS = ("missing", "wrong", "forbidden", "throttled")
"""`forbidden`: the token's role is not enough; `throttled`: too many failures of that address before."""

RENEWALS = ("ok", "failed", "lost")
"""`failed` is tried again while the lease lasts; `lost` ends the term."""


class OutsideMetrics:
    """Requests to the store and calls to the database, of whatever program."""

    def _make_outside(
        self, registry: CollectorRegistry, operations: Sequence[str], outcomes: Sequence[str]
    ) -> None:
        self._requests = counter(
            registry, "requests", "Requests to the object store.", "operation", "outcome"
        )
        text = "How long requests to the object store took."
        self._request_seconds = histogram(registry, "request_duration_seconds", text, BUCKETS, "operation")
        for operation in operations:
            self._request_seconds.labels(operation)
            for outcome in outcomes:
                self._requests.labels(operation, outcome)
        self._database_calls = counter(
            registry,
            "database_calls",
            "Attempts at transactions and single reads on the database.",
            "outcome",
        )
        for outcome in CALL_OUTCOMES:
            self._database_calls.labels(outcome)
        text = "How long transactions and single reads took, including their retries."
        self._database_seconds = histogram(registry, "database_call_duration_seconds", text, BUCKETS)

    def request_ended(self, operation: str, outcome: str, seconds: float) -> None:
        """Count one attempt of an operation, named as in S3 (ListObjectsV2)."""
        self._requests.labels(operation, outcome).inc()
        self._request_seconds.labels(operation).observe(seconds)

    def database_called(self, outcome: str, seconds: float | None) -> None:
        """Count one attempt. `seconds` is None for one that is repeated: its time is part of the whole."""
        self._database_calls.labels(outcome).inc()
        if seconds is not None:
            self._database_seconds.observe(seconds)


class CallMetrics(OutsideMetrics, NullObserver):
    """Counts and times, of every replica."""

    def _make_calls(
        self, registry: CollectorRegistry, operations: Sequence[str], outcomes: Sequence[str]
    ) -> None:
        self._make_outside(registry, operations, outcomes)
        self._admin_refusals = counter(
            registry, "admin_refusals", "Requests that the admin API refused, by what of the token.", "reason"
        )
        for reason in REFUSALS:
            self._admin_refusals.labels(reason)
        self._renewals = counter(
            registry, "lease_renewals", "Attempts of the leader to renew its lease.", "outcome"
        )
        for outcome in RENEWALS:
            self._renewals.labels(outcome)

    def admin_refused(self, reason: str) -> None:
        """Count one request of the admin API that was refused."""
        self._admin_refusals.labels(reason).inc()

    def renewed(self, outcome: str) -> None:
        self._renewals.labels(outcome).inc()
