"""A copy of the database, or one that went back in time, beside the original on the same bucket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from reconciler.catalog.leadership.site import PostgresSite
from reconciler.embedded.postgres import EmbeddedPostgres
from reconciler.model import Identity, Lineage, Outcome
from reconciler.stores.s3 import open_bucket
from tests.integration.site import Site, make_site
from tests.integration.test_crash import kill_once
from tests.servers import Bucket, fresh_database
from tests.support.buckets import config_of

pytestmark = [pytest.mark.anyio, pytest.mark.calm]

MARKER = ".reconciler/identity.json"
DELAYED = {"delete_delay": "1h"}


@pytest.fixture
def site(database: str, bucket: Bucket) -> Site:
    return make_site(database, bucket)


@pytest.fixture
def ordered_site(database: str, moto_bucket: Bucket) -> Site:
    return make_site(database, moto_bucket)


@asynccontextmanager
async def copied(site: Site, server: EmbeddedPostgres) -> AsyncIterator[Site]:
    """The same bucket, with a copy of the database: as pg_basebackup or a restore makes it."""
    name = site.database.rpartition("/")[2]
    admin = await asyncpg.connect(server.url())
    try:
        await admin.execute(f'CREATE DATABASE "{name}-copy" TEMPLATE "{name}" STRATEGY file_copy')
        yield make_site(server.url(f"{name}-copy"), site.bucket, calm=True)
    finally:
        await admin.execute(f'DROP DATABASE IF EXISTS "{name}-copy" WITH (FORCE)')
        await admin.close()


async def marker(site: Site) -> Identity:
    async with open_bucket(config_of(site.bucket)) as opened:
        seen = await opened.identity.read()
    assert seen is not None
    return seen


@pytest.fixture
def untold(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that tells nothing of itself: a copy does not know itself for one."""

    async def nothing(_site: PostgresSite) -> Lineage:
        return Lineage()

    monkeypatch.setattr(PostgresSite, "lineage", nothing)


@pytest.mark.attack(3)
@pytest.mark.usefixtures("untold")
async def test_a_copy_that_comes_late_contests_the_bucket_and_halts_both(
    site: Site, postgres: EmbeddedPostgres
) -> None:
    """It has the site id, the marks and the epochs; not the nonce that the original wrote since."""
    await site.put("image/orphan")
    await site.once(**DELAYED)
    async with copied(site, postgres) as copy:
        await site.once(**DELAYED)
        await copy.sql("UPDATE reconciler.marks SET due_at = now()")
        report = await copy.once()
        assert report.outcome is Outcome.HALTED
        assert "adopt-bucket" in report.detail
        assert (await marker(site)).contested
        assert (await site.once(**DELAYED)).outcome is Outcome.HALTED
        assert await site.keys() == {"image/orphan"}


@pytest.mark.attack(3)
@pytest.mark.usefixtures("untold")
async def test_a_copy_that_leads_first_is_found_by_the_original(
    ordered_site: Site, postgres: EmbeddedPostgres
) -> None:
    """R-22: the nonce was copied too, so the copy's first acquisition matches; the other's next does not."""
    site = ordered_site
    await site.once()
    async with copied(site, postgres) as copy:
        assert (await copy.once()).outcome is Outcome.CONVERGED
        await site.put("image/orphan")
        assert (await site.once()).outcome is Outcome.HALTED
        assert (await copy.once()).outcome is Outcome.HALTED
        assert await site.keys() == {"image/orphan"}


@pytest.mark.attack(3)
async def test_a_database_that_went_back_in_time_claims_nothing(ordered_site: Site) -> None:
    """A failover under a leader that goes on: the claim itself compares the nonces."""
    site = ordered_site
    await site.put("image/orphan")
    await site.once(**DELAYED)
    before = (await marker(site)).seal
    assert before is not None
    await site.once(**DELAYED)
    await site.sql("UPDATE reconciler.site SET nonce = $1", before.nonce)
    report = await site.once()
    assert report.outcome is Outcome.HALTED
    assert await site.keys() == {"image/orphan"}
    assert await site.ledger() == []


@pytest.mark.attack(22)
@pytest.mark.usefixtures("untold")
async def test_a_person_settles_a_contested_bucket(ordered_site: Site, postgres: EmbeddedPostgres) -> None:
    site = ordered_site
    await site.put("image/orphan")
    await site.once(**DELAYED)
    async with copied(site, postgres) as copy:
        await site.once(**DELAYED)
        assert (await copy.once()).outcome is Outcome.HALTED
        assert "contested" in (await site.ownership()).fault
        assert (await site.once()).outcome is Outcome.HALTED, "looking settles nothing"
        assert await site.adopt() == 1, "the mark that was found before is withdrawn"
        report = await site.once(lease__ttl="60s")  # nobody dies from here on
        assert (report.outcome, report.removed.objects) == (Outcome.CONVERGED, 1)
        halted = await copy.once()
        assert halted.outcome is Outcome.HALTED
        assert "belongs to another database" in halted.detail
        assert not (await marker(site)).contested, "a stranger does not contest"
        assert not (await site.ownership()).fault


@pytest.mark.incident(5)
async def test_a_bucket_moves_to_another_database_on_purpose(ordered_site: Site, other: Site) -> None:
    await ordered_site.once()
    assert (await other.once()).outcome is Outcome.HALTED
    await other.adopt()
    assert (await other.once()).outcome is Outcome.CONVERGED
    assert (await ordered_site.once()).outcome is Outcome.HALTED


@pytest.fixture
def other(postgres: EmbeddedPostgres, migrated_template: str, moto_bucket: Bucket) -> Iterator[Site]:
    """A second database, of somebody else's, that names the same bucket."""
    with fresh_database(postgres, migrated_template) as url:
        yield make_site(url, moto_bucket)


async def test_an_emptied_bucket_is_tied_anew_on_purpose(ordered_site: Site) -> None:
    site = ordered_site
    await site.once()
    site.bucket.client.delete_object(Bucket=site.bucket.name, Key=MARKER)
    assert (await site.once()).outcome is Outcome.HALTED
    await site.adopt()
    assert (await site.once()).outcome is Outcome.CONVERGED


@pytest.mark.attack(90)
async def test_an_adoption_waits_for_deletions_on_their_way(ordered_site: Site) -> None:
    site = ordered_site
    await site.put("image/orphan")
    await site.once(**DELAYED)
    await site.sql(
        "UPDATE reconciler.marks SET state = 'claimed', epoch = 1, operation_id = gen_random_uuid(),"
        " attempted_at = now(), delete_object = true"
    )
    site.bucket.client.delete_object(Bucket=site.bucket.name, Key=MARKER)
    await site.sql("UPDATE reconciler.marks SET attempted_at = now() - interval '1 hour'")
    await site.adopt()
    ((waited,),) = await site.sql(
        "SELECT l.at - e.acquired_at FROM reconciler.ledger l, reconciler.lease e WHERE l.event = 'cancelled'"
    )
    assert waited >= timedelta(seconds=6)


async def test_former_versions_of_the_marker_are_removed(ordered_site: Site) -> None:
    """R-22: one for each renewal would pile up."""
    site = ordered_site
    name = site.bucket.name
    site.bucket.client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    for _ in range(3):
        await site.once()
    versions = site.bucket.client.list_object_versions(Bucket=name, Prefix=MARKER)["Versions"]
    assert len(versions) == 1


async def test_changed_prefixes_keep_the_seal(ordered_site: Site) -> None:
    await ordered_site.once()
    assert (await ordered_site.once(bucket__prefixes='["image/"]')).outcome is Outcome.CONVERGED
    seen = await marker(ordered_site)
    assert seen.prefixes == ("image/",)
    assert seen.seal is not None
    assert (await ordered_site.once()).outcome is Outcome.CONVERGED


async def test_the_seal_that_a_predecessor_wrote_late_is_written_over(ordered_site: Site) -> None:
    """On a store that ignores If-Match, the PUT of a paused leader may land after its successor's."""
    site = ordered_site
    await site.once()
    early = await marker(site)
    assert early.seal is not None
    await site.sql(
        "UPDATE reconciler.site SET nonce = gen_random_uuid(), pending_nonce = $1", early.seal.nonce
    )
    assert (await site.once()).outcome is Outcome.CONVERGED
    after = await marker(site)
    assert after.seal is not None
    assert after.seal.epoch == early.seal.epoch + 1
    assert replace(after, seal=None, lineage=None) == replace(early, seal=None, lineage=None)


@pytest.mark.attack(3)
async def test_what_an_adoption_cuts_short_can_come_back_and_takes_no_row_meanwhile(
    ordered_site: Site,
) -> None:
    """The delete was sent, and its answer was never written down: the claim goes, its copy does not."""
    site = ordered_site
    site.environment["RECONCILER_DELETE_MODE"] = "quarantine"
    await site.put("image/a", "image/b")
    await site.row("image/a", ExpiresAt=datetime.now(UTC) - timedelta(hours=1), SizeBytes=1)
    await kill_once(site, "store", "delete", "after")
    assert await site.keys() == set()
    await site.sql("UPDATE reconciler.site SET nonce = gen_random_uuid(), pending_nonce = NULL")
    await site.adopt()
    assert await site.sql("SELECT 1 FROM reconciler.marks") == []
    tombs = await site.sql("SELECT storage_key, recoverable FROM reconciler.tombstones ORDER BY 1")
    assert [tuple(row) for row in tombs] == [("image/a", True), ("image/b", True)]
    undone = await site.undo(keys=("image/a", "image/b"))
    assert (undone.objects, undone.complete) == (2, True)
    assert await site.state() == ({"image/a", "image/b"}, {"image/a"})
