"""The object store: the only package that names aioboto3, aiobotocore and botocore."""

from reconciler.lean import without, without_certificates

# Another transport than aiohttp, with a command line of its own; and the trust of aiohttp, where botocore
# hands each connection a TLS context or none: 6 MiB and 0.1 s.
with without("httpx"), without_certificates():
    from reconciler.stores.s3.client import Bucket, open_bucket
    from reconciler.stores.s3.config import OPERATIONS, OUTCOMES, BucketConfig

__all__ = ["OPERATIONS", "OUTCOMES", "Bucket", "BucketConfig", "open_bucket"]
