"""Objects to be served: described, opened, or handed out by a URL of the store's own."""

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

PIECE: Final = 32 << 10
"""Bytes of a long body that are read at a time. The event loop reads eight times as much, and aiohttp keeps
half of that again: with a thousand clients that hardly read, a gigabyte."""

LONG: Final = 128 << 10
"""Bytes from which on a body is read in such pieces."""

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
        self._transport: Any = None
        if self.medium.size > LONG and self._raw.connection is not None:
            self._transport = self._raw.connection.transport
            self._transport.max_size = PIECE
            self._raw.content._low_water = self._raw.content._high_water = PIECE  # noqa: SLF001 - of one answer

    async def chunks(self) -> AsyncGenerator[bytes]:
        """What has come, as it comes: up to 128 KiB each. Raises StoreUnavailable where it ends early."""
        try:
            while chunk := await self._raw.content.readany():
                yield chunk
        except (HTTPError, TimeoutError, OSError) as error:
            raise StoreUnavailable(f"{CUT}: {error}") from None

    def close(self) -> None:
        """Give the connection back, or close it where bytes are left. Does not wait."""
        if self._transport is not None:
            del self._transport.max_size
            self._transport = None
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
