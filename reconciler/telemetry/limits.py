"""The speed limits in force, read at each scrape: they change all the time while a store throttles."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from reconciler.telemetry.names import NAMESPACE


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsInForce:
    """Keys per second (infinite for unlimited), concurrent batches of deletions, concurrent pages listed."""

    keys_a_second: float
    batches: int
    pages: int


class LimitGauges(Collector):
    """Exports the limits from the function given to `follow`, and nothing before."""

    def __init__(self) -> None:
        self._ask: Callable[[], LimitsInForce] | None = None

    def follow(self, ask: Callable[[], LimitsInForce]) -> None:
        """From now on, take the limits from `ask`, which must neither raise nor wait."""
        self._ask = ask

    def collect(self) -> Iterable[Metric]:
        if self._ask is None:
            return
        limits = self._ask()
        for name, text, value in (
            (
                "delete_rate_limit_keys_per_second",
                "Keys that may be deleted per second: as set, or fewer while the store throttles.",
                limits.keys_a_second,
            ),
            ("delete_batches_limit", "Batches of deletions that may be in flight at once.", limits.batches),
            ("list_pages_limit", "Pages that may be listed at once.", limits.pages),
        ):
            yield GaugeMetricFamily(f"{NAMESPACE}_{name}", text, value=value)

    def describe(self) -> Iterable[Metric]:
        """Return nothing: registering must not ask for values that do not exist yet."""
        return ()
