"""Where each value came from, and which values it replaced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

from reconciler.settings.names import Path
from reconciler.settings.schema import SchemaSettings

S = TypeVar("S", bound=SchemaSettings)


class Source(StrEnum):
    """The source of a setting's value; each wins over those before it."""

    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"
    SECRET_FILE = "secret_file"  # noqa: S105 - a kind of source
    RUNTIME_FILE = "runtime_file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A value as it was written. `where` is the file's path, "" for the environment."""

    raw: object
    source: Source
    where: str = ""


@dataclass(slots=True)
class Layers:
    """Values by path, the last layer on top, what lies under it, and every fault met on the way."""

    values: dict[Path, Written] = field(default_factory=dict)
    under: dict[Path, tuple[Written, ...]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    unread: set[Path] = field(default_factory=set)
    """Values whose file could not be read: only that fault is reported for them."""

    def put(self, path: Path, written: Written) -> None:
        if (below := self.values.get(path)) is not None:
            self.under[path] = (*self.under.get(path, ()), below)
        self.values[path] = written

    def origin(self, path: Path) -> Origin:
        written = self.values.get(path)
        if written is None:
            return Origin()
        below = tuple(Origin(source=each.source, where=each.where) for each in self.under.get(path, ()))
        return Origin(source=written.source, where=written.where, over=below)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a value came from: `where` as in `Written`. `over` set it too, and lost; the lowest first."""

    source: Source = Source.DEFAULT
    where: str = ""
    over: tuple[Origin, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded(Generic[S]):
    """Settings, and where each came from, by path."""

    settings: S
    origins: Mapping[Path, Origin]
