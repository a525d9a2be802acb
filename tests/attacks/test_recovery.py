"""Attacks on what was deleted and has to come back, on real servers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import anyio.to_thread
import pytest

from reconciler.catalog.migrate import upgrade
from reconciler.model import Outcome, Verdict
from tests.cli.program import reconciler
from tests.integration.site import Site, make_site
from tests.servers import Bucket

pytestmark = pytest.mark.anyio

LONG_AGO = datetime.now(UTC) - timedelta(hours=1)
QUEUE = "INSERT INTO reconciler.restores (storage_key, reason) VALUES ('image/a', 'a row names it')"


@pytest.fixture
def site(database: str, seaweed_bucket: Bucket) -> Site:
    made = make_site(database, seaweed_bucket)
    made.environment["RECONCILER_DELETE_MODE"] = "auto"
    return made


async def client(site: Site, call: str, **asked: Any) -> Any:
    return await anyio.to_thread.run_sync(
        lambda: getattr(site.bucket.client, call)(Bucket=site.bucket.name, **asked)
    )


async def results(site: Site, what: str) -> list[str]:
    rows = await site.sql(
        "SELECT result FROM reconciler.ledger WHERE event = 'result' AND what = $1 ORDER BY id", what
    )
    return [row[0] for row in rows]


async def sweep_twice(site: Site) -> None:
    for _ in range(2):
        await site.once()


@pytest.mark.attack(7)
async def test_a_row_stays_while_a_multipart_upload_to_its_key_is_open(site: Site) -> None:
    await site.row("image/slow")
    upload = (await client(site, "create_multipart_upload", Key="image/slow"))["UploadId"]
    await sweep_twice(site)
    assert await site.rows() == {"image/slow"}
    assert "recoverable" in await results(site, "object")
    await client(site, "abort_multipart_upload", Key="image/slow", UploadId=upload)
    await sweep_twice(site)
    assert await site.rows() == set()


@pytest.mark.attack(7)
async def test_an_object_that_comes_after_its_row_was_removed_gets_the_row_back(site: Site) -> None:
    """The upload took days: at once it is past its grace, and no row names it."""
    await site.row("image/late", Prompt="a cat", SizeBytes=1)
    (before,) = await site.sql('SELECT to_jsonb(m)::text FROM "MediaRecords" m')
    await sweep_twice(site)
    assert await site.rows() == set()
    await site.put("image/late")
    report = await site.once()
    assert (report.found[Verdict.ORPHAN], report.removed.objects) == (1, 0)
    assert await site.state() == ({"image/late"},) * 2
    (after,) = await site.sql('SELECT to_jsonb(m)::text FROM "MediaRecords" m')
    assert after[0] == before[0]


@pytest.mark.attack(10)
@pytest.mark.incident(16)
async def test_a_record_whose_object_lies_in_quarantine_is_healed_and_not_removed(site: Site) -> None:
    """As after a restore of the database: the row is back, and its object was deleted meanwhile."""
    await site.put("image/a")
    await site.once()
    assert await site.keys() == set()
    await site.row("image/a", SizeBytes=1)
    await sweep_twice(site)
    report = await site.once()
    assert report.outcome is Outcome.CONVERGED
    assert await site.state() == ({"image/a"},) * 2


@pytest.mark.attack(10)
@pytest.mark.parametrize("row", [{"SizeBytes": 7}, {"age": timedelta(hours=-2)}], ids=["size", "time"])
async def test_another_objects_row_is_not_healed_with_what_is_hidden(site: Site, row: dict[str, Any]) -> None:
    """The key was used again: what is hidden is not what the row names. Both are kept, and told."""
    await site.put("image/a")
    await site.once()
    await site.row("image/a", **{"SizeBytes": 1, **row})
    await site.sql(QUEUE)
    await sweep_twice(site)
    assert await site.state() == (set(), {"image/a"})
    assert [each[0] for each in await site.sql("SELECT storage_key FROM reconciler.restores")] == ["image/a"]


@pytest.mark.attack(8)
async def test_versions_behind_a_foreign_delete_marker_keep_the_row(site: Site) -> None:
    configuration = {"Status": "Enabled"}
    await client(site, "put_bucket_versioning", VersioningConfiguration=configuration)
    await site.tracked("image/a")
    await client(site, "delete_object", Key="image/a")
    await sweep_twice(site)
    assert await site.rows() == {"image/a"}
    assert set(await results(site, "object")) == {"recoverable"}


@pytest.mark.attack(6)
async def test_what_a_writer_queued_is_restored_by_the_leader(site: Site) -> None:
    """The triggers queue a key whose row was written while its object went."""
    await site.put("image/a")
    await site.once()
    await site.row("image/a", SizeBytes=1)
    await site.sql(
        "INSERT INTO reconciler.restores (storage_key, reason) VALUES ('image/a', 'a row names it')"
    )
    await site.once()
    assert await site.state() == ({"image/a"},) * 2
    assert await site.sql("SELECT 1 FROM reconciler.restores") == []


@pytest.mark.attack(17)
async def test_what_was_erased_on_request_neither_comes_back_nor_stays(site: Site) -> None:
    await site.put("image/a")
    await site.row("image/a", ExpiresAt=LONG_AGO, Prompt="a cat", SizeBytes=1)
    await site.once()
    erase = partial(reconciler, "erase", "image/a", env=site.environment)
    ended = await anyio.to_thread.run_sync(erase)
    assert (ended.status, ended.told) == (0, [])
    undone = await site.undo(since=LONG_AGO)
    assert (undone.objects, undone.records) == (0, 0)
    await site.row("image/a", SizeBytes=1)
    await site.sql(QUEUE)
    await site.once()
    assert await site.keys() == set()
    assert await anyio.to_thread.run_sync(site.bucket.keys, ".reconciler/quarantine/") == set()
    assert await site.sql("SELECT 1 FROM reconciler.ledger WHERE row_values IS NOT NULL") == []
    (why,) = await site.sql("SELECT reason FROM reconciler.ledger WHERE event = 'purged'")
    assert why[0] == "erasure"


@pytest.mark.attack(30)
async def test_an_undo_passes_our_own_triggers(site: Site) -> None:
    """The tombstone is still there: for a writer it would queue a restore, or refuse the row."""
    await anyio.to_thread.run_sync(partial(upgrade, site.database, with_triggers=True))
    await site.put("image/a")
    await site.row("image/a", ExpiresAt=LONG_AGO, SizeBytes=1)
    await site.once()
    await site.sql("UPDATE reconciler.tombstones SET recoverable = false")
    undone = await site.undo(since=LONG_AGO)
    assert (undone.objects, undone.records, undone.complete) == (1, 1, True)
    assert await site.state() == ({"image/a"},) * 2
    assert await site.sql("SELECT 1 FROM reconciler.restores") == []
