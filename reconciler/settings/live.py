"""Settings that follow the runtime file while the daemon runs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reconciler.errors import ConfigError
from reconciler.settings.load import Warn, load
from reconciler.settings.names import RUNTIME_FILE, leaves
from reconciler.settings.schema import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a new content of the runtime file led to: `changed` settings, or the `error` that kept the old."""

    settings: Settings
    changed: tuple[str, ...] = ()
    error: str | None = None


class SettingsSource:
    """The settings now in force. `refresh` looks at the runtime file; `current` never does I/O.

    An invalid or vanished file keeps the last good settings, and `error` says why until it is mended.
    """

    def __init__(self, environ: Mapping[str, str] | None = None, *, warn: Warn = lambda _: None) -> None:
        """Read everything once. Raises ConfigError."""
        self._environ = dict(os.environ if environ is None else environ)
        content = self._content()
        self._seen = _digest(content)
        self._settings = load(self._environ, runtime_text=content, warn=warn)
        self.error: str | None = None

    def current(self) -> Settings:
        return self._settings

    def refresh(self) -> Change | None:
        """Read the runtime file anew if its content is not the one last read; None if it is."""
        content = self._content()
        if _digest(content) == self._seen:
            return None
        self._seen = _digest(content)
        try:
            fresh = load(self._environ, runtime_text=content)
        except ConfigError as error:
            self.error = str(error)
            return Change(settings=self._settings, error=self.error)
        self.error = None
        before, self._settings = self._settings, fresh
        changed = tuple(leaf.name for path, leaf in leaves().items() if _at(fresh, path) != _at(before, path))
        return Change(settings=fresh, changed=changed)

    def _content(self) -> str | None:
        """The runtime file's text, None where there is none to be read (`load` then says why)."""
        try:
            return Path(self._environ[RUNTIME_FILE]).read_text(encoding="utf-8")
        except (KeyError, OSError, UnicodeDecodeError):
            return None


def _digest(content: str | None) -> str | None:
    return None if content is None else hashlib.sha256(content.encode()).hexdigest()


def _at(settings: Settings, path: tuple[str, ...]) -> object:
    found: object = settings
    for part in path:
        found = getattr(found, part)
    return found
