"""How fast we may go just now, read at the moment of the scrape: a throttled store moves it all the time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsInForce:
    """Keys a second (infinite for unlimited), batches of deletions at once, pages listed at once."""

    keys_a_second: float
    batches: int
    pages: int


class LimitGauges(Collector):
    """Exports what `follow` was given to ask, and nothing before."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._ask: Callable[[], LimitsInForce] | None = None

    def follow(self, ask: Callable[[], LimitsInForce]) -> None:
        """From now on this tells; it must not raise, nor wait."""
        self._ask = ask

    def collect(self) -> Iterable[Metric]:
        if self._ask is None:
            return
        limits = self._ask()
        for name, text, value in (
            (
                "delete_rate_limit_keys_per_second",
                "Keys a second that may go: as set, or less while the store throttles.",
                limits.keys_a_second,
            ),
            ("delete_batches_limit", "Batches that may be under way at once.", limits.batches),
            ("list_pages_limit", "Pages that may be listed at once.", limits.pages),
        ):
            yield GaugeMetricFamily(f"{self._namespace}_{name}", text, value=value)

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not ask for values that are not there yet."""
        return ()
