"""A made-up bucket of any size: keys in byte order, and their listing rendered once into a file.

The keys look like a gateway's (`image/2026/03/14/<uuid>.png`). The same count, seed and last day
make the same keys, so the rows of a table can be made from them without listing anything.
"""

from __future__ import annotations

import mmap
import random
import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import overload

PREFIX = "image/"
DAYS = 80
"""Days over which the keys are spread, the last of them `OLDEST_AGE - DAYS` days ago."""
OLDEST_AGE = 85
"""Age in days of the oldest key: inside the default retention of 90 days, so that no row is stale."""

ELEMENT = re.compile(
    "<Key>(.+?)</Key><LastModified>(.+?)</LastModified><ETag>&quot;(.+?)&quot;</ETag><Size>(.+?)</Size>"
)
"""Key, time, ETag and size of what `contents` writes."""

_SAFE_KEY = re.compile(r"[A-Za-z0-9._/-]+")
_KEY_START = len("<Contents><Key>")
_FLUSH_BYTES = 1 << 22


def last_day() -> date:
    """The newest day that has keys: old enough for every default grace period."""
    return datetime.now(UTC).date() - timedelta(days=OLDEST_AGE - DAYS)


def keys_by_day(count: int, *, seed: int = 1, until: date | None = None) -> Iterator[tuple[date, list[str]]]:
    """`count` keys, a list for each day, ascending in byte order within and across the lists."""
    rng = random.Random(seed)
    until = until or last_day()
    for index in range(DAYS):
        day = until - timedelta(days=DAYS - 1 - index)
        share = count * (index + 1) // DAYS - count * index // DAYS
        names = sorted(f"{rng.getrandbits(128):032x}" for _ in range(share))
        start = f"{PREFIX}{day:%Y/%m/%d}/"
        yield day, [f"{start}{n[:8]}-{n[8:12]}-{n[12:16]}-{n[16:20]}-{n[20:]}.png" for n in names]


def contents(key: str, *, modified: str, etag: str, size: int) -> bytes:
    """One `<Contents>` element as AWS writes it; about 280 bytes for a gateway's key."""
    return (
        f"<Contents><Key>{key}</Key><LastModified>{modified}</LastModified>"
        f"<ETag>&quot;{etag}&quot;</ETag><Size>{size}</Size>"
        "<StorageClass>STANDARD</StorageClass></Contents>"
    ).encode()


def gateway_elements(count: int, *, seed: int = 1, until: date | None = None) -> Iterator[bytes]:
    """The elements of `keys_by_day`, with times of that day and sizes from 10 kB to 10 MB."""
    rng = random.Random(seed + 1)
    for day, keys in keys_by_day(count, seed=seed, until=until):
        step = 86_000 / max(1, len(keys))
        for index, key in enumerate(keys):
            seconds = int(index * step)
            clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.000Z"
            bits = rng.getrandbits(128)
            size = 10_000 + bits % 9_990_000
            yield contents(key, modified=f"{day}T{clock}", etag=f"{bits:032x}", size=size)


def plain_elements(keys: Iterable[str]) -> Iterator[bytes]:
    """Elements for the given keys, which have to be ascending, each once, and safe in XML and URLs."""
    last = ""
    for key in keys:
        if not _SAFE_KEY.fullmatch(key) or key <= last:
            raise ValueError(f"key {key!r} is out of order or needs escaping")
        last = key
        yield contents(key, modified="2026-03-14T15:09:26.000Z", etag="0" * 32, size=len(key))


def render(elements: Iterable[bytes], target: Path) -> None:
    """Write the elements to `target`, and their offsets (one more than elements) beside it."""
    offsets = array("Q", [0])
    position = 0
    pending: list[bytes] = []
    with target.open("wb") as out:
        for element in elements:
            pending.append(element)
            position += len(element)
            offsets.append(position)
            if len(pending) * len(element) > _FLUSH_BYTES:
                out.write(b"".join(pending))
                pending.clear()
        out.write(b"".join(pending))
    with _offsets_path(target).open("wb") as out:
        offsets.tofile(out)


class Listing(Sequence[bytes]):
    """The rendered elements as a sequence of keys (bytes, ascending), and any stretch of it as XML."""

    def __init__(self, blob: memoryview, offsets: memoryview) -> None:
        self._blob = blob
        self._offsets = offsets

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        element = bytes(self._blob[self._offsets[index] : self._offsets[index + 1]])
        return element[_KEY_START : element.index(b"<", _KEY_START)]

    def span(self, prefix: bytes, after: bytes) -> tuple[int, int]:
        """Indexes `[first, end)` of the keys under `prefix` that sort behind `after`."""
        first = bisect_right(self, after) if after >= prefix else bisect_left(self, prefix)
        end = bisect_left(self, _behind(prefix)) if prefix else len(self)
        return min(first, end), end

    def elements(self, first: int, end: int) -> memoryview:
        return self._blob[self._offsets[first] : self._offsets[end]]


@contextmanager
def opened(target: Path) -> Iterator[Listing]:
    """The listing that `render` wrote, mapped and not read, so that its size costs no memory."""
    with target.open("rb") as blob, _offsets_path(target).open("rb") as offsets:
        if not target.stat().st_size:
            yield Listing(memoryview(b""), memoryview(array("Q", [0])))
            return
        # The maps are left to the collector: a page that is still being sent may point into them.
        yield Listing(
            memoryview(mmap.mmap(blob.fileno(), 0, prot=mmap.PROT_READ)),
            memoryview(mmap.mmap(offsets.fileno(), 0, prot=mmap.PROT_READ)).cast("Q"),
        )


def _offsets_path(target: Path) -> Path:
    return target.with_suffix(".offsets")


def _behind(prefix: bytes) -> bytes:
    """The least key behind every key that starts with `prefix` (which ends in no 0xff: it is UTF-8)."""
    return prefix[:-1] + bytes([prefix[-1] + 1])
