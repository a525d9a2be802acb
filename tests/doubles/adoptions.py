"""Objects in memory say nothing of their owners, and nothing is adopted."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta

from reconciler.model import Adoptable, Adopted, AdoptionTerms, BegunAdoption, Candidate, Described
from reconciler.ports import Judge
from tests.doubles.contents import Contents


class MemoryDescriptions:
    """`ports.Descriptions` of objects without metadata."""

    def __init__(self, bucket: Contents) -> None:
        self._bucket = bucket

    async def of(self, key: str, *, tags: bool = False) -> Described | None:
        stored = self._bucket.objects.get(key)
        if stored is None:
            return None
        return Described(
            size=stored.size,
            etag=stored.etag,
            last_modified=stored.last_modified,
            content_type="",
            metadata={},
            tags={} if tags else None,
        )


class MemoryAdoptions:
    """`ports.Adoptions` without a candidate."""

    owned = True

    async def noted(self) -> bool:
        return True

    async def existing(self, owners: Collection[str]) -> Collection[str]:
        return ()

    async def barred(self, keys: Sequence[str]) -> Collection[str]:
        return ()

    async def found(self, pass_id: int, found: Sequence[Candidate]) -> None:
        """Notes nothing."""

    async def listed(self, adoption: BegunAdoption, passed_over: Mapping[str, int]) -> None:
        """Notes nothing."""

    async def end(self, adoption: BegunAdoption, retention: timedelta) -> None:
        """Notes nothing."""

    async def page(self, adoption: BegunAdoption, after: str, limit: int) -> Sequence[Candidate]:
        return ()

    async def adopt(
        self,
        adoption: BegunAdoption,
        rows: Sequence[Adoptable],
        left: Mapping[str, str],
        terms: AdoptionTerms,
        prefixes: Sequence[str],
        judge: Judge,
        *,
        dry_run: bool,
    ) -> Sequence[Adopted]:
        return ()
