"""Objects to be put: streamed, in one request or in parts; or by whoever has a URL of the store's own."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import anyio

from reconciler.errors import ReconcilerError, StoreUnavailable
from reconciler.model import SignedUpload
from reconciler.stores.s3.faults import Refusal
from reconciler.stores.s3.parsing import bare_etag
from reconciler.stores.s3.retries import Calls

PART: Final = 8 * 1024**2
"""Bytes of a part, and of the largest object that one request puts."""
MOST_PARTS: Final = 10_000
LARGEST: Final = PART * MOST_PARTS
"""Bytes of the largest object that can be put here; 80 GiB."""
CLEANUP_SECONDS: Final = 5.0


class BucketWriter:
    """Puts new objects into one bucket. It replaces none where the store honours `If-None-Match`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def put(self, key: str, content_type: str, first: bytes, rest: AsyncIterator[bytes]) -> str:
        """Put an object of which `first` is there, and `rest` comes in pieces of `PART` bytes but for the
        last; returns its ETag without quotes. At most two pieces are held at a time: one on its way to the
        store, and `rest`'s next.

        An upload in parts is aborted whatever ends it early, a cancellation too. Raises StoreUnavailable,
        Halt, ConfigError.
        """
        try:
            if len(first) < PART:
                return await self._put(key, content_type, first)
            return await self._in_parts(key, content_type, first, rest)
        except Refusal as refusal:
            raise self._explained("PutObject", refusal) from None

    async def _put(self, key: str, content_type: str, body: bytes) -> str:
        asked = {"Key": key, "Body": body, "ContentType": content_type}
        # Our own attempt before may have put it, so a condition could refuse what it did itself.
        return await self._calls.send("PutObject", _etag, **asked)

    async def _in_parts(self, key: str, content_type: str, first: bytes, rest: AsyncIterator[bytes]) -> str:
        asked = {"Key": key, "ContentType": content_type}
        upload = await self._calls.send("CreateMultipartUpload", _upload_id, **asked)
        parts: list[dict[str, Any]] = []
        try:
            await self._part(key, upload, parts, first)
            del first
            async for piece in rest:
                await self._part(key, upload, parts, piece)
            done = {"MultipartUpload": {"Parts": parts}, "UploadId": upload}
            return await self._calls.send("CompleteMultipartUpload", _etag, Key=key, **done)
        except BaseException:
            with anyio.move_on_after(CLEANUP_SECONDS, shield=True):
                await self._abort(key, upload)
            raise

    async def _part(self, key: str, upload: str, parts: list[dict[str, Any]], body: bytes) -> None:
        number = len(parts) + 1
        asked = {"Key": key, "UploadId": upload, "PartNumber": number, "Body": body}
        parts.append(
            {"PartNumber": number, "ETag": await self._calls.send("UploadPart", _quoted_etag, **asked)}
        )

    async def _abort(self, key: str, upload: str) -> None:
        """Best effort: what remains is aborted later, with the other unfinished uploads."""
        try:
            await self._calls.send("AbortMultipartUpload", lambda _: None, Key=key, UploadId=upload)
        except (Refusal, ReconcilerError):
            return

    def _explained(self, operation: str, refusal: Refusal) -> Exception:
        if refusal.missing:
            # The upload was aborted by somebody else.
            return StoreUnavailable(f"{operation} on {self._calls.place}: {refusal}")
        return self._calls.place.explain(operation, refusal)

    async def signed(self, wanted: SignedUpload) -> tuple[str, Mapping[str, str]]:
        """A URL by which whoever has it puts this one object, and the headers to send with it. Sends nothing.

        Type, length, digest and that there is no such object yet are signed; a store that checks signatures
        refuses anything else.
        """
        headers = {
            "Content-Type": wanted.content_type,
            "Content-Length": str(wanted.size),
            "If-None-Match": "*",
        }
        if wanted.sha256 is not None:
            headers["x-amz-checksum-sha256"] = wanted.sha256
        made: str = await self._calls.client.presigned(
            "PUT", self._calls.bucket, wanted.key, wanted.seconds, {}, headers
        )
        return made, headers


def _upload_id(answer: Mapping[str, Any]) -> str:
    return str(answer["UploadId"])


def _etag(answer: Mapping[str, Any]) -> str:
    return bare_etag(answer.get("ETag", ""))


def _quoted_etag(answer: Mapping[str, Any]) -> str:
    return str(answer["ETag"])
