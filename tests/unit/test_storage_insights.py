"""Storage Insights: what a report's manifest says, and when it is refused for that."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from reconciler.errors import InventoryRefused
from reconciler.model import ObjectPage
from reconciler.sources.adapters import Found
from reconciler.sources.storage_insights.newest import StorageInsights

pytestmark = pytest.mark.anyio

PLACE = "inventory_reports/uuid_"
LATER = "2026-11-30T08:00:00Z"


def manifest(**changes: Any) -> dict[str, Any]:
    """Of 2026-11-30, in the API's own spelling; a manifest's is tried by the integration tests."""
    return {
        "reportConfig": {
            "csvOptions": {"delimiter": ",", "recordSeparator": "\n", "headerRequired": True},
            "objectMetadataReportOptions": {
                "metadataFields": ["name", "size", "updated", "md5Hash", "timeDeleted"],
                "storageFilters": {"bucket": "media"},
            },
        },
        "recordsProcessed": 2,
        "snapshotTime": "2026-11-30T01:00:00Z",
        "shardCount": 1,
        "reportShardsFileNames": ["uuid_2026-11-30T01:00_0.csv"],
        **changes,
    }


def config(**changes: Any) -> dict[str, Any]:
    made = manifest()["reportConfig"]
    made["objectMetadataReportOptions"] |= changes
    return {"reportConfig": made}


def dialect(**changes: Any) -> dict[str, Any]:
    made = manifest()["reportConfig"]
    made["csvOptions"] |= changes
    return {"reportConfig": made}


class Body:
    def __init__(self, body: bytes) -> None:
        self._body = body

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self._body

    def close(self) -> None:
        pass


class Shelf:
    """`ports.Files` in memory, two keys a page."""

    def __init__(self, held: dict[str, bytes]) -> None:
        self._held = held

    async def list_page(self, prefix: str, *, start_after: str = "") -> ObjectPage:
        keys = sorted(key for key in self._held if key.startswith(prefix) and key > start_after)
        sizes = [len(self._held[key]) for key in keys[:2]]
        etags = ["a" * 32 if key.endswith("0.csv") else '"composed-3"' for key in keys[:2]]
        more = "more" if len(keys) > 2 else None
        return ObjectPage(keys[:2], sizes, etags, [LATER] * len(sizes), more)

    async def open(self, key: str) -> Any:
        return Body(self._held[key]) if key in self._held else None


async def newest(found: dict[str, Any] | bytes, *, shards: int = 1) -> Found:
    """Of three reports, of which one is under way and one is older."""
    body = found if isinstance(found, bytes) else json.dumps(found).encode()
    held = {
        f"{PLACE}2026-11-29T01:00_0.csv": b"of yesterday",
        f"{PLACE}2026-11-29T01:00_manifest.json": b"{}",
        **{f"{PLACE}2026-11-30T01:00_{number}.csv": b"12345" for number in range(shards)},
        f"{PLACE}2026-11-30T01:00_manifest.json": body,
        f"{PLACE}2026-12-01T01:00_0.csv": b"under way",
        "inventory_reports/uuid_elsewhere/2026-12-09T01:00_manifest.json": b"{}",
    }
    adapter = StorageInsights("media", "uuid", "gs://reports/inventory_reports/", lambda _: Shelf(held))
    return await adapter.newest()


async def test_the_newest_report_that_is_complete_is_found_with_its_shards() -> None:
    names = [f"uuid_2026-11-30T01:00_{number}.csv" for number in range(2)]
    found = await newest(manifest(shardCount=2, reportShardsFileNames=names), shards=2)
    assert found.used.name == f"{PLACE}2026-11-30T01:00_manifest.json"
    assert (found.used.began_at.isoformat(), found.rows) == ("2026-11-30T01:00:00+00:00", 2)
    assert found.used.delivered_at.isoformat() == "2026-11-30T08:00:00+00:00"
    assert [(each.key, each.size, each.md5) for each in found.listed] == [
        (f"{PLACE}2026-11-30T01:00_0.csv", 5, "a" * 32),
        (f"{PLACE}2026-11-30T01:00_1.csv", 5, None),  # composed: its ETag is no MD5
    ]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (b"{", "has a manifest that cannot be read"),
        (manifest(recordsProcessed=None), "has a manifest that cannot be read"),
        (manifest(reportShardsFileNames=["../0.csv"]), "a shard is no file beside the manifest"),
        (manifest(**config(storageFilters={"bucket": "other"})), "is of bucket 'other'"),
        (manifest(**config(storageFilters={"bucket": "media", "prefix": "image/"})), "is filtered (prefix)"),
        (
            manifest(**config(metadataFields=["name", "size", "updated"])),
            "lacks the fields md5Hash, timeDeleted",
        ),
        (manifest(shardCount=2), "names 1 of 2 shards"),
        (manifest(shardCount=0, reportShardsFileNames=[]), "names 0 of 0 shards"),
        (manifest(reportShardsFileNames=["lost.csv"]), "inventory_reports/lost.csv is gone"),
        (manifest(**dialect(delimiter="||")), "is CSV with '||' between fields"),
        (manifest(**dialect(recordSeparator="\t")), "and '\\t' between records"),
        (manifest(snapshotTime="2026-11-30T09:00:00Z"), "before it began"),
    ],
)
async def test_a_report_is_refused_in_one_line(found: dict[str, Any] | bytes, expected: str) -> None:
    with pytest.raises(InventoryRefused) as refused:
        await newest(found)
    assert expected in str(refused.value)
    assert "\n" not in str(refused.value)


async def test_without_a_manifest_no_report_is_complete() -> None:
    held = {f"{PLACE}2026-11-30T01:00_0.csv": b"under way"}
    adapter = StorageInsights("media", "uuid", "gs://reports/inventory_reports", lambda _: Shelf(held))
    with pytest.raises(InventoryRefused, match="no complete inventory is under inventory_reports/uuid_ in"):
        await adapter.newest()
