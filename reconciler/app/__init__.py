"""The composition root: the only package that names every adapter, and what each command does.

The daemon stands in `app.daemon` and is imported where it is run: no other command waits for its web
server and its metrics.
"""

from reconciler.app.commands import adopt, doctor, migrate, once, open_database, pause, plan, resume, undo
from reconciler.app.surroundings import STOP_SECONDS, SystemClock
from reconciler.app.wiring import bucket_config, catalog_config

__all__ = [
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
    "undo",
]
