"""A bucket in memory: listing, objects, identity object, probe."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import md5

from reconciler.engine.runtime.quarantine import Quarantines
from reconciler.errors import Halt, KeyRefused, StoreUnavailable
from reconciler.model import (
    Blame,
    Capabilities,
    Copied,
    CopyRequest,
    CopyResult,
    Deletion,
    DeletionResult,
    Identity,
    ListingOrder,
    ObjectPage,
    ObjectResult,
    QuarantineBucket,
    StoredObject,
    Versioning,
)
from reconciler.ports import PAGE_SIZE, Clock, IdentityObject, Site
from tests.doubles.observing import Surroundings, port
from tests.doubles.uploads import MemoryUploads
from tests.doubles.versions import MemoryVersions

IDENTITY_KEY = ".reconciler/identity.json"


def no_other_bucket(site: Site, clock: Clock) -> Quarantines:
    """Copies stay in the bucket."""

    def unknown(bucket: QuarantineBucket) -> IdentityObject:
        raise AssertionError(bucket)

    return Quarantines("media", None, unknown, unknown, site, clock)


class MemoryBucket:
    """Lists in byte order, or in none that anybody could use; compares ETags on delete, or does not.

    `away` makes every call fail as an endpoint does that cannot be reached; `missing` answers as a
    bucket that does not exist; `foreign` answers 404 to every key, as a wrong endpoint does; keys in
    `refusing` cannot be deleted; keys in `hidden` are skipped by listings; keys in `uncopyable` cannot be
    copied; nothing at all can be asked of those in `refused`, and those in `nameless` the store takes for no
    keys. With `versioned` a delete only hides, see `versions`.
    """

    def __init__(
        self,
        around: Surroundings,
        *,
        order: ListingOrder = ListingOrder.BYTES,
        compares: bool = True,
        page_size: int = 1000,
        versioned: bool = False,
    ) -> None:
        self.around = around
        self.order = order
        self.compares = compares
        self.page_size = page_size
        self.objects: dict[str, StoredObject] = {}
        self.identity: Identity | None = None
        self.away = self.missing = self.foreign = False
        self.refusing: set[str] = set()
        self.hidden: set[str] = set()
        self.uncopyable: set[str] = set()
        self.refused: dict[str, Blame] = {}
        self.nameless: set[str] = set()
        self.deleted: list[str] = []
        self.on_delete: Callable[[StoredObject], None] = lambda _: None
        self.on_copy: Callable[[str, str], None] = lambda *_: None
        self.ahead = timedelta(0)
        self.lists_uploads = False
        self.tells_time = True
        self.versions = MemoryVersions(self)
        self.versions.kept_now = versioned
        self.uploads = MemoryUploads(self)
        self._puts = 0

    def upload(self, key: str, size: int = 10, age: timedelta = timedelta(0)) -> None:
        """A PUT of new content, `age` ago."""
        self._puts += 1
        stored = StoredObject(
            key=key,
            size=size,
            etag=md5(f"{key}{self._puts}".encode(), usedforsecurity=False).hexdigest(),
            last_modified=self.around.now - age,
        )
        self._put(stored)

    def _put(self, stored: StoredObject) -> None:
        self.objects[stored.key] = self.versions.put(stored) if self.versions.kept_now else stored

    def lose(self, key: str) -> None:
        """Somebody deletes it for good, with all of its versions."""
        self.objects.pop(key, None)
        self.versions.history.pop(key, None)

    # --- Listing ---

    @port
    async def list_page(
        self, prefix: str, *, start_after: str = "", token: str | None = None, page_size: int = PAGE_SIZE
    ) -> ObjectPage:
        self.answer()
        if self.missing:
            raise Halt("the bucket does not exist")
        listed = sorted(
            (key for key in self.objects if key.startswith(prefix) and key not in self.hidden),
            key=self._rank,
        )
        if token is not None:
            first = bisect_right(listed, self._rank(token.removeprefix("after ")), key=self._rank)
        else:
            first = bisect_right(listed, self._rank(start_after), key=self._rank) if start_after else 0
        size = min(page_size, self.page_size)
        keys = listed[first : first + size]
        stored = [self.objects[key] for key in keys]
        more = first + size < len(listed)
        return ObjectPage(
            keys=keys,
            sizes=[one.size for one in stored],
            etags=[one.etag for one in stored],
            modified=[one.last_modified.isoformat() if one.last_modified else "" for one in stored],
            next_token=f"after {keys[-1]}" if more else None,
        )

    def _rank(self, key: str) -> str:
        """What the listing is sorted by; without order, backwards from the last character."""
        return key if self.order is ListingOrder.BYTES else key[::-1]

    # --- ObjectStore ---

    @port
    async def head(self, key: str) -> StoredObject | None:
        self.answer()
        self.answer_for(key)
        return None if self.missing or self.foreign else self.objects.get(key)

    @port
    async def delete(self, batch: Sequence[Deletion]) -> Sequence[DeletionResult]:
        self.answer()
        assert len(batch) <= 1000
        return [self._delete(each) for each in batch]

    def _delete(self, deletion: Deletion) -> DeletionResult:
        key = deletion.key
        stored = self.objects.get(key)
        if key in self.refusing:
            return DeletionResult(key=key, result=ObjectResult.FAILED)
        if blame := self.refused.get(key):
            return DeletionResult(key=key, result=ObjectResult.FAILED, detail="refused", blame=blame)
        if stored is None or self.foreign:
            return DeletionResult(key=key, result=ObjectResult.MISSING)
        if self.compares and deletion.etag is not None and deletion.etag != stored.etag:
            return DeletionResult(key=key, result=ObjectResult.CHANGED)
        self.on_delete(stored)
        del self.objects[key]
        self.deleted.append(key)
        marker = self.versions.hide(key) if self.versions.kept_now else None
        return DeletionResult(key=key, result=ObjectResult.DELETED, marker_id=marker)

    # --- Copies ---

    @port
    async def copy(self, wanted: CopyRequest) -> Copied:
        self.answer()
        source, target = wanted.source, wanted.target
        self.answer_for(source)
        stored = None if self.missing or self.foreign else self._version(source, wanted.version)
        if stored is None:
            return Copied(result=CopyResult.MISSING)
        if wanted.etag is not None and stored.etag != wanted.etag:
            return Copied(result=CopyResult.CHANGED)
        if source in self.uncopyable:
            raise KeyRefused("the store will not copy it", Blame.OBJECT)
        if wanted.only_new and target in self.objects:
            return Copied(result=CopyResult.OCCUPIED)
        self._put(replace(stored, key=target, last_modified=self.around.now, version_id=None))
        self.on_copy(source, target)
        return Copied(
            result=CopyResult.COPIED,
            etag=stored.etag,
            size=stored.size,
            last_modified=stored.last_modified,
        )

    def _version(self, key: str, version: str | None) -> StoredObject | None:
        if version is None:
            return self.objects.get(key)
        for each in self.versions.all_of(key):
            if each.id == version and not each.marker:
                return StoredObject(
                    key=key, size=each.size, etag=each.etag or "", last_modified=each.last_modified
                )
        return None

    # --- IdentityObject ---

    @port
    async def read(self) -> Identity | None:
        self.answer()
        if self.missing:
            raise Halt("the bucket does not exist")
        return None if self.foreign else self.identity

    @port
    async def write(self, identity: Identity) -> None:
        self.answer()
        if self.identity is None:
            self._mark(identity)

    @port
    async def exchange(self, identity: Identity, seen: Identity) -> bool:
        self.answer()
        if self.identity is None or (self.compares and self.identity.etag != seen.etag):
            return False
        self._mark(identity)
        return True

    def _mark(self, identity: Identity) -> None:
        self.versions.history.pop(IDENTITY_KEY, None)
        self.upload(IDENTITY_KEY)
        self.identity = replace(identity, etag=self.objects[IDENTITY_KEY].etag)

    @port
    async def exists(self) -> bool:
        self.answer()
        return self.identity is not None and not (self.foreign or self.missing)

    # --- StoreClock ---

    @port
    async def date(self) -> datetime | None:
        self.answer()
        return (self.around.now + self.ahead).replace(microsecond=0) if self.tells_time else None

    # --- Prober ---

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            order=self.order,
            conditional_batch_delete=self.compares,
            conditional_delete=self.compares,
            versioning=Versioning.ENABLED if self.versions.kept_now else Versioning.OFF,
            undelete=self.versions.kept_now,
            copy=True,
            copy_only_new=True,
            multipart_listing=self.lists_uploads,
        )

    @port
    async def probe(self, declared: ListingOrder | None = None) -> Capabilities:
        del declared  # `order_under` puts it in force
        self.answer()
        return self.capabilities

    def answer_for(self, key: str) -> None:
        """Refuse what is asked of a key that the store does not serve."""
        if blame := self.refused.get(key):
            raise KeyRefused(f"{key} is refused", blame, nameless=key in self.nameless)

    def answer(self) -> None:
        if self.away:
            raise StoreUnavailable("the store does not answer")
