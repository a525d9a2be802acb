"""What the bucket adapter needs to know, and the words in which it reports its requests."""

from __future__ import annotations

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
    "CopyObject",
    "CreateMultipartUpload",
    "UploadPartCopy",
    "ListMultipartUploads",
    "AbortMultipartUpload",
    "CompleteMultipartUpload",
    "GetObjectTagging",
)
"""Every operation that `on_request` can name: labels that a metric may create at zero."""

OUTCOMES: Final = ("ok", "missing", "refused", "throttled", "unavailable")
"""Every outcome of a request. `missing` is a 404, `refused` any other answer that a retry cannot mend,
`throttled` SlowDown, 429 and their kin, `unavailable` a 5xx, a time-out or no connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopySizes:
    """Up to how many bytes an object is copied at once, and in parts of how many where it is larger.

    Stores take up to 5 GiB at once (`most_at_once`); from 1 GiB on such a request outlasts its time-out. The
    largest object, of 50 TB, has larger parts, since no upload has more than 10,000.
    """

    at_once: int = 1024**3
    most_at_once: int = 5 * 1024**3
    part: int = 256 * 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketConfig:
    """One bucket at one endpoint; credentials come from the usual AWS chain.

    `endpoint_url` None is AWS itself, or the endpoint of the AWS configuration. `addressing_style` is `path`
    or `virtual`; None leaves it to the AWS configuration. `listing_concurrency` is in pages at once,
    `delete_concurrency` in batches at once, `copy_concurrency` in copies; each has a connection for each.
    `request_timeout` bounds one attempt, and the time in which further attempts may begin: no deletion
    is sent later than that after its call began, and none is on its way for longer than twice that.
    `on_request` is told of each attempt: operation, outcome, seconds. It must not raise.
    `may_delete` is asked before each attempt to delete an object or version that is not ours, or to end
    an upload; it raises StoreUnavailable where no further one may be sent.
    `managed` gives the prefixes in which the probe may put a scratch key, at the moment of a probe.
    """

    name: str
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
