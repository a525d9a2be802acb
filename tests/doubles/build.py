"""Values with sensible defaults, so that a test names only what it is about."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from reconciler.app.wiring import limits_of, runtime_settings
from reconciler.engine.runtime.context import Limits, RuntimeSettings
from reconciler.model import (
    BreakerLimits,
    Capabilities,
    ListingOrder,
    Mark,
    Mode,
    ObjectPage,
    Policy,
    Record,
    StoredObject,
    Verdict,
    VirtualKey,
)
from reconciler.settings import Settings

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
BUCKET = {"name": "media", "prefixes": ["image/", "video/"]}
LIMITS = BreakerLimits(max_fraction=0.1, max_count=100_000, max_dangling=100, min_count=20)
OPEN = replace(LIMITS, max_fraction=1.0)
"""For a few keys on one side alone, where a test is not about the breaker."""


def policy(**changes: Any) -> Policy:
    """The defaults of the contract, over the prefixes `image/` and `video/`."""
    values: dict[str, Any] = {
        "prefixes": ("image/", "video/"),
        "grace_period": 48 * HOUR,
        "delete_delay": 24 * HOUR,
        "media_retention": 90 * DAY,
        "recent_access": 30 * DAY,
        "key_grace": 7 * DAY,
        "delete_revoked": False,
    }
    return Policy(**{**values, **changes})


def settings(**changes: Any) -> Settings:
    """The defaults, of no place."""
    values: dict[str, Any] = {"database_url": "postgresql://db/gateway", "bucket": BUCKET}
    return Settings(**{**values, **changes})


def tuning(**changes: Any) -> Limits:
    """The defaults of the settings."""
    return limits_of(settings(**changes))


def runtime(**changes: Any) -> RuntimeSettings:
    """The defaults of the settings, live, over a store that can do little."""
    found = Capabilities(order=ListingOrder.BYTES, conditional_batch_delete=False, conditional_delete=False)
    return replace(runtime_settings(settings(), found), mode=Mode.LIVE, **changes)


def stored(key: str = "image/a", **changes: Any) -> StoredObject:
    """An object of 10 bytes, 10 days old."""
    values: dict[str, Any] = {"key": key, "size": 10, "etag": "e1", "last_modified": NOW - 10 * DAY}
    return StoredObject(**{**values, **changes})


def owner(**changes: Any) -> VirtualKey:
    """An enabled virtual key without an end."""
    values: dict[str, Any] = {"id": "k1", "enabled": True, "expires_at": None, "disabled_since": None}
    return VirtualKey(**{**values, **changes})


def record(key: str = "image/a", **changes: Any) -> Record:
    """A row 10 days old that nothing speaks against, of an active virtual key."""
    values: dict[str, Any] = {
        "id": "r1",
        "storage_key": key,
        "virtual_key_id": "k1",
        "owner": owner(),
        "size_bytes": 10,
        "created_at": NOW - 10 * DAY,
        "expires_at": None,
        "last_accessed_at": None,
        "deleted_at": None,
        "version": "v1",
    }
    return Record(**{**values, **changes})


def mark(verdict: Verdict = Verdict.ORPHAN, key: str = "image/a", **changes: Any) -> Mark:
    """A mark of an object 10 days old, seen twice and due."""
    values: dict[str, Any] = {
        "storage_key": key,
        "verdict": verdict,
        "reason": "no record",
        "bytes": 10,
        "pass_id": 1,
        "object_etag": "e1",
        "object_last_modified": NOW - 10 * DAY,
        "first_seen_at": NOW - 2 * DAY,
        "last_seen_at": NOW - DAY,
        "sightings": 2,
        "due_at": NOW - DAY,
    }
    return Mark(**{**values, **changes})


def page(*keys: str, token: str | None = None) -> ObjectPage:
    """A page of objects of one byte, all 10 days old."""
    count = len(keys)
    modified = (NOW - 10 * DAY).isoformat()
    return ObjectPage(list(keys), [1] * count, ["e1"] * count, [modified] * count, token)
