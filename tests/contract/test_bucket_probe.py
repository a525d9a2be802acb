"""What each store was measured to do, and whether the probe finds it out."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from reconciler.bucket import open_bucket
from reconciler.errors import Halt, StoreUnavailable
from reconciler.model import Capabilities, ListingOrder
from tests.servers import Bucket
from tests.support.buckets import CAPABILITIES, config_for, config_of
from tests.support.faulty_store import Answer, error, faulty_store

pytestmark = pytest.mark.anyio

NOTHING = Capabilities(order=ListingOrder.NONE, conditional_batch_delete=False, conditional_delete=False)


async def test_it_finds_out_what_each_store_does_and_leaves_nothing(bucket: Bucket) -> None:
    """I-14, I-24: SeaweedFS breaks the byte order, moto ignores the ETag in a batch."""
    bucket.put("media/a")
    async with open_bucket(config_of(bucket)) as opened:
        assert await opened.prober.probe() == CAPABILITIES[bucket.server.kind]
    assert bucket.keys() == {"media/a"}


async def test_versions_are_seen_and_the_scratch_versions_removed(bucket: Bucket) -> None:
    """I-25: a plain delete would leave the bytes of every probe behind."""
    bucket.client.put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"})
    async with open_bucket(config_of(bucket)) as opened:
        assert (await opened.prober.probe()).versioned
    left = bucket.client.list_object_versions(Bucket=bucket.name)
    assert not left.get("Versions")
    assert not left.get("DeleteMarkers")


async def test_a_cancelled_probe_cleans_up(bucket: Bucket) -> None:
    written = anyio.Event()

    def note(operation: str, _outcome: str, _seconds: float) -> None:
        if operation == "ListObjectsV2":
            written.set()

    config = replace(config_of(bucket), on_request=note)
    async with open_bucket(config) as opened, anyio.create_task_group() as group:
        group.start_soon(opened.prober.probe)
        await written.wait()
        assert bucket.keys(".reconciler/")
        group.cancel_scope.cancel()
    assert bucket.keys() == set()


async def test_without_permission_to_write_nothing_is_presumed(credentials: None) -> None:
    async with (
        faulty_store(Answer(error("AccessDenied"), 403)) as store,
        open_bucket(config_for(store.endpoint_url)) as opened,
    ):
        assert await opened.prober.probe() == NOTHING
    assert not [
        request for request in store.requests if request.method == "GET" and "list-type" in request.target
    ]


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
