"""The object store: the only package that names aioboto3, aiobotocore and botocore."""

from reconciler.stores.s3.client import Bucket, open_bucket
from reconciler.stores.s3.config import OPERATIONS, OUTCOMES, BucketConfig

__all__ = ["OPERATIONS", "OUTCOMES", "Bucket", "BucketConfig", "open_bucket"]
