"""What a store's way of listing a bucket has to tell: all that `sources.inventories` knows of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from reconciler.errors import InventoryRefused
from reconciler.model import InventoryFile, InventoryUsed
from reconciler.ports import Files
from reconciler.sources.columns import Columns


def _nothing() -> None:
    """Nothing is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The newest complete list, and where its files are.

    `bucket` is the one of `files` by name, where other processes reach it as this one does. `format` is
    `Parquet`, `CSV` or `ORC`. `paths` are its files where they are on local disk already, until `done`.
    `rows` is what the store says that the files hold together, where it does: with another number the list is
    refused. `unmarked`: the bucket was asked for our identity object, and has none yet.
    `parts_dated_by_start` is `Nominated`'s.
    """

    used: InventoryUsed
    files: Files
    bucket: str | None = None
    paths: Sequence[Path] = ()
    done: Callable[[], None] = _nothing
    unmarked: bool = False
    listed: Sequence[InventoryFile]
    format: str
    columns: Columns
    rows: int | None = None
    parts_dated_by_start: bool = False

    @property
    def bytes(self) -> int:
        return sum(each.size for each in self.listed)

    def close(self) -> None:
        """It was compared."""
        self.done()

    def require(self, rows: int) -> None:
        """Raise InventoryRefused where so many rows cannot be all of the list."""
        if not rows:
            raise InventoryRefused(f"inventory {self.used.name} names no object")
        if self.rows not in {None, rows}:
            raise InventoryRefused(
                f"inventory {self.used.name} says {self.rows:,} of its rows, and its files have {rows:,}"
            )


class Adapter(Protocol):
    """One way in which a store lists a bucket."""

    async def newest(self) -> Found:
        """The newest complete list, of which nothing but the head was read.

        Raises InventoryRefused where there is none, or where that one is not as it should be;
        StoreUnavailable, Halt.
        """
        ...
