"""The composition root: the only package that names every adapter. It opens them for what runs on them.

The daemon is in `app.daemon` and is imported only where it runs, so no other command waits for its web
server and its metrics.
"""

from reconciler.app.commands import (
    adopt,
    migrate,
    once,
    open_database,
    open_to_look,
    pause_switch,
    plan,
    undo,
)
from reconciler.app.doctor import doctor
from reconciler.app.first_look import explain, init
from reconciler.app.process import SystemClock
from reconciler.app.wiring import catalog_config, limits_of, open_both, open_ports
from reconciler.catalog.open import Catalog
from reconciler.engine.recover.undo import Undone

__all__ = [
    "Catalog",
    "SystemClock",
    "Undone",
    "adopt",
    "catalog_config",
    "doctor",
    "explain",
    "init",
    "limits_of",
    "migrate",
    "once",
    "open_both",
    "open_database",
    "open_ports",
    "open_to_look",
    "pause_switch",
    "plan",
    "undo",
]
