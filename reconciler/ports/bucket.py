"""The engine's protocols for a bucket."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from reconciler import model

PAGE_SIZE = 1000
"""Keys a page: the most that stores return."""


class Listing(Protocol):
    """ListObjectsV2, one page per call."""

    async def list_page(
        self, prefix: str, *, start_after: str = "", token: str | None = None, page_size: int = PAGE_SIZE
    ) -> model.ObjectPage:
        """The next page under `prefix`: after `start_after` ("" for the beginning), or by `token`.

        Raises StoreUnavailable, ListingBroken (an error inside a 200, truncated without a token),
        Halt (no such bucket, access denied).
        """
        ...


class ObjectStore(Protocol):
    """Single objects. Anything may look at them; only the write guard deletes them."""

    async def head(self, key: str) -> model.StoredObject | None:
        """The object, or None on 404. A 404 alone is no proof of absence: see `marker_exists`.

        Raises KeyRefused if the store refuses this key and not its neighbours, StoreUnavailable, Halt.
        """
        ...

    async def delete(self, batch: Sequence[model.Deletion]) -> Sequence[model.DeletionResult]:
        """Delete up to 1,000 keys. Returns one result for each, in the order given.

        A key missing from the store's answer is FAILED, and `blame` says why. Raises StoreUnavailable and
        Halt only if nothing is known of any key, after its own bounded retries.
        """
        ...


class Descriptions(Protocol):
    """What objects say of themselves."""

    async def of(self, key: str, *, tags: bool = False) -> model.Described | None:
        """The object, with its tags where they are wanted; None on 404.

        Raises KeyRefused if the store refuses this key and not its neighbours, StoreUnavailable, Halt.
        """
        ...


class Copies(Protocol):
    """Server-side copies, into quarantine and back."""

    async def copy(self, wanted: model.CopyRequest) -> model.Copied:
        """Copy one object with its content type, metadata and tags, in parts if it is large.

        COPIED means that the copy was verified in full. Raises KeyRefused if this object cannot be copied and
        others can, StoreFull, StoreUnavailable, Halt (no such bucket, credentials).
        """
        ...


class Versions(Protocol):
    """The versions and delete markers of single keys, in a bucket that keeps versions."""

    async def kept(self) -> bool:
        """Whether a plain delete only hides an object, as the bucket is set now."""
        ...

    async def of(self, key: str) -> Sequence[model.Version]:
        """Every version of the key, newest first, and every delete marker; the two are in no common order.

        Times have a resolution of a second: of two versions from one second, the first is the newer.
        Raises KeyRefused, StoreUnavailable, Halt.
        """
        ...

    async def under(self, prefix: str) -> Sequence[model.Version] | None:
        """Every version and delete marker of keys with this prefix; None if the store lists no versions.

        If none were ever kept, an object is its own version, with the id `null`. Raises the same errors.
        """
        ...

    async def latest(self, keys: Sequence[str]) -> Mapping[str, model.Version]:
        """The current version of each of these keys that a few pages of a listing show; of the others
        nothing is known, as of all where the store lists no versions. `keys` are in byte order.
        """
        ...

    async def remove(
        self, batch: Sequence[model.Version], *, reveals: bool = False
    ) -> Sequence[model.DeletionResult]:
        """Delete these by id, for good. Deleting a delete marker uncovers what it hid.

        Returns one result for each, in the order given; one that is gone already is MISSING. `reveals`: they
        are removed to bring something back, so a stop of deletions does not apply.
        """
        ...


class Locks(Protocol):
    """What the store itself keeps from deletion."""

    async def of(self, key: str) -> model.ObjectLock | None:
        """The lock on the object; None where there is none, or the store shows none."""
        ...


class Uploads(Protocol):
    """Multipart uploads that have not been completed."""

    def pages(self, prefix: str) -> AsyncIterator[Sequence[model.Upload]]:
        """Uploads to keys under the prefix, page by page. Raises KeyRefused, StoreUnavailable, Halt."""
        ...

    async def abort(self, batch: Sequence[model.Upload]) -> Sequence[model.DeletionResult]:
        """Abort these and free their parts. Returns one result for each, in the order given."""
        ...


class IdentityObject(Protocol):
    """The object under `.reconciler/` that names the bucket's owner."""

    async def read(self) -> model.Identity | None:
        """The marker, or None if the bucket answers NoSuchKey.

        Raises Halt if it cannot be read as one, or if the bucket does not exist or access is denied.
        """
        ...

    async def write(self, identity: model.Identity) -> None:
        """Write the first marker, never over an existing one. Reading it back shows whether it is ours."""
        ...

    async def exchange(self, identity: model.Identity, seen: model.Identity) -> bool:
        """Write it over the marker that was seen; False if the store says that another is there.

        True proves nothing, since some stores do not compare: only reading it back does. In a bucket that
        keeps versions, the superseded ones are removed.
        """
        ...

    async def exists(self) -> bool:
        """HEAD 200: the proof that a 404 on another key came from the right bucket."""
        ...


class StoreClock(Protocol):
    """The store's clock."""

    async def date(self) -> datetime | None:
        """The time in whole seconds; None if the store gives none. Raises StoreUnavailable, Halt."""
        ...


class Prober(Protocol):
    """Finds out what the store can do, on scratch keys under `.reconciler/`; cleans up after itself."""

    async def probe(self, declared: model.ListingOrder | None = None) -> model.Capabilities: ...


class OpenedFile(Protocol):
    """The bytes of an object, on their way; to be closed, whatever happens."""

    def chunks(self) -> AsyncGenerator[bytes]:
        """What has come, as it comes. Raises StoreUnavailable where it ends early."""
        ...

    def close(self) -> None: ...


class Files(Protocol):
    """Objects that are read whole, in a bucket that need not be the managed one."""

    async def list_page(self, prefix: str, *, start_after: str = "") -> model.ObjectPage:
        """The next page under `prefix`, after `start_after`. Raises StoreUnavailable, ListingBroken, Halt."""
        ...

    async def open(self, key: str) -> OpenedFile | None:
        """The object's bytes; None where there is none. Raises StoreUnavailable, Halt."""
        ...
