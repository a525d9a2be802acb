"""How metrics are made: their prefix, and helpers that create every child at zero."""

from prometheus_client import CollectorRegistry, Counter, Gauge

NAMESPACE = "media_reconciler"


def gauge(registry: CollectorRegistry, name: str, text: str, *labels: str) -> Gauge:
    return Gauge(name, text, labels, namespace=NAMESPACE, registry=registry)


def counter(registry: CollectorRegistry, name: str, text: str, *labels: str) -> Counter:
    return Counter(name, text, labels, namespace=NAMESPACE, registry=registry)
