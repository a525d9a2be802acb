"""Stores without order, and stores that only seemed to have one: nothing live goes, the pass completes."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler import app
from reconciler.catalog.media_tables import records as media_records
from reconciler.catalog.passes.staging import SETTINGS, PostgresStaging, PostgresStagingArea
from reconciler.embedded.postgres import EmbeddedPostgres
from reconciler.engine.lead.capabilities import abilities
from reconciler.errors import CatalogUnavailable
from reconciler.model import RESERVED_PREFIX, KeepReason, ListingOrder, ObjectPage, Outcome
from reconciler.stores.s3 import retries
from reconciler.stores.s3.listing import BucketListing
from tests.integration.site import Site, make_site
from tests.integration.test_crash import kill_once
from tests.servers import execute, fresh_database
from tests.support.quirky_store import QuirkyStore, quirky_store

pytestmark = pytest.mark.anyio

STAGING = "SELECT relname::text FROM pg_class WHERE relname LIKE 'staging\\_%' AND relkind = 'r'"
SWEEPS = "SELECT state FROM reconciler.passes WHERE kind = 'sweep' ORDER BY id"


@pytest.fixture
async def store() -> AsyncIterator[QuirkyStore]:
    async with quirky_store() as opened:
        yield opened


@pytest.fixture
def quirky_site(database: str, store: QuirkyStore) -> Site:
    return make_site(database, store.bucket())


async def rows_of(site: Site, *keys: str) -> None:
    owner = await site.virtual_key()
    for key in keys:
        await site.row(key, owner)


def out_of_order(key: str) -> object:
    """In order under `.reconciler/`, where the probe looks; backwards below."""
    return key if key.startswith(".reconciler/") else f"~{key[::-1]}"


def in_small_pages(monkeypatch: pytest.MonkeyPatch, page_size: int) -> None:
    """Few keys a page, but for the probe."""
    whole = BucketListing.list_page

    async def list_page(listing: BucketListing, prefix: str, **asked: Any) -> ObjectPage:
        if not prefix.startswith(RESERVED_PREFIX):
            asked["page_size"] = page_size
        return await whole(listing, prefix, **asked)

    monkeypatch.setattr(BucketListing, "list_page", list_page)


# --- a store that breaks the order it was seen to keep -------------------------------------------------


@pytest.mark.incident(14)
async def test_a_store_that_breaks_its_order_later_is_noticed_and_joined_without(
    quirky_site: Site, store: QuirkyStore
) -> None:
    """I-14: merged as if they were in order, live objects look like orphans."""
    live = {f"image/{number:03}" for number in range(40)}
    store.put(*live, "image/orphan")
    await rows_of(quirky_site, *live)
    store.quirks.rank = out_of_order
    report = await quirky_site.once()
    assert (report.outcome, report.objects, report.removed.objects) == (Outcome.CONVERGED, 41, 1)
    assert (store.keys(), await quirky_site.rows()) == (live, live)
    assert [row[0] for row in await quirky_site.sql(SWEEPS)] == ["failed", "released"]
    orders = await quirky_site.sql(
        "SELECT listing_order FROM reconciler.passes WHERE kind = 'sweep' ORDER BY id"
    )
    assert [row[0] for row in orders] == ["bytes", "none"]
    assert await quirky_site.sql(STAGING) == []


@pytest.mark.incident(14)
async def test_marks_of_the_broken_join_are_not_released_by_its_failure(
    quirky_site: Site, store: QuirkyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Marks that were written before the order broke belong to the failed pass, and no claim takes them."""
    live = {f"image/{number:03}" for number in range(100)}
    store.put(*live, "image/000-orphan")
    await rows_of(quirky_site, *live)
    store.quirks.rank = lambda key: f"~{key[::-1]}" if key > "image/06" else key
    monkeypatch.setattr("reconciler.engine.detect.key_ranges.ROWS_A_RANGE", 10)
    in_small_pages(monkeypatch, 5)
    with monkeypatch.context() as without_staging:

        def refuse(*_: object) -> None:
            raise CatalogUnavailable("no second join for now")

        without_staging.setattr(PostgresStagingArea, "open", refuse)
        report = await quirky_site.once(listing_concurrency="1")
    assert (report.outcome, report.removed.objects) == (Outcome.FAILED, 0)
    assert await quirky_site.sql("SELECT storage_key FROM reconciler.marks") != []
    assert store.keys() == live | {"image/000-orphan"}
    report = await quirky_site.once()
    assert (report.outcome, report.removed.objects) == (Outcome.CONVERGED, 1)
    assert (store.keys(), await quirky_site.rows()) == (live, live)


@pytest.mark.incident(14)
async def test_seaweedfs_declared_to_be_in_byte_order_loses_nothing(
    unordered_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lists `a`, `a/b`, `a!`, `a0`: by depth first, and by file name."""
    live = {"image/a", "image/a!", "image/a/b", "image/a/b/c", "image/a0", "image/b"}
    await unordered_site.tracked(*live)
    await unordered_site.put("image/a/orphan", "image/a!orphan")
    believe_in_byte_order(monkeypatch)
    report = await unordered_site.once()
    assert (report.outcome, report.removed.objects) == (Outcome.CONVERGED, 2)
    assert await unordered_site.state() == (live, live)
    assert [row[0] for row in await unordered_site.sql(SWEEPS)] == ["failed", "released"]


@pytest.mark.incident(14)
async def test_seaweedfs_in_many_ranges_by_byte_order_loses_nothing(
    unordered_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its StartAfter is wrong around such keys as well: a range may look in order and lack some."""
    live = {f"image/{name}{end}" for name in "abcd" for end in ("", "!", "/1", "/2", "0")}
    await unordered_site.tracked(*live)
    believe_in_byte_order(monkeypatch)
    monkeypatch.setattr("reconciler.engine.detect.key_ranges.ROWS_A_RANGE", 2)
    for _ in range(3):
        report = await unordered_site.once()
        assert report.removed.objects == report.removed.records == 0
    assert await unordered_site.state() == (live, live)


def believe_in_byte_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the probe had been misled, and had not seen that the store rewrites keys either."""

    async def misled(*args: Any) -> Any:
        return replace(await abilities(*args), order=ListingOrder.BYTES, rewrites_keys=False)

    monkeypatch.setattr(app.wiring, "abilities", misled)


# --- listings that skip keys ---------------------------------------------------------------------------


@pytest.mark.incident(15)
@pytest.mark.parametrize("order", ["bytes", "none"])
async def test_a_key_that_the_listing_skips_keeps_its_row_and_its_object(
    quirky_site: Site, store: QuirkyStore, order: str
) -> None:
    """I-15: seen twice as missing, and yet HEAD finds it."""
    live = {f"image/{number:02}" for number in range(20)}
    store.put(*live)
    await rows_of(quirky_site, *live)
    store.quirks.skipped = {"image/07", "image/13"}
    for _ in range(3):
        report = await quirky_site.once(bucket__listing_order=order)
        assert report.removed.records == 0
    assert (store.keys(), await quirky_site.rows()) == (live, live)


@pytest.mark.incident(15)
async def test_a_versioned_bucket_whose_paged_listing_loses_keys_loses_nothing(
    unordered_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SeaweedFS, where one key is a prefix of another: a page ends, and the next one begins too late."""
    bucket = unordered_site.bucket
    bucket.client.put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"})
    live = {f"image/{number:02}{end}" for number in range(40) for end in ("", "/below")}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(bucket.put, live))
    await rows_of(unordered_site, *live)
    in_small_pages(monkeypatch, 7)
    reports = [await unordered_site.once() for _ in range(3)]
    assert min(report.objects for report in reports) < len(live), (
        "the listing loses no key: nothing is proved"
    )
    assert {(report.removed.objects, report.removed.records) for report in reports} == {(0, 0)}
    assert await unordered_site.rows() == live
    for key in live:
        bucket.client.head_object(Bucket=bucket.name, Key=key)


@pytest.mark.incident(1)
@pytest.mark.parametrize("order", ["bytes", "none"])
async def test_empty_truncated_pages_are_not_the_end(
    quirky_site: Site, store: QuirkyStore, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = {f"image/{number:02}" for number in range(30)}
    store.put(*live, "image/orphan")
    await rows_of(quirky_site, *live)
    store.quirks.empty_pages = True
    in_small_pages(monkeypatch, 4)
    report = await quirky_site.once(bucket__listing_order=order)
    assert (report.objects, report.removed.objects, report.removed.records) == (31, 1, 0)


@pytest.mark.incident(20)
@pytest.mark.parametrize("order", ["bytes", "none"])
async def test_errors_of_the_store_in_mid_listing_do_not_end_the_sweep(
    quirky_site: Site, store: QuirkyStore, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I-20: one error of a gateway killed a run of hours."""
    live = {f"image/{number:02}" for number in range(30)}
    store.put(*live, "image/orphan")
    await rows_of(quirky_site, *live)
    monkeypatch.setattr(retries, "FIRST_PAUSE", 0.001)
    in_small_pages(monkeypatch, 4)
    wire = app.wiring.wire

    def then_falter(*args: Any) -> Any:
        store.quirks.error_in_200["ListObjectsV2"] = 3
        store.quirks.slow_down = 1
        return wire(*args)

    monkeypatch.setattr(app.wiring, "wire", then_falter)
    report = await quirky_site.once(bucket__listing_order=order)
    assert (report.outcome, report.objects, report.removed.objects) == (Outcome.CONVERGED, 31, 1)
    assert store.quirks.error_in_200["ListObjectsV2"] == store.quirks.slow_down == 0


@pytest.mark.incident(18)
@pytest.mark.parametrize("order", ["bytes", "none"])
async def test_keys_of_a_shape_that_nobody_declared_stay_and_are_counted(
    quirky_site: Site, store: QuirkyStore, order: str
) -> None:
    """I-18: a class of files that the tool did not know was deleted."""
    store.put("image/orphan.png", "image/thumbs.db", "image/sub/", "image/\ufffd.png")
    await rows_of(quirky_site, "image/lost.txt")
    for _ in range(2):
        report = await quirky_site.once(bucket__listing_order=order, bucket__key_shape=r"image/.*\.png")
    assert store.keys() == {"image/thumbs.db", "image/sub/", "image/\ufffd.png"}
    assert await quirky_site.rows() == {"image/lost.txt"}
    kept = {reason: count for reason, count in report.kept.items() if count}
    assert kept == {
        KeepReason.UNKNOWN_SHAPE: 2,
        KeepReason.FOLDER_MARKER: 1,
        KeepReason.REPLACEMENT_CHARACTER: 1,
    }


# --- a crash, and a full disk --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call", [("copy", "before"), ("copy", "after"), ("seal", "before"), ("seal", "after")], ids="-".join
)
async def test_a_run_that_was_killed_while_staging_leaves_nothing_behind(
    unordered_site: Site, call: tuple[str, str]
) -> None:
    await unordered_site.tracked("image/live")
    await unordered_site.put("image/orphan")
    await kill_once(unordered_site, "staging", *call)
    assert await unordered_site.sql(STAGING) != []
    report = await unordered_site.once()
    assert (report.outcome, report.removed.objects) == (Outcome.CONVERGED, 1)
    assert await unordered_site.state() == ({"image/live"}, {"image/live"})
    assert await unordered_site.sql(STAGING) == []
    assert [row[0] for row in await unordered_site.sql(SWEEPS)] == ["failed", "released"]


async def test_tables_that_a_crash_left_go_with_the_next_ordered_sweep_too(
    quirky_site: Site, store: QuirkyStore
) -> None:
    store.put("image/orphan")
    await quirky_site.sql("CREATE UNLOGGED TABLE reconciler.staging_7 (key text)")
    assert (await quirky_site.once()).outcome is Outcome.CONVERGED
    assert await quirky_site.sql(STAGING) == []


@pytest.fixture
def cramped_site_database(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[str]:
    """A database whose new tables go to a disk of 2 MiB."""
    with small_disk(postgres, "2m") as space, fresh_database(postgres, migrated_template) as url:
        execute(url, f'ALTER DATABASE "{url.rpartition("/")[2]}" SET default_tablespace = {space}')
        yield url


@contextmanager
def small_disk(postgres: EmbeddedPostgres, size: str) -> Iterator[str]:
    """The name of a tablespace on a file system of that size."""
    # Not below pytest's directories: Postgres runs under an account that cannot enter them.
    directory = Path(tempfile.mkdtemp(prefix="small-disk-"))
    directory.chmod(0o711)
    disk, name = directory / "disk", f"small_{os.getpid()}"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0777", "tmpfs", str(disk)]
    mounted = subprocess.run(command, check=False, capture_output=True, text=True)
    if mounted.returncode:
        shutil.rmtree(directory)
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.strip()}")
    try:
        space, account = disk / "space", Path(f"/proc/{postgres.pid}").stat()
        space.mkdir()
        os.chown(space, account.st_uid, account.st_gid)
        execute(postgres.url(), f"CREATE TABLESPACE {name} LOCATION '{space}'")
        yield name
        execute(postgres.url(), f"DROP TABLESPACE {name}")
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
        shutil.rmtree(directory)


async def test_a_full_disk_is_one_line_and_releases_nothing(
    cramped_site_database: str, store: QuirkyStore
) -> None:
    site = make_site(cramped_site_database, store.bucket())
    store.put("image/live", *(f"image/orphan-{number:05}" for number in range(12_000)))
    await rows_of(site, "image/live")
    report = await site.once(bucket__listing_order="none")
    assert (report.outcome, report.removed.objects) == (Outcome.FAILED, 0)
    assert "Free space on its disk" in report.detail
    assert "\n" not in report.detail
    assert len(store.keys()) == 12_001
    assert await site.sql("SELECT 1 FROM reconciler.marks") == []
    assert await site.sql(STAGING) == [], "what could not be finished gives its room back"


async def test_a_join_that_outgrows_its_room_is_one_line_and_releases_nothing(
    quirky_site: Site, store: QuirkyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit that Postgres sets to temporary files stands for a disk that fills up in mid-join."""
    store.put("image/live", *(f"image/orphan-{number:05}" for number in range(3_000)))
    await rows_of(quirky_site, "image/live")
    database = quirky_site.database.rpartition("/")[2]
    await quirky_site.sql(f"ALTER DATABASE \"{database}\" SET temp_file_limit = '64kB'")
    for name, value in (("work_mem", "64kB"), ("enable_indexscan", "off"), ("enable_bitmapscan", "off")):
        monkeypatch.setitem(SETTINGS, name, value)
    # Without an index the join may outlast a lease of 30 s on a busy machine, which is not asked here.
    report = await quirky_site.once(bucket__listing_order="none", lease__ttl="10m")
    assert (report.outcome, report.removed.objects) == (Outcome.FAILED, 0), report.detail
    assert "temporary file" in report.detail
    assert len(store.keys()) == 3_001
    assert await quirky_site.sql(STAGING) == []


@pytest.mark.incident(1)
@pytest.mark.parametrize("when", ["copy", "seal"])
async def test_a_listing_that_postgres_lost_in_between_releases_nothing(
    quirky_site: Site, store: QuirkyStore, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """A crash of Postgres empties unlogged tables, and a pooled connection may outlive it."""
    live = {f"image/{number}" for number in range(5)}
    store.put(*live)
    await rows_of(quirky_site, *live)
    act = getattr(PostgresStaging, when)

    async def then_crash(staging: PostgresStaging, *args: Any) -> Any:
        answer = await act(staging, *args)
        await staging._flush()
        await quirky_site.sql(f"TRUNCATE {staging._table}")
        return answer

    monkeypatch.setattr(PostgresStaging, when, then_crash)
    report = await quirky_site.once(bucket__listing_order="none")
    assert report.outcome is Outcome.FAILED
    assert "Postgres was restarted" in report.detail
    assert await quirky_site.sql("SELECT 1 FROM reconciler.marks") == []


async def test_without_an_index_both_sides_of_an_ordered_store_are_joined_as_sets(
    ordered_site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(media_records, "AS_SETS", 0)
    await ordered_site.tracked("image/live")
    await ordered_site.put("image/orphan")
    _, planned = await ordered_site.plan()
    assert [each.storage_key for each in planned] == ["image/orphan"]
    report = await ordered_site.once()
    assert report.outcome is Outcome.CONVERGED
    assert await ordered_site.state() == ({"image/live"}, {"image/live"})
    used = await ordered_site.sql("SELECT DISTINCT listing_order FROM reconciler.passes WHERE kind = 'sweep'")
    assert [row[0] for row in used] == ["none"]
    assert "migrate --create-index" in capsys.readouterr().out
