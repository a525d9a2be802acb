"""Ask the bucket that a key names: copies may lie in another (`model.QuarantineBucket`)."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from reconciler.model import (
    Deletion,
    DeletionResult,
    ObjectPage,
    QuarantineBucket,
    StoredObject,
    Upload,
    Version,
)
from reconciler.ports import PAGE_SIZE, Listing, ObjectStore, Uploads, Versions

T = TypeVar("T", Deletion, Version, Upload)


async def _each(
    batch: Sequence[T], ask: Callable[[str, Sequence[T]], Awaitable[Iterable[DeletionResult]]]
) -> Sequence[DeletionResult]:
    """Ask each bucket for its part of the batch, one after the other; the results in the order of the batch.

    `ask` gets any key of the part. Raises what it raises: nothing is known then of the parts before it.
    """
    parts: dict[QuarantineBucket | None, list[int]] = {}
    for place, each in enumerate(batch):
        parts.setdefault(QuarantineBucket.of_key(each.key), []).append(place)
    results: dict[int, DeletionResult] = {}
    for places in parts.values():
        answers = await ask(batch[places[0]].key, [batch[place] for place in places])
        results.update(zip(places, answers, strict=True))
    return [results[place] for place in range(len(batch))]


class RoutedListing:
    """`ports.Listing`, by the prefix."""

    def __init__(self, at: Callable[[str], Listing]) -> None:
        self._at = at

    async def list_page(
        self, prefix: str, *, start_after: str = "", token: str | None = None, page_size: int = PAGE_SIZE
    ) -> ObjectPage:
        return await self._at(prefix).list_page(
            prefix, start_after=start_after, token=token, page_size=page_size
        )


class RoutedObjects:
    """`ports.ObjectStore`, by the key."""

    def __init__(self, at: Callable[[str], ObjectStore]) -> None:
        self._at = at

    async def head(self, key: str) -> StoredObject | None:
        return await self._at(key).head(key)

    async def delete(self, batch: Sequence[Deletion]) -> Sequence[DeletionResult]:
        return await _each(batch, lambda key, part: self._at(key).delete(part))


class RoutedVersions:
    """`ports.Versions`, by the key."""

    def __init__(self, at: Callable[[str], Versions]) -> None:
        self._at = at

    async def kept(self) -> bool:
        return await self._at("").kept()

    async def of(self, key: str) -> Sequence[Version]:
        return await self._at(key).of(key)

    async def under(self, prefix: str) -> Sequence[Version] | None:
        return await self._at(prefix).under(prefix)

    async def latest(self, keys: Sequence[str]) -> Mapping[str, Version]:
        """All keys are of one bucket: the managed one."""
        return await self._at("").latest(keys)

    async def remove(self, batch: Sequence[Version], *, reveals: bool = False) -> Sequence[DeletionResult]:
        return await _each(batch, lambda key, part: self._at(key).remove(part, reveals=reveals))


class RoutedUploads:
    """`ports.Uploads`, by the key."""

    def __init__(self, at: Callable[[str], Uploads]) -> None:
        self._at = at

    def pages(self, prefix: str) -> AsyncIterator[Sequence[Upload]]:
        return self._at(prefix).pages(prefix)

    async def abort(self, batch: Sequence[Upload]) -> Sequence[DeletionResult]:
        return await _each(batch, lambda key, part: self._at(key).abort(part))
