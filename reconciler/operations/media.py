"""Media: the rows of a virtual key, of a key, or all of them, and what is stored, added up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reconciler.catalog.open import Catalog
from reconciler.catalog.statistics import Drift
from reconciler.errors import ErrorKind, NotDone
from reconciler.model import Breakdown, Hold, ListedMark, ListedRow, MediaFilter, MediaSort, Record

TOP = 100
"""Parts of each property that are listed apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """What is stored, by the rows, and what is marked of it."""

    stored: Breakdown
    drift: Drift


@dataclass(frozen=True, slots=True, kw_only=True)
class Medium:
    """One storage key as the database knows it."""

    key: str
    rows: Sequence[Record]
    mark: ListedMark | None
    hold: Hold | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """How many rows name a virtual key, and the sum of the sizes that they give."""

    virtual_key_id: str
    objects: int
    bytes: int


async def stats(catalog: Catalog, top: int = TOP) -> Stats:
    """Add it up. Reads the whole media table once, and every mark."""
    return Stats(stored=await catalog.statistics.breakdown(top), drift=await catalog.statistics.drift())


async def page(
    catalog: Catalog,
    wanted: MediaFilter,
    sort: MediaSort,
    *,
    descending: bool = False,
    after: tuple[str, str] | None = None,
    size: int = 1_000,
) -> Sequence[ListedRow]:
    """The next rows that match, behind a row's place and id. Raises NotDone for what is no virtual key."""
    return await catalog.media_list.page(wanted, sort, descending=descending, after=after, limit=size)


async def usage(catalog: Catalog, virtual_key_id: str) -> Usage:
    """What a virtual key stores. Raises NotDone for what cannot be one."""
    objects, size = await catalog.media_list.usage(virtual_key_id)
    return Usage(virtual_key_id=virtual_key_id, objects=objects, bytes=size)


async def show(catalog: Catalog, key: str) -> Medium:
    """One key. Raises NotDone where no row names it, and nothing is marked or on hold under it."""
    rows = [row for row in await catalog.records.lookup([key]) if row.storage_key == key]
    mark = await catalog.mark_list.look(key)
    held: Mapping[str, Hold] = await catalog.holds.held([key])
    if not (rows or mark or held):
        message = f"{key}: no row names this key, and nothing is marked or on hold under it"
        raise NotDone(ErrorKind.NOT_FOUND, "no_such_medium", message, key=key)
    return Medium(key=key, rows=rows, mark=mark, hold=held.get(key))
