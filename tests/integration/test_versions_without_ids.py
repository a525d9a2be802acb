"""Versions that HEAD tells no id of, as of what is older than versioning in Ceph: they come back, and go."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from reconciler.model import DeletionResult, Outcome, Return, Version
from reconciler.stores.s3.versions import BucketVersions
from tests.integration.site import Site, make_site
from tests.integration.test_versions import keep_versions, versions
from tests.servers import Bucket
from tests.support.proxy import Direction, proxy_of

pytestmark = [pytest.mark.anyio, pytest.mark.calm]

LONG_AGO = datetime.now(UTC) - timedelta(hours=1)
KEYS = ["image/a", "image/b", "image/c"]


def without(header: bytes) -> Callable[[Direction, bytes], bytes]:
    """Takes a header out of every answer."""

    def rewrite(direction: Direction, block: bytes) -> bytes:
        return block if direction is Direction.REQUEST else re.sub(header, b"", block)

    return rewrite


HIDDEN_IDS = {
    "null": rb"(?i)\r\nx-amz-version-id: null",
    "every": rb"(?i)\r\nx-amz-version-id: [^\r]*",
}


@pytest.fixture(params=["bucket of moto", "bucket of SeaweedFS"])
def real_bucket(request: pytest.FixtureRequest) -> Bucket:
    of = "moto" if "moto" in request.param else "seaweed"
    bucket: Bucket = request.getfixturevalue(f"{of}_bucket")
    return bucket


@pytest.fixture(params=HIDDEN_IDS)
async def site(request: pytest.FixtureRequest, database: str, real_bucket: Bucket) -> AsyncIterator[Site]:
    """Whose program does not see the ids, and whose objects are older than versioning; nothing has a row."""
    for key in KEYS:
        real_bucket.put(key, key.encode())
    async with proxy_of(real_bucket.server.endpoint_url) as proxy:
        proxy.rewrite = without(HIDDEN_IDS[request.param])
        made = make_site(database, real_bucket, calm=True)
        made.environment["RECONCILER_DELETE_MODE"] = "auto"
        through = proxy.through(real_bucket.server.endpoint_url)
        made.environment["RECONCILER_BUCKET__ENDPOINT_URL"] = through
        keep_versions(made)
        yield made


@pytest.mark.attack(78)
async def test_what_is_older_than_versioning_comes_back(site: Site) -> None:
    report = await site.once()
    assert (report.outcome, report.removed.objects) == (Outcome.CONVERGED, 3)
    assert await site.keys() == set()
    undone = await site.undo(since=LONG_AGO)
    assert undone.objects == 3
    assert await site.keys() == set(KEYS)


@pytest.mark.attack(78)
async def test_what_is_older_than_versioning_is_freed(site: Site) -> None:
    await site.once()
    await site.once(undo_window="0s")
    assert [await versions(site, key) for key in KEYS] == [([], [])] * 3


@pytest.mark.attack(78)
async def test_what_is_older_than_versioning_is_healed(site: Site) -> None:
    await site.once()
    queue = "INSERT INTO reconciler.restores (storage_key, reason, vouched) VALUES ('image/a', 'test', true)"
    await site.sql(queue)
    await site.row("image/a")
    await site.once()
    assert await site.keys() == {"image/a"}


@pytest.mark.attack(78)
@pytest.mark.parametrize("site", ["null"], indirect=True)
async def test_what_came_in_its_place_is_not_freed_for_it(site: Site) -> None:
    """Put while versions were suspended it has the same id, `null`; its own owner hid it since."""
    await site.once()
    keep_versions(site, "Suspended")
    site.bucket.put("image/a", b"newer")
    keep_versions(site)
    site.bucket.client.delete_object(Bucket=site.bucket.name, Key="image/a")
    await site.once(undo_window="0s")
    kept, hiding = await versions(site, "image/a")
    assert (kept, bool(hiding)) == (["null"], True)
    assert [await versions(site, key) for key in KEYS[1:]] == [([], [])] * 2


@pytest.mark.attack(78)
@pytest.mark.parametrize("site", ["null"], indirect=True)
async def test_another_object_that_comes_as_the_marker_goes_is_told(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no id of its own either."""
    await site.once()
    remove = BucketVersions.remove

    async def late(self: BucketVersions, batch: Sequence[Version], **asked: bool) -> Sequence[DeletionResult]:
        answers = await remove(self, batch, **asked)
        keep_versions(site, "Suspended")
        for each in batch:
            site.bucket.put(each.key, b"newer")
        return answers

    monkeypatch.setattr(BucketVersions, "remove", late)
    undone = await site.undo(since=LONG_AGO)
    assert (undone.objects, [each.outcome for each in undone.refused]) == (0, [Return.REFUSED] * 3)


@pytest.mark.attack(78)
async def test_a_version_that_only_a_listing_names_comes_back(database: str, real_bucket: Bucket) -> None:
    """HEAD tells none of its id either, though it was put while versions were kept."""

    def rewrite(direction: Direction, block: bytes) -> bytes:
        told = direction is Direction.REQUEST or b"x-amz-delete-marker" in block.lower()
        return block if told else re.sub(HIDDEN_IDS["every"], b"", block)

    async with proxy_of(real_bucket.server.endpoint_url) as proxy:
        proxy.rewrite = rewrite
        site = make_site(database, real_bucket, calm=True)
        site.environment["RECONCILER_DELETE_MODE"] = "versioned"
        through = proxy.through(real_bucket.server.endpoint_url)
        site.environment["RECONCILER_BUCKET__ENDPOINT_URL"] = through
        keep_versions(site)
        await site.put(*KEYS)
        assert (await site.once()).removed.objects == 3
        undone = await site.undo(since=LONG_AGO)
        assert (undone.objects, undone.complete) == (3, True)
    assert await site.keys() == set(KEYS)
