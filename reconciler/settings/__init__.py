"""Settings: read from the environment and two files, checked whole, and frozen.

The only package that knows pydantic. `load` is the way in; `SettingsSource` follows the runtime file.
"""

from reconciler.settings.addresses import split_timeout
from reconciler.settings.live import Change, SettingsSource
from reconciler.settings.load import load
from reconciler.settings.mounted import database_url_now, read_secret
from reconciler.settings.origins import Loaded, Origin, Source
from reconciler.settings.report import SettingReport, origin_text, overridden, pinned, shown, sources, tell
from reconciler.settings.schema import DatabaseSettings, SchemaSettings, Settings
from reconciler.settings.secrets import known_secrets
from reconciler.settings.tracing import traces_wanted

__all__ = [
    "Change",
    "DatabaseSettings",
    "Loaded",
    "Origin",
    "SchemaSettings",
    "SettingReport",
    "Settings",
    "SettingsSource",
    "Source",
    "database_url_now",
    "known_secrets",
    "load",
    "origin_text",
    "overridden",
    "pinned",
    "read_secret",
    "shown",
    "sources",
    "split_timeout",
    "tell",
    "traces_wanted",
]
