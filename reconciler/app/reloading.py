"""Live configuration: the runtime file, followed while the daemon runs."""

from __future__ import annotations

import anyio

from reconciler.app.surroundings import tell_change, tell_origins
from reconciler.settings import Change, SettingsSource, sources
from reconciler.telemetry.metrics import Metrics

RELOAD_SECONDS = 2.0
"""How often the runtime file is looked at: well within the ten seconds that operators are promised."""


async def follow_runtime_file(source: SettingsSource, metrics: Metrics) -> None:
    """Look at the runtime file until cancelled; an invalid one keeps the last good settings, and says so.

    Whoever deletes looks by itself, at each request: this finds what nobody was about to use.
    """

    def told(change: Change) -> None:
        metrics.settings_read(valid=change.error is None)
        tell_settings(source, metrics)
        tell_change(change)
        if change.changed:
            tell_origins(source)

    source.listen(told)
    tell_settings(source, metrics)  # somebody may have looked before we listened
    while True:
        await anyio.sleep(RELOAD_SECONDS)
        source.refresh()


def tell_settings(source: SettingsSource, metrics: Metrics) -> None:
    """To metrics: the mode in force, the configuration's hash, and where each value came from."""
    settings = source.current()
    metrics.settings_in_force(settings.mode(), settings.config_hash())
    metrics.sources.tell(sources(source.loaded.origins))
