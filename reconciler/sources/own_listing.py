"""A listing of our own, as Parquet on local disk: for stores that make no inventory.

Key ranges are listed side by side where the store lists in byte order, prefixes otherwise; that is sorted
then, as everything that skips rows needs it. What is held in memory is a row group for each range on its way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import anyio.to_thread
import structlog

from reconciler.errors import InventoryRefused, ListingBroken, OrderViolated
from reconciler.model import (
    RESERVED_PREFIX,
    InventoryFile,
    InventoryUsed,
    KeyRange,
    ObjectPage,
    parse_timestamp,
)
from reconciler.ports import Files, Listing
from reconciler.sources import engine, tasks
from reconciler.sources.adapters import Found
from reconciler.sources.columns import Columns
from reconciler.sources.exporting import ParquetFiles
from reconciler.sources.workspace import workspace

log = structlog.get_logger(__name__)

GROUP: Final = 100_000
"""Rows of a row group: with 16 ranges on their way some 200 MB."""

PAGES_A_LOOK: Final = 100
"""Pages of a range after which is looked at what is on disk."""

IDENTITY: Final = f"{RESERVED_PREFIX}identity.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """As `sources.inventories.InventoryConfig`; `at_once` are ranges."""

    directory: str | None
    memory: int
    disk: int
    at_once: int


class OwnListing:
    """`sources.adapters.Adapter`: lists the bucket when it is asked."""

    def __init__(
        self,
        limits: Limits,
        listing: Listing,
        files: Files,
        ranges: Callable[[], Awaitable[Sequence[KeyRange]]] | None,
        prefixes: Sequence[str],
        now: Callable[[], Awaitable[datetime]],
        listed: Callable[[int], None],
    ) -> None:
        """`ranges` is None where the store lists in no order. `now` is the clock of the rows. `listed` hears
        of each page's keys.
        """
        self._limits = limits
        self._listing = listing
        self._files = files
        self._ranges = ranges
        self._prefixes = prefixes
        self._now = now
        self._heard = listed
        self._kept = ExitStack()

    async def newest(self) -> Found:
        """List the bucket. Raises ListingBroken, StoreUnavailable, Halt."""
        began = await self._now()
        paths = None
        if self._ranges is not None:
            try:
                paths = await self._listed(self._fresh_folder(), await self._ranges(), ordered=True)
            except OrderViolated as violation:
                log.warning("the store broke byte order: listing again without it", reason=str(violation))
                self._ranges = None
        if paths is None:
            spans = [KeyRange(prefix=prefix) for prefix in self._prefixes]
            folder = self._fresh_folder()
            paths = [await self._sorted(folder, await self._listed(folder, spans, ordered=False))]
        used = InventoryUsed(
            name=f"listing of {began:%Y-%m-%dT%H:%M:%SZ}",
            digest=uuid4().hex,
            began_at=began,
            delivered_at=await self._now(),
        )
        return Found(
            used=used,
            files=self._files,
            listed=[InventoryFile(key=path.name, size=_size(path), md5=None) for path in paths],
            paths=paths,
            done=self._kept.close,
            unmarked=await self._has_no_identity(),
            format="Parquet",
            columns=Columns(modified="lastmodified"),
        )

    async def _has_no_identity(self) -> bool:
        """As before the first sweep, which puts it: a plan comes earlier."""
        found = await self._files.open(IDENTITY)
        if found is not None:
            found.close()
        return found is None

    def _fresh_folder(self) -> Path:
        self._kept.close()
        return self._kept.enter_context(workspace(self._limits.directory, None))

    async def _listed(self, folder: Path, spans: Sequence[KeyRange], *, ordered: bool) -> list[Path]:
        """The files of all ranges, in the ranges' order."""
        found: dict[int, list[Path]] = {}
        spans = [*spans, *self._of_identity()]

        async def list_one(each: tuple[int, KeyRange]) -> None:
            number, span = each
            found[number] = await self._list(folder, number, span, ordered=ordered)

        await tasks.each(enumerate(spans), list_one, at_once=self._limits.at_once)
        return [path for number in sorted(found) for path in found[number]]

    def _of_identity(self) -> list[KeyRange]:
        """What shows that this bucket was listed, where no prefix covers it."""
        covered = IDENTITY.startswith(tuple(self._prefixes))
        return [] if covered else [KeyRange(prefix=IDENTITY)]

    async def _list(self, folder: Path, number: int, span: KeyRange, *, ordered: bool) -> list[Path]:
        token: str | None = None
        last, pages = span.after, 0
        with ParquetFiles(folder / f"own-{number:05}", _schema(), GROUP) as files:
            while True:
                after = "" if token else span.after
                page = await self._listing.list_page(span.prefix, start_after=after, token=token)
                if page.next_token is not None and page.next_token == token:
                    raise ListingBroken(f"the listing repeats its continuation token {token!r}")
                token = page.next_token
                if ordered:
                    last = _require_order(page, last)
                    page = _within(page, span)
                await anyio.to_thread.run_sync(files.write, _batch(page))
                self._heard(len(page.keys))
                pages += 1
                if pages % PAGES_A_LOOK == 0:
                    await anyio.to_thread.run_sync(self._require_room, folder)
                if token is None or (span.upto is not None and last >= span.upto):
                    break
        return files.paths

    def _require_room(self, folder: Path) -> None:
        taken = sum(map(_size, folder.glob("own-*")))
        if taken > self._limits.disk:
            raise InventoryRefused(
                f"the listing has {taken:,} B so far: more than RECONCILER_INVENTORY__DISK"
                f" ({self._limits.disk:,})"
            )

    async def _sorted(self, folder: Path, paths: Sequence[Path]) -> Path:
        """All of it in key order, each key once: a listing without order may name one twice."""
        target, limits = folder / "own-sorted.parquet", self._limits

        def sort(step: Callable[[], None]) -> None:
            step()
            with engine.connected(limits.memory, folder / "spill", limits.disk) as connection:
                connection.execute(
                    f"COPY (SELECT DISTINCT ON (key) * FROM read_parquet({engine.files(paths)}) ORDER BY key)"
                    f" TO {engine.text(str(target))}"
                    f" (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {GROUP})"
                ).fetchall()
            for path in paths:
                path.unlink()

        await tasks.in_thread(sort, lambda: self._heard(0))
        return target


def _require_order(page: ObjectPage, last: str) -> str:
    """The page's last key. Raises OrderViolated where its keys do not ascend behind `last`."""
    for key in page.keys:
        if key <= last:
            raise OrderViolated(f"the store lists {key!r} after {last!r}")
        last = key
    return last


def _within(page: ObjectPage, span: KeyRange) -> ObjectPage:
    upto = span.upto
    if upto is None or not page.keys or page.keys[-1] <= upto:
        return page
    return page.only([index for index, key in enumerate(page.keys) if key <= upto])


def _schema() -> Any:  # noqa: ANN401 - pyarrow's
    import pyarrow as pa  # noqa: PLC0415 - an extra of its own

    columns = {"key": pa.string(), "size": pa.int64(), "last_modified": pa.timestamp("ms", tz="UTC")}
    return pa.schema([*columns.items(), ("etag", pa.string())])


def _batch(page: ObjectPage) -> Any:  # noqa: ANN401 - pyarrow's
    import pyarrow as pa  # noqa: PLC0415 - an extra of its own

    # A time that nobody can have meant becomes NULL, which protects the object.
    modified = [parse_timestamp(each) for each in page.modified]
    return pa.record_batch([page.keys, page.sizes, modified, list(page.etags)], schema=_schema())


def _size(path: Path) -> int:
    return path.stat().st_size
