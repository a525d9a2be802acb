"""Access logs as they lie in folders and buckets: opened, unpacked, and cut into lines, a piece at a time."""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import anyio
from anyio import to_thread

from reconciler.errors import ErrorKind, NotDone
from reconciler.model import ObjectPage

PIECE: Final = 1 << 18
"""Bytes that are read, or unpacked, at once."""

GZIP: Final = b"\x1f\x8b"

Pieces = AsyncIterator[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """One log, which may be opened several times. `version`: it never changes under its name while that does
    not; None for one that may grow.
    """

    name: str
    version: str | None
    open: Callable[[], AbstractAsyncContextManager[Pieces]]


class CutOff(Exception):
    """What is packed ends in the middle, as one that is still written does."""


class Objects(Protocol):
    """A bucket of logs: `stores.s3.Bucket`, as far as it is asked."""

    @property
    def listing(self) -> Lists: ...

    @property
    def reader(self) -> Reads: ...


class Lists(Protocol):
    """Its listing."""

    async def list_page(self, prefix: str, *, token: str | None = None) -> ObjectPage: ...


class Body(Protocol):
    """An object that is read."""

    def chunks(self) -> AsyncGenerator[bytes]: ...

    def close(self) -> None: ...


class Reads(Protocol):
    """Its objects."""

    async def open(self, key: str) -> Body | None: ...


def of_file(path: Path) -> Log:
    """A file."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Pieces]:
        try:
            file = await anyio.open_file(path, "rb")
        except OSError as error:
            message = f"{path}: cannot be read ({error.strerror})"
            raise NotDone(ErrorKind.NOT_FOUND, "no_such_log", message, log=str(path)) from None
        async with file:

            async def pieces() -> Pieces:
                while piece := await file.read(PIECE):
                    yield piece

            yield pieces()

    return Log(name=str(path.absolute()), version=None, open=opened)


async def of_bucket(bucket: Objects, name: str, prefix: str) -> AsyncIterator[Sequence[Log]]:
    """The objects under a prefix, in the order of the store, a page at a time."""
    token: str | None = None
    while True:
        page = await bucket.listing.list_page(prefix, token=token)
        yield [
            Log(
                name=f"s3://{name}/{key}",
                version=etag,
                open=_opener(bucket, f"s3://{name}/{key}", key),
            )
            for key, size, etag in zip(page.keys, page.sizes, page.etags, strict=True)
            if size and not key.endswith("/")
        ]
        token = page.next_token
        if token is None:
            return


def _opener(bucket: Objects, name: str, key: str) -> Callable[[], AbstractAsyncContextManager[Pieces]]:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Pieces]:
        body = await bucket.reader.open(key)
        if body is None:
            raise NotDone(ErrorKind.NOT_FOUND, "no_such_log", f"{name}: it went meanwhile", log=name)
        try:
            yield body.chunks()
        finally:
            body.close()

    return opened


async def unpacked(pieces: Pieces) -> Pieces:
    """What gzip packed, by its first bytes, with an end of line at its end; else the same. Raises CutOff."""
    first = b""
    async for piece in pieces:
        first += piece
        if len(first) >= len(GZIP):
            break
    if first.startswith(GZIP):
        last = b"\n"
        async for piece in _inflated(first, pieces):
            last = piece[-1:]
            yield piece
        if last != b"\n":
            yield b"\n"
        return
    if first:
        yield first
    async for piece in pieces:
        yield piece


async def _inflated(first: bytes, pieces: Pieces) -> Pieces:
    """One part after the other: gzip's may be put together."""
    inside, packed = zlib.decompressobj(wbits=31), first
    while True:
        while packed:
            if inside.eof:
                inside = zlib.decompressobj(wbits=31)
            try:
                piece = await to_thread.run_sync(inside.decompress, packed, PIECE)
            except zlib.error:
                raise CutOff from None
            if piece:
                yield piece
            packed = inside.unused_data if inside.eof else inside.unconsumed_tail
        if (following := await anext(pieces, None)) is None:
            break
        packed = following
    if not inside.eof:
        raise CutOff
