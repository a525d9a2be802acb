"""Records and staging over the database in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import TypeVar

from reconciler.model import (
    RESERVED_PREFIX,
    Content,
    GroupPolicy,
    KeyRange,
    ObjectPage,
    Policy,
    Record,
    StoredObject,
    Variant,
    Verdict,
)
from reconciler.model.keys import is_managed
from reconciler.model.spelling import Orphans, fingerprints
from tests.doubles.database import MemoryDatabase
from tests.doubles.observing import Surroundings, port

T = TypeVar("T")


class MemoryRecords:
    """The rows. Nominates every row in the prefixes for every verdict: never too few."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    @property
    def around(self) -> Surroundings:
        return self._database.around

    @port
    async def now(self) -> datetime:
        self._database.answer()
        return self._database.now

    @port
    async def keys_in(self, span: KeyRange, limit: int) -> Sequence[str]:
        self._database.answer()
        keys = {row.storage_key for row in self._database.rows.values()}
        return sorted(key for key in keys if _inside(key, span))[:limit]

    @port
    async def lookup(self, keys: Sequence[str], *, rewritten: bool = False) -> Sequence[Record]:
        del rewritten  # the double of a bucket takes each key as it is
        self._database.answer()
        return self._database.records_of(keys)

    @port
    async def contents(self, keys: Sequence[str]) -> Sequence[Content]:
        self._database.answer()
        return [
            Content(
                storage_key=row.storage_key,
                virtual_key_id=row.virtual_key_id,
                size_bytes=row.size_bytes,
                content_hash=None,
            )
            for row in self._database.records_of(keys)
        ]

    @port
    async def referenced(self, keys: Sequence[str]) -> frozenset[str]:
        self._database.answer()
        return frozenset(keys) & self._database.referenced

    @port
    async def variants(self, rows: Mapping[str, str], prefixes: Sequence[str]) -> Sequence[Variant]:
        del rows, prefixes  # no row has further objects here
        self._database.answer()
        return ()

    async def spelled_otherwise(self, orphans: Orphans, page_size: int) -> AsyncIterator[Sequence[str]]:
        noted = self._database.spellings.get((orphans.pass_id, False), set())
        known = {*orphans.gathered, *(fold for _, fold in noted)}
        named = [
            key
            for key in sorted(self._database.referenced)
            if known.intersection(fingerprints(key, orphans.bucket, orphans.prefixes))
        ]
        for page in pages(named, page_size):
            await self._database.around.step()
            self._database.answer()
            yield page

    @port
    async def reads_in_order(self, prefixes: Sequence[str], page_size: int) -> bool:
        return True

    async def sample_keys(self, prefix: str, count: int) -> Sequence[str]:
        self._database.answer()
        keys = sorted({key for key in self._keys() if key.startswith(prefix)})
        return keys[:: max(1, len(keys) // max(1, count))]

    async def outside(self, prefixes: Sequence[str], page_size: int) -> AsyncIterator[Sequence[str]]:
        keys = sorted({key for key in self._keys() if not is_managed(key, tuple(prefixes))})
        for page in pages([key for key in keys if not key.startswith(RESERVED_PREFIX)], page_size):
            await self._database.around.step()
            self._database.answer()
            yield page

    @port
    async def count(self, prefixes: Sequence[str]) -> int:
        self._database.answer()
        return sum(is_managed(key, tuple(prefixes)) for key in self._keys())

    @port
    async def count_outside(self, prefixes: Sequence[str]) -> int:
        self._database.answer()
        return sum(not key.startswith(tuple(prefixes)) for key in self._keys())

    async def nominate(
        self, verdict: Verdict, policy: Policy, now: datetime, page_size: int = 1000
    ) -> AsyncIterator[Sequence[Record]]:
        rows = self._database.records_of(key for key in self._keys() if key.startswith(policy.prefixes))
        for page in pages(rows, page_size):
            await self._database.around.step()
            self._database.answer()
            yield page

    def misfits(self, policy: Policy) -> Sequence[str]:
        del policy
        return ()

    @port
    async def group_policies(self) -> Sequence[GroupPolicy]:
        self._database.answer()
        return self._database.group_policies

    @port
    async def observe_keys(self, now: datetime) -> None:
        database = self._database
        database.answer()
        for owner in database.owners.values():
            if not owner.enabled:
                database.disabled_since.setdefault(owner.id, now)
        known = {owner.id for owner in database.owners.values() if not owner.enabled}
        database.disabled_since = {id_: at for id_, at in database.disabled_since.items() if id_ in known}

    @port
    async def keys_ended(self, since: datetime, now: datetime, grace: timedelta) -> bool:
        database = self._database
        database.answer()
        ends = [
            at
            for owner in database.owners.values()
            for at in (None if owner.enabled else database.disabled_since.get(owner.id), owner.expires_at)
        ]
        return any(at is not None and since < at + grace <= now for at in ends)

    def _keys(self) -> list[str]:
        return [row.storage_key for row in self._database.rows.values()]


class MemoryStaging:
    """A copied listing; later copies of a key replace earlier ones."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database
        self._objects: dict[str, StoredObject] = {}
        self._sealed = False

    @property
    def around(self) -> Surroundings:
        return self._database.around

    @port
    async def copy(self, page: ObjectPage) -> None:
        assert not self._sealed, "copied after the end of the listing"
        self._database.answer()
        self._objects.update((key, page.object_at(index)) for index, key in enumerate(page.keys))

    @port
    async def seal(self) -> tuple[int, int]:
        self._database.answer()
        self._sealed = True
        return len(self._objects), sum(stored.size for stored in self._objects.values())

    async def objects_without_record(self, page_size: int = 1000) -> AsyncIterator[Sequence[StoredObject]]:
        assert self._sealed, "rows are read only after the listing"
        named = {row.storage_key for row in self._database.rows.values()}
        alone = [stored for key, stored in sorted(self._objects.items()) if key not in named]
        for page in pages(alone, page_size):
            await self._database.around.step()
            yield page

    async def records_without_object(
        self, prefixes: Sequence[str], page_size: int = 1000
    ) -> AsyncIterator[Sequence[Record]]:
        assert self._sealed, "rows are read only after the listing"
        named = {row.storage_key for row in self._database.rows.values()}
        alone = [key for key in named - self._objects.keys() if is_managed(key, tuple(prefixes))]
        for page in pages(self._database.records_of(alone), page_size):
            await self._database.around.step()
            yield page


class MemoryStagingArea:
    """One staging table a pass."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    @asynccontextmanager
    async def open(self, pass_id: int | None) -> AsyncIterator[MemoryStaging]:
        self._database.answer()
        yield MemoryStaging(self._database)

    async def clear(self) -> None:
        self._database.answer()


def pages(whole: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(whole), size):
        yield whole[start : start + size]


def _inside(key: str, span: KeyRange) -> bool:
    upto = span.upto
    return key.startswith(span.prefix) and key > span.after and (upto is None or key <= upto)
