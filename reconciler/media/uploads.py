"""What uploads have in common: who may, what, under which key, and what is answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote
from uuid import UUID, uuid4

import structlog
from starlette.requests import Request

from reconciler.errors import NotDone
from reconciler.media import access, kinds
from reconciler.media.problems import Problem
from reconciler.media.receiving import CLOSE
from reconciler.model import NewReservation, Owner, Policy, Reservation, SignedUpload, Stored, kind_of
from reconciler.stores.s3.writing import BucketWriter

if TYPE_CHECKING:
    from reconciler.media.site import Media

log = structlog.get_logger(__name__)

LONGEST_IDEMPOTENCY_KEY = 255

LONGEST_TYPE = 255
"""Characters of a content type with its parameters, which the store and the row are told as they are."""


class Reserves(Protocol):
    """See `catalog.reservations`."""

    async def reserve(self, new: NewReservation, policy: Policy | None = None) -> Reservation: ...

    async def find(self, reservation: UUID) -> Reservation | None: ...

    async def repeated(self, owner: Owner, idempotency_key: str) -> Reservation | None: ...

    async def extend(self, reservation: Reservation, lasts: timedelta) -> bool: ...

    async def release(self, reservation: Reservation) -> None: ...

    async def record(
        self,
        reservation: Reservation,
        stored: Stored,
        *,
        fingerprint: str | None = None,
        policy: Policy | None = None,
    ) -> Reservation: ...


class SignsUploads(Protocol):
    """See `stores.s3.writing`."""

    async def signed(self, wanted: SignedUpload) -> tuple[str, Mapping[str, str]]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadSite:
    """What is open for uploads. `outside` signs for the store as clients reach it."""

    reservations: Reserves
    writer: BucketWriter
    outside: SignsUploads


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadTerms:
    """What may be uploaded, by the settings: `limits` in bytes by the beginning of a content type."""

    limits: Mapping[str, int]
    key: str
    columns: Mapping[str, str]
    url_for: timedelta
    policy: Callable[[], Policy]

    def largest(self, content_type: str) -> int:
        """The most bytes of that type. Raises Problem for a type that is not taken."""
        usual = kinds.usual(content_type)
        fitting = [each for each in self.limits if usual.startswith(each)]
        plain = content_type.isascii() and content_type.isprintable() and len(content_type) <= LONGEST_TYPE
        if "/" not in usual or not fitting or not plain:
            raise Problem(415, "type_not_taken", "media of this type are not taken", CLOSE)
        return self.limits[max(fitting, key=len)]

    def new_key(self, content_type: str, now: float) -> str:
        day = datetime.fromtimestamp(now, UTC)
        return self.key.format(
            kind=kind_of(kinds.usual(content_type)),
            date=f"{day:%Y/%m/%d}",
            id=uuid4(),
            extension=kinds.extension(content_type),
        )

    def row(self, content_type: str) -> Mapping[str, str]:
        return {name: text.replace("{content_type}", content_type) for name, text in self.columns.items()}


def of(media: Media) -> tuple[UploadSite, UploadTerms]:
    """What uploads work on. Raises Retryable or ConfigError while the database is away."""
    site, terms = media.site().uploads, media.terms.uploads
    assert site is not None, "there are no such endpoints otherwise"
    assert terms is not None, "as above"
    return site, terms


async def caller(media: Media, request: Request) -> Owner:
    """Whose the virtual key is that the request presents. Raises Problem: 401."""
    presented = access.presented(request.headers)
    found = None if presented is None else await media.site().tables.caller(presented)
    if found is None:
        raise Problem(401, "not_authenticated", "there is no such virtual key, or it has ended", CLOSE)
    return found


def idempotency_key(request: Request) -> str | None:
    """The key in the header, without the quotes of a structured field. Raises Problem: 422."""
    given = request.headers.get("idempotency-key")
    if given is None:
        return None
    bare = given[1:-1] if len(given) > 1 and given[0] == given[-1] == '"' else given
    if not 0 < len(bare) <= LONGEST_IDEMPOTENCY_KEY or not bare.isascii() or not bare.isprintable():
        raise Problem(422, "invalid", "Idempotency-Key: must be 1 to 255 printable characters", CLOSE)
    return bare


def reused() -> Problem:
    detail = "another request was sent with this Idempotency-Key"
    return Problem(422, "idempotency_key_reused", detail, CLOSE)


def under_way() -> Problem:
    detail = "the request that was sent with this Idempotency-Key is still under way"
    return Problem(409, "still_under_way", detail, {**CLOSE, "Retry-After": "5"})


def not_fitting() -> Problem:
    detail = "its bytes do not begin like those of its type"
    return Problem(422, "type_does_not_fit", detail, CLOSE)


def refused(error: NotDone) -> Problem:
    """What cannot be done, without what it says of the inside."""
    match error.code:
        case "over_quota":
            detail = "the virtual key keeps as much as its quota allows"
            return Problem(507, "over_quota", detail, CLOSE)
        case "still_under_way":
            return under_way()
        case "reservation_ended" | "being_deleted":
            return Problem(409, "upload_ended", "the upload took too long, and has ended", CLOSE)
        case _:
            log.warning("an upload cannot be recorded", reason=str(error))
            return Problem(409, "not_recorded", "the gateway's table refuses a row of it", CLOSE)


def told(done: Reservation) -> dict[str, object]:
    """The answer that tells of a medium that was uploaded."""
    return {
        "storage_key": done.key,
        "path": f"/v1/media/{quote(done.key, safe='/')}",
        "content_type": done.content_type,
        "size": done.size,
        "sha256": done.content_hash,
    }
