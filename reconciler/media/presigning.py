"""Uploads to the store itself: a URL for one object, and the word that it is there.

The URL is signed for one key, type and length, for the digest where it is told, and for an object that is not
there yet. The reservation outlives it, so an upload that lands at its end can still be completed. What is
never completed has no row, and goes when the reservation has ended.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from reconciler.asgi.bodies import read_body
from reconciler.errors import NotDone
from reconciler.media import kinds, uploads
from reconciler.media.problems import Problem
from reconciler.media.receiving import too_large
from reconciler.model import NewReservation, Reservation, ReservationState, SignedUpload, Stored, StoredMedium
from reconciler.planning.formatting import counted
from reconciler.stores.s3.reading import Changed

if TYPE_CHECKING:
    from reconciler.media.site import Media

LARGEST_BODY = 4_096
AT_ONCE = 5 * 1024**3
"""Bytes of the largest object that one request puts, in S3."""

AFTERWARDS = timedelta(hours=1)
"""How long an upload that began as its URL ended may still take, and its completion."""

SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    content_type: str
    size: int
    sha256: str | None

    @property
    def fingerprint(self) -> str:
        return f"upload {json.dumps([self.content_type, self.size, self.sha256])}"


async def begin_upload(request: Request) -> Response:
    """Begin an upload to the store: a URL, and the headers to send there with PUT.

    The body says `content_type`, `size` in bytes, and `sha256` in hexadecimal digits where it is known.
    Complete it once the object is there.
    """
    media: Media = request.app.state.media
    site, terms = uploads.of(media)
    await read_body(request, LARGEST_BODY)
    owner = await uploads.caller(media, request)
    asked = _asked(await request.body())
    largest = min(terms.largest(asked.content_type), AT_ONCE)
    if asked.size > largest:
        raise too_large(largest)
    key = uploads.idempotency_key(request)
    earlier = None if key is None else await site.reservations.repeated(owner, key)
    if earlier is not None and earlier.fingerprint != asked.fingerprint:
        raise uploads.reused()
    new = NewReservation(
        key=terms.new_key(asked.content_type, media.now()),
        owner=owner,
        lasts=terms.url_for + AFTERWARDS,
        content_type=asked.content_type,
        size=asked.size,
        content_hash=asked.sha256,
        idempotency_key=key,
        fingerprint=asked.fingerprint,
    )
    try:
        reserved = earlier or await site.reservations.reserve(new, terms.policy())
    except NotDone as error:
        raise uploads.refused(error) from None
    return JSONResponse(
        await _url(media, reserved), 201, {"Location": f"/v1/media/uploads/{reserved.id}", **NO_STORE}
    )


NO_STORE = {"Cache-Control": "no-store"}


async def _url(media: Media, reserved: Reservation) -> dict[str, object]:
    """The answer that tells where to put it."""
    site, terms = uploads.of(media)
    ends = reserved.created_at + terms.url_for
    sha256 = None if reserved.content_hash is None else bytes.fromhex(reserved.content_hash)
    wanted = SignedUpload(
        key=reserved.key,
        content_type=reserved.content_type,
        size=reserved.size or 0,
        sha256=None if sha256 is None else base64.b64encode(sha256).decode(),
        seconds=max(1, int(ends.timestamp() - media.now())),
    )
    url, headers = await site.outside.signed(wanted)
    return {
        "id": str(reserved.id),
        "storage_key": reserved.key,
        "method": "PUT",
        "url": url,
        "headers": headers,
        "ends_at": ends.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    }


async def take_completion(request: Request) -> Response:
    """Complete an upload: its object is there, and gets its row.

    The body may say the `etag` that the store answered. Sent again it is done once.
    """
    media: Media = request.app.state.media
    site, terms = uploads.of(media)
    await read_body(request, LARGEST_BODY)
    owner = await uploads.caller(media, request)
    etag = _etag(await request.body())
    reserved = await site.reservations.find(_id(request))
    if reserved is None or reserved.owner.id != owner.id:
        raise Problem(404, "no_such_upload", "there is no such upload, it has ended, or it is not yours")
    if reserved.state is not ReservationState.RECORDED:
        try:
            stored = await _checked(media, reserved, etag)
        except Changed:
            raise _other("it was replaced meanwhile") from None
        try:
            reserved = await site.reservations.record(reserved, stored, policy=terms.policy())
        except NotDone as error:
            raise uploads.refused(error) from None
        media.counts.uploaded("recorded", stored.size)
    told = uploads.told(reserved)
    return JSONResponse(told, 201, {"Location": str(told["path"]), **NO_STORE})


async def _checked(media: Media, reserved: Reservation, etag: str | None) -> Stored:
    """The object as it lies there. Raises Problem where it is not there, or not what was announced."""
    _, terms = uploads.of(media)
    store = media.site().store
    found = await store.describe(reserved.key)
    if found is None:
        raise Problem(409, "not_uploaded", "the store has no such object yet")
    if found.size != reserved.size:
        raise _other(f"it has {counted(found.size, 'byte')}, and not {reserved.size}")
    if kinds.usual(found.content_type) != kinds.usual(reserved.content_type):
        raise _other("its type is another than was announced")
    if etag is not None and etag != found.etag.strip('"'):
        raise _other("its ETag is another")
    sha256 = await _looked_at(media, reserved, found)
    return Stored(
        size=found.size,
        content_type=reserved.content_type,
        content_hash=sha256,
        columns=terms.row(reserved.content_type),
    )


async def _looked_at(media: Media, reserved: Reservation, found: StoredMedium) -> str | None:
    """Its SHA-256, which is known where it was announced. Raises Problem where its bytes do not fit."""
    last = min(found.size, kinds.HEAD) - 1
    body = await media.site().store.open(reserved.key, etag=found.etag or None, span=(0, last))
    if body is None:
        raise Problem(409, "not_uploaded", "the store has no such object yet")
    try:
        head = b"".join([chunk async for chunk in body.chunks()])
    finally:
        body.close()
    if not kinds.fits(reserved.content_type, head):
        raise uploads.not_fitting()
    if reserved.content_hash is None:
        return None
    # Not every store compares what it gets with the digest that was signed.
    digest = hashlib.sha256()
    whole = await media.site().store.open(reserved.key, etag=found.etag or None)
    if whole is None:
        raise Problem(409, "not_uploaded", "the store has no such object yet")
    try:
        async for chunk in whole.chunks():
            digest.update(chunk)
    finally:
        whole.close()
    if digest.hexdigest() != reserved.content_hash:
        raise _other("its SHA-256 is another than was announced")
    return reserved.content_hash


def _other(detail: str) -> Problem:
    return Problem(422, "not_as_announced", detail)


def _asked(body: bytes) -> _Asked:
    found = _object(body)
    content_type, size, sha256 = found.get("content_type"), found.get("size"), found.get("sha256")
    if found.keys() - {"content_type", "size", "sha256"} or not isinstance(content_type, str):
        raise Problem(422, "invalid", 'the body is JSON such as {"content_type": "image/png", "size": 1234}')
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise Problem(422, "invalid", "size: must be a number of bytes from 1 on")
    if sha256 is not None and (not isinstance(sha256, str) or not SHA256.fullmatch(sha256)):
        raise Problem(422, "invalid", "sha256: must be 64 hexadecimal digits in small letters")
    if not content_type.isascii() or not content_type.isprintable():
        raise Problem(422, "invalid", "content_type: must be printable")
    return _Asked(content_type=content_type, size=size, sha256=sha256)


def _etag(body: bytes) -> str | None:
    found = _object(body) if body.strip() else {}
    etag = found.get("etag")
    if found.keys() - {"etag"} or not (etag is None or isinstance(etag, str)):
        raise Problem(422, "invalid", 'the body is JSON such as {"etag": "…"}, or empty')
    return None if etag is None else etag.strip('"')


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Problem(422, "invalid", "the body is a JSON object")
    return found


def _id(request: Request) -> UUID:
    try:
        return UUID(request.path_params["upload_id"])
    except ValueError:
        raise Problem(
            404, "no_such_upload", "there is no such upload, it has ended, or it is not yours"
        ) from None
