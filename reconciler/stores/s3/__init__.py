"""The object store: the only package that names aioboto3, aiobotocore and botocore."""

from reconciler.lean import without

with without("httpx"):  # another transport than aiohttp, which comes with a command line of its own: 5 MiB
    from reconciler.stores.s3.client import Bucket, open_bucket
    from reconciler.stores.s3.config import OPERATIONS, OUTCOMES, BucketConfig

__all__ = ["OPERATIONS", "OUTCOMES", "Bucket", "BucketConfig", "open_bucket"]
