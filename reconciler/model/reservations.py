"""Objects on their way: reserved before they are put, so that nothing takes them for orphans."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from reconciler.model.serving import Owner


class ReservationState(StrEnum):
    """What has become of a reservation."""

    OPEN = "open"
    RECORDED = "recorded"
    """Its object has a row; it is kept for a day, for a request that is repeated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewReservation:
    """An object that is about to be put: its key, whose it is, and what is known of it so far.

    `content_hash` is a SHA-256 in hexadecimal digits. `lasts` is how long the object may take to be put and
    recorded. Where the owner asks again with the same `idempotency_key`, it gets this reservation, and
    `fingerprint` tells whether it asks for the same.
    """

    key: str
    owner: Owner
    lasts: timedelta
    content_type: str = ""
    size: int | None = None
    content_hash: str | None = None
    idempotency_key: str | None = None
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """A reservation as the database has it; `live` until its end, by the database's clock."""

    id: UUID
    key: str
    owner: Owner
    content_type: str
    size: int | None
    content_hash: str | None
    fingerprint: str | None
    created_at: datetime
    expires_at: datetime
    state: ReservationState
    live: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An object that is there, as its row is to tell; `content_hash` None where it is unknown.

    `columns` are further columns of the media table, by name, with their values as Postgres writes them.
    """

    size: int
    content_type: str
    content_hash: str | None = None
    columns: Mapping[str, str | None] = field(default_factory=dict)


_KINDS = frozenset({"image", "video", "audio"})


def kind_of(content_type: str) -> str:
    """`image`, `video` or `audio`; `other` for all else."""
    kind = content_type.partition("/")[0].strip().lower()
    return kind if kind in _KINDS else "other"
