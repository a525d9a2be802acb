"""How the contract tests of the bucket reach a store, and what each store can do."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from reconciler.model import Capabilities, Digest, ListingOrder, PutCondition, Versioning
from reconciler.stores.s3 import BucketConfig
from tests.servers import Bucket

CAPABILITIES = {
    "seaweedfs": Capabilities(
        order=ListingOrder.NONE,
        rewrites_keys=True,
        conditional_batch_delete=True,
        conditional_delete=True,
        batch_digest=Digest.CRC32,
        copy=True,
        copy_conditional=True,
        copy_only_new=True,
        multipart_copy=True,
        multipart_listing=True,
    ),
    "ceph": Capabilities(
        order=ListingOrder.BYTES,
        start_after=True,
        conditional_batch_delete=False,
        conditional_delete=False,
        conditional_put=PutCondition.UNQUOTED,
        batch_digest=Digest.CRC32,
        copy=True,
        multipart_copy=True,
        multipart_copy_encoded=False,
        multipart_listing=True,
    ),
    "swift": Capabilities(
        order=ListingOrder.BYTES,
        start_after=True,
        conditional_batch_delete=False,
        conditional_delete=True,
        compares_parts=False,
        conditional_put=PutCondition.REFUSED,
        copy=True,
        copy_conditional=True,
        multipart_copy=True,
        multipart_listing=True,
    ),
    "juicefs": Capabilities(
        order=ListingOrder.NONE,
        rewrites_keys=True,
        conditional_batch_delete=False,
        conditional_delete=False,
        conditional_put=PutCondition.IGNORED,
        batch_digest=None,
        batch_size=1,
        copy=True,
        copy_conditional=True,
        multipart_copy=True,
        multipart_listing=True,
    ),
    "moto": Capabilities(
        order=ListingOrder.BYTES,
        start_after=True,
        conditional_batch_delete=False,
        conditional_delete=True,
        batch_digest=Digest.CRC32,
        copy=True,
        multipart_copy=True,
        multipart_listing=True,
    ),
}

CAPABILITIES["juicefs without etags"] = replace(CAPABILITIES["juicefs"], etags=False, copy_conditional=False)


def abilities_of(kind: str, versioning: Versioning) -> Capabilities:
    """What a store of that kind can do with a bucket that keeps versions, kept some once, or never did."""
    return replace(CAPABILITIES[kind], versioning=versioning, undelete=versioning is Versioning.ENABLED)


def config_of(bucket: Bucket, *, name: str | None = None) -> BucketConfig:
    return config_for(bucket.server.endpoint_url, name=name or bucket.name, region=bucket.server.region)


def config_for(
    endpoint_url: str,
    *,
    name: str = "bucket",
    region: str | None = None,
    timeout: timedelta = timedelta(seconds=20),
) -> BucketConfig:
    return BucketConfig(
        name=name,
        endpoint_url=endpoint_url,
        region=region,
        listing_concurrency=4,
        delete_concurrency=4,
        request_timeout=timeout,
    )
