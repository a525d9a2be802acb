"""The rows' snapshot as Parquet: COPY's CSV through a pipe, so that neither side holds more than a block."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import anyio.to_thread

from reconciler.ports import RowSnapshot
from reconciler.sources import tasks

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

AT_ONCE: Final = 4
"""Ranges on their way at once: more than that, and the server waits for itself."""

GROUP: Final = 250_000
"""Rows of a row group: beyond that a range reads what it does not need."""

GROUPS_A_FILE: Final = 4
"""Row groups of a file: one machine of several fetches the files that its range meets."""

_BLOCK: Final = 1024 * 1024


async def export(snapshot: RowSnapshot, ripe: datetime, into: Path, alive: Callable[[], None]) -> list[Path]:
    """A few files for each of the snapshot's ranges, in key order; columns `key` and `ripe`."""
    done: dict[int, list[Path]] = {}

    async def export_one(each: tuple[int, tuple[str, str | None]]) -> None:
        number, span = each
        done[number] = await _export(snapshot, span, ripe, into / f"rows-{number:05}", alive)

    await tasks.each(enumerate(snapshot.bounds), export_one, at_once=AT_ONCE)
    return [path for number in sorted(done) for path in done[number]]


async def _export(
    snapshot: RowSnapshot,
    span: tuple[str, str | None],
    ripe: datetime,
    path: Path,
    alive: Callable[[], None],
) -> list[Path]:
    """Copy one range. The pipe holds COPY back where Parquet is not written as fast."""
    reading, writing = os.pipe()
    block, written = bytearray(), list[Path]()

    async def take(chunk: bytes) -> None:
        block.extend(chunk)
        if len(block) >= _BLOCK:
            await flush()

    async def flush() -> None:
        await anyio.to_thread.run_sync(_write_all, writing, bytes(block))
        block.clear()
        alive()

    async def copy() -> None:
        try:
            await snapshot.copy(*span, ripe, take)
            await flush()
        finally:
            os.close(writing)

    async def write() -> None:
        written.extend(await anyio.to_thread.run_sync(_write_parquet, reading, path))

    await tasks.together(write, copy)
    return written


def _write_all(target: int, block: bytes) -> None:
    left = memoryview(block)
    while left:
        left = left[os.write(target, left) :]


def _write_parquet(source: int, path: Path) -> list[Path]:
    import pyarrow as pa  # noqa: PLC0415 - an extra of its own
    from pyarrow import csv  # noqa: PLC0415

    schema = pa.schema([("key", pa.string()), ("ripe", pa.bool_())])
    with os.fdopen(source, "rb") as stream, ParquetFiles(path, schema) as files:
        first = stream.read(1)
        if first:  # the reader takes an empty stream for an error
            reader = csv.open_csv(
                _Rest(first, stream),
                read_options=csv.ReadOptions(
                    column_names=schema.names, block_size=_BLOCK * 4, use_threads=False
                ),
                parse_options=csv.ParseOptions(newlines_in_values=True),
                convert_options=csv.ConvertOptions(
                    column_types=schema, strings_can_be_null=False, true_values=["t"], false_values=["f"]
                ),
            )
            for batch in reader:
                files.write(batch)
    return files.paths


class ParquetFiles:
    """Writes batches in row groups, and `GROUPS_A_FILE` of these to a file: `NAME-000.parquet` and so on.

    Holds a row group, of `group` rows or a batch more. There is always a first file, if without a row.
    """

    def __init__(self, path: Path, schema: pa.Schema, group: int = GROUP) -> None:
        self._group = group
        self.paths: list[Path] = []
        self._path = path
        self._schema = schema
        self._writer: pq.ParquetWriter | None = None
        self._groups = self._rows = 0
        self._gathered: list[pa.RecordBatch] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None and (self._gathered or not self.paths):
            self._flush()
        self._close()

    def write(self, batch: pa.RecordBatch) -> None:
        self._gathered.append(batch)
        self._rows += batch.num_rows
        if self._rows >= self._group:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa  # noqa: PLC0415 - an extra of its own
        import pyarrow.parquet as pq  # noqa: PLC0415

        if self._groups == GROUPS_A_FILE:
            self._close()
        if self._writer is None:
            self.paths.append(self._path.with_name(f"{self._path.name}-{len(self.paths):03}.parquet"))
            self._writer = pq.ParquetWriter(
                self.paths[-1], self._schema, compression="zstd", use_dictionary=False
            )
            self._groups = 0
        if self._rows:
            table = pa.Table.from_batches(self._gathered, self._schema)
            self._writer.write_table(table, row_group_size=self._rows)
            self._groups += 1
        self._gathered, self._rows = [], 0

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class _Rest:
    """A stream of which the first byte was read already."""

    closed = False

    def __init__(self, first: bytes, stream: object) -> None:
        self._first = first
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        if self._first:
            first, self._first = self._first, b""
            return first
        found: bytes = self._stream.read(size)  # type: ignore[attr-defined]  # a file
        return found

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True
