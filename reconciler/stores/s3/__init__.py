"""The object store: the only package that names aioboto3, aiobotocore and botocore."""

from reconciler.lean import hollow, without, without_certificates

# Another transport than aiohttp, with a command line of its own; compression that no store is asked for; the
# trust of aiohttp, where botocore hands each connection a TLS context or none; boto3's resources, and what
# writes documentation: 8 MiB and 0.1 s.
with (
    without("httpx", "brotli", "brotlicffi"),
    without_certificates(),
    hollow("botocore.docs.service", "ServiceDocumenter"),
    hollow("botocore.docs.docstring", "ClientMethodDocstring", "PaginatorDocstring", "WaiterDocstring"),
    hollow("boto3.resources.factory", "ResourceFactory"),
    hollow("aioboto3.resources.factory", "AIOBoto3ResourceFactory"),
):
    from reconciler.stores.s3.client import Bucket, open_bucket
    from reconciler.stores.s3.config import OPERATIONS, OUTCOMES, BucketConfig
    from reconciler.stores.s3.queue import SqsQueue, open_queue

__all__ = ["OPERATIONS", "OUTCOMES", "Bucket", "BucketConfig", "SqsQueue", "open_bucket", "open_queue"]
