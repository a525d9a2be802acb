"""Versions and delete markers of single keys: ListObjectVersions, and DeleteObject by VersionId."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from os.path import commonprefix
from typing import Any, Final

import anyio

from reconciler.errors import Halt, StoreUnavailable
from reconciler.model import DeletionResult, ObjectResult, Version, believable, believable_size
from reconciler.stores.s3.answers import held, refused
from reconciler.stores.s3.concurrency import side_by_side
from reconciler.stores.s3.faults import Refusal
from reconciler.stores.s3.locks import look_for_lock
from reconciler.stores.s3.parsing import bare_etag
from reconciler.stores.s3.retries import Calls
from reconciler.stores.s3.single import remove
from reconciler.stores.s3.witness import Witness

PAGE_SIZE = 1000
_NO_VERSIONS: Final = frozenset({"NotImplemented", "501", "MethodNotAllowed", "405", "XNotImplemented"})
"""The codes with which stores without versions answer a listing of versions."""


DENSE: Final = 200
"""So many of a page's thousand entries have to be of the keys asked for: reading a page takes as much
processor time as 150 HEADs."""


class BucketVersions:
    """`ports.Versions` of one bucket."""

    def __init__(self, calls: Calls, limiter: anyio.CapacityLimiter, witness: Witness) -> None:
        self._calls = calls
        self._limiter = limiter
        self._witness = witness
        self._lists = True
        """Whether the store has answered each listing for `latest` so far."""

    async def kept(self) -> bool:
        """Whether versions are kept. Suspended is not: a deletion then leaves a marker, and no version."""
        try:
            return await self._calls.send("GetBucketVersioning", _enabled)
        except Refusal as refusal:
            raise self._calls.place.explain("GetBucketVersioning", refusal, Halt) from None

    async def of(self, key: str) -> Sequence[Version]:
        found: list[Version] = []
        place: dict[str, str] = {}
        async with self._limiter:
            while True:
                answer = await self._page(key, place)
                page = [*map(_version, answer.get("Versions", ())), *_markers(answer)]
                ours = [each for each in page if each.key == key]
                found += ours
                # On every store, other keys that begin with this one come after all its versions.
                if not answer.get("IsTruncated") or len(ours) < len(page):
                    return found
                place = _next_place(answer)

    async def under(self, prefix: str) -> Sequence[Version] | None:
        found: list[Version] = []
        place: dict[str, str] = {}
        async with self._limiter:
            while True:
                try:
                    answer = await self._ask(prefix, place)
                except Refusal as refusal:
                    if refusal.code in _NO_VERSIONS:
                        return None
                    raise self._calls.place.explain("ListObjectVersions", refusal, Halt) from None
                found += [*map(_version, answer.get("Versions", ())), *_markers(answer)]
                place = _next_place(answer)
                if not answer.get("IsTruncated") or not place:
                    return found

    async def latest(self, keys: Sequence[str]) -> Mapping[str, Version]:
        """Page from the first key on while the keys lie close together, and one listing answers."""
        found: dict[str, Version] = {}
        if len(keys) < DENSE or not self._lists:
            return found
        wanted, prefix = {*keys}, commonprefix([keys[0], keys[-1]])  # noqa: RUF071 - of any characters
        before = keys[0][:-1]
        # MinIO finds nothing behind a marker without the prefix.
        place = {"KeyMarker": before} if before.startswith(prefix) and before != prefix else {}
        async with self._limiter:
            while True:
                try:
                    answer = await self._ask(prefix, place)
                except (Refusal, StoreUnavailable):
                    self._lists = False
                    return found
                page = [*map(_version, answer.get("Versions", ())), *_markers(answer)]
                ours = {each.key: each for each in page if each.latest and each.key in wanted}
                found |= {key: each for key, each in ours.items() if not each.marker}
                place = _next_place(answer)
                if len(ours) < DENSE or not answer.get("IsTruncated") or not place:
                    return found

    async def _page(self, key: str, place: Mapping[str, str]) -> dict[str, Any]:
        try:
            return await self._ask(key, place)
        except (Refusal, StoreUnavailable) as why:
            raise await self._witness.blame("ListObjectVersions", key, why, Halt) from None

    async def _ask(self, prefix: str, place: Mapping[str, str]) -> dict[str, Any]:
        asked = {"Prefix": prefix, "MaxKeys": PAGE_SIZE, **place}
        return await self._calls.send("ListObjectVersions", dict, **asked)

    async def remove(self, batch: Sequence[Version], *, reveals: bool = False) -> Sequence[DeletionResult]:
        """Send one request per version, a few at once: in a batch, stores confuse two versions of a key."""
        until, may_send = self._calls.deadline(), None if reveals else self._calls.may_delete
        return await side_by_side([partial(self._remove, each, until, may_send) for each in batch])

    async def _remove(
        self, version: Version, until: float, may_send: Callable[[], None] | None
    ) -> DeletionResult:
        answer = await remove(
            self._calls,
            self._limiter,
            self._witness,
            "DeleteObject",
            version.key,
            until=until,
            may_send=may_send,
            VersionId=version.id,
        )
        return await self._why(version, answer) if isinstance(answer, Refusal) else answer

    async def _why(self, version: Version, refusal: Refusal) -> DeletionResult:
        """The result for a refusal. A denied version may be locked, which many stores show only to a HEAD."""
        answer = refused(version.key, refusal)
        if answer.result is not ObjectResult.HELD and not refusal.denied:
            return answer
        async with self._limiter:
            lock = await look_for_lock(self._calls, version.key, version.id)
        if lock is None:
            return answer
        return held(version.key, lock.reason, lock.until)


def _enabled(answer: Mapping[str, Any]) -> bool:
    return answer.get("Status") == "Enabled"


def _version(entry: Mapping[str, Any], *, marker: bool = False) -> Version:
    return Version(
        key=entry["Key"],
        id=entry["VersionId"],
        marker=marker,
        latest=bool(entry.get("IsLatest")),
        last_modified=believable(entry.get("LastModified")),
        etag=None if marker else bare_etag(entry.get("ETag", "")),
        size=believable_size(entry.get("Size", 0)),
    )


def _markers(answer: Mapping[str, Any]) -> list[Version]:
    return [_version(entry, marker=True) for entry in answer.get("DeleteMarkers", ())]


def _next_place(answer: Mapping[str, Any]) -> dict[str, str]:
    place = {"KeyMarker": answer.get("NextKeyMarker"), "VersionIdMarker": answer.get("NextVersionIdMarker")}
    return {name: value for name, value in place.items() if value}
