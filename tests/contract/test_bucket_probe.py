"""What each store was measured to do, and whether the probe finds it out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from urllib.parse import unquote, urlsplit

import anyio
import anyio.lowlevel
import pytest

from reconciler.errors import Halt, StoreUnavailable
from reconciler.model import Capabilities, DeleteMode, ListingOrder, Versioning
from reconciler.planning.expiry import Known
from reconciler.planning.lifecycle import early_removals
from reconciler.planning.lifecycle_export import Expiry, export
from reconciler.stores.s3 import open_bucket
from tests.doubles.build import policy
from tests.servers import Bucket
from tests.support.buckets import CAPABILITIES, abilities_of, config_for, config_of
from tests.support.faulty_store import Answer, Request, error, faulty_store
from tests.support.proxy import Direction, proxy_of
from tests.support.relay import keeps_versions_for_good, relay

pytestmark = pytest.mark.anyio

NOTHING = Capabilities(
    order=ListingOrder.NONE, conditional_batch_delete=False, conditional_delete=False, probed=False
)


@pytest.mark.attack(60)
@pytest.mark.incident(24)
async def test_it_finds_out_what_each_store_does_and_leaves_nothing(bucket: Bucket) -> None:
    """I-14, I-24, R-60: SeaweedFS breaks the byte order, moto ignores the ETag in a batch, and writes a copy
    over what lies at its target.
    """
    bucket.put("media/a")
    async with open_bucket(config_of(bucket)) as opened:
        assert await opened.prober.probe() == abilities_of(bucket.server.kind, Versioning.OFF)
    assert bucket.keys() == {"media/a"}


async def test_a_declared_order_is_not_believed_of_a_store_that_rewrites_keys(bucket: Bucket) -> None:
    """I-14: the rows name keys that such a listing never gives."""
    async with open_bucket(config_of(bucket)) as opened:
        found = await opened.prober.probe(ListingOrder.BYTES)
    rewrites = CAPABILITIES[bucket.server.kind].rewrites_keys
    assert found.rewrites_keys is rewrites
    assert found.order is (ListingOrder.NONE if rewrites else ListingOrder.BYTES)
    assert bucket.keys() == set()


async def test_versions_are_seen_to_come_back_and_the_scratch_versions_removed(bucket: Bucket) -> None:
    """I-25: a plain delete would leave the bytes of every probe behind."""
    _keep_versions(bucket, "Enabled")
    async with open_bucket(config_of(bucket)) as opened:
        found = await opened.prober.probe()
    assert found == abilities_of(bucket.server.kind, Versioning.ENABLED)
    assert _versions(bucket) == set()


@pytest.mark.incident(52)
async def test_versions_are_tried_in_managed_prefixes_too_and_nothing_stays(bucket: Bucket) -> None:
    _keep_versions(bucket, "Enabled")
    asked = replace(config_of(bucket), managed=lambda: ("image/", "video/"))
    async with open_bucket(asked) as opened:
        found = await opened.prober.probe()
    assert (found.undelete, found.undelete_unseen) == (True, ())
    assert _versions(bucket) == set()


@pytest.mark.incident(52)
async def test_a_prefix_in_which_versions_may_not_go_is_named_and_gets_no_scratch_key(bucket: Bucket) -> None:
    _keep_versions(bucket, "Enabled")
    judge = keeps_versions_for_good(bucket.name, "video/")
    async with relay(bucket.server.endpoint_url, judge) as address:
        asked = replace(config_of(bucket), endpoint_url=address, managed=lambda: ("image/", "video/"))
        async with open_bucket(asked) as opened:
            found = await opened.prober.probe()
    assert (found.versioned, found.undelete, found.undelete_unseen) == (True, False, ("video/",))
    assert not [key for key in _versions(bucket) if key.startswith(("image/", "video/"))]


@pytest.mark.incident(52)
async def test_where_no_version_may_go_none_is_seen_to_come_back(bucket: Bucket) -> None:
    """In dry run and in `direct` nothing is tried where objects are managed: the probe's own keys tell it."""
    _keep_versions(bucket, "Enabled")
    async with (
        relay(bucket.server.endpoint_url, keeps_versions_for_good(bucket.name, "")) as address,
        open_bucket(replace(config_of(bucket), endpoint_url=address)) as opened,
    ):
        found = await opened.prober.probe()
    assert (found.versioned, found.undelete, found.undelete_unseen) == (True, False, ())


@pytest.mark.incident(52)
@pytest.mark.parametrize("status", [200, 404])
async def test_what_no_marker_hides_or_does_not_come_back_is_not_undeleted(
    bucket: Bucket, status: int
) -> None:
    """The marker is listed, and goes; but the object is there all the time, or stays away."""
    _keep_versions(bucket, "Enabled")

    def judge(request: Request) -> Answer | None:
        asked = request.method == "HEAD" and request.target.endswith("/version")
        return Answer("", status) if asked else None

    async with (
        relay(bucket.server.endpoint_url, judge) as address,
        open_bucket(replace(config_of(bucket), endpoint_url=address)) as opened,
    ):
        assert (await opened.prober.probe()).undelete is False


@pytest.mark.incident(52)
async def test_a_prefix_whose_markers_go_in_word_alone_is_named(bucket: Bucket) -> None:
    """No version is denied there, as SeaweedFS does where versions are suspended."""
    _keep_versions(bucket, "Enabled")

    def judge(request: Request) -> Answer | None:
        parts = urlsplit(request.target)
        marker = request.method == "DELETE" and "versionId" in parts.query and "null" not in parts.query
        return Answer("", 204) if marker and "/video/" in parts.path else None

    async with relay(bucket.server.endpoint_url, judge) as address:
        asked = replace(config_of(bucket), endpoint_url=address, managed=lambda: ("image/", "video/"))
        async with open_bucket(asked) as opened:
            found = await opened.prober.probe()
    assert (found.undelete, found.undelete_unseen) == (False, ("video/",))


@pytest.mark.attack(60)
async def test_a_copy_that_is_refused_and_made_all_the_same_spares_nothing(bucket: Bucket) -> None:
    """A 412 alone proves nothing."""

    def judge(request: Request) -> Answer | None:
        if not {"x-amz-copy-source", "if-none-match"} <= request.headers.keys():
            return None
        bucket.put(unquote(urlsplit(request.target).path).removeprefix(f"/{bucket.name}/"), b"another")
        return Answer(error("PreconditionFailed"), 412)

    async with (
        relay(bucket.server.endpoint_url, judge) as address,
        open_bucket(replace(config_of(bucket), endpoint_url=address)) as opened,
    ):
        found = await opened.prober.probe()
    assert (found.copy, found.copy_only_new) == (True, False)


@pytest.mark.attack(61)
async def test_the_buckets_rules_are_read(bucket: Bucket) -> None:
    async with open_bucket(config_of(bucket)) as opened:
        assert (await opened.prober.probe()).lifecycle == ()
        rules = [
            {"ID": "a", "Status": "Enabled", "Filter": {"Prefix": "image/"}, "Expiration": {"Days": 3}},
            {"ID": "b", "Status": "Disabled", "Filter": {"Prefix": "video/"}, "Expiration": {"Days": 1}},
        ]
        bucket.client.put_bucket_lifecycle_configuration(
            Bucket=bucket.name, LifecycleConfiguration={"Rules": rules}
        )
        found = (await opened.prober.probe()).lifecycle
    assert found is not None
    assert [(each.prefix, each.expires) for each in found] == [("image/", timedelta(days=3))]


@pytest.mark.attack(61)
async def test_rules_that_are_exported_are_kept_and_told_from_those_that_ignore_holds(bucket: Bucket) -> None:
    """The expiry of objects is no fault where age alone decides; a hold of later makes it one."""
    clear = Known(created=True, accessed=False, referenced=False)
    held = replace(clear, holds={"image/": 1, "video/": 0})
    expiry, week = Expiry(policy=policy(), known=clear), timedelta(days=7)
    exported = export(policy().prefixes, DeleteMode.QUARANTINE, week, week, versions=False, expiry=expiry)
    async with open_bucket(config_of(bucket)) as opened:
        await opened.lifecycle.write(exported.rules)
        assert [each["Expiration"] for each in await opened.lifecycle.read()] == [{"Days": 99}] * 2
        found = await opened.prober.probe()
    assert early_removals(found, policy().prefixes, policy(), clear, week) == []
    (told,) = early_removals(found, policy().prefixes, policy(), held, week)
    assert "It ignores: 1 hold in force" in told


async def test_suspended_versions_bring_nothing_back(bucket: Bucket) -> None:
    _keep_versions(bucket, "Enabled")
    _keep_versions(bucket, "Suspended")
    async with open_bucket(config_of(bucket)) as opened:
        found = await opened.prober.probe()
    assert found == abilities_of(bucket.server.kind, Versioning.SUSPENDED)
    assert bucket.keys() == set()


async def test_a_bucket_that_may_lock_its_versions_says_so(bucket: Bucket) -> None:
    name = f"{bucket.name}-locking"
    bucket.client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    async with open_bucket(config_of(bucket, name=name)) as opened:
        found = await opened.prober.probe()
    assert (found.object_lock, found.versioned) == (True, True)


def _keep_versions(bucket: Bucket, status: str) -> None:
    bucket.client.put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration={"Status": status})


def _versions(bucket: Bucket) -> set[str]:
    answer = bucket.client.list_object_versions(Bucket=bucket.name)
    return {each["Key"] for name in ("Versions", "DeleteMarkers") for each in answer.get(name, ())}


async def test_a_cancelled_probe_cleans_up(bucket: Bucket) -> None:
    written = anyio.Event()

    def note(operation: str, _outcome: str, _seconds: float) -> None:
        if operation == "UploadPartCopy":
            written.set()

    config = replace(config_of(bucket), on_request=note)
    async with open_bucket(config) as opened, anyio.create_task_group() as group:
        group.start_soon(opened.prober.probe)
        await written.wait()
        assert bucket.keys(".reconciler/")
        group.cancel_scope.cancel()
    assert bucket.keys() == set()
    assert not bucket.client.list_multipart_uploads(Bucket=bucket.name).get("Uploads")


async def test_an_upload_whose_answer_is_on_its_way_when_a_probe_is_cancelled_is_aborted(
    bucket: Bucket,
) -> None:
    """Ceph 16.2 was seen to keep one: its answer took longer than the probe had left."""
    begun = anyio.Event()
    async with open_bucket(config_of(bucket)) as opened, anyio.create_task_group() as group:
        begin = opened.prober._calls.client.create_multipart_upload

        async def slowly(**asked: str) -> Mapping[str, str]:
            answer: Mapping[str, str] = await begin(**asked)
            begun.set()
            for _ in range(100):
                await anyio.lowlevel.checkpoint()
            return answer

        opened.prober._calls.client.create_multipart_upload = slowly
        group.start_soon(opened.prober.probe)
        await begun.wait()
        group.cancel_scope.cancel()
    assert not bucket.client.list_multipart_uploads(Bucket=bucket.name).get("Uploads")
    assert bucket.keys() == set()


async def test_without_permission_to_write_nothing_is_presumed(credentials: None) -> None:
    async with (
        faulty_store(Answer(error("AccessDenied"), 403)) as store,
        open_bucket(config_for(store.endpoint_url)) as opened,
    ):
        assert await opened.prober.probe() == replace(NOTHING, lifecycle=None)


async def test_a_missing_bucket_halts_and_says_what_to_check(bucket: Bucket) -> None:
    async with open_bucket(config_of(bucket, name="no-such-bucket")) as opened:
        with pytest.raises(Halt, match="RECONCILER_BUCKET__NAME"):
            await opened.prober.probe()


async def test_a_store_that_is_away_is_no_answer(credentials: None) -> None:
    """I-30."""
    async with (
        faulty_store(Answer(error("SlowDown"), 503)) as store,
        open_bucket(config_for(store.endpoint_url)) as opened,
    ):
        with pytest.raises(StoreUnavailable, match="SlowDown"):
            await opened.prober.probe()


@pytest.mark.parametrize("status", ["Enabled", "Suspended"])
async def test_a_probe_leaves_no_delete_markers_where_a_put_tells_no_version(
    moto_bucket: Bucket, status: str
) -> None:
    """Ceph names no version while they are suspended: a thousand markers stayed behind each probe."""
    _keep_versions(moto_bucket, "Enabled")
    _keep_versions(moto_bucket, status)
    async with proxy_of(moto_bucket.server.endpoint_url) as proxy:
        proxy.rewrite = without_version_ids
        server = replace(moto_bucket.server, endpoint_url=proxy.through(moto_bucket.server.endpoint_url))
        async with open_bucket(config_of(replace(moto_bucket, server=server))) as opened:
            found = await opened.prober.probe()
    assert found.versioning is Versioning(status.lower())
    assert _versions(moto_bucket) == set()


def without_version_ids(direction: Direction, block: bytes) -> bytes:
    """No PUT, HEAD or DELETE tells a version; listings of versions do."""
    if direction is Direction.REQUEST:
        return block
    return re.sub(rb"(?i)\r\nx-amz-version-id: [^\r]*", b"", block)
