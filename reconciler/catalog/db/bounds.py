"""Managed prefixes as intervals in byte order: `[low, high)`; `high` is None where there is no end."""

from collections.abc import Sequence
from typing import TypeAlias

from reconciler.model import RESERVED_PREFIX
from reconciler.model.keys import merge_prefixes, prefix_end

Bounds: TypeAlias = tuple[tuple[str, str | None], ...]


def of_prefix(prefix: str) -> Bounds:
    return ((prefix, prefix_end(prefix)),)


def managed(prefixes: Sequence[str]) -> Bounds:
    """The keys under any of the prefixes, each once, without our reserved prefix."""
    return _without_reserved(tuple((prefix, prefix_end(prefix)) for prefix in merge_prefixes(prefixes)))


def outside(prefixes: Sequence[str]) -> Bounds:
    """The keys under none of the prefixes, without our reserved prefix."""
    gaps: list[tuple[str, str | None]] = []
    start: str | None = ""
    for low, high in managed([*prefixes]):
        if start is not None and start < low:
            gaps.append((start, low))
        start = high
    if start is not None:
        gaps.append((start, None))
    return _without_reserved(tuple(gaps))


def _without_reserved(bounds: Bounds) -> Bounds:
    first, last = RESERVED_PREFIX, prefix_end(RESERVED_PREFIX)
    assert last is not None
    kept: list[tuple[str, str | None]] = []
    for low, high in bounds:
        if low >= last or (high is not None and high <= first):
            kept.append((low, high))
            continue
        if low < first:
            kept.append((low, first))
        if high is None or high > last:
            kept.append((max(low, last), high))
    return tuple(kept)


def condition(expression: str, bounds: Bounds, first: int) -> tuple[str, list[str]]:
    """SQL that is true inside the bounds, with parameters numbered from `first`, and their values."""
    clauses, values = [], []
    for low, high in bounds:
        parts = []
        if low:
            values.append(low)
            parts.append(f"{expression} >= ${first + len(values) - 1}::text")
        if high is not None:
            values.append(high)
            parts.append(f"{expression} < ${first + len(values) - 1}::text")
        clauses.append(" AND ".join(parts) or f"{expression} IS NOT NULL")
    return "(" + (" OR ".join(clauses) or "false") + ")", values


def comparable(key: str) -> str:
    """A bound that Postgres can hold and that divides the rows as `key` does.

    Text has no NUL, so a row is beyond a key with one exactly where it is beyond the part before it.
    """
    return key.partition("\0")[0]


def storable(key: str) -> bool:
    """Whether Postgres' text can hold the key: no NUL, valid Unicode. Others can never match a row."""
    if "\0" in key:
        return False
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True
