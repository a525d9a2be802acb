"""Fetch an inventory's files to local disk, each compared with its size, and with its MD5 if one is told."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import anyio.to_thread

from reconciler.errors import InventoryRefused
from reconciler.model import InventoryFile
from reconciler.ports import Files
from reconciler.sources import tasks
from reconciler.sources.workspace import LISTED

AT_ONCE: Final = 4
"""Files on their way at once: one stream from a store is slower than a disk, and a few fill the network."""

LARGEST: Final = 64 * 1024 * 1024
"""Bytes of a manifest that are read: one of 500 files has a tenth of a megabyte."""

_BLOCK: Final = 1024 * 1024
"""Bytes written to disk at once: what comes from the store comes in smaller pieces."""


async def fetch(
    files: Files,
    wanted: Sequence[InventoryFile],
    into: Path,
    alive: Callable[[], None],
    named: str = LISTED,
) -> list[Path]:
    """The files, in the same order, under names of our own. Raises InventoryRefused, StoreUnavailable.

    What is there already, of a process that was killed, is compared in the same way, and not fetched again.
    """
    paths = [into / f"{named}{number:05}" for number in range(len(wanted))]

    async def fetch_one(each: tuple[InventoryFile, Path]) -> None:
        await _fetch(files, *each, alive)

    await tasks.each(zip(wanted, paths, strict=True), fetch_one, at_once=AT_ONCE)
    return paths


async def _fetch(files: Files, file: InventoryFile, path: Path, alive: Callable[[], None]) -> None:
    if await anyio.to_thread.run_sync(_is_there, file, path):
        alive()
        return
    opened = await files.open(file.key)
    if opened is None:
        raise InventoryRefused(f"inventory file {file.key} is gone: did a lifecycle rule take it?")
    digest, size, block = hashlib.md5(usedforsecurity=False), 0, bytearray()
    try:
        with path.open("wb") as target:
            async for chunk in opened.chunks():
                size += len(chunk)
                if size > file.size:
                    break
                block += chunk
                if len(block) >= _BLOCK:
                    digest.update(block)
                    await anyio.to_thread.run_sync(target.write, bytes(block))
                    block.clear()
                    alive()
            digest.update(block)
            await anyio.to_thread.run_sync(target.write, bytes(block))
    finally:
        opened.close()
    if size != file.size:
        more = "more than" if size > file.size else f"{size:,} of"
        raise InventoryRefused(f"inventory file {file.key} has {more} the {file.size:,} B of its manifest")
    if file.md5 is not None and digest.hexdigest() != file.md5:
        raise InventoryRefused(
            f"inventory file {file.key} has MD5 {digest.hexdigest()}, its manifest says {file.md5}"
        )


def _is_there(file: InventoryFile, path: Path) -> bool:
    if file.md5 is None or not path.is_file() or path.stat().st_size != file.size:
        return False
    return md5_of(path) == file.md5


def md5_of(path: Path) -> str:
    with path.open("rb") as found:
        return hashlib.file_digest(found, _md5).hexdigest()


def _md5() -> "hashlib._Hash":
    return hashlib.md5(usedforsecurity=False)


async def read(files: Files, key: str) -> bytes:
    """A manifest whole. Raises InventoryRefused, StoreUnavailable."""
    opened = await files.open(key)
    if opened is None:
        raise InventoryRefused(f"inventory file {key} is gone")
    body = bytearray()
    try:
        async for chunk in opened.chunks():
            body += chunk
            if len(body) > LARGEST:
                raise InventoryRefused(f"inventory file {key} is larger than any manifest")
    finally:
        opened.close()
    return bytes(body)
