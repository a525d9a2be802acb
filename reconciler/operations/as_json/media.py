"""Media as JSON: one by one, and in sums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reconciler import model
from reconciler.planning.formatting import timestamp

if TYPE_CHECKING:  # the settings are written without the engine and the catalog being loaded
    from reconciler.operations.media import Medium, Stats, Usage
from reconciler.operations.as_json.passes import mark
from reconciler.operations.as_json.site import drift_by_verdict
from reconciler.operations.as_json.steering import hold
from reconciler.operations.as_json.values import Json, fields

STORAGE_NAMES = {
    model.StorageBy.VIRTUAL_KEY: "virtual_key_id",
    model.StorageBy.MEDIA_TYPE: "media_type",
    model.StorageBy.PROVIDER: "provider",
}
"""What the name of a part of the storage is called."""


def storage(stored: model.Storage, by: model.StorageBy, quotas: Sequence[model.QuotaStanding]) -> Json:
    """`share` is of the bytes, 0 to 1, and of a quota, 1 and more at its limit. `prefixes` null: no managed
    prefixes are known yet, and the figures are of the whole table. A quota's `name` is that of its rule.
    `hidden` is what was deleted and is not freed yet, by bucket; null is the objects' own.
    """
    return {
        "by": by,
        "at": timestamp(stored.at),
        "prefixes": None if stored.prefixes is None else list(stored.prefixes),
        **fields(stored, "objects", "bytes"),
        "largest": [{STORAGE_NAMES[by]: part.names[0], **_part(part, stored)} for part in stored.largest],
        "other": {"count": stored.other_parts, **_part(stored.other, stored)},
        "hidden": [fields(each, "bucket", "objects", "bytes") for each in stored.hidden],
        "quotas": [_quota(each) for each in quotas],
    }


def _quota(standing: model.QuotaStanding) -> Json:
    quota = standing.quota
    percent = (f"{share:.0%}" for share in model.QUOTA_REACHED)
    return {
        "name": quota.name or None,
        **fields(quota, "max_objects", "max_bytes", "evict"),
        "reached": dict(zip(percent, standing.reached, strict=True)),
        "nearest": [
            {
                quota.owner.value: each.owner,
                **fields(each, "objects", "bytes"),
                "share": round(each.share, 6),
            }
            for each in standing.nearest
        ],
    }


def _part(part: model.StoragePart, of: model.Storage) -> Json:
    return {**fields(part, "objects", "bytes"), "share": round(share(part, of), 6)}


def share(part: model.StoragePart, of: model.Storage) -> float:
    """The part's share of all bytes, 0 to 1."""
    return part.bytes / of.bytes if of.bytes else 0.0


def medium(of: Medium) -> Json:
    """One key: the rows that name it, its mark, and a hold that keeps it."""
    return {
        "storage_key": of.key,
        "rows": [record(row) for row in of.rows],
        "mark": mark(of.mark) if of.mark else None,
        "hold": hold(of.hold) if of.hold else None,
    }


def record(of: model.Record) -> Json:
    """A row of the media table. Without a column of accesses, each counts as accessed at the end of time."""
    return {
        **fields(of, "id", "storage_key", "virtual_key_id", "size_bytes", "media_type", "provider", "model"),
        **fields(of, "created_at", "expires_at", "last_accessed_at", "deleted_at"),
        "virtual_key": fields(of.owner, "id", "enabled", "disabled_since", "expires_at")
        if of.owner
        else None,
    }


def usage(of: Usage) -> Json:
    """What a virtual key stores."""
    return fields(of, "virtual_key_id", "objects", "bytes")


def stats(of: Stats) -> Json:
    """What is stored, in all, by each property and by the day it was made; and the drift by verdict. `day`
    null: before the days that are listed, or not known. `orphans` are the marks of that verdict.
    """
    stored, marked = of.stored, drift_by_verdict(of.drift)
    return {
        "at": timestamp(stored.at),
        "prefixes": None if stored.prefixes is None else list(stored.prefixes),
        **fields(stored, "objects", "bytes"),
        **{
            f"by_{name}": [{"name": part.names[0], **fields(part, "objects", "bytes")} for part in parts]
            for name, parts in stored.by.items()
        },
        "by_day": [
            {"day": each.day.isoformat() if each.day else None, **fields(each, "objects", "bytes")}
            for each in stored.days
        ],
        "drift": marked,
        "orphans": marked[model.Verdict.ORPHAN],
    }
