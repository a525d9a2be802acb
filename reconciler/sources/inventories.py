"""`ports.InventorySource`: what an adapter has found is fetched, and compared with the exported rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import anyio.to_thread

from reconciler.errors import InventoryRefused
from reconciler.model import (
    InventoryUsed,
    Nominated,
    ObjectPage,
    PrefixSeen,
)
from reconciler.ports import RowExport
from reconciler.sources import comparing, engine, exporting, fetching, formats, on_ray, ranges, tasks
from reconciler.sources.adapters import Adapter, Found
from reconciler.sources.comparing import Comparison, Sides
from reconciler.sources.kept import Export, Kept
from reconciler.sources.sharing import Shared
from reconciler.sources.workspace import workspace

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

PAGE: Final = 10_000
"""Findings of a page on their way back into the database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InventoryConfig:
    """`directory` None is the system's; `memory` and `disk` are bytes."""

    directory: str | None
    memory: int
    disk: int


class LocalInventories:
    """Compares the lists that one adapter finds, on local disk."""

    def __init__(self, config: InventoryConfig, adapter: Adapter, shared: Shared | None = None) -> None:
        """`shared`: other processes compare, and fetch what they need."""
        engine.require_extra()
        if shared is not None:
            on_ray.require_extra()
        self._shared = shared
        self._config = config
        self._adapter = adapter
        self._found: Found | None = None

    async def newest(self) -> InventoryUsed:
        found = await self._adapter.newest()
        if found.bytes > self._config.disk and self._shared is None:
            raise InventoryRefused(
                f"inventory {found.used.name} has {found.bytes:,} B: more than RECONCILER_INVENTORY__DISK"
                f" ({self._config.disk:,})"
            )
        self._found = found
        return found.used

    @asynccontextmanager
    async def compare(
        self,
        used: InventoryUsed,
        export: RowExport,
        prefixes: Sequence[str],
        young: timedelta,
        ripe: timedelta,
        alive: Callable[[], None],
    ) -> AsyncIterator[LocalDifference]:
        found = self._found
        assert found is not None, "compared is what was found"
        shared = self._shared
        named = used if shared is None and not found.paths else None
        with workspace(self._config.directory, named) as folder, closing(found):
            listed: Sequence[Path] = ()
            if shared is None:
                listed = found.paths or await fetching.fetch(found.files, found.listed, folder, alive)
            kept = Kept(folder, {"prefixes": repr([*prefixes]), "ripe": str(ripe), "young": str(young)})
            async with export.open(prefixes) as snapshot:
                exported = await anyio.to_thread.run_sync(kept.export, snapshot.read_at)
                if exported is None:
                    rows = await exporting.export(snapshot, used.began_at - ripe, folder, alive)
                    exported = await anyio.to_thread.run_sync(kept.keep, snapshot.read_at, rows)
            if exported.read_at < used.delivered_at:
                raise InventoryRefused(f"inventory {used.name} was delivered after the rows were read")
            by_start = found.parts_dated_by_start
            difference = LocalDifference(
                Nominated(used=used, read_at=exported.read_at, parts_dated_by_start=by_start)
            )
            before = _ms(exported.read_at - young)
            if shared is None:
                work = _Work(self._config, found, listed, kept, exported, prefixes, folder, before)
                await tasks.in_thread(lambda step: work.carry_out(difference, step), alive)
            else:
                told = await shared.compare(found, exported.files, prefixes, before, folder, alive)
                difference.unreadable, difference.marked = told.unreadable, told.marked
                difference.add(told.found)
            yield difference


class LocalDifference:
    """`ports.Compared` of files on local disk."""

    def __init__(self, nominated: Nominated) -> None:
        self.nominated = nominated
        self.seen: Mapping[str, PrefixSeen] = {}
        self.unreadable = 0
        self.marked = False
        self.found = (0, 0)
        self._orphans: list[Path] = []
        self._missing: list[Path] = []

    def add(self, ranges_found: Sequence[comparing.Found]) -> None:
        """Add up what the ranges held."""
        seen: defaultdict[str, PrefixSeen] = defaultdict(PrefixSeen)
        for each in ranges_found:
            before = seen[each.span.prefix]
            seen[each.span.prefix] = replace(
                before,
                objects=before.objects + each.objects,
                bytes=before.bytes + each.bytes,
                rows=before.rows + each.rows,
                recent=before.recent + each.recent,
                unripe=before.unripe + each.unripe,
            )
            self._orphans += each.orphan_files
            self._missing += each.missing_files
        self.seen = dict(seen)
        self.found = sum(each.orphans for each in ranges_found), sum(each.missing for each in ranges_found)

    async def orphans(self, most: int) -> AsyncIterator[ObjectPage]:
        left = most
        for path in self._orphans:
            async for columns in _pages(path, ("key", "size", "modified", "etag")):
                keys, sizes, modified, etags = columns
                times = [_moment(each) for each in modified]
                yield ObjectPage(keys, [size or 0 for size in sizes], [_bare(each) for each in etags], times)
                left -= len(keys)
                if left <= 0:
                    return

    async def missing(self, most: int) -> AsyncIterator[Sequence[str]]:
        left = most
        for path in self._missing:
            async for (keys,) in _pages(path, ("key",)):
                yield keys
                left -= len(keys)
                if left <= 0:
                    return


@dataclass(frozen=True, slots=True)
class _Work:
    """The blocking part."""

    config: InventoryConfig
    found: Found
    listed: Sequence[Path]
    kept: Kept
    exported: Export
    prefixes: Sequence[str]
    folder: Path
    young: int

    def carry_out(self, difference: LocalDifference, step: Callable[[], None]) -> None:
        spill = self.folder / "spill"
        with engine.connected(self.config.memory, spill, self.config.disk) as connection:
            found = self.found
            readable = formats.readable(connection, found.format, found.columns, self.listed, step)
            sides = Sides(
                listed=ranges.groups(readable.paths, readable.key),
                listed_sql=readable.sql,
                rows=ranges.groups(self.exported.files, "key"),
                young=self.young,
            )
            found.require(sum(group.rows for group in sides.listed))
            difference.unreadable, marked = (
                comparing.count(connection, sides, each) for each in comparing.COUNTED
            )
            difference.marked = marked > 0 or found.unmarked
            compare = self.kept.remembering(self.exported, Comparison(connection, sides, self.folder).compare)
            spans = ranges.cut(ranges.managed(self.prefixes), (sides.listed, sides.rows))
            compared: list[comparing.Found] = []
            for span in spans:
                step()
                compared.append(compare(span))
            difference.add(compared)


async def _pages(path: Path, columns: Sequence[str]) -> AsyncIterator[list[list[Any]]]:
    import pyarrow.parquet as pq  # noqa: PLC0415 - an extra of its own

    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(PAGE, columns=list(columns)):
            yield [batch.column(name).to_pylist() for name in columns]


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _moment(milliseconds: int | None) -> str:
    """The time as a listing writes it; "" for one that is not known, or that no calendar has."""
    try:
        return "" if milliseconds is None else (_EPOCH + timedelta(milliseconds=milliseconds)).isoformat()
    except OverflowError:
        return ""


def _bare(etag: object) -> str:
    return str(etag or "").strip('"')
