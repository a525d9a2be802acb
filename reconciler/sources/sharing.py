"""One comparison on many machines: rows go to the bucket, shares to Ray, and what is found comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TypeVar
from uuid import uuid4

import anyio
import anyio.to_thread

from reconciler.errors import InventoryRefused
from reconciler.model import EXPORTS, InventoryFile, parse_timestamp
from reconciler.ports import Exports
from reconciler.sources import adapters, fetching, on_ray, ranges, tasks
from reconciler.sources.comparing import Found
from reconciler.sources.ranges import Group
from reconciler.sources.shares import Compare, Failed, Listed, Look, Looked, RangeCompared

T = TypeVar("T")

AT_ONCE: Final = 4
"""Files on their way to the bucket at once."""

LEFT_AFTER: Final = timedelta(days=1)
"""What a comparison has left behind that was killed: so long none takes."""

CLEANUP_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What the ranges hold, with their findings on local disk; `marked`: our identity object is listed."""

    found: Sequence[Found]
    unreadable: int
    marked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What a comparison on many machines acts through. `look` and `compare_range` are pickled."""

    exports: Exports
    look: Callable[[Look], Looked | Failed]
    compare_range: Callable[[Compare], RangeCompared | Failed]

    async def compare(
        self,
        inventory: adapters.Found,
        rows: Sequence[Path],
        prefixes: Sequence[str],
        young: int,
        folder: Path,
        alive: Callable[[], None],
    ) -> Difference:
        """Compare the inventory's files with the rows' on local disk, which go when they are in the bucket.

        Raises InventoryRefused, StoreUnavailable, ListingBroken, Halt.
        """
        if inventory.bucket is None:
            raise InventoryRefused(
                f"inventory {inventory.used.name} is not in a bucket of the same store, as"
                " RECONCILER_INVENTORY__ENGINE=ray needs it: use duckdb"
            )
        listed = Listed(bucket=inventory.bucket, format=inventory.format, columns=inventory.columns)
        files = inventory.listed
        async with self._folder() as into:
            exported = ranges.groups(rows, "key")
            put = await self._put(rows, into, alive)
            looked: list[Looked] = []
            compared: list[RangeCompared] = []

            def work(step: Callable[[], None]) -> None:
                with on_ray.connected():
                    looks = [Look(listed=listed, file=each) for each in files]
                    looked.extend(_all(on_ray.carry_out(self.look, looks, step)))
                    inventory.require(sum(group.rows for each in looked for group in each.groups))
                    asked = _asked(listed, files, looked, exported, put, prefixes, young, into)
                    compared.extend(_all(on_ray.carry_out(self.compare_range, asked, step)))

            await tasks.in_thread(work, alive)
            found = await self._found(compared, folder, alive)
        unreadable = sum(each.unreadable for each in looked)
        return Difference(found=found, unreadable=unreadable, marked=any(each.marked for each in looked))

    @asynccontextmanager
    async def _folder(self) -> AsyncIterator[str]:
        """A folder of the bucket's for one comparison, after what others have left is gone."""
        for folder in await self._left():
            await self.exports.remove(folder)
        into = f"{EXPORTS}{uuid4().hex}/"
        try:
            yield into
        finally:
            with anyio.move_on_after(CLEANUP_SECONDS, shield=True):
                await self.exports.remove(into)

    async def _left(self) -> list[str]:
        """Folders in which nothing was put for a day: whoever made them is gone."""
        newest: dict[str, datetime] = {}
        after, now = "", datetime.now(UTC)
        while True:
            page = await self.exports.list_page(EXPORTS, start_after=after)
            for key, at in zip(page.keys, page.modified, strict=True):
                folder = f"{EXPORTS}{key.removeprefix(EXPORTS).partition('/')[0]}/"
                put = parse_timestamp(at) or now
                newest[folder] = max(put, newest.get(folder, put))
            if page.next_token is None or not page.keys:
                return [folder for folder, put in newest.items() if now - put > LEFT_AFTER]
            after = page.keys[-1]

    async def _put(
        self, rows: Sequence[Path], into: str, alive: Callable[[], None]
    ) -> dict[Path, InventoryFile]:
        put: dict[Path, InventoryFile] = {}

        async def put_one(path: Path) -> None:
            put[path] = await self.exports.put(f"{into}{path.name}", path)
            await anyio.to_thread.run_sync(path.unlink)
            alive()

        await tasks.each(rows, put_one, at_once=AT_ONCE)
        return put

    async def _found(
        self, compared: Sequence[RangeCompared], folder: Path, alive: Callable[[], None]
    ) -> list[Found]:
        """The findings on local disk: of the files that came back, and of no other."""
        found = []
        for place, each in enumerate(compared):
            orphans = await fetching.fetch(self.exports, each.orphans, folder, alive, f"orphans-{place:05}-")
            missing = await fetching.fetch(self.exports, each.missing, folder, alive, f"missing-{place:05}-")
            found.append(replace(each.found, orphan_files=orphans, missing_files=missing))
        return found


def _all(outcomes: Iterator[tuple[int, T | Failed]]) -> list[T]:
    """The outcomes in order. Raises InventoryRefused at the first share that failed."""
    found: dict[int, T] = {}
    for place, outcome in outcomes:
        if isinstance(outcome, Failed):
            raise InventoryRefused(outcome.reason)
        found[place] = outcome
    return [found[place] for place in sorted(found)]


def _asked(
    listed: Listed,
    files: Sequence[InventoryFile],
    looked: Sequence[Looked],
    exported: Sequence[Group],
    put: dict[Path, InventoryFile],
    prefixes: Sequence[str],
    young: int,
    into: str,
) -> list[Compare]:
    """A share for each range, with the files that it meets; always with one of the inventory's."""
    if len({each.sql for each in looked}) != 1:
        raise InventoryRefused("the inventory's files do not have the same columns")
    # Their paths stand for places in `files`: no key is taken for a path.
    groups = [
        replace(group, path=Path(str(place))) for place, each in enumerate(looked) for group in each.groups
    ]
    return [
        Compare(
            listed=listed,
            span=span,
            files=[files[int(path.name)] for path in ranges.overlapping(groups, span) or [groups[0].path]],
            rows=[put[path] for path in ranges.overlapping(exported, span)],
            young=young,
            into=into,
        )
        for span in ranges.cut(ranges.managed(prefixes), (groups, exported))
    ]
