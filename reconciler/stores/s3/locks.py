"""Object lock and legal holds: what the store will not delete, and until when.

Stores answer AccessDenied, some without mentioning a lock (SeaweedFS); a HEAD of the object shows it.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import anyio

from reconciler.errors import StoreUnavailable
from reconciler.model import ObjectLock
from reconciler.stores.s3.faults import Refusal
from reconciler.stores.s3.retries import Calls


class BucketLocks:
    """`ports.Locks` of one bucket."""

    def __init__(self, calls: Calls, limiter: anyio.CapacityLimiter) -> None:
        self._calls = calls
        self._limiter = limiter

    async def of(self, key: str) -> ObjectLock | None:
        async with self._limiter:
            return await look_for_lock(self._calls, key)


def lock_in(head: Mapping[str, Any]) -> ObjectLock | None:
    """The lock that the answer to a HeadObject shows. A legal hold takes precedence over a retention."""
    if head.get("ObjectLockLegalHoldStatus") == "ON":
        return ObjectLock(reason="the store keeps it under a legal hold", until=None)
    until: datetime | None = head.get("ObjectLockRetainUntilDate")
    if until is None:
        return None
    mode = str(head.get("ObjectLockMode", "")).lower() or "retention"
    return ObjectLock(reason=f"the store keeps it under object lock ({mode})", until=until)


async def look_for_lock(calls: Calls, key: str, version_id: str | None = None) -> ObjectLock | None:
    """The lock on a version, or on the current one; None where there is none, or we cannot see it."""
    version = {} if version_id is None else {"VersionId": version_id}
    try:
        return await calls.send("HeadObject", lock_in, Key=key, **version)
    except (Refusal, StoreUnavailable):
        return None
