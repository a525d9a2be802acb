"""The composition root: the only module that names every adapter, and what each command does."""

from reconciler.app.commands import adopt, doctor, migrate, once, open_database, pause, plan, resume, undo
from reconciler.app.daemon import RECALL_SECONDS, RECONNECT_SECONDS, run
from reconciler.app.surroundings import RELOAD_SECONDS, STOP_SECONDS, SystemClock
from reconciler.app.wiring import bucket_config, catalog_config

__all__ = [
    "RECALL_SECONDS",
    "RECONNECT_SECONDS",
    "RELOAD_SECONDS",
    "STOP_SECONDS",
    "SystemClock",
    "adopt",
    "bucket_config",
    "catalog_config",
    "doctor",
    "migrate",
    "once",
    "open_database",
    "pause",
    "plan",
    "resume",
    "run",
    "undo",
]
