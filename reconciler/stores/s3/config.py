"""The bucket adapter's configuration, and the words in which it reports its requests."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

OPERATIONS: Final = (
    "ListObjectsV2",
    "HeadObject",
    "DeleteObject",
    "DeleteObjects",
    "GetObject",
    "PutObject",
    "GetBucketVersioning",
    "ListObjectVersions",
    "GetObjectLockConfiguration",
    "GetBucketLifecycleConfiguration",
    "GetBucketInventoryConfiguration",
    "GetBucketMetadataConfiguration",
    "LoadTable",
    "CopyObject",
    "CreateMultipartUpload",
    "UploadPart",
    "UploadPartCopy",
    "ListMultipartUploads",
    "AbortMultipartUpload",
    "CompleteMultipartUpload",
    "GetObjectTagging",
)
"""Every operation that `on_request` can name, so that a metric can create each label at zero."""

OUTCOMES: Final = ("ok", "missing", "refused", "throttled", "unavailable")
"""Every outcome of a request. `missing` is a 404, `refused` any other answer that no retry can change,
`throttled` SlowDown, 429 and their kin, `unavailable` a 5xx, a time-out or no connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopySizes:
    """Sizes in bytes: one request copies an object up to `at_once`; a larger one goes in parts of `part`.

    Stores accept up to 5 GiB in one request (`most_at_once`); from 1 GiB on it outlasts its time-out. The
    largest object, of 50 TB, gets larger parts, since an upload has at most 10,000.
    """

    at_once: int = 1024**3
    most_at_once: int = 5 * 1024**3
    part: int = 256 * 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketConfig:
    """One bucket at one endpoint; credentials come from the usual AWS chain.

    `endpoint_url` None is AWS itself, or the endpoint of the AWS configuration. `addressing_style` is `path`
    or `virtual`; None leaves it to the AWS configuration. `listing_concurrency` counts pages in flight,
    `delete_concurrency` batches, `copy_concurrency` copies; each request in flight has its own connection.
    `request_timeout` bounds one attempt, and the time in which further attempts may begin: no deletion
    is sent later than that after its call began, and none is in flight for longer than twice that.
    `on_request` is called after each attempt with operation, outcome and seconds. It must not raise.
    `may_delete` is called before each attempt to delete an object or version that is not ours, or to end
    an upload; it raises StoreUnavailable where no further attempt may be sent.
    `managed` returns the prefixes in which the probe may put a scratch key, at the moment of a probe.
    `quarantine` is another bucket for copies, at the same endpoint. `setting` is where `name` comes from.
    """

    name: str
    setting: str = "RECONCILER_BUCKET__NAME"
    quarantine: str | None = None
    endpoint_url: str | None
    region: str | None
    addressing_style: str | None = None
    listing_concurrency: int
    delete_concurrency: int
    copy_concurrency: int = 32
    request_timeout: timedelta
    on_request: Callable[[str, str, float], None] | None = None
    copy_sizes: CopySizes = CopySizes()
    may_delete: Callable[[], None] | None = None
    managed: Callable[[], Sequence[str]] = tuple
