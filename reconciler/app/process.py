"""The clock and the signals of a program that runs."""

import signal
import time
from datetime import UTC, datetime

import anyio
import structlog

from reconciler.settings import Change, SettingsSource, overridden, pinned, tell

log = structlog.get_logger(__name__)


STOP_SECONDS = 25.0
"""Time after a signal until unfinished work is cancelled. It exceeds the daemon's own time to drain."""


class SystemClock:
    """Implements `ports.Clock`."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall_clock(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


async def stop_on_signal(stopping: anyio.Event, scope: anyio.CancelScope) -> None:
    """Stop in order after the first signal, within a time limit, and at once after the second."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for received in signals:
            if stopping.is_set():
                break
            log.info("stopping", signal=signal.Signals(received).name)
            stopping.set()
            scope.deadline = anyio.current_time() + STOP_SECONDS
    scope.cancel()


def log_change(change: Change) -> None:
    """Log what is in force from now on, or why the change is refused."""
    if change.error is not None:
        log.error("runtime file refused, keeping the last good settings", reason=change.error)
    elif change.changed or change.mended:
        hash_ = change.settings.config_hash()
        log.info("settings changed", changed=change.changed, config_hash=hash_, mended=change.mended)


def log_origins(source: SettingsSource) -> None:
    """Log which value is in force where environment and files set the same thing."""
    settings = tell(source.loaded)
    for line in overridden(settings):
        log.warning("the environment is overridden", reason=line)
    for line in pinned(settings):
        log.info("the environment overrides the file", reason=line)
