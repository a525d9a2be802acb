"""Objects to be served: described, opened, or handed out by a URL of the store's own."""

import time
from collections.abc import AsyncGenerator, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Final

from aiohttp import ClientError as HTTPError

from reconciler.errors import StoreUnavailable
from reconciler.model import Presigned, StoredMedium
from reconciler.stores.s3.direct import Opened
from reconciler.stores.s3.faults import Refusal
from reconciler.stores.s3.retries import Calls

LONG: Final = 128 << 10
"""Bytes from which on a body is read piece by piece, each once the client has the one before it. What is read
at once otherwise, and kept by aiohttp, is a gigabyte with a thousand clients that hardly read."""

LITTLE: Final = 8 << 10
MUCH: Final = 64 << 10
"""Bytes of a piece: for a client that may be slow, and for one that has shown that it is not."""

SLOW_SECONDS: Final = 0.01
"""Who takes longer for a piece is slow."""

UNPROVEN: Final = 8 << 20
"""Bytes that the kernel takes in a client's stead: up to there each is quick."""

CUT: Final = "the store's answer was cut off"


class Changed(Exception):
    """The object is no longer the one that was described."""


class Body:
    """The bytes of an object, on their way.

    It has to be closed, whatever happens: one that is left half read keeps its connection for ever, and no
    time-out of the store's client ends that.
    """

    def __init__(self, opened: Opened) -> None:
        self.medium = _described(opened.headers)
        self._raw = opened.raw
        self._connection = opened.raw.connection
        self._long = self.medium.size > LONG

    async def chunks(self) -> AsyncGenerator[bytes]:
        """What has come, as it comes: of a long body up to `MUCH` each. Raises StoreUnavailable where it ends
        early.
        """
        quick = 0
        self._take(LITTLE if self._long else LONG)
        try:
            while chunk := await self._raw.content.readany():
                if not self._long:
                    yield chunk
                    continue
                self._wait(paused=True)
                size, began, handed = len(chunk), time.monotonic(), [chunk]
                del chunk  # whoever takes it lets it go while its client takes its time
                yield handed.pop()
                quick = 0 if time.monotonic() - began > SLOW_SECONDS else quick + size
                self._take(MUCH if quick > UNPROVEN else LITTLE)
                self._wait(paused=False)
        except (HTTPError, TimeoutError, OSError) as error:
            raise StoreUnavailable(f"{CUT}: {error}") from None

    def _take(self, size: int) -> None:
        """Read so much at a time. It is the event loop's own field, and TLS has another."""
        if self._connection is not None and (transport := self._connection.transport) is not None:
            transport.max_size = size

    def _wait(self, *, paused: bool) -> None:
        """Read no further, or go on. A connection that has given all is not ours any more."""
        if self._connection is None or (protocol := self._connection.protocol) is None:
            return
        if paused:
            protocol.pause_reading()
        else:
            protocol.resume_reading()

    def close(self) -> None:
        """Give the connection back, or close it where bytes are left. Does not wait."""
        self._raw.close()


class BucketReader:
    """Reads objects of one bucket."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def describe(self, key: str) -> StoredMedium | None:
        """The object as it is now; None where there is none. Raises StoreUnavailable, Halt, ConfigError."""
        try:
            return await self._calls.send("HeadObject", _of_head, Key=key)
        except Refusal as refusal:
            if refusal.missing:
                return None
            raise self._calls.place.explain("HeadObject", refusal) from None

    async def open(
        self, key: str, *, etag: str | None = None, span: tuple[int, int] | None = None
    ) -> Body | None:
        """The object's bytes, or those from the first to the last of `span`; None where there is no object.

        Raises Changed where it has not that ETag; and as `describe` does.
        """
        asked = {"Bucket": self._calls.bucket, "Key": key}
        if etag is not None:
            asked["IfMatch"] = etag
        if span is not None:
            asked["Range"] = f"bytes={span[0]}-{span[1]}"
        call = partial(self._calls.client.open_object, **asked)
        try:
            opened = await self._calls.carry_out("GetObject", call, _same)
        except Refusal as refusal:
            if refusal.missing:
                return None
            if refusal.changed:
                raise Changed from None
            raise self._calls.place.explain("GetObject", refusal) from None
        body = Body(opened)
        if span is not None and body.medium.size != span[1] - span[0] + 1:
            body.close()
            raise StoreUnavailable(
                f"GetObject on {self._calls.place} did not answer with the range that was asked"
            )
        return body

    async def presigned(self, wanted: Presigned) -> str:
        """The URL. Sends nothing."""
        made: str = await self._calls.client.presigned(
            wanted.method, self._calls.bucket, wanted.key, wanted.seconds, wanted.answer
        )
        return made


def _same(opened: Opened) -> Opened:
    return opened


def _of_head(answer: Any) -> StoredMedium:  # noqa: ANN401 - botocore's dict
    return _described(answer["ResponseMetadata"]["HTTPHeaders"])


def _described(headers: Mapping[str, str]) -> StoredMedium:
    """By the headers of an answer. The size is that of its body, a range's where one was asked."""
    return StoredMedium(
        size=int(headers.get("content-length", "0")),
        etag=headers.get("etag", ""),
        modified=moment(headers.get("last-modified")),
        content_type=headers.get("content-type", ""),
        content_encoding=headers.get("content-encoding", ""),
    )


def moment(text: str | None) -> datetime | None:
    """A time as HTTP writes it; None where it is none."""
    try:
        return parsedate_to_datetime(text) if text else None
    except ValueError:
        return None
