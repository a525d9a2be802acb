"""The rows' snapshot as Parquet: COPY's CSV through a pipe, so that neither side holds more than a block."""

import os
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import anyio.to_thread

from reconciler.ports import RowSnapshot
from reconciler.sources import tasks

AT_ONCE: Final = 4
"""Ranges on their way at once: more than that, and the server waits for itself."""

GROUP: Final = 250_000
"""Rows of a row group: beyond that a range reads what it does not need."""

_BLOCK: Final = 1024 * 1024


async def export(
    snapshot: RowSnapshot, ripe: datetime, into: Path, alive: Callable[[], None]
) -> list[tuple[Path, int]]:
    """One file for each of the snapshot's ranges, with its number of rows; columns `key` and `ripe`."""
    done: dict[int, tuple[Path, int]] = {}

    async def export_one(each: tuple[int, tuple[str, str | None]]) -> None:
        number, span = each
        path = into / f"rows-{number:05}.parquet"
        done[number] = path, await _export(snapshot, span, ripe, path, alive)

    await tasks.each(enumerate(snapshot.bounds), export_one, at_once=AT_ONCE)
    return [done[number] for number in sorted(done)]


async def _export(
    snapshot: RowSnapshot,
    span: tuple[str, str | None],
    ripe: datetime,
    path: Path,
    alive: Callable[[], None],
) -> int:
    """Copy one range. The pipe holds COPY back where Parquet is not written as fast."""
    reading, writing = os.pipe()
    rows, block = 0, bytearray()

    async def take(chunk: bytes) -> None:
        block.extend(chunk)
        if len(block) >= _BLOCK:
            await flush()

    async def flush() -> None:
        await anyio.to_thread.run_sync(_write_all, writing, bytes(block))
        block.clear()
        alive()

    async def copy() -> None:
        nonlocal rows
        try:
            rows = await snapshot.copy(*span, ripe, take)
            await flush()
        finally:
            os.close(writing)

    async def write() -> None:
        await anyio.to_thread.run_sync(_write_parquet, reading, path)

    await tasks.together(write, copy)
    return rows


def _write_all(target: int, block: bytes) -> None:
    left = memoryview(block)
    while left:
        left = left[os.write(target, left) :]


def _write_parquet(source: int, path: Path) -> None:
    import pyarrow as pa  # noqa: PLC0415 - an extra of its own
    import pyarrow.parquet as pq  # noqa: PLC0415
    from pyarrow import csv  # noqa: PLC0415

    schema = pa.schema([("key", pa.string()), ("ripe", pa.bool_())])
    with (
        os.fdopen(source, "rb") as stream,
        pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=False) as writer,
    ):
        first = stream.read(1)
        if not first:  # the reader takes an empty stream for an error
            return
        reader = csv.open_csv(
            _Rest(first, stream),
            read_options=csv.ReadOptions(column_names=schema.names, block_size=_BLOCK * 4, use_threads=False),
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                column_types=schema, strings_can_be_null=False, true_values=["t"], false_values=["f"]
            ),
        )
        gathered: list[pa.RecordBatch] = []
        rows = 0
        for batch in reader:
            gathered.append(batch)
            rows += batch.num_rows
            if rows >= GROUP:
                writer.write_table(pa.Table.from_batches(gathered), row_group_size=GROUP)
                gathered, rows = [], 0
        if rows:
            writer.write_table(pa.Table.from_batches(gathered), row_group_size=GROUP)


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


def paths(exported: Sequence[tuple[Path, int]]) -> list[Path]:
    return [path for path, _ in exported]
