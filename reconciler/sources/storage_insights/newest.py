"""Find the newest complete report: `PATH/ID_2026-11-22T01:00_manifest.json`, and its shards beside it."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from reconciler.errors import InventoryRefused
from reconciler.model import InventoryFile, InventoryUsed, parse_timestamp
from reconciler.ports import Files
from reconciler.sources import fetching
from reconciler.sources.adapters import Found
from reconciler.sources.storage_insights import manifest

_MANIFEST: Final = re.compile(r"(\d{4}-\d{2}-\d{2}T[0-9:.]+Z?)_manifest\.json")
_MD5: Final = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class _There:
    """A file of the destination, as its listing has it."""

    size: int
    etag: str
    modified: str


class StorageInsights:
    """`sources.adapters.Adapter`: the reports that one configuration of a bucket makes.

    Nothing can be asked of the configuration, which has no API of S3's kind: the manifest repeats it.
    """

    def __init__(self, bucket: str, wanted: str, place: str, files_of: Callable[[str], Files]) -> None:
        """`wanted` is the configuration's UUID; `place` is `gs://BUCKET/PATH`."""
        self._bucket = bucket
        self._destination, _, path = place.removeprefix("gs://").partition("/")
        self._path = f"{path.strip('/')}/" if path.strip("/") else ""
        self._begins = f"{self._path}{wanted}_"
        self._files_of = files_of

    async def newest(self) -> Found:
        files = self._files_of(self._destination)
        there = await self._listed(files)
        named = {key: _MANIFEST.fullmatch(key.removeprefix(self._begins)) for key in there}
        whole = {match[1]: key for key, match in named.items() if match}
        if not whole:
            raise InventoryRefused(
                f"no complete inventory is under {self._begins} in bucket {self._destination!r}: the first"
                " one takes up to 48 h"
            )
        name = whole[max(whole)]
        body = await fetching.read(files, name)
        found = manifest.read(name, body)
        if fault := manifest.fault(found, self._bucket):
            raise InventoryRefused(f"inventory {name} {fault}")
        at: datetime | None = parse_timestamp(there[name].modified)
        if at is None or at < found.began_at:
            raise InventoryRefused(f"inventory {name} was delivered at {at}, before it began")
        digest = hashlib.md5(body, usedforsecurity=False).hexdigest()
        used = InventoryUsed(name=name, digest=digest, began_at=found.began_at, delivered_at=at)
        return Found(
            used=used,
            files=files,
            bucket=self._destination,
            listed=[_file(f"{self._path}{each}", there) for each in found.shards],
            format=found.format,
            columns=found.columns,
            rows=found.rows,
        )

    async def _listed(self, files: Files) -> dict[str, _There]:
        found: dict[str, _There] = {}
        after = ""
        while True:
            page = await files.list_page(self._begins, start_after=after)
            for key, size, etag, modified in zip(
                page.keys, page.sizes, page.etags, page.modified, strict=True
            ):
                found[key] = _There(size, etag, modified)
            if page.next_token is None or not page.keys:
                return found
            after = page.keys[-1]


def _file(key: str, there: dict[str, _There]) -> InventoryFile:
    """A shard. The manifest names no MD5; the store's ETag is one, where the file was put in one piece."""
    if key not in there:
        raise InventoryRefused(f"inventory file {key} is gone: did a lifecycle rule take it?")
    etag = there[key].etag.strip('"').lower()
    return InventoryFile(key=key, size=there[key].size, md5=etag if _MD5.fullmatch(etag) else None)
