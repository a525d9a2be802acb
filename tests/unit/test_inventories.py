"""Inventories: what a manifest says, how keys are cut into ranges, and when one is not believed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.engine.detect.join import nominated
from reconciler.errors import ConfigError, InventoryRefused, StoreUnavailable
from reconciler.model import (
    Backlog,
    InventoryConfiguration,
    InventoryUsed,
    KeepReason,
    PrefixSeen,
    Tally,
    Verdict,
)
from reconciler.planning import inventories
from reconciler.sources import comparing, engine, ranges, tasks
from reconciler.sources.comparing import Comparison, Sides
from reconciler.sources.kept import Export, Kept
from reconciler.sources.ranges import Group, Span
from reconciler.sources.s3_inventory import configuration, manifest
from reconciler.sources.workspace import workspace
from tests.doubles import build
from tests.doubles.build import DAY, HOUR, NOW

USED = InventoryUsed(name="m", digest="d", began_at=NOW - 24 * HOUR, delivered_at=NOW - HOUR)
NOTHING = Backlog(pending={}, gone={})
SCHEMAS = {
    # As the documentation, and as real reports, have them.
    "Parquet": "message s3.inventory {  required binary bucket (STRING);  required binary key (STRING);"
    "  optional int64 size;  optional int64 last_modified_date (TIMESTAMP(MILLIS,true));"
    "  optional binary e_tag (STRING);  optional binary storage_class (STRING);}",
    "ORC": "struct<bucket:string,key:string,size:bigint,last_modified_date:timestamp,e_tag:string>",
    "CSV": "Bucket, Key, Size, LastModifiedDate, ETag, StorageClass",
}
CONFIGURED = InventoryConfiguration(
    id="daily",
    enabled=True,
    filters="",
    all_versions=False,
    format="Parquet",
    destination="reports",
    prefix="",
    fields=configuration.REQUIRED,
)


def written(form: str = "Parquet", schema: str = SCHEMAS["Parquet"]) -> bytes:
    files = [{"key": "data/a", "size": 5, "MD5checksum": "0" * 32}]
    began = "1514944800000"
    told = {"sourceBucket": "media", "creationTimestamp": began, "fileFormat": form, "fileSchema": schema}
    return json.dumps({**told, "files": files}).encode()


@pytest.mark.parametrize("form", SCHEMAS)
def test_a_manifest_of_each_format_says_when_it_began_and_what_it_has(form: str) -> None:
    found = manifest.read("m", written(form, SCHEMAS[form]))
    assert found.began_at == datetime(2018, 1, 3, 2, tzinfo=UTC)
    assert {"key", "size", "lastmodifieddate", "etag"} <= set(found.columns.names)
    assert not found.columns.versions
    assert manifest.fault(found, "media", CONFIGURED) == (
        None
        if form == "Parquet"
        else f"is in {form}, and its configuration says Parquet: wait for the next one"
    )


def test_one_of_other_versions_than_configured_is_refused() -> None:
    found = manifest.read("m", written("CSV", SCHEMAS["CSV"] + ", IsLatest, IsDeleteMarker"))
    assert found.columns.versions
    asked = replace(CONFIGURED, format="CSV")
    assert (manifest.fault(found, "media", asked) or "").startswith("lists all versions")


@pytest.mark.parametrize("body", [b"{", b"[]", b"{}", written(schema="message")])
def test_what_is_no_manifest_is_refused(body: bytes) -> None:
    with pytest.raises(InventoryRefused, match="a manifest that cannot be read"):
        manifest.read("m", body)


KEYS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4)


@given(st.lists(st.tuples(KEYS, st.integers(1, 9)), max_size=12), KEYS)
def test_ranges_hold_every_managed_key_once(groups: list[tuple[str, int]], key: str) -> None:
    rows = [Group(path=Path("a"), rows=count, low=low, high=low) for low, count in groups]
    spans = list(ranges.cut(ranges.managed([""]), (rows, rows), most=10))
    within = [span for span in spans if key >= span.low and (span.high is None or key < span.high)]
    assert len(within) == (0 if key.startswith(".reconciler/") else 1)


def test_the_statistics_of_row_groups_skip_the_rest(tmp_path: Path) -> None:
    """Otherwise each range reads both sides whole, and a hundred ranges a hundred times."""
    path = tmp_path / "it's.parquet"
    pq.write_table(
        pa.table({"key": [f"image/{number:04}" for number in range(8_192)]}), path, row_group_size=2_048
    )
    span = Span(prefix="image/", low="image/2048", high="image/4096")
    with duckdb.connect(":memory:") as connection:
        query = f"SELECT key FROM read_parquet({engine.files([path])}) WHERE {comparing._within(span)}"
        (_, plan), *_ = connection.execute(f"EXPLAIN ANALYZE {query}").fetchall()
    assert "1 / 4" in plan


def test_a_range_beyond_the_memory_is_compared_in_halves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [f"image/{number:05}" for number in range(4_000)]
    listed, rows = tmp_path / "listed.parquet", tmp_path / "rows.parquet"
    pq.write_table(
        pa.table({"key": keys[1:], "size": [1] * 3_999, "modified": [1] * 3_999, "etag": keys[1:]}), listed
    )
    pq.write_table(pa.table({"key": keys[:-1], "ripe": [True] * 3_999}), rows)
    whole = Comparison._compare

    def too_large(self: Comparison, span: Span) -> comparing.Found:
        found = whole(self, span)
        if found.objects > 1_500:
            raise duckdb.OutOfMemoryException("too large")
        return found

    monkeypatch.setattr(Comparison, "_compare", too_large)
    with engine.connected(1024**3, tmp_path / "spill", 1024**3) as connection:
        sides = Sides(
            listed=ranges.groups([listed], "key"),
            listed_sql="SELECT key, size, modified, etag FROM {source}",
            rows=ranges.groups([rows], "key"),
            young=2,
        )
        found = Comparison(connection, sides, tmp_path).compare(ranges.managed(["image/"])[0])
    assert (found.objects, found.rows, found.orphans, found.missing) == (3_999, 3_999, 1, 1)


NAMES = st.none() | st.sampled_from(
    ["", "image/", "image/a", "image/b", "image/é", "image/\U0010ffff", "other"]
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(NAMES, st.none() | st.integers(1, 3)), min_size=1),
    st.lists(st.tuples(NAMES, st.booleans()), min_size=1),
)
def test_what_is_on_one_side_alone_is_found_whatever_repeats_or_is_null(
    tmp_path: Path, objects: list[tuple[str | None, int | None]], records: list[tuple[str | None, bool]]
) -> None:
    listed, rows = tmp_path / "listed.parquet", tmp_path / "rows.parquet"
    keys, times = ([each[column] for each in objects] for column in (0, 1))
    columns = {
        "key": pa.array(keys, pa.string()),
        "size": pa.array(times, pa.int64()),
        "modified": pa.array(times, pa.int64()),
        "etag": pa.array(keys, pa.string()),
    }
    pq.write_table(pa.table(columns), listed)
    named, ripe = ([each[column] for each in records] for column in (0, 1))
    pq.write_table(pa.table({"key": pa.array(named, pa.string()), "ripe": pa.array(ripe, pa.bool_())}), rows)
    with engine.connected(1024**3, tmp_path / "spill", 1024**3) as connection:
        sides = Sides(
            listed=ranges.groups([listed], "key"),
            listed_sql="SELECT key, size, modified, etag FROM {source}",
            rows=ranges.groups([rows], "key"),
            young=2,
        )
        found = Comparison(connection, sides, tmp_path).compare(ranges.managed(["image/"])[0])
    there = [(key, at) for key, at in objects if key is not None and key.startswith("image/")]
    wanted = [(key, old) for key, old in records if key is not None and key.startswith("image/")]
    alone = [(key, at) for key, at in there if key not in {name for name, _ in wanted}]
    lacking = [(key, old) for key, old in wanted if key not in {name for name, _ in there}]
    old = [(key, at) for key, at in alone if at is not None and at < 2]
    assert (found.objects, found.bytes) == (len(there), sum(at or 0 for _, at in there))
    assert (found.rows, found.orphans, found.recent) == (len(wanted), len(old), len(alone) - len(old))
    gone = [key for key, is_old in lacking if is_old]
    assert (found.missing, found.unripe) == (len(gone), len(lacking) - len(gone))
    assert _written(found.orphan_files, ["key", "size", "modified", "etag"]) == sorted(
        (key, at, at, key) for key, at in old
    )
    assert _written(found.missing_files, ["key"]) == sorted((key,) for key in gone)


def _written(paths: Sequence[Path], columns: Sequence[str]) -> list[tuple[Any, ...]]:
    """The lines of the files, in which their order is by key."""
    return [
        tuple(line[name] for name in columns) for path in paths for line in pq.read_table(path).to_pylist()
    ]


@pytest.mark.parametrize(
    ("used", "last", "reason"),
    [
        (USED, None, None),
        (USED, USED, None),
        (
            USED,
            InventoryUsed(name="n", digest="e", began_at=NOW, delivered_at=NOW),
            "before the one last used",
        ),
        (USED, InventoryUsed(name="n", digest="e", began_at=USED.began_at, delivered_at=NOW), "has changed"),
        (replace(USED, began_at=NOW - 73 * HOUR), None, "longer ago than 3d"),
        (replace(USED, delivered_at=NOW + HOUR), None, "which is later than now"),
    ],
)
def test_an_inventory_is_used_again_but_never_an_older_one(
    used: InventoryUsed, last: InventoryUsed | None, reason: str | None
) -> None:
    found = inventories.out_of_date(used, last, NOW, 72 * HOUR)
    assert (found is None) == (reason is None)
    assert (reason or "") in (found or "")


def test_what_the_program_deleted_since_is_not_missed() -> None:
    """Nine tenths of what was there, and of the rows that should have been: in all, and by prefix."""
    seen = {"image/": PrefixSeen(objects=85, rows=85), "video/": PrefixSeen(objects=100, rows=110, unripe=2)}
    by_prefix = {"image/": Tally(objects=100), "video/": Tally(objects=100)}
    before = Tally(objects=200, by_prefix=by_prefix)
    assert inventories.incomplete(USED, seen, None, NOTHING, marked=True) is None
    fewer = inventories.incomplete(USED, seen, before, NOTHING, marked=True)
    assert fewer is not None
    assert "under 'image/'" in fewer
    gone = Backlog(pending={}, gone={}, since={Verdict.ORPHAN: 15})
    since = Backlog(pending={}, gone={}, since={Verdict.ORPHAN: 15}, by_prefix={"image/": gone})
    assert inventories.incomplete(USED, seen, before, since, marked=True) is None
    assert "lacks .reconciler/identity.json" in (
        inventories.incomplete(USED, seen, before, since, marked=False) or ""
    )
    in_all = Tally(objects=300)
    assert "185 objects" in (inventories.incomplete(USED, seen, in_all, NOTHING, marked=True) or "")
    rows = {"image/": PrefixSeen(objects=100, rows=120)}
    assert "the table has rows for 120" in (
        inventories.incomplete(USED, rows, None, NOTHING, marked=True) or ""
    )


def test_a_row_counts_by_when_the_inventory_began_and_an_object_by_when_rows_were_read() -> None:
    policy = build.policy(grace_period=HOUR)
    young = build.record(created_at=USED.began_at - 48 * HOUR)
    old = build.record(created_at=USED.began_at - 48 * HOUR - timedelta(seconds=1))
    assert inventories.judge_missing(young, policy, NOW, USED.began_at) is KeepReason.PENDING
    assert not inventories.counts_as_missing(young, policy, NOW, USED.began_at)
    assert inventories.counts_as_missing(old, policy, NOW, USED.began_at)
    fresh = build.stored(last_modified=NOW - 2 * HOUR)
    assert inventories.judge_object(fresh, policy, NOW, HOUR) is KeepReason.PENDING
    found = inventories.judge_object(build.stored(last_modified=NOW - DAY), policy, NOW, HOUR)
    assert not isinstance(found, KeepReason)
    elsewhere = build.stored("other/a", last_modified=NOW - DAY)
    assert inventories.judge_object(elsewhere, policy, NOW, HOUR) is KeepReason.OUTSIDE_PREFIX


def test_the_object_is_the_listed_one_by_etag_size_and_second() -> None:
    listed = build.stored(last_modified=NOW + timedelta(microseconds=7))
    assert inventories.same(listed, build.stored(last_modified=NOW))
    assert not inventories.same(listed, build.stored(last_modified=NOW + timedelta(seconds=1)))
    assert not inventories.same(listed, build.stored(last_modified=NOW, size=11))
    assert not inventories.same(listed, build.stored(last_modified=NOW, etag="e2"))
    nameless = build.stored(last_modified=NOW, etag="")
    assert not inventories.same(nameless, nameless)


@pytest.mark.anyio
async def test_a_comparison_tells_that_it_is_alive_and_ends_where_it_is_broken_off() -> None:
    """A download and a comparison of hours would look like a loop that hangs, and hold up a shutdown."""
    steps, alive = 0, 0

    def stamp() -> None:
        nonlocal alive
        alive += 1
        if alive == 3:
            scope.cancel()

    def work(step: Callable[[], None]) -> None:
        nonlocal steps
        for _ in range(1_000_000):
            step()
            steps += 1

    with anyio.CancelScope() as scope:
        await tasks.in_thread(work, stamp)
    assert scope.cancelled_caught
    assert 3 <= steps < 1_000_000

    def fail(step: Callable[[], None]) -> None:
        step()
        raise InventoryRefused("no room")

    with pytest.raises(InventoryRefused, match="no room"):
        await tasks.in_thread(fail, stamp)


def test_without_the_extra_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    engine.require_extra()
    monkeypatch.setattr(engine, "find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r"needs duckdb and pyarrow: pip install .*\[inventory\]'$"):
        engine.require_extra()


@pytest.mark.anyio
async def test_whoever_leads_anew_tells_the_age_of_the_last_inventory_though_the_newest_is_refused() -> None:
    told: list[InventoryUsed] = []

    async def last() -> InventoryUsed:
        return USED

    async def none() -> InventoryUsed:
        raise InventoryRefused("no complete inventory")

    observer = SimpleNamespace(phase=lambda *_: None, inventory_taken=told.append)
    ports: Any = SimpleNamespace(observer=observer, passes=SimpleNamespace(last_inventory=last))
    inventories_: Any = SimpleNamespace(source=SimpleNamespace(newest=none))
    with pytest.raises(InventoryRefused):
        await nominated.newest(ports, inventories_)
    assert told == [USED]


def test_a_folder_is_not_shared_with_a_process_that_lives_nor_taken_from_another_user(tmp_path: Path) -> None:
    with workspace(str(tmp_path), USED) as first, workspace(str(tmp_path), USED) as second:
        assert first != second
        assert {*tmp_path.iterdir()} == {first, second}
    assert list(tmp_path.iterdir()) == []
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    first.symlink_to(elsewhere)
    with workspace(str(tmp_path), USED) as third:
        assert third != first
    first.unlink()
    first.mkdir()
    first.chmod(0o777)
    with workspace(str(tmp_path), USED) as third:
        assert third != first


def test_what_was_fetched_stays_while_the_store_is_away(tmp_path: Path) -> None:
    def fetch_some() -> None:
        with workspace(str(tmp_path), USED) as folder:
            for name in ("listed-00000", "listed-00000.parquet", "rows-00000.parquet"):
                (folder / name).touch()
            raise StoreUnavailable("the store is away")

    with pytest.raises(StoreUnavailable):
        fetch_some()
    with workspace(str(tmp_path), USED) as again:
        assert {path.name for path in again.iterdir()} >= {"listed-00000", "lock"}
    assert list(tmp_path.iterdir()) == []


def test_an_export_is_used_again_for_an_hour_on_the_same_terms_and_its_ranges_with_it(tmp_path: Path) -> None:
    terms = {"prefixes": "['image/']"}
    span = Span(prefix="image/", low="image/", high=None)
    compared: list[Span] = []

    def compare(asked: Span) -> comparing.Found:
        compared.append(asked)
        found = tmp_path / f"found-{len(compared)}"
        found.write_text("orphans")
        return comparing.Found(span=asked, objects=7, orphans=1, orphan_files=[found])

    def begun() -> Export:
        rows = tmp_path / "rows-00000.parquet"
        rows.write_text("rows")
        made = Kept(tmp_path, terms).keep(NOW, [rows])
        assert Kept(tmp_path, terms).remembering(made, compare)(span).objects == 7
        return made

    made = begun()
    again = Kept(tmp_path, terms).export(NOW + HOUR)
    assert again == made
    assert Kept(tmp_path, terms).remembering(again, compare)(span).orphan_files == [tmp_path / "found-1"]
    (journal,) = tmp_path.glob("ranges-*")
    journal.write_bytes(journal.read_bytes()[:-9])  # as a kill in the middle of a line leaves it
    Kept(tmp_path, terms).remembering(again, compare)(span)
    assert compared == [span] * 2
    for now, others in (
        (NOW + HOUR + timedelta(seconds=1), terms),
        (NOW - timedelta(seconds=1), terms),
        (NOW, {"prefixes": "['video/']"}),
    ):
        begun()
        (tmp_path / "listed-00000").touch()
        assert Kept(tmp_path, others).export(now) is None
        assert [path.name for path in tmp_path.iterdir()] == ["listed-00000"]
    (tmp_path / "export.json").write_text("{")
    assert Kept(tmp_path, terms).export(NOW) is None
