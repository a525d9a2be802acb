"""Erasures with proof: what was ordered, how far it is, and the certificate of what became of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from reconciler.model.enums import Word
from reconciler.model.objects import RESERVED_PREFIX

CERTIFICATES = f"{RESERVED_PREFIX}erasures/"
"""Where copies of the certificates lie in the bucket: a database restored from a backup finds them there."""


class ErasureKind(Word):
    """What is erased: all that is a virtual key's, or some storage keys, whosever they are."""

    VIRTUAL_KEY = "virtual_key"
    KEYS = "keys"


class ErasureState(Word):
    """How far an erasure is."""

    OPEN = "open"
    DONE = "done"
    """Its certificate is written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureCase:
    """An erasure that was ordered. `subject`: a virtual key's id, or storage keys; empty once it is done.

    `made_until`, of one that repeats another after a restore: rows made later stay. `replays` is the digest
    of the certificate that it repeats. `said`: what it waits for. Rows, texts of removed rows, versions and
    uploads are counted as they go.
    """

    id: UUID
    kind: ErasureKind
    subject: Sequence[str]
    author: str
    reason: str
    ordered_at: datetime
    made_until: datetime | None = None
    replays: str | None = None
    state: ErasureState = ErasureState.OPEN
    said: str | None = None
    rows_removed: int = 0
    texts_removed: int = 0
    versions_removed: int = 0
    uploads_aborted: int = 0
    finished_at: datetime | None = None
    keys: int = 0
    number: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """What the ledger knows of an erasure's keys: objects deleted since it was ordered, copies purged since,
    and the keys of all copies that were ever made. `uncached` of them a CDN has answered for, the last one
    with `cdn_said`; `cdn_waits` messages to it are not answered yet.
    """

    deleted: int = 0
    purged: int = 0
    copies: Sequence[str] = ()
    uncached: int = 0
    uncached_at: datetime | None = None
    cdn_said: str | None = None
    cdn_waits: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Certified:
    """A certificate as it is kept: `document` is its JSON, with digest and signature."""

    digest: str
    number: int
    document: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What an erasure left, and why. `key`: its storage key, which a certificate has as a hash."""

    key: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiped:
    """What one transaction removed. `stays`: ids of rows that it looked at and left; `refused`: why the
    database keeps some of them. `more`: it found as many rows as it may take.
    """

    rows: int = 0
    stays: Sequence[str] = ()
    refused: Sequence[str] = field(default=())
    more: bool = False


class Notary(Protocol):
    """Signs certificates, and knows the secret that subjects are hashed with."""

    @property
    def secret(self) -> bytes:
        """Empty where none is set."""
        ...

    def sign(self, payload: bytes) -> Mapping[str, Any] | None:
        """The signature of these bytes, as JSON can hold it; None where there is no key."""
        ...
