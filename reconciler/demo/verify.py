"""Compare what is really stored, by the demo's own listing and query, with what the scene says should be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg

from reconciler.demo.scene import Scene
from reconciler.demo.seed import BUCKET

if TYPE_CHECKING:  # the stubs are no dependency of the program
    from types_aiobotocore_s3 import S3Client

_OUR_OWN = ".reconciler/"  # the reconciler's corner of the bucket is not the gateway's

_ROWS = """
SELECT "StorageKey" AS key, (to_jsonb(m) - 'CreatedAt')::text AS row FROM public."MediaRecords" AS m
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """Everything in the bucket (key to ETag) and in the media table (key to the row as text).

    Without `CreatedAt`: the demo itself renews that of the uploads in flight.
    """

    objects: dict[str, str]
    rows: dict[str, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """Keys that are there but should be gone, are gone but should be there, or were altered."""

    what: str
    left_over: frozenset[str]
    lost: frozenset[str]
    altered: frozenset[str]

    def __bool__(self) -> bool:
        return bool(self.left_over or self.lost or self.altered)

    def __str__(self) -> str:
        parts = (("still there", self.left_over), ("lost", self.lost), ("altered", self.altered))
        described = [f"{len(keys)} {how}, such as {min(keys)!r}" for how, keys in parts if keys]
        return f"{self.what}: {'; '.join(described)}"


async def look(client: S3Client, connection: asyncpg.Connection) -> Contents:
    """The whole bucket, page by page, and the whole table."""
    objects: dict[str, str] = {}
    async for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for entry in page.get("Contents", ()):
            objects[entry["Key"]] = entry["ETag"]
    found = await connection.fetch(_ROWS)
    return Contents(
        objects={key: etag for key, etag in objects.items() if not key.startswith(_OUR_OWN)},
        rows={row["key"]: row["row"] for row in found},
    )


def unchanged(before: Contents, now: Contents) -> list[Difference]:
    """Nothing may differ. Returns what does."""
    return _differences(before, now, set(before.objects), set(before.rows))


def converged(before: Contents, now: Contents, scene: Scene) -> list[Difference]:
    """Exactly what the scene says may be left, as it was before. Returns what differs."""
    return _differences(before, now, scene.objects_in_the_end(), scene.rows_in_the_end())


def _differences(before: Contents, now: Contents, objects: set[str], rows: set[str]) -> list[Difference]:
    both = (
        _difference("objects", before.objects, now.objects, objects),
        _difference("rows", before.rows, now.rows, rows),
    )
    return [difference for difference in both if difference]


def _difference(what: str, before: dict[str, str], now: dict[str, str], wanted: set[str]) -> Difference:
    return Difference(
        what,
        left_over=frozenset(now.keys() - wanted),
        lost=frozenset(wanted - now.keys()),
        altered=frozenset(key for key in now.keys() & wanted if before.get(key) != now[key]),
    )
