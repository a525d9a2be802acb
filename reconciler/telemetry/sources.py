"""Gauges of where each setting in force came from."""

from collections.abc import Iterable, Mapping

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from reconciler.telemetry.names import NAMESPACE


class SourceGauges(Collector):
    """Exports the sources last set: a setting whose source changes leaves no series behind."""

    def __init__(self) -> None:
        self._sources: Mapping[str, str] = {}

    def tell(self, sources: Mapping[str, str]) -> None:
        """Set the source of each setting's value, by the setting's name in YAML."""
        self._sources = dict(sources)

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            f"{NAMESPACE}_setting_source",
            "1 for the source that gave a setting the value in force.",
            labels=("setting", "source"),
        )
        for setting, source in self._sources.items():
            family.add_metric([setting, source], 1)
        return (family,)
