"""Find the newest complete inventory: `PREFIX/BUCKET/ID/2026-11-22T01-00Z/manifest.json` and its checksum."""

import hashlib
import re
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

from reconciler.errors import InventoryRefused
from reconciler.model import InventoryConfiguration, InventoryUsed, parse_timestamp
from reconciler.ports import Files
from reconciler.sources import fetching
from reconciler.sources.adapters import Found
from reconciler.sources.s3_inventory import configuration, manifest

_FOLDER: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}-\d{2}Z")
_FIRST: Final = "0"
_BEYOND: Final = ":"
"""The folders begin with a digit; `data/` and `hive/` come behind them."""


class S3Inventory:
    """`sources.adapters.Adapter`: the inventories that one configuration of a bucket makes."""

    def __init__(
        self,
        bucket: str,
        wanted: str,
        ask: Callable[[str], Awaitable[InventoryConfiguration | None]],
        files_of: Callable[[str], Files],
    ) -> None:
        """`wanted` is the configuration's id, `files_of` opens a bucket of the same store by its name."""
        self._bucket = bucket
        self._wanted = wanted
        self._ask = ask
        self._files_of = files_of

    async def newest(self) -> Found:
        configured = await self._ask(self._wanted)
        fault = configuration.fault(configured, self._wanted)
        if fault or configured is None:
            raise InventoryRefused(fault)
        return await newest(self._files_of(configured.destination), self._bucket, configured)


async def newest(files: Files, bucket: str, configured: InventoryConfiguration) -> Found:
    """The newest inventory whose manifest and checksum are both there: they are written last.

    Raises InventoryRefused where there is none, or where that one is not as it should be.
    """
    place = "/".join(each for each in (configured.prefix.strip("/"), bucket, configured.id) if each) + "/"
    delivered = await _folders(files, place)
    complete = [
        folder
        for folder, there in delivered.items()
        if {"manifest.json", "manifest.checksum"} <= there.keys()
    ]
    if not complete:
        raise InventoryRefused(
            f"no complete inventory is under {place} in bucket {configured.destination!r}: the first one"
            " takes up to 48 h"
        )
    name = f"{place}{max(complete)}/manifest.json"
    body = await fetching.read(files, name)
    digest = hashlib.md5(body, usedforsecurity=False).hexdigest()
    told = (
        (await fetching.read(files, name.removesuffix("json") + "checksum"))
        .decode("ascii", "replace")
        .strip()
    )
    if told.lower() != digest:
        raise InventoryRefused(
            f"inventory {name}: its manifest's MD5 is {digest}, its checksum says {told!r}"
        )
    found = manifest.read(name, body)
    if fault := manifest.fault(found, bucket, configured):
        raise InventoryRefused(f"inventory {name} {fault}")
    at = delivered[max(complete)]["manifest.json"]
    if at is None or at < found.began_at:
        raise InventoryRefused(f"inventory {name} was delivered at {at}, before it began")
    used = InventoryUsed(name=name, digest=digest, began_at=found.began_at, delivered_at=at)
    return Found(
        used=used,
        files=files,
        bucket=configured.destination,
        listed=found.files,
        format=found.format,
        columns=found.columns,
    )


async def _folders(files: Files, place: str) -> dict[str, dict[str, datetime | None]]:
    """What lies in each inventory's folder, and since when."""
    found: dict[str, dict[str, datetime | None]] = {}
    after = f"{place}{_FIRST}"
    while True:
        page = await files.list_page(place, start_after=after)
        for key, modified in zip(page.keys, page.modified, strict=True):
            folder, _, name = key.removeprefix(place).partition("/")
            if _FOLDER.fullmatch(folder):
                found.setdefault(folder, {})[name] = parse_timestamp(modified)
        if page.next_token is None or not page.keys or page.keys[-1] >= f"{place}{_BEYOND}":
            return found
        after = page.keys[-1]
