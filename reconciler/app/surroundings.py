"""The clock, the signals and the runtime file of a program that runs."""

from __future__ import annotations

import signal
import time
from datetime import UTC, datetime

import anyio
import structlog

from reconciler.settings import SettingsSource
from reconciler.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)


RELOAD_SECONDS = 2.0
"""How often the runtime file is looked at: well within the ten seconds that operators are promised."""


STOP_SECONDS = 25.0
"""After a signal: what has not ended by then is cancelled. Above the daemon's own time to drain."""


class SystemClock:
    """Implements `ports.Clock`."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall_clock(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


async def stop_on_signal(stopping: anyio.Event, scope: anyio.CancelScope) -> None:
    """The first signal asks for a polite end, with a bound; the second ends at once."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for received in signals:
            if stopping.is_set():
                break
            log.info("stopping", signal=signal.Signals(received).name)
            stopping.set()
            scope.deadline = anyio.current_time() + STOP_SECONDS
    scope.cancel()


async def follow_runtime_file(source: SettingsSource, metrics: Metrics) -> None:
    """Put a changed runtime file in force; an invalid one keeps the last good settings, and says so."""
    while True:
        await anyio.sleep(RELOAD_SECONDS)
        change = source.refresh()
        if change is None:
            continue
        metrics.settings_read(valid=change.error is None)
        metrics.settings_in_force(change.settings.mode(), change.settings.config_hash())
        if change.error is not None:
            log.error("runtime file refused, keeping the last good settings", reason=change.error)
        else:
            log.info("settings changed", changed=change.changed)
