"""Copies in another bucket, on real servers: deleted only where they are proven, and never beyond our own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import anyio.to_thread
import pytest

from reconciler.model import (
    Copied,
    CopyRequest,
    CopyResult,
    Outcome,
    QuarantineBucket,
)
from reconciler.stores.s3 import open_bucket
from reconciler.stores.s3.config import CopySizes
from tests.integration.kill_at import killed_at
from tests.integration.site import Site, make_site
from tests.integration.test_gone import erase
from tests.servers import Bucket, fresh_bucket
from tests.support.buckets import config_of
from tests.support.ports import interpose
from tests.support.refusing_store import Refused, Rule, refusing_store

pytestmark = [pytest.mark.anyio, pytest.mark.calm]

LONG_AGO = datetime.now(UTC) - timedelta(hours=1)
NOW = {"undo_window": "0s"}
MEBIBYTE = 1024**2


@pytest.fixture
def other(request: pytest.FixtureRequest) -> Iterator[Bucket]:
    """The bucket for the copies of the test's site."""
    name = next(name for name in ("site", "ordered_site", "unordered_site") if name in request.fixturenames)
    site: Site = request.getfixturevalue(name)
    with fresh_bucket(site.bucket.server) as bucket:
        copies_into(site, bucket)
        yield bucket


def copies_into(site: Site, bucket: Bucket) -> None:
    site.environment["RECONCILER_DELETE_MODE"] = "quarantine"
    site.environment["RECONCILER_QUARANTINE__BUCKET"] = bucket.name


def elsewhere(site: Site, bucket: Bucket) -> QuarantineBucket:
    return QuarantineBucket(bucket.name, site.bucket.name)


async def copies(bucket: Bucket) -> set[str]:
    return await anyio.to_thread.run_sync(bucket.keys, ".reconciler/quarantine/")


async def expired(site: Site, *keys: str) -> None:
    await site.put(*keys)
    for key in keys:
        await site.row(key, ExpiresAt=LONG_AGO, SizeBytes=1)


async def names(site: Site) -> set[str]:
    return {row[0] for row in await site.sql("SELECT quarantine_key FROM reconciler.hidden")}


def empty(bucket: Bucket) -> None:
    for key in sorted(bucket.keys()):
        bucket.client.delete_object(Bucket=bucket.name, Key=key)


# --- the whole way ---------------------------------------------------------------------------------------


async def test_copies_lie_in_the_other_bucket_and_come_back_from_there(site: Site, other: Bucket) -> None:
    await site.tracked("image/live")
    await expired(site, "image/a", "video/b")
    await site.put("image/orphan")
    report = await site.once()
    assert (report.outcome, report.removed.objects) == (Outcome.CONVERGED, 3)
    folder = elsewhere(site, other).folder
    assert await copies(other) == await names(site)
    assert {name.startswith(folder) for name in await names(site)} == {True}
    assert (len(await names(site)), await copies(site.bucket)) == (3, set())
    undone = await site.undo(since=LONG_AGO)
    assert (undone.objects, undone.records, undone.complete) == (3, 2, True)
    assert await site.keys() == {"image/live", "image/a", "video/b", "image/orphan"}


@pytest.mark.parametrize("versioning", ["", "Enabled", "Suspended"])
async def test_the_purge_frees_the_copies_with_every_version(
    ordered_site: Site, other: Bucket, versioning: str
) -> None:
    """What others keep there stays, and so does the object that says whose copies these are."""
    site = ordered_site
    theirs = f".reconciler/quarantine/{other.name}/{'x' * 8}/{uuid4()}/{'0' * 64}"
    await anyio.to_thread.run_sync(other.put, "theirs")
    await anyio.to_thread.run_sync(other.put, theirs)
    if versioning:
        other.client.put_bucket_versioning(Bucket=other.name, VersioningConfiguration={"Status": versioning})
    await expired(site, "image/a", "image/b")
    await site.once()
    await erase(site, "image/a")
    await site.once()
    assert len(await copies(other)) == 2, "the erased copy is gone, and theirs is not ours"
    await site.once(**NOW)
    assert await copies(other) == {theirs}
    found = other.client.list_object_versions(Bucket=other.name)
    marker = elsewhere(site, other).identity_key
    assert {each["Key"] for each in found["Versions"]} == {"theirs", theirs, marker}
    assert found.get("DeleteMarkers", []) == []
    assert await site.sql("SELECT 1 FROM reconciler.hidden") == []


@pytest.mark.parametrize(
    "where",
    [("copies", "copy", "after"), ("store", "delete", "before"), ("store", "delete", "after")],
    ids="-".join,
)
@pytest.mark.calm(False)
async def test_a_run_that_was_killed_leaves_one_copy_and_knows_it(
    unordered_site: Site, other: Bucket, where: tuple[str, str, str]
) -> None:
    site = unordered_site
    await site.tracked("image/live")
    await site.put("image/orphan")
    await killed_at(site, *where, "once", "--json")
    report = await site.once()
    assert (report.outcome, await site.keys()) == (Outcome.CONVERGED, {"image/live"})
    assert len(await names(site)) == 1
    assert await copies(other) == await names(site)


@pytest.mark.probes
async def test_what_a_store_does_between_two_buckets_is_probed_and_left_clean(
    site: Site, other: Bucket
) -> None:
    async with open_bucket(replace(config_of(site.bucket), quarantine=other.name)) as bucket:
        across = await bucket.prober.probe()
    async with open_bucket(config_of(site.bucket)) as bucket:
        within = await bucket.prober.probe()
    assert across.quarantine is not None
    assert across.quarantine.bucket == elsewhere(site, other)
    assert replace(across, quarantine=None) == within
    assert other.keys() == set()


async def test_a_large_object_is_copied_in_parts_from_bucket_to_bucket(site: Site, other: Bucket) -> None:
    there = elsewhere(site, other)
    body = bytes(range(256)) * (6 * MEBIBYTE // 256)
    await anyio.to_thread.run_sync(site.bucket.put, "image/a b", body)
    sizes = CopySizes(at_once=5 * MEBIBYTE, part=5 * MEBIBYTE)
    target = f"{there.folder}{uuid4()}/copy"
    async with open_bucket(replace(config_of(site.bucket), copy_sizes=sizes)) as bucket:
        made = await bucket.copies.copy(CopyRequest("image/a b", target))
        back = await bucket.copies.copy(CopyRequest(target, "image/back", only_new=True))
    assert (made.result, back.result) == (CopyResult.COPIED, CopyResult.COPIED)
    for owner, key in ((other, target), (site.bucket, "image/back")):
        with owner.client.get_object(Bucket=owner.name, Key=key)["Body"] as stream:
            assert await anyio.to_thread.run_sync(stream.read) == body


# --- what is not proven is not deleted -------------------------------------------------------------------


def loses(bucket: Bucket, key: str) -> None:
    bucket.client.delete_object(Bucket=bucket.name, Key=key)


def cuts(bucket: Bucket, key: str) -> None:
    bucket.put(key, b"")


def is_emptied(bucket: Bucket, _: str) -> None:
    empty(bucket)


def is_gone(bucket: Bucket, _: str) -> None:
    empty(bucket)
    bucket.client.delete_bucket(Bucket=bucket.name)


@pytest.mark.attack(115)
@pytest.mark.parametrize(
    ("damage", "outcome"),
    [
        (loses, Outcome.FAILED),
        (cuts, Outcome.FAILED),
        (is_emptied, Outcome.FAILED),
        (is_gone, Outcome.FAILED),
    ],
)
async def test_what_has_no_copy_in_the_other_bucket_is_not_deleted(
    ordered_site: Site,
    other: Bucket,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Bucket, str], None],
    outcome: Outcome,
) -> None:
    """The copy was made, and is gone before its object is deleted. If the bucket is there, it is repeated."""
    site = ordered_site
    await expired(site, "image/a")

    async def damaged(copy: Any, wanted: CopyRequest) -> Copied:
        made: Copied = await copy(wanted)
        await anyio.to_thread.run_sync(damage, other, wanted.target)
        return made

    with monkeypatch.context() as patch:
        interpose(patch, "copies", copy=damaged)
        report = await site.once(bucket__request_timeout="3s")
    assert report.outcome is outcome, report
    assert other.name in report.detail + report.notice
    assert await site.state() == ({"image/a"}, {"image/a"})
    assert await site.sql("SELECT 1 FROM reconciler.hidden") == []
    await site.outlive_the_dead()
    again, lasting = await site.once(), damage in {is_emptied, is_gone}
    assert (again.outcome in {Outcome.HALTED, Outcome.FAILED}, await site.keys()) == (
        lasting,
        {"image/a"} if lasting else set(),
    )


def copies_are(refused: Refused) -> Rule:
    return lambda operation, _: refused if operation == "CopyObject" else None


@pytest.mark.attack(115)
async def test_an_object_stays_where_its_copy_is_refused_or_its_answer_an_error(
    ordered_site: Site, other: Bucket
) -> None:
    site = ordered_site
    await expired(site, "image/a")
    await site.once(dry_run="true")
    async with refusing_store(site.bucket) as store:
        behind = replace(site, environment={**site.environment, **store.behind.environment()})
        for status, code in ((200, "InternalError"), (403, "AccessDenied"), (404, "NoSuchBucket")):
            refused = Refused(status, code)
            store.rule = copies_are(refused)
            store.asked.clear()
            report = await behind.once(bucket__request_timeout="3s")
            assert store.asked, refused
            assert report.outcome in {Outcome.FAILED, Outcome.HALTED}, (refused, report)
            assert await site.state() == ({"image/a"}, {"image/a"})
    assert await copies(other) == set()
    await site.outlive_the_dead()
    await site.once()
    assert await site.keys() == set()


# --- a bucket that is not ours ---------------------------------------------------------------------------


def of_another(site: Site, bucket: Bucket) -> None:
    rewrite(site, bucket, "site_id", str(uuid4()))


def renamed(site: Site, bucket: Bucket) -> None:
    rewrite(site, bucket, "bucket", "before")


def rewrite(site: Site, bucket: Bucket, name: str, value: str) -> None:
    key = elsewhere(site, bucket).identity_key
    with bucket.client.get_object(Bucket=bucket.name, Key=key)["Body"] as body:
        written = json.loads(body.read())
    bucket.put(key, json.dumps({**written, name: value}).encode())


def unmarked(site: Site, bucket: Bucket) -> None:
    bucket.client.delete_object(Bucket=bucket.name, Key=elsewhere(site, bucket).identity_key)


def deleted(_: Site, bucket: Bucket) -> None:
    is_gone(bucket, "")


@pytest.mark.attack(116)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (of_another, "belongs to another database"),
        (renamed, "is a copy of bucket 'before'"),
        (unmarked, "another collector"),
        (deleted, "RECONCILER_QUARANTINE__BUCKET"),
    ],
)
async def test_in_a_bucket_that_is_not_ours_any_more_nothing_is_copied_or_purged(
    ordered_site: Site, other: Bucket, change: Callable[[Site, Bucket], None], said: str
) -> None:
    site = ordered_site
    await expired(site, "image/a")
    await site.once()
    before = await copies(other)
    await expired(site, "image/b")
    await anyio.to_thread.run_sync(change, site, other)
    report = await site.once(**NOW)
    # A bucket that is not there ends a run as the bucket of the objects would.
    ended = Outcome.FAILED if change is deleted else Outcome.HALTED
    assert (report.outcome, await site.keys()) == (ended, {"image/b"})
    assert said in report.detail
    assert other.name in report.detail
    assert change is deleted or await copies(other) == before


@pytest.mark.attack(116)
async def test_a_bucket_that_changes_hands_under_a_running_program_gets_no_copy(
    ordered_site: Site, other: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between first contact and the claim; the identity is read again before the first copy."""
    site = ordered_site
    await expired(site, "image/a")

    async def taken(claim: Any, *args: Any) -> Any:
        await anyio.to_thread.run_sync(of_another, site, other)
        return await claim(*args)

    with monkeypatch.context() as patch:
        interpose(patch, "marks", claim=taken)
        report = await site.once()
    assert (report.outcome, await site.keys()) == (Outcome.HALTED, {"image/a"})
    assert await copies(other) == set()


@pytest.mark.attack(116)
async def test_a_lost_quarantine_is_tied_again_by_a_person(ordered_site: Site, other: Bucket) -> None:
    """Made again and empty: what was hidden there is given up, and all else goes on."""
    site = ordered_site
    await expired(site, "image/a")
    await site.once()
    await anyio.to_thread.run_sync(is_gone, other, "")
    await anyio.to_thread.run_sync(partial(other.client.create_bucket, Bucket=other.name))
    assert other.name in (await site.ownership()).fault
    await site.adopt()
    assert (await site.ownership()).fault == ""
    await expired(site, "image/b")
    assert (await site.once()).outcome is Outcome.CONVERGED
    undone = await site.undo(keys=("image/a", "image/b"))
    assert ([each.storage_key for each in undone.refused], await site.keys()) == (["image/a"], {"image/b"})
    assert (await site.once(**NOW)).outcome is Outcome.CONVERGED
    assert await copies(other) == set()


@pytest.mark.attack(116)
async def test_a_bucket_that_is_cleaned_itself_takes_no_copies(
    ordered_site: Site, other: Bucket, other_database: str
) -> None:
    """It may even be the objects' own bucket under another name."""
    theirs = make_site(other_database, other, calm=True)
    await theirs.once(dry_run="true")
    await expired(ordered_site, "image/a")
    report = await ordered_site.once()
    assert (report.outcome, await ordered_site.keys()) == (Outcome.HALTED, {"image/a"})
    assert "is itself cleaned" in report.detail


# --- several buckets, several sites ----------------------------------------------------------------------


@pytest.mark.attack(118)
async def test_two_sites_share_a_bucket_and_leave_each_others_copies_and_uploads(
    ordered_site: Site, other: Bucket, other_database: str
) -> None:
    site = ordered_site
    with fresh_bucket(site.bucket.server) as bucket:
        second = make_site(other_database, bucket, calm=True)
        copies_into(second, other)
        for each in (site, second):
            await expired(each, "image/a")
            await each.once()
        theirs = await names(second)
        assert await copies(other) == theirs | await names(site)
        for each in (site, second):
            key = f"{elsewhere(each, other).folder}{uuid4()}/x"
            other.client.create_multipart_upload(Bucket=other.name, Key=key)
        await site.once(abort_multipart_after="0s", **NOW)
        assert await copies(other) == theirs
        left = [each["Key"] for each in other.client.list_multipart_uploads(Bucket=other.name)["Uploads"]]
        assert [key.startswith(elsewhere(second, other).folder) for key in left] == [True]
        assert (await second.undo(since=LONG_AGO)).objects == 1


@pytest.mark.attack(119)
async def test_copies_are_found_where_they_were_made_however_the_setting_changes(
    ordered_site: Site, other: Bucket
) -> None:
    """In the bucket itself, in one, in another: three times of one site."""
    site = ordered_site
    with fresh_bucket(site.bucket.server) as third:
        del site.environment["RECONCILER_QUARANTINE__BUCKET"]
        for number, bucket in enumerate((site.bucket, other, third)):
            if bucket is not site.bucket:
                copies_into(site, bucket)
            await expired(site, f"image/{number}", f"video/{number}")
            assert (await site.once()).outcome is Outcome.CONVERGED
            assert len(await copies(bucket)) == 2
        async with site.catalog() as catalog:
            there = [(each.bucket, each.objects) for each in await catalog.statistics.hidden()]
        assert there == [(None, 2), *((each, 2) for each in sorted((other.name, third.name)))]
        del site.environment["RECONCILER_QUARANTINE__BUCKET"]
        undone = await site.undo(keys=("image/0", "image/1", "image/2"))
        assert (undone.objects, undone.complete) == (3, True)
        assert (await site.once(**NOW)).outcome is Outcome.CONVERGED
        for bucket in (site.bucket, other, third):
            assert await copies(bucket) == set()
        assert await site.keys() == {"image/0", "image/1", "image/2"}
        await site.adopt()


@pytest.mark.attack(117)
async def test_a_rule_that_takes_the_copies_too_early_stops_deletions(
    ordered_site: Site, other: Bucket
) -> None:
    expiry = {"ID": "tidy", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}
    other.client.put_bucket_lifecycle_configuration(
        Bucket=other.name, LifecycleConfiguration={"Rules": [expiry]}
    )
    await expired(ordered_site, "image/a")
    report = await ordered_site.once()
    assert (report.outcome, await ordered_site.keys()) == (Outcome.HALTED, {"image/a"})
    assert f"in bucket {other.name!r}" in report.detail


async def test_versions_of_the_objects_bucket_make_another_for_copies_useless(
    ordered_site: Site, other: Bucket
) -> None:
    site = ordered_site
    site.bucket.client.put_bucket_versioning(
        Bucket=site.bucket.name, VersioningConfiguration={"Status": "Enabled"}
    )
    await expired(site, "image/a")
    site.environment["RECONCILER_DELETE_MODE"] = "auto"
    report = await site.once()
    assert (report.outcome, await site.keys(), other.keys()) == (Outcome.CONVERGED, set(), set())
    assert (await site.undo(since=LONG_AGO)).objects == 1


@pytest.mark.attack(120)
async def test_a_database_that_is_moved_to_another_bucket_leaves_the_copies_of_the_first(
    ordered_site: Site, other: Bucket
) -> None:
    """As a copy of production's is, for a trial: production still has use for its copies."""
    site = ordered_site
    await expired(site, "image/a")
    await site.once()
    before = {
        key: other.client.head_object(Bucket=other.name, Key=key)["ETag"] for key in sorted(other.keys())
    }
    with fresh_bucket(site.bucket.server) as trial:
        site.environment["RECONCILER_BUCKET__NAME"] = trial.name
        await site.adopt()
        report = await site.once(**NOW)
        assert (report.outcome, await site.sql("SELECT 1 FROM reconciler.hidden")) == (Outcome.CONVERGED, [])
        assert (await site.undo(keys=("image/a",))).gone == 1
    for key, etag in before.items():
        assert other.client.head_object(Bucket=other.name, Key=key)["ETag"] == etag
