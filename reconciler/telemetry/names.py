"""How metrics are made: their prefix, and helpers that create every child at zero."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

NAMESPACE = "media_reconciler"


def gauge(registry: CollectorRegistry, name: str, text: str, *labels: str) -> Gauge:
    return Gauge(name, text, labels, namespace=NAMESPACE, registry=registry)


def counter(registry: CollectorRegistry, name: str, text: str, *labels: str) -> Counter:
    return Counter(name, text, labels, namespace=NAMESPACE, registry=registry)


def histogram(
    registry: CollectorRegistry, name: str, text: str, buckets: Sequence[float], *labels: str
) -> Histogram:
    return Histogram(name, text, labels, namespace=NAMESPACE, registry=registry, buckets=buckets)


def info(registry: CollectorRegistry, name: str, text: str) -> Info:
    return Info(name, text, namespace=NAMESPACE, registry=registry)
