"""S3 Metadata's live inventory table: which of its rows count, and when nothing of it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.manifest import FileFormat

from reconciler.errors import ConfigError, InventoryRefused
from reconciler.model import MetadataTable
from reconciler.planning import inventories
from reconciler.sources import comparing, engine, formats
from reconciler.sources.columns import Columns
from reconciler.sources.ranges import Span
from reconciler.sources.s3_metadata import iceberg
from reconciler.sources.s3_metadata.newest import S3Metadata, fault
from tests.doubles import build
from tests.doubles.build import NOW

COLUMNS = Columns(bucket="media", sequence="sequencenumber")
TABLE = MetadataTable(
    enabled=True, status="ACTIVE", error="", warehouse="arn", namespace="b_media", name="inventory"
)


def written(path: Path, rows: Sequence[tuple[str, str, bool | None]]) -> Path:
    keys, sequences, markers = (list(each) for each in zip(*rows, strict=True))
    plain: dict[str, Any] = {"bucket": ["media"] * len(rows), "key": keys, "sequence_number": sequences}
    table = pa.table(
        {
            **plain,
            "is_delete_marker": pa.array(markers, pa.bool_()),
            "size": list(range(len(rows))),
            "last_modified_date": pa.array([1_000_000] * len(rows), pa.timestamp("us")),
            "e_tag": sequences,
        }
    )
    pq.write_table(table, path, row_group_size=2_048)
    return path


def read(paths: list[Path]) -> list[Any]:
    with duckdb.connect(":memory:") as connection:
        found = formats.readable(connection, "Parquet", COLUMNS, paths, lambda: None)
        sql = found.sql.format(source=f"read_parquet({engine.files(found.paths)})")
        return list(connection.execute(f"SELECT * FROM ({sql}) ORDER BY key").fetchall())


def test_the_greatest_sequence_number_of_a_key_counts_in_whatever_file_it_is(tmp_path: Path) -> None:
    """Compared as text; times without a zone are UTC."""
    first = [("a", "80e7", False), ("b", "1", False), ("c", "2", True), ("d", "5", None), ("e", "9", True)]
    second = [("a", "9", False), ("b", "2", True), ("c", "3", False), ("d", "4", True), ("e", "10", False)]
    paths = [written(tmp_path / "1", first), written(tmp_path / "2", second)]
    assert read(paths) == [("a", 0, 1_000, "9"), ("c", 2, 1_000, "3"), ("d", 3, 1_000, "5")]


def test_a_range_of_keys_still_skips_row_groups(tmp_path: Path) -> None:
    """Otherwise each range would sort out the versions of the whole table."""
    path = written(tmp_path / "1", [(f"image/{number:04}", "1", False) for number in range(8_192)])
    span = Span(prefix="image/", low="image/2048", high="image/4096")
    with duckdb.connect(":memory:") as connection:
        sql = formats.readable(connection, "Parquet", COLUMNS, [path], lambda: None).sql
        listed = sql.format(source=f"read_parquet({engine.files([path])})")
        query = f"EXPLAIN ANALYZE SELECT * FROM ({listed}) WHERE {comparing._within(span)}"
        (_, plan), *_ = connection.execute(query).fetchall()
    assert "1 / 4" in plan


def test_an_upload_in_parts_may_be_dated_later_by_a_head_and_never_earlier() -> None:
    listed, later = build.stored(etag="e-2", last_modified=NOW), NOW + timedelta(hours=1)

    def shown(now: Any, *, by_start: bool = True, of: Any = listed) -> Any:
        return inventories.as_head_shows(of, now, parts_dated_by_start=by_start)

    assert shown(listed, by_start=False) is listed
    again = build.stored(etag="e-2", last_modified=later)
    assert shown(again) == again
    assert shown(again, by_start=False) is None
    assert shown(build.stored(etag="e-2", last_modified=NOW - timedelta(seconds=1))) is None
    assert shown(build.stored(etag="e-2", last_modified=None)) is None
    assert shown(build.stored(etag="e-2", last_modified=later, size=11)) is None
    assert shown(build.stored(etag="e-3", last_modified=later)) is None
    whole = build.stored(last_modified=NOW)
    assert shown(build.stored(last_modified=later), of=whole) is None
    assert shown(again, of=build.stored(etag="e-2", last_modified=None)) is None


@pytest.mark.anyio
async def test_the_state_is_asked_before_the_snapshot() -> None:
    """One that is loaded first may be of before the table was filled."""
    asked: list[str] = []

    async def ask() -> MetadataTable:
        asked.append("state")
        return TABLE

    async def load(_: MetadataTable) -> dict[str, Any]:
        asked.append("snapshot")
        return {}

    with pytest.raises(InventoryRefused, match="metadata that cannot be read"):
        await S3Metadata("media", ask, load, lambda _: pytest.fail("nothing to open")).newest()
    assert asked == ["state", "snapshot"]


def test_a_table_of_no_place_or_state_is_refused() -> None:
    assert fault(TABLE) is None
    assert "where" in (fault(replace(TABLE, warehouse="")) or "")
    assert "of no known state" in (fault(replace(TABLE, status="")) or "")


def test_without_pyiceberg_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "find_spec", lambda name: None if name == "pyiceberg" else name)
    with pytest.raises(ConfigError, match=r"s3_metadata needs pyiceberg: pip install .*\[inventory\]'$"):
        S3Metadata("media", pytest.fail, pytest.fail, pytest.fail)  # type: ignore[arg-type]


def test_files_of_another_bucket_or_format_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert iceberg.key_of("s3a://b/a%20b?c/#d", "s3://b/x") == "a%20b?c/#d"
    with pytest.raises(InventoryRefused, match="in another bucket"):
        iceberg.key_of("s3://c/a", "s3://b/x")
    file = SimpleNamespace(file_format=FileFormat.ORC)
    task = SimpleNamespace(file=file, delete_files=[])
    current: Any = SimpleNamespace(name="t", metadata=None)
    monkeypatch.setattr(iceberg, "DataScan", lambda **_: SimpleNamespace(plan_files=lambda: [task]))
    with pytest.raises(InventoryRefused, match="has files in ORC"):
        iceberg.plan(current, {})
    task.delete_files.append(file)
    with pytest.raises(InventoryRefused, match="has delete files"):
        iceberg.plan(current, {})
