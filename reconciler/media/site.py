"""What the service works on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from reconciler.media.access import Access
from reconciler.media.counting import Accesses
from reconciler.media.links import LinkSecrets
from reconciler.media.recording import Recorder, Records
from reconciler.media.remembered import Types
from reconciler.media.sending import Places
from reconciler.media.uploads import UploadSite, UploadTerms
from reconciler.model import Looked, Owner, Presigned, QuotaOwner, Uncounted
from reconciler.stores.s3.reading import BucketReader


class Tables(Protocol):
    """The gateway's rows."""

    async def find(self, key: str, caller: str | None) -> Looked:
        """See `catalog.media_tables.serving`."""
        ...

    async def caller(self, presented: str) -> Owner | None:
        """See `catalog.media_tables.serving`."""
        ...


class Signs(Protocol):
    """Who makes URLs of the store."""

    async def presigned(self, wanted: Presigned) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What is open while the database can be reached. `outside` signs for the store as clients reach it;
    `records` is None where accesses are not written, `uploads` where none are taken.
    """

    tables: Tables
    records: Records | None
    store: BucketReader
    outside: Signs
    uploads: UploadSite | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """To whom and how, by the settings."""

    prefixes: Sequence[str]
    access: Access
    owner: QuotaOwner
    redirects: bool
    redirect_for: timedelta
    cache_for: timedelta
    link_for: timedelta
    uncounted: Uncounted
    uploads: UploadTerms | None


class Counts(Protocol):
    """Who is told of what was answered."""

    def served(self, outcome: str, size: int) -> None: ...

    def uploaded(self, outcome: str, size: int) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """`site` raises Retryable or ConfigError while the database is away; `now` is Unix time."""

    site: Callable[[], Site]
    terms: Terms
    secrets: LinkSecrets
    places: Places
    accesses: Accesses
    types: Types
    recorder: Recorder
    counts: Counts
    now: Callable[[], float]
