"""What the stores were measured to do, found out by the probe."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler.bucket import BucketConfig, open_bucket
from reconciler.model import Capabilities, ListingOrder
from tests.servers import Bucket

pytestmark = pytest.mark.anyio

EXPECTED = {
    "seaweedfs": Capabilities(
        order=ListingOrder.NONE, conditional_batch_delete=True, conditional_delete=True, versioned=False
    ),
    "moto": Capabilities(
        order=ListingOrder.BYTES, conditional_batch_delete=False, conditional_delete=True, versioned=False
    ),
}


def config_of(bucket: Bucket) -> BucketConfig:
    return BucketConfig(
        name=bucket.name,
        endpoint_url=bucket.server.endpoint_url,
        region=bucket.server.region,
        listing_concurrency=4,
        delete_concurrency=4,
        request_timeout=timedelta(seconds=20),
    )


async def test_probe_finds_out_what_each_store_does(bucket: Bucket) -> None:
    """I-14, I-24."""
    async with open_bucket(config_of(bucket)) as opened:
        assert await opened.prober.probe() == EXPECTED[bucket.server.kind]
    assert bucket.keys() == set()
