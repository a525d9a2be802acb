"""What the engine needs of a bucket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Protocol

from reconciler.model import (
    Capabilities,
    Copied,
    Deletion,
    DeletionResult,
    Identity,
    ListingOrder,
    ObjectPage,
    StoredObject,
    Upload,
    Version,
)

PAGE_SIZE = 1000
"""Keys a page: the most that stores give."""


class Listing(Protocol):
    """ListObjectsV2, a page a call."""

    async def list_page(
        self, prefix: str, *, start_after: str = "", token: str | None = None, page_size: int = PAGE_SIZE
    ) -> ObjectPage:
        """The next page under `prefix`: after `start_after` ("" for the beginning), or by `token`.

        Raises StoreUnavailable, ListingBroken (an error inside a 200, truncated without a token),
        Halt (no such bucket, access denied).
        """
        ...


class ObjectStore(Protocol):
    """Single objects: looked at, and deleted by the write gateway alone."""

    async def head(self, key: str) -> StoredObject | None:
        """The object, or None on 404. A 404 alone is not proof of absence: see `marker_exists`.

        Raises KeyRefused where the store refuses this key and not its neighbours, StoreUnavailable, Halt.
        """
        ...

    async def delete(self, batch: Sequence[Deletion]) -> Sequence[DeletionResult]:
        """Delete up to 1,000 keys; one result for each, in the order asked.

        A key that the store's answer leaves out is FAILED, and `blame` says why. Raises StoreUnavailable
        and Halt only where nothing is known of any key, after its own bounded retries.
        """
        ...


class Copies(Protocol):
    """Server-side copies: into the quarantine and back."""

    async def copy(
        self,
        source: str,
        target: str,
        *,
        etag: str | None = None,
        only_new: bool = False,
        version: str | None = None,
        listed_size: int | None = None,
    ) -> Copied:
        """Copy one object with its content type, metadata and tags, in parts where it is large.

        `etag` None takes whatever is there; `only_new` never writes over the target, as far as the store
        honours If-None-Match, and a look just before finds it free; `version` takes that one of the source.
        `listed_size`, with an `etag`: its size in bytes, from a listing that had it in the standard storage
        class; where the store compares the ETag itself, the source is then not looked at first.
        COPIED means that the copy was seen in full. Raises KeyRefused where this object is not copied and
        others are, StoreFull, StoreUnavailable, Halt (no such bucket, credentials).
        """
        ...


class Versions(Protocol):
    """The versions and delete markers of single keys, in a bucket that keeps them."""

    async def kept(self) -> bool:
        """Whether a plain delete hides and no more, as the bucket is set now."""
        ...

    async def of(self, key: str) -> Sequence[Version]:
        """Every version of the key, the newest first, and every delete marker, in no order between the two.

        Times tell seconds apart and no more: of two versions of one second the first is the newer.
        Raises KeyRefused, StoreUnavailable, Halt.
        """
        ...

    async def under(self, prefix: str) -> Sequence[Version] | None:
        """Every version and delete marker of keys that begin so; None where the store lists no versions.

        Where none were ever kept, an object is its own version, by the id `null`. Raises the same.
        """
        ...

    async def remove(self, batch: Sequence[Version], *, reveals: bool = False) -> Sequence[DeletionResult]:
        """Delete these by id, for good; of a delete marker: what it hid is there again.

        One result for each, in the order asked; one that is gone already is MISSING. `reveals`: they are
        markers, which are taken away to bring something back, so that no stop of deletions is asked.
        """
        ...


class Uploads(Protocol):
    """Multipart uploads that nobody has completed."""

    def pages(self, prefix: str) -> AsyncIterator[Sequence[Upload]]:
        """Those to keys under the prefix, a page at a time. Raises KeyRefused, StoreUnavailable, Halt."""
        ...

    async def abort(self, batch: Sequence[Upload]) -> Sequence[DeletionResult]:
        """End these, and free their parts; one result for each, in the order asked."""
        ...


class IdentityMarker(Protocol):
    """The object under `.reconciler/` that says whose bucket this is."""

    async def read(self) -> Identity | None:
        """The marker, or None where the bucket answers NoSuchKey.

        Raises Halt if it cannot be read as one, or if the bucket does not exist or access is denied.
        """
        ...

    async def write(self, identity: Identity) -> None:
        """Write the first one, never over one that stands there: whether it is ours, reading back tells."""
        ...

    async def exchange(self, identity: Identity, seen: Identity) -> bool:
        """Write it over the one that was seen; False where the store says that another stands there.

        True proves nothing, since some stores do not compare: reading it back tells. In a bucket that
        keeps versions the superseded ones are removed.
        """
        ...

    async def exists(self) -> bool:
        """HEAD 200: the proof that a 404 on another key came from the right bucket."""
        ...


class StoreClock(Protocol):
    """What the store takes for the time."""

    async def date(self) -> datetime | None:
        """In whole seconds; None where it tells none. Raises StoreUnavailable, Halt."""
        ...


class Prober(Protocol):
    """Finds out, on scratch keys under `.reconciler/`, what the store can do; cleans up after itself."""

    async def probe(self, declared: ListingOrder | None = None) -> Capabilities: ...
