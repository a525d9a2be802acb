"""Live configuration: follow the runtime file while the daemon runs."""

import anyio

from reconciler.app.process import log_change, log_origins
from reconciler.settings import Change, SettingsSource, sources
from reconciler.telemetry.metrics import Metrics

RELOAD_SECONDS = 2.0
"""How often we look at the runtime file: well within the ten seconds promised to operators."""


async def follow_runtime_file(source: SettingsSource, metrics: Metrics) -> None:
    """Look at the runtime file until cancelled. An invalid one keeps the last good settings, and is logged.

    Code that deletes looks by itself at each request; this finds changes at all other times.
    """

    def report(change: Change) -> None:
        metrics.settings_read(valid=change.error is None)
        log_settings(source, metrics)
        log_change(change)
        if change.changed:
            log_origins(source)

    source.listen(report)
    log_settings(source, metrics)  # the file may have been read before we listened
    while True:
        await anyio.sleep(RELOAD_SECONDS)
        source.refresh()


def log_settings(source: SettingsSource, metrics: Metrics) -> None:
    """Set the metrics of the mode in force, the configuration's hash, the price, and each value's source."""
    settings = source.current()
    metrics.settings_in_force(settings.mode(), settings.config_hash())
    metrics.priced(settings.price_per_gib_month)
    metrics.sources.tell(sources(source.loaded.origins))
