"""Feed metrics from the database: passes and holds on every replica, the rest on the leader."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog

from reconciler.catalog.statistics import PostgresStatistics
from reconciler.engine.collect.rules import enabled
from reconciler.engine.runtime.context import Ports, SettingsInForce
from reconciler.errors import ReconcilerError
from reconciler.model import PassKind, PassState, StorageBy
from reconciler.ports import Clock
from reconciler.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

RECALL_SECONDS = 60.0
"""How often a replica reads the passes that there were, its own and those of others."""

STANDING_SECONDS = 10.0
"""How often the leader reads the state of marks and passes: as often as the collector begins a round."""

STANDING_SHARE = 20
"""The leader rests at least this many times as long as the last read took, since reading every mark costs."""

TERM_SECONDS = 0.5
"""How often a replica checks whether it leads by now."""

LARGEST = 20
"""Pairs of media type and provider that are exported by name."""

PAIR = (StorageBy.MEDIA_TYPE, StorageBy.PROVIDER)


async def recall(ports: Ports, statistics: PostgresStatistics, metrics: Metrics) -> None:
    """Keep the metrics of passes and holds at the database's state, which outlives process and term."""
    while True:
        try:
            for kind in PassKind:
                last = await ports.passes.last(kind)
                metrics.pass_recalled(kind, last, await ports.passes.last(kind, PassState.RELEASED))
            metrics.mode_recalled(await statistics.mode_since())
            metrics.holds_recalled(await ports.holds.count())
        except ReconcilerError as error:
            log.debug("passes not recalled", reason=str(error))
        await ports.clock.sleep(RECALL_SECONDS)


async def refresh_statistics(
    ports: Ports, statistics: PostgresStatistics, metrics: Metrics, in_force: SettingsInForce
) -> None:
    """Export the state of marks and passes from the start of a term on, and while the collector works."""

    async def look() -> float:
        runtime, began = in_force(), ports.clock.monotonic()
        metrics.standing_read(await statistics.standing(runtime.policy, enabled(runtime)))
        metrics.outbox_read(await ports.outbox.backlog())
        metrics.erasures_read(await ports.erasures.open())
        return max(STANDING_SECONDS, STANDING_SHARE * (ports.clock.monotonic() - began))

    await _while_leading(look, metrics, ports.clock, STANDING_SECONDS)


async def refresh_storage(
    ports: Ports,
    statistics: PostgresStatistics,
    metrics: Metrics,
    in_force: SettingsInForce,
    interval: timedelta,
) -> None:
    """Export what is stored, how quotas are used, what was freed and came back, at the start of a term and at
    every `interval`.
    """

    async def look() -> float:
        metrics.storage_read(await statistics.storage(PAIR, LARGEST))
        metrics.quotas_read(await statistics.quotas(in_force().policy, 1))
        metrics.lately_read(await statistics.lately())
        return interval.total_seconds()

    await _while_leading(look, metrics, ports.clock, interval.total_seconds())


async def _while_leading(
    look: Callable[[], Awaitable[float]], metrics: Metrics, clock: Clock, otherwise: float
) -> None:
    """Call `look` at the start of every term, and again after the seconds that it returns; if it fails, again
    after `otherwise`: metrics that cannot be read are no reason to stop.
    """
    last, again = None, 0.0
    while True:
        epoch = metrics.epoch
        if epoch is not None and (epoch != last or clock.monotonic() >= again):
            rest = otherwise
            try:
                rest = await look()
            except ReconcilerError as error:
                log.warning("metrics not read from the database", reason=str(error))
            last, again = epoch, clock.monotonic() + rest
        await clock.sleep(TERM_SECONDS)
