"""Live configuration: the runtime file, followed while the daemon runs."""

from __future__ import annotations

import anyio
import structlog

from reconciler.settings import SettingsSource
from reconciler.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

RELOAD_SECONDS = 2.0
"""How often the runtime file is looked at: well within the ten seconds that operators are promised."""


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
