"""The versions and delete markers of a bucket in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from reconciler.model import DeletionResult, ObjectResult, StoredObject, Version
from tests.doubles.contents import Contents
from tests.doubles.observing import Surroundings, port


class MemoryVersions:
    """Keeps everything that was ever put, from `kept_now` on, until it is removed by id.

    `history` has the versions and markers of each key, the oldest first. What is removed by id is told to
    `on_remove` before it goes.
    """

    def __init__(self, bucket: Contents) -> None:
        self._bucket = bucket
        self._numbers = 0
        self.kept_now = False
        self.history: dict[str, list[Version]] = {}
        self.on_remove: Callable[[Version], None] = lambda _: None

    @property
    def around(self) -> Surroundings:
        return self._bucket.around

    def put(self, stored: StoredObject) -> StoredObject:
        """The object as a version of its own."""
        version = Version(
            key=stored.key,
            id=self._next_id(),
            marker=False,
            latest=False,
            last_modified=stored.last_modified,
            etag=stored.etag,
            size=stored.size,
        )
        self.history.setdefault(stored.key, []).append(version)
        return replace(stored, version_id=version.id)

    def hide(self, key: str) -> str:
        """Put a delete marker; returns its id."""
        marker = Version(
            key=key, id=self._next_id(), marker=True, latest=False, last_modified=self.around.now
        )
        self.history.setdefault(key, []).append(marker)
        return marker.id

    def all_of(self, key: str) -> list[Version]:
        """The newest first, which is the latest."""
        found = self.history.get(key, [])
        return [replace(each, latest=each is found[-1]) for each in reversed(found)]

    def _next_id(self) -> str:
        self._numbers += 1
        return f"v{self._numbers:06}"

    # --- Versions ---

    @port
    async def kept(self) -> bool:
        self._bucket.answer()
        return self.kept_now

    @port
    async def of(self, key: str) -> Sequence[Version]:
        self._bucket.answer()
        return [] if self._bucket.foreign else self.all_of(key)

    @port
    async def under(self, prefix: str) -> Sequence[Version] | None:
        self._bucket.answer()
        if self._bucket.foreign:
            return []
        found = [each for key in self.history if key.startswith(prefix) for each in self.all_of(key)]
        return found + [
            Version(
                key=key,
                id="null",
                marker=False,
                latest=True,
                last_modified=stored.last_modified,
                etag=stored.etag,
                size=stored.size,
            )
            for key, stored in self._bucket.objects.items()
            if key.startswith(prefix) and key not in self.history
        ]

    @port
    async def latest(self, keys: Sequence[str]) -> Mapping[str, Version]:
        """Every second one, as if the others lay far apart."""
        if self._bucket.foreign:
            return {}
        newest = {key: self.all_of(key)[0] for key in keys[::2] if self.history.get(key)}
        return {key: each for key, each in newest.items() if not each.marker}

    @port
    async def remove(self, batch: Sequence[Version], *, reveals: bool = False) -> Sequence[DeletionResult]:
        self._bucket.answer()
        return [DeletionResult(key=each.key, result=self._remove(each)) for each in batch]

    def _remove(self, version: Version) -> ObjectResult:
        key = version.key
        found = [each for each in self.all_of(key) if each.id == version.id]
        if self._bucket.foreign or not found:
            return ObjectResult.MISSING
        if key in self._bucket.refusing:
            return ObjectResult.FAILED
        self.on_remove(found[0])
        self.history[key] = [each for each in self.history[key] if each.id != version.id]
        self._uncover(key)
        return ObjectResult.DELETED

    def _uncover(self, key: str) -> None:
        """What is the latest now is what lies at the key."""
        left = self.history[key]
        self._bucket.objects.pop(key, None)
        if not left:
            del self.history[key]
        elif not left[-1].marker:
            newest = left[-1]
            self._bucket.objects[key] = StoredObject(
                key=key,
                size=newest.size,
                etag=newest.etag or "",
                last_modified=newest.last_modified,
                version_id=newest.id,
            )
