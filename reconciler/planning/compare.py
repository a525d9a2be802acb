"""The ordered join: two ascending streams of keys, in pages cut anywhere, and their difference.

Python compares strings by code point, which is the byte order of their UTF-8.
"""

import operator
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, pairwise

from reconciler.errors import ListingBroken, OrderViolated
from reconciler.model import RESERVED_PREFIX, KeyRange, ObjectPage
from reconciler.model.keys import prefix_end

_RESERVED_END = prefix_end(RESERVED_PREFIX) or ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What a window of keys holds on one side only, ascending.

    `objects` are indices (into the object keys) of those without a record, `records` the keys of
    those without an object, `compared` how many record keys were compared.
    """

    objects: list[int] = field(default_factory=list)
    records: list[str] = field(default_factory=list)
    compared: int = 0


def check_ascending(keys: Sequence[str], after: str) -> None:
    """Raise OrderViolated unless the keys are strictly ascending and all beyond `after`."""
    if keys and keys[0] <= after:
        raise _out_of_order(after, keys[0])
    if not all(map(operator.lt, keys, islice(keys, 1, None))):
        raise next(_out_of_order(left, right) for left, right in pairwise(keys) if left >= right)


def _out_of_order(left: str, right: str) -> OrderViolated:
    return OrderViolated(
        f"keys are not in byte order: {right!r} came after {left!r}; "
        "the sweep starts over with a join that needs no order"
    )


def difference(objects: Sequence[str], records: Sequence[str]) -> Difference:
    """Compare the keys of one window. Both sequences are strictly ascending."""
    if objects == records:
        return Difference(compared=len(records))
    apart = set(objects).symmetric_difference(records)
    named = apart.intersection(records)
    return Difference(
        objects=sorted(bisect_left(objects, key) for key in apart - named),
        records=sorted(named),
        compared=len(records),
    )


class WindowJoin:
    """Joins one key range's listing with its rows, window by window; the caller reads both.

    Give it an object page; then, while `window` says which rows to read, give it those. An object
    page is complete before the rows of its window are requested, so that a row which appears in
    between protects its object. Holds one page.

    ::

        join = WindowJoin(span, watermark)
        while not join.done:
            page = join.take(await listing.list_page(...))
            while (window := join.window) is not None:
                found = join.compare(await records.keys_in(window, limit), limit)
    """

    def __init__(self, span: KeyRange, watermark: str = "") -> None:
        self._span = span
        self._page = ObjectPage([], [], [], [])
        self._next = 0
        self._low = max(span.after, watermark)
        self._high: str | None = self._low
        self._ends = False
        self._open = False

    @property
    def watermark(self) -> str:
        """Every key of the range up to here has been compared."""
        return self._low

    @property
    def done(self) -> bool:
        """Whether the range is compared to its end."""
        return self._ends and not self._open

    @property
    def window(self) -> KeyRange | None:
        """The rows to read next, or None if the next object page is due."""
        if not self._open:
            return None
        return KeyRange(prefix=self._span.prefix, after=self._low, upto=self._high)

    def take(self, page: ObjectPage) -> ObjectPage:
        """Take the next object page, and return the part of it that belongs here.

        Left out are keys beyond the range and our own part of the bucket; indices of the differences point
        into what is returned. Raises OrderViolated, or ListingBroken for a key outside the requested prefix.
        """
        keys = page.keys
        check_ascending(keys, self._low)
        self._check_prefix(keys)
        beyond = self._span.upto is not None and bool(keys) and keys[-1] >= self._span.upto
        self._ends = beyond or page.next_token is None
        self._high = self._span.upto if self._ends else keys[-1] if keys else self._low
        self._open = self._ends or bool(keys)
        self._page = _managed_part(page, self._span.upto)
        self._next = 0
        return self._page

    def compare(self, rows: Sequence[str], limit: int) -> Difference:
        """Compare the first rows of `window`, of which at most `limit` were requested."""
        check_ascending(rows, self._low)
        if rows and self._high is not None and rows[-1] > self._high:
            message = f"rows beyond {self._high!r} were not asked for, but {rows[-1]!r} came"
            raise OrderViolated(message)
        complete = len(rows) < limit or rows[-1] == self._high
        keys, first = self._page.keys, self._next
        self._next = len(keys) if complete else bisect_right(keys, rows[-1])
        self._low = rows[-1] if not complete else self._high or self._low
        self._open = not complete
        whole = first == 0 and self._next == len(keys)
        found = difference(keys if whole else keys[first : self._next], _managed_rows(rows))
        return replace(found, objects=[first + index for index in found.objects]) if first else found

    def _check_prefix(self, keys: Sequence[str]) -> None:
        """In an ascending page, the first and the last key speak for all between them."""
        for key in (keys[0], keys[-1]) if keys else ():
            if not key.startswith(self._span.prefix):
                message = f"asked for keys under {self._span.prefix!r}, the store listed {key!r}"
                raise ListingBroken(message)


def _managed_part(page: ObjectPage, upto: str | None) -> ObjectPage:
    keys = page.keys
    end = len(keys) if upto is None else bisect_right(keys, upto)
    reserved = _reserved(keys)
    if end == len(keys) and not reserved:
        return page
    return page.only([index for index in range(end) if index not in reserved])


def _managed_rows(rows: Sequence[str]) -> Sequence[str]:
    reserved = _reserved(rows)
    return [*rows[: reserved.start], *rows[reserved.stop :]] if reserved else rows


def _reserved(keys: Sequence[str]) -> range:
    """Where in the ascending keys our own part of the bucket lies."""
    return range(bisect_left(keys, RESERVED_PREFIX), bisect_left(keys, _RESERVED_END))
