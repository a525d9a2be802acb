"""Settings: read from the environment and two files, checked whole, and frozen.

The only package that knows pydantic. `load` is the way in; `SettingsSource` follows the runtime file.
"""

from __future__ import annotations

from reconciler.settings.live import Change, SettingsSource
from reconciler.settings.load import load
from reconciler.settings.schema import (
    BreakerSettings,
    BucketSettings,
    CatalogSettings,
    DatabaseSettings,
    KeyColumns,
    LeaseSettings,
    MediaColumns,
    SchemaSettings,
    Settings,
    WebSettings,
)
from reconciler.settings.secrets import known_secrets

__all__ = [
    "BreakerSettings",
    "BucketSettings",
    "CatalogSettings",
    "Change",
    "DatabaseSettings",
    "KeyColumns",
    "LeaseSettings",
    "MediaColumns",
    "SchemaSettings",
    "Settings",
    "SettingsSource",
    "WebSettings",
    "known_secrets",
    "load",
]
