"""`POST /v1/media`: a body is streamed to the store, and tracked before its first byte and behind its last.

The order is: a reservation, the object, and in one transaction the row and the reservation's end. Whoever
dies in between leaves an object without a row, or parts of one, which are the reconciler's to collect once
the reservation has ended.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

import anyio
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from reconciler.errors import CatalogUnavailable, NotDone, ReconcilerError
from reconciler.media import kinds, uploads
from reconciler.media.problems import Problem
from reconciler.media.receiving import CLOSE, Received, too_large
from reconciler.media.uploads import UploadSite, UploadTerms
from reconciler.model import NewReservation, Owner, Reservation, ReservationState, Stored
from reconciler.stores.s3.writing import PART

if TYPE_CHECKING:
    from reconciler.media.site import Media

log = structlog.get_logger(__name__)

RESERVED_FOR = timedelta(minutes=5)
"""How long a reservation outlives the process that made it. A living one renews it."""

RENEW_SECONDS = 60.0

TRIES = 3
"""How often a row is tried to be made: its object is there already."""

RELEASE_SECONDS = 2.0


async def upload_medium(request: Request) -> Response:
    """Upload a medium: its bytes are the body, its type stands in `Content-Type`.

    It belongs to the virtual key that is presented. Sent again with the same `Idempotency-Key` it is stored
    once.
    """
    media: Media = request.app.state.media
    site, terms = uploads.of(media)
    try:
        owner = await uploads.caller(media, request)
        give_back = media.places.take(owner.id or "")
    except Problem:
        media.counts.uploaded("refused", 0)
        raise
    try:
        done, fresh = await _Upload(media, site, terms, request, owner).run()
    except (Problem, NotDone) as error:
        media.counts.uploaded("refused", 0)
        raise uploads.refused(error) if isinstance(error, NotDone) else error from None
    except ClientDisconnect:
        media.counts.uploaded("cut", 0)
        return Response(status_code=400)
    except BaseException:
        media.counts.uploaded("failed", 0)
        raise
    finally:
        give_back()
    media.counts.uploaded("recorded", (done.size or 0) if fresh else 0)
    told = uploads.told(done)
    return JSONResponse(told, 201, {"Location": str(told["path"]), "Cache-Control": "no-store"})


class _Upload:
    """One request."""

    def __init__(
        self, media: Media, site: UploadSite, terms: UploadTerms, request: Request, owner: Owner
    ) -> None:
        self._media = media
        self._site = site
        self._terms = terms
        self._request = request
        self._owner = owner
        self._type = request.headers.get("content-type", "").strip()
        self._reservation: Reservation | None = None
        self._renewed = time.monotonic()

    async def run(self) -> tuple[Reservation, bool]:
        """What was recorded, and whether it was by this request. Raises Problem, NotDone, ReconcilerError."""
        largest = self._terms.largest(self._type)
        length = _length(self._request)
        if length is not None and length > largest:
            raise too_large(largest)
        body = Received(self._request, PART, largest, self._renew)
        key = uploads.idempotency_key(self._request)
        if key is not None:
            earlier = await self._site.reservations.repeated(self._owner, key)
            if earlier is not None:
                return await self._repeated(earlier, body, length), False
        first = await body.piece()
        if not first:
            raise Problem(422, "invalid", "the body is empty", CLOSE)
        if not kinds.fits(self._type, first[: kinds.HEAD]):
            raise uploads.not_fitting()
        known = body.received if body.ended else length
        new = NewReservation(
            key=self._terms.new_key(self._type, self._media.now()),
            owner=self._owner,
            lasts=RESERVED_FOR,
            content_type=self._type,
            size=known,
            content_hash=body.sha256 if body.ended else None,
            idempotency_key=key,
        )
        self._reservation = reservation = await self._site.reservations.reserve(new, self._terms.policy())
        self._renewed = time.monotonic()
        try:
            return await self._stored(reservation, first, body), True
        except BaseException:
            # The object, if there is one, is the reconciler's from then on.
            with anyio.move_on_after(RELEASE_SECONDS, shield=True):
                await self._release(reservation)
            raise

    async def _stored(self, reservation: Reservation, first: bytes, body: Received) -> Reservation:
        await self._site.writer.put(reservation.key, self._type, first, body.rest())
        stored = Stored(
            size=body.received,
            content_type=self._type,
            content_hash=body.sha256,
            columns=self._terms.row(self._type),
        )
        for attempt in range(1, TRIES + 1):
            try:
                return await self._site.reservations.record(
                    reservation,
                    stored,
                    fingerprint=_fingerprint(self._type, body),
                    policy=self._terms.policy(),
                )
            except CatalogUnavailable as error:
                if attempt == TRIES:
                    raise
                log.warning("a row cannot be made yet, trying again", reason=str(error))
                await anyio.sleep(attempt)
        raise AssertionError("unreachable")

    async def _release(self, reservation: Reservation) -> None:
        try:
            await self._site.reservations.release(reservation)
        except ReconcilerError as error:
            log.warning("a reservation ends by itself", storage_key=reservation.key, reason=str(error))

    async def _renew(self) -> None:
        """Have the reservation last while bytes come. Raises NotDone where it has ended."""
        if self._reservation is None or time.monotonic() - self._renewed < RENEW_SECONDS:
            return
        if not await self._site.reservations.extend(self._reservation, RESERVED_FOR):
            raise Problem(409, "upload_ended", "the upload took too long, and has ended", CLOSE)
        self._renewed = time.monotonic()

    async def _repeated(self, earlier: Reservation, body: Received, length: int | None) -> Reservation:
        """The medium that the same request made. Raises Problem where it was another, or is not done."""
        if earlier.state is not ReservationState.RECORDED:
            raise uploads.under_way()
        if length is not None and length != earlier.size:
            raise uploads.reused()
        await body.read_on()
        if _fingerprint(self._type, body) != earlier.fingerprint:
            raise uploads.reused()
        return earlier


def _fingerprint(content_type: str, body: Received) -> str:
    return f"media {content_type} {body.sha256}"


def _length(request: Request) -> int | None:
    given = request.headers.get("content-length", "")
    return int(given) if given.isascii() and given.isdigit() else None
