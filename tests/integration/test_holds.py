"""Holds, over whole runs on real servers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from reconciler.model import Hold, HoldKind, KeepReason, Outcome, Verdict
from tests.integration.site import Site, make_site
from tests.servers import S3Server
from tests.support.quirky_store import Quirks, quirky_store

pytestmark = [pytest.mark.anyio, pytest.mark.calm]

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def s3_server(seaweed: S3Server) -> S3Server:
    """One store is enough: holds are the database's."""
    return seaweed


async def drifted(site: Site) -> UUID:
    """An orphan under each prefix, a record without an object, and two records of one owner that expired."""
    await site.put("image/orphan", "video/orphan")
    await site.row("image/dangling", age=timedelta(days=9))
    owner = await site.virtual_key()
    for key in ("image/expired", "video/expired"):
        await site.put(key)
        await site.row(key, owner, ExpiresAt=LONG_AGO)
    return owner


async def test_what_is_held_stays_and_is_counted_and_goes_once_it_is_free(site: Site) -> None:
    owner = await drifted(site)
    everything = await site.state()
    holds = [
        Hold(kind=HoldKind.KEY, target="image/orphan", reason="a case", author="alice"),
        Hold(kind=HoldKind.KEY, target="image/dangling", reason="a case", author="alice"),
        Hold(kind=HoldKind.PREFIX, target="video/", reason="a case", author="alice"),
        Hold(kind=HoldKind.VIRTUAL_KEY, target=str(owner), reason="a case", author="alice"),
    ]
    async with site.catalog() as catalog:
        await catalog.holds.add(holds)
    for _ in range(2):
        report = await site.once()
        assert report.outcome is Outcome.CONVERGED
        assert report.found == {Verdict.ORPHAN: 2, Verdict.DANGLING: 1, Verdict.EXPIRED: 2}
        assert report.kept[KeepReason.HOLD] == 5
        assert report.removed.objects == report.removed.records == 0
    assert await site.state() == everything
    planned, findings = await site.plan()
    assert planned.kept[KeepReason.HOLD] == 5
    assert all("on hold by alice: a case" in each.reason for each in findings)
    async with site.catalog() as catalog:
        for each in holds:
            assert await catalog.holds.remove(each.kind, [each.target]) == 1
    for _ in range(2):  # a dangling record takes two sightings
        report = await site.once()
    assert report.kept.get(KeepReason.HOLD, 0) == 0
    assert await site.state() == (set(), set())


async def test_a_hold_on_what_is_marked_keeps_it_and_counts_it(site: Site) -> None:
    await site.put("image/orphan")
    marked = await site.once(delete_delay="1h")
    assert marked.outcome is Outcome.PENDING
    async with site.catalog() as catalog:
        hold = Hold(kind=HoldKind.KEY, target="image/orphan", reason="a case", author="alice")
        assert await catalog.holds.add([hold]) == []
    await site.sql("UPDATE reconciler.marks SET due_at = now() - interval '1 hour'")
    report = await site.once()
    assert (report.outcome, report.kept[KeepReason.HOLD], report.kept[KeepReason.PENDING]) == (
        Outcome.CONVERGED,
        1,
        0,
    )
    assert await site.keys() == {"image/orphan"}


async def test_what_the_store_locks_is_put_on_hold_until_the_lock_ends(database: str) -> None:
    until = datetime(2999, 1, 1, tzinfo=UTC)
    quirks = Quirks(locked={"image/locked": until, "image/legal": None})
    async with quirky_store(quirks) as store:
        site = make_site(database, store.bucket())
        store.put("image/locked", "image/legal", "image/free")
        report = await site.once()
        assert (report.outcome, report.removed.objects) == (Outcome.CONVERGED, 1)
        assert report.notice.startswith(
            "2 keys were due and stay after a second decision (2: cannot be deleted"
        )
        assert store.keys() == {"image/locked", "image/legal"}
        async with site.catalog() as catalog:
            holds = {hold.target: hold for hold in await catalog.holds.page()}
        assert {hold.author for hold in holds.values()} == {"the store"}
        assert holds["image/locked"].until == until
        end, month = holds["image/legal"].until, timedelta(days=30)
        assert end is not None
        assert abs(end - datetime.now(UTC) - month) < timedelta(minutes=2), "tried again in a month"
        assert holds["image/legal"].pass_id == 1
        assert "legal hold" in holds["image/legal"].reason
        assert ("result", "image/locked", "object", "held") in await site.ledger()
        report = await site.once()
        assert (report.outcome, report.kept[KeepReason.HOLD]) == (Outcome.CONVERGED, 2)
        quirks.locked.clear()
        await site.sql("UPDATE reconciler.holds SET until = now()")
        report = await site.once()
        assert (report.outcome, report.removed.objects, store.keys()) == (Outcome.CONVERGED, 2, set())


async def test_what_was_deleted_and_is_on_hold_is_not_purged(site: Site) -> None:
    site.environment["RECONCILER_DELETE_MODE"] = "auto"
    await site.put("image/orphan")
    await site.once()
    async with site.catalog() as catalog:
        hold = Hold(kind=HoldKind.PREFIX, target="image/", reason="a case", author="alice")
        await catalog.holds.add([hold])
        await site.once(undo_window="0s")
        assert (await catalog.purges.hidden())[0] == 1
        await catalog.holds.remove(HoldKind.PREFIX, ["image/"])
        await site.once(undo_window="0s")
        assert (await catalog.purges.hidden())[0] == 0


async def test_a_purge_that_the_store_refuses_waits_for_the_end_of_the_lock(site: Site) -> None:
    """Behind a delete marker of ours lies a version that is locked: on real stores, that is."""
    bucket = replace(site.bucket, name=f"{site.bucket.name}-locked")
    bucket.client.create_bucket(Bucket=bucket.name, ObjectLockEnabledForBucket=True)
    site = make_site(site.database, bucket)
    site.environment["RECONCILER_DELETE_MODE"] = "versioned"
    until = datetime.now(UTC) + timedelta(days=2)
    lock = {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": until}
    bucket.client.put_object(Bucket=bucket.name, Key="image/orphan", Body=b"x", **lock)
    assert (await site.once()).removed.objects == 1
    for _ in range(2):
        report = await site.once(undo_window="0s")
        assert report.outcome is Outcome.CONVERGED
    async with site.catalog() as catalog:
        (hold,) = await catalog.holds.page()
        assert (hold.target, hold.author) == ("image/orphan", "the store")
        assert hold.until is not None
        assert abs(hold.until - until) < timedelta(minutes=2)
        assert (await catalog.purges.hidden())[0] == 1
