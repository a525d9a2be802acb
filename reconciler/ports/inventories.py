"""What a sweep by inventory needs: the store's own list, the rows at one moment, and where they meet."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from reconciler.model import InventoryFile, InventoryUsed, Nominated, ObjectPage, PrefixSeen
from reconciler.ports.bucket import Files
from reconciler.ports.passes import Staging


class RowSnapshot(Protocol):
    """The rows as they were at one moment, however long it takes to read them."""

    @property
    def read_at(self) -> datetime:
        """When that was, by the server's clock."""
        ...

    @property
    def bounds(self) -> Sequence[tuple[str, str | None]]:
        """Key ranges `[low, high)` in byte order that together hold every row of the managed prefixes.

        None lies across two prefixes. There is one for each prefix where no index has the rows in byte order.
        """
        ...

    async def copy(
        self, low: str, high: str | None, ripe: datetime, write: Callable[[bytes], Awaitable[None]]
    ) -> int:
        """Write the rows of one of the ranges in byte order as CSV, and return how many there were.

        Two columns: the storage key in quotes, and whether the row was made before `ripe` (`t` or `f`).
        """
        ...


class RowExport(Protocol):
    """Rows leave the database by COPY."""

    def open(self, prefixes: Sequence[str]) -> AbstractAsyncContextManager[RowSnapshot]:
        """Take the snapshot, which ends with the context. Several ranges may be copied at once.

        Raises CatalogUnavailable where it is held for too long: meanwhile nothing is vacuumed.
        """
        ...


class Nominations(Staging, Protocol):
    """What a comparison elsewhere has found on one side only, copied into the database."""

    async def copy_missing(self, keys: Sequence[str]) -> None:
        """Keys of rows without an object."""
        ...


class NominationArea(Protocol):
    """Where nominations are kept for the length of a pass."""

    def open(self, pass_id: int | None) -> AbstractAsyncContextManager[Nominations]:
        """Tables that end with the context; with `pass_id` None (plan) temporary ones."""
        ...


class Exports(Files, Protocol):
    """Files of our own in the managed bucket, under `model.EXPORTS`: nothing else is written or removed."""

    async def put(self, key: str, path: Path) -> InventoryFile:
        """Put a local file. Raises StoreUnavailable, Halt."""
        ...

    async def remove(self, folder: str) -> None:
        """Remove what lies in a folder, with every version. Raises StoreUnavailable, ListingBroken, Halt."""
        ...


class Compared(Protocol):
    """The difference of inventory and rows, on local disk."""

    @property
    def nominated(self) -> Nominated: ...

    @property
    def seen(self) -> Mapping[str, PrefixSeen]:
        """By managed prefix."""
        ...

    @property
    def unreadable(self) -> int:
        """Objects whose keys the inventory does not tell."""
        ...

    @property
    def marked(self) -> bool:
        """Whether our identity object is in the inventory."""
        ...

    def orphans(self, most: int) -> AsyncIterator[ObjectPage]:
        """Objects without a row that are old enough, up to about so many; the rest is only counted."""
        ...

    def missing(self, most: int) -> AsyncIterator[Sequence[str]]:
        """Keys of rows without an object that were old enough when the store began to look."""
        ...

    @property
    def found(self) -> tuple[int, int]:
        """How many there are of both, whatever `most` says."""
        ...


class InventorySource(Protocol):
    """The inventories of one bucket."""

    async def newest(self) -> InventoryUsed:
        """The newest complete one. Nothing but its manifest was read.

        Raises InventoryRefused where there is none, or where the store's configuration, the manifest or its
        checksum is not what it should be; StoreUnavailable, Halt.
        """
        ...

    def compare(
        self,
        used: InventoryUsed,
        export: RowExport,
        prefixes: Sequence[str],
        young: timedelta,
        ripe: timedelta,
        alive: Callable[[], None],
    ) -> AbstractAsyncContextManager[Compared]:
        """Compare it with the rows of now. What is written to local disk goes with the context.

        `young`: objects younger than that at the rows' snapshot are not nominated. `ripe`: nor are rows that
        were not that old when the inventory began. `alive` is called while it goes on.

        Raises InventoryRefused, StoreUnavailable, CatalogUnavailable.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventories:
    """What a sweep by inventory acts through."""

    source: InventorySource
    export: RowExport
    area: NominationArea
    max_age: timedelta
