"""Settings that follow the runtime file while the program runs."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath

from reconciler.errors import ConfigError
from reconciler.settings.load import Overrides, Warn, trace
from reconciler.settings.names import CONFIG_FILE, RUNTIME_FILE, Path, leaves
from reconciler.settings.origins import Loaded, Source
from reconciler.settings.report import shown, written_at
from reconciler.settings.schema import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The effect of a change of the runtime file: `changed` settings, or the `error` that kept the old ones.

    `changed` maps the names of settings to both values, "true -> false"; it is empty where the file says
    the same in other words. `mended`: the content before was refused.
    """

    settings: Settings
    changed: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None
    mended: bool = False


Listener = Callable[[Change], None]


class SettingsSource:
    """The settings now in force, and the function to call when they change.

    An invalid, emptied or vanished file keeps the last good settings, and `error` says why until it is
    mended.
    Everything else is read once: a change outside of the runtime file takes a restart.
    """

    def __init__(self, environ: Mapping[str, str] | None = None, *, warn: Warn = lambda _: None) -> None:
        """Read everything. Raises ConfigError."""
        self._environ = dict(os.environ if environ is None else environ)
        self._runtime = self._environ.get(RUNTIME_FILE) or None
        self._config = _content(self._environ.get(CONFIG_FILE) or None)
        self._stamp = _stamp(self._runtime)
        content = _content(self._runtime)
        self._seen, self._gone = _digest(content), False
        self._secrets: Mapping[Path, str] = {}
        self._loaded: Loaded[Settings] = self._read(content, warn)
        self._secrets = _secrets(self._loaded)
        self._listener: Listener = lambda _: None
        self._misfits: Callable[[Settings], Sequence[str]] = lambda _: ()
        self.error: str | None = None

    def current(self) -> Settings:
        """The settings as last read, without any I/O."""
        return self._loaded.settings

    @property
    def loaded(self) -> Loaded[Settings]:
        """The settings as last read, with where each value came from."""
        return self._loaded

    def listen(self, listener: Listener) -> None:
        """From now on, call `listener` with each change, at the moment at which it takes effect."""
        self._listener = listener

    def look(self) -> Settings:
        """The settings that the runtime file asks for now: one stat, and one read where that has changed.

        Code that is about to delete calls it, because a second is long there. Only `refresh` detects a file
        that has vanished, or was rewritten in place within one tick of the clock.
        """
        stamp = _stamp(self._runtime)
        if stamp is not None and stamp != self._stamp:
            content = _content(self._runtime)
            if not _blank(content):
                self._stamp = stamp
                if _digest(content) != self._seen:
                    self._take(content)
        return self.current()

    def refresh(self) -> Change | None:
        """Read the runtime file again; None if its content is the one last read.

        A vanished or empty file may be in the middle of a replacement. It is reported the second time, a
        moment later, and its emptiness is never applied.
        """
        stamp, content = _stamp(self._runtime), _content(self._runtime)
        if _digest(content) == self._seen:
            self._stamp, self._gone = stamp, False
            return None
        if _blank(content) and not self._gone:
            self._gone = True
            return None
        self._stamp, self._gone = stamp, False
        return self._take(content)

    def require(self, misfits: Callable[[Settings], Sequence[str]]) -> None:
        """From now on, refuse settings that these say something against. Raises ConfigError for the present.

        The settings alone do not tell what can be: the tables have, or lack, a column.
        """
        self._misfits = misfits
        self._raise_for(self._loaded.settings)

    def _raise_for(self, settings: Settings) -> None:
        if faults := self._misfits(settings):
            raise ConfigError("\n".join(faults))

    def _take(self, content: str | None) -> Change:
        self._seen = _digest(content)
        failed_before, before = self.error is not None, self._loaded
        try:
            loaded = self._read(content)
            self._raise_for(loaded.settings)
            self._loaded, self.error = loaded, None
        except ConfigError as error:
            self.error = str(error)
        settings = self._loaded.settings
        changed = _changed(before.settings, settings)
        mended = failed_before and self.error is None
        change = Change(settings=settings, changed=changed, error=self.error, mended=mended)
        self._listener(change)
        return change

    def _read(self, content: str | None, warn: Warn = lambda _: None) -> Loaded[Settings]:
        texts = Overrides(config=self._config, runtime=content, secrets=self._secrets)
        return trace(self._environ, kind=Settings, texts=texts, warn=warn)


def _secrets(loaded: Loaded[Settings]) -> Mapping[Path, str]:
    """Values read from secret files. One that is unreadable later must not keep a changed runtime file, which
    may switch dry run on, from taking effect.
    """
    path = ("database_url",)
    if loaded.origins[path].source is not Source.SECRET_FILE:
        return {}
    return {path: loaded.settings.database_url.get_secret_value()}


def _changed(before: Settings, after: Settings) -> Mapping[str, str]:
    pairs = {
        leaf.name: (written_at(before, path), written_at(after, path)) for path, leaf in leaves().items()
    }
    return {name: f"{shown(old)} -> {shown(new)}" for name, (old, new) in pairs.items() if old != new}


def _content(file: str | None) -> str | None:
    """The file's text, None where it cannot be read (`trace` then says why)."""
    if file is None:
        return None
    try:
        return FilePath(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _blank(content: str | None) -> bool:
    return content is None or not content.strip()


def _stamp(file: str | None) -> tuple[int, ...] | None:
    """Values that change when the file or a symbolic link to it does; None where the file does not exist."""
    if file is None:
        return None
    try:
        found = os.stat(file)  # noqa: PTH116 - asked before each request: half the price of a Path
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size)


def _digest(content: str | None) -> str | None:
    return None if content is None else hashlib.sha256(content.encode()).hexdigest()
