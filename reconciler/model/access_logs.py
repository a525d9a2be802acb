"""Access logs: how far one was read, and what became of what it says."""

from __future__ import annotations

from dataclasses import dataclass, field, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPlace:
    """A place in a log: so many of its bytes, uncompressed, and their SHA-256 in hexadecimal digits."""

    bytes: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStep:
    """A part of a log that was read: from `before` (None: its beginning) to `after`.

    A log is known by the SHA-256 of its first line, `head`, and by what was read of it, so that it may be
    renamed, moved or compressed. `known` are all places in logs that begin so, as they were when it was
    opened. `version` is set with the last step of one that never changes: its name need not be opened again.
    """

    head: str
    known: frozenset[LogPlace]
    before: LogPlace | None
    after: LogPlace
    name: str
    version: str | None


@dataclass(slots=True, kw_only=True)
class Imported:
    """Counts: of logs and their lines, and of accesses by what became of them.

    `done` logs were read to their end before. Lines: `unreadable` of no known format, `not_had` by another
    method or status, `uncounted` by the setting, `elsewhere` of no URL of managed media. Accesses: `counted`,
    `unknown` without a row, `leaving` to a key that is being deleted, `refused` by the table.
    """

    logs: int = 0
    done: int = 0
    lines: int = 0
    unreadable: int = 0
    not_had: int = 0
    uncounted: int = 0
    elsewhere: int = 0
    counted: int = 0
    unknown: int = 0
    leaving: int = 0
    refused: int = 0
    cut_off: list[str] = field(default_factory=list)

    def add(self, other: Imported) -> None:
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))
