"""A share of a comparison, as one process of several carries it out: plain values in, plain values out.

It reads from the bucket what its key range meets, and keeps that for the next. What it finds it writes to the
bucket under a name of its own, so that a share that is carried out twice leaves two files: of these only the
one is read whose name came back.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from reconciler.errors import InventoryRefused, ReconcilerError
from reconciler.model import InventoryFile
from reconciler.ports import Exports, Files
from reconciler.sources import comparing, engine, fetching, formats, ranges
from reconciler.sources.columns import Columns
from reconciler.sources.comparing import Comparison, Found, Sides
from reconciler.sources.formats import Readable
from reconciler.sources.ranges import Group, Span

if TYPE_CHECKING:
    import duckdb

T = TypeVar("T")

THREADS: Final = 1
"""DuckDB's in each process: their number is how the work is spread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """Where the inventory lies, and in what format."""

    bucket: str
    format: str
    columns: Columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Asks what one file of the inventory holds."""

    listed: Listed
    file: InventoryFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Compare:
    """Asks to compare one key range, with the files of both sides that it meets; `into` is a folder."""

    listed: Listed
    span: Span
    files: Sequence[InventoryFile]
    rows: Sequence[InventoryFile]
    young: int
    into: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """`sql` reads the file's columns; `groups` are its row groups, of no path."""

    sql: str
    groups: Sequence[Group]
    unreadable: int
    marked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeCompared:
    """What a range holds, and the files in the bucket in which its findings are."""

    found: Found
    orphans: Sequence[InventoryFile]
    missing: Sequence[InventoryFile]


@dataclass(frozen=True, slots=True)
class Failed:
    """Why a share cannot be carried out, however often it is tried."""

    reason: str


class Reach(Protocol):
    """The buckets, as a process reaches them; it carries out coroutines, and blocks."""

    @property
    def exports(self) -> Exports: ...

    def files_of(self, bucket: str) -> Files: ...

    def run(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T: ...


class Worker:
    """Carries out shares, one at a time. `memory` and `disk` are bytes, of this process alone."""

    def __init__(self, reach: Reach, folder: Path, memory: int, disk: int) -> None:
        self._reach = reach
        self._folder = folder
        self._memory = memory
        self._disk = disk
        self._kept: dict[InventoryFile, Readable] = {}
        self._fetches = 0

    def look(self, share: Look) -> Looked | Failed:
        """As `compare`, of one file."""
        return self._valued(partial(self._look, share))

    def compare(self, share: Compare) -> RangeCompared | Failed:
        """A value whatever happens but a fault of this program: only what died is worth a repetition."""
        return self._valued(partial(self._compare, share))

    def _valued(self, act: Callable[[duckdb.DuckDBPyConnection], T]) -> T | Failed:
        try:
            with engine.connected(self._memory, self._folder / "spill", self._disk, THREADS) as connection:
                return act(connection)
        except (ReconcilerError, OSError) as error:
            return Failed(str(error))

    def _look(self, share: Look, connection: duckdb.DuckDBPyConnection) -> Looked:
        self._make_room([share.file])
        found = self._listed(connection, share.listed, [share.file])
        groups = ranges.groups(found.paths, found.key)
        sides = Sides(listed=groups, listed_sql=found.sql, rows=(), young=0)
        counted = [comparing.count(connection, sides, each) if groups else 0 for each in comparing.COUNTED]
        named = [replace(each, path=Path()) for each in groups]
        return Looked(sql=found.sql, groups=named, unreadable=counted[0], marked=counted[1] > 0)

    def _compare(self, share: Compare, connection: duckdb.DuckDBPyConnection) -> RangeCompared:
        self._make_room([*share.files, *share.rows])
        listed = self._listed(connection, share.listed, share.files)
        rows = self._fetched(self._reach.exports, share.rows, _as_it_is)
        sides = Sides(
            listed=ranges.groups(listed.paths, listed.key),
            listed_sql=listed.sql,
            rows=ranges.groups([path for each in rows for path in each.paths], "key"),
            young=share.young,
        )
        found = Comparison(connection, sides, self._folder).compare(share.span)
        return RangeCompared(
            found=replace(found, orphan_files=[], missing_files=[]),
            orphans=self._put(found.orphan_files, share.into),
            missing=self._put(found.missing_files, share.into),
        )

    def _listed(
        self, connection: duckdb.DuckDBPyConnection, listed: Listed, files: Sequence[InventoryFile]
    ) -> Readable:
        def readable(path: Path) -> Readable:
            return formats.readable(connection, listed.format, listed.columns, [path], _no_step)

        found = self._fetched(self._reach.files_of(listed.bucket), files, readable)
        return replace(found[0], paths=[path for each in found for path in each.paths])

    def _fetched(
        self, source: Files, files: Sequence[InventoryFile], readable: Callable[[Path], Readable]
    ) -> list[Readable]:
        """The files on local disk, as they can be read; what is there is kept."""
        for file in files:
            if (kept := self._kept.pop(file, None)) is None:
                self._fetches += 1
                folder, named = self._folder, f"kept-{self._fetches:06}-"
                fetched = partial(fetching.fetch, source, [file], folder, _no_step, named)
                (path,) = self._reach.run(fetched)
                kept = readable(path)
                if path not in kept.paths:
                    path.unlink()
            self._kept[file] = kept
        return [self._kept[file] for file in files]

    def _make_room(self, files: Sequence[InventoryFile]) -> None:
        """What was used longest ago makes room."""
        wanted = frozenset(files)
        needed = sum(file.size for file in wanted - self._kept.keys())
        taken = sum(map(_size, self._kept.values()))
        for file in [file for file in self._kept if file not in wanted]:
            if taken + needed <= self._disk:
                break
            gone = self._kept.pop(file)
            taken -= _size(gone)
            for path in gone.paths:
                path.unlink()
        if taken + needed > self._disk:
            raise InventoryRefused(
                f"a key range meets files of {taken + needed:,} B: more than RECONCILER_INVENTORY__DISK"
                f" ({self._disk:,})"
            )

    def _put(self, paths: Sequence[Path], into: str) -> list[InventoryFile]:
        """Under the names that they have: each attempt's own."""
        found = []
        for path in paths:
            found.append(self._reach.run(partial(self._reach.exports.put, f"{into}{path.name}", path)))
            path.unlink()
        return found


def _size(kept: Readable) -> int:
    return sum(path.stat().st_size for path in kept.paths)


def _as_it_is(path: Path) -> Readable:
    return Readable("", [path], "key")


def _no_step() -> None:
    """Nobody watches a share: whoever asked for it waits for its outcome."""
