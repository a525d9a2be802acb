"""Files of our own in the bucket, by which machines share one comparison; they go when it has ended."""

import hashlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Final

import anyio

from reconciler.errors import Halt
from reconciler.model import EXPORTS, InventoryFile
from reconciler.stores.s3.concurrency import side_by_side
from reconciler.stores.s3.faults import Refusal
from reconciler.stores.s3.inventory import BucketFiles
from reconciler.stores.s3.listing import BucketListing
from reconciler.stores.s3.reading import BucketReader
from reconciler.stores.s3.retries import Calls
from reconciler.stores.s3.versions import BucketVersions
from reconciler.stores.s3.writing import PART, BucketWriter

_AT_ONCE: Final = 8
_TYPE: Final = "application/vnd.apache.parquet"


class BucketExports(BucketFiles):
    """`ports.Exports` of one bucket."""

    def __init__(self, calls: Calls, listing: BucketListing, versions: BucketVersions) -> None:
        super().__init__(listing, BucketReader(calls))
        self._calls = calls
        self._versions = versions
        self._writer = BucketWriter(calls)
        self._limiter = anyio.CapacityLimiter(_AT_ONCE)

    async def put(self, key: str, path: Path) -> InventoryFile:
        _require_ours(key)
        digest, size = hashlib.md5(usedforsecurity=False), 0
        async with await anyio.open_file(path, "rb") as source:

            async def piece() -> bytes:
                nonlocal size
                found = await source.read(PART)
                digest.update(found)
                size += len(found)
                return found

            async def rest() -> AsyncIterator[bytes]:
                while found := await piece():
                    yield found

            await self._writer.put(key, _TYPE, await piece(), rest())
        return InventoryFile(key=key, size=size, md5=digest.hexdigest())

    async def remove(self, folder: str) -> None:
        """By version where the store lists versions: a plain delete would keep every byte then."""
        _require_ours(folder)
        versions = await self._versions.under(folder)
        if versions is None:
            entries = [{"Key": key} for key in await self._keys(folder)]
        else:
            entries = [{"Key": each.key, "VersionId": each.id} for each in versions]
        await side_by_side([partial(self._delete, entry) for entry in entries])

    async def _keys(self, folder: str) -> list[str]:
        found: list[str] = []
        while True:
            page = await self.list_page(folder, start_after=found[-1] if found else "")
            found += page.keys
            if page.next_token is None or not page.keys:
                return found

    async def _delete(self, entry: dict[str, str]) -> None:
        _require_ours(entry["Key"])
        async with self._limiter:
            try:
                await self._calls.send("DeleteObject", lambda _: None, **entry)
            except Refusal as refusal:
                if not refusal.missing:
                    raise self._calls.place.explain("DeleteObject", refusal, Halt) from None


def _require_ours(key: str) -> None:
    """Raise ValueError for anything else: whatever calls this, no object of the site is touched here."""
    if not key.startswith(EXPORTS) or "/" not in key.removeprefix(EXPORTS):
        raise ValueError(f"{key!r} is no file of a comparison's folder under {EXPORTS}")
