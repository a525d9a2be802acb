"""Cut the keys into ranges of about a million rows, at the minima of both sides' row groups.

Statistics skip the rest then. A minimum may be cut short by its writer: as a bound any text will do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reconciler.model import RESERVED_PREFIX
from reconciler.model.keys import merge_prefixes, prefix_end

ROWS_A_RANGE: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A row group: its file, its number of rows, and its least and greatest key, where that is known."""

    path: Path
    rows: int
    low: str | None
    high: str | None

    def meets(self, span: Span) -> bool:
        """Whether it may hold a key of the range."""
        before = self.high is not None and self.high < span.low
        beyond = self.low is not None and span.high is not None and self.low >= span.high
        return not (before or beyond)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The keys in `[low, high)` of one managed prefix."""

    prefix: str
    low: str
    high: str | None


def managed(prefixes: Sequence[str]) -> list[Span]:
    """The managed prefixes in byte order, without our own part of the bucket."""
    found: list[Span] = []
    first, last = RESERVED_PREFIX, prefix_end(RESERVED_PREFIX)
    assert last is not None
    for prefix in merge_prefixes(prefixes):
        end = prefix_end(prefix)
        if RESERVED_PREFIX.startswith(prefix):
            found += [
                Span(prefix=prefix, low=prefix, high=first),
                Span(prefix=prefix, low=last, high=end),
            ]
        elif not prefix.startswith(RESERVED_PREFIX):
            found.append(Span(prefix=prefix, low=prefix, high=end))
    return found


def groups(paths: Sequence[Path], column: str) -> list[Group]:
    """The row groups of Parquet files, by the statistics of that column."""
    import pyarrow.parquet as pq  # noqa: PLC0415 - an extra of its own

    found = []
    for path in paths:
        metadata = pq.read_metadata(path)
        names = [metadata.schema.column(number).path for number in range(metadata.num_columns)]
        place = names.index(column)
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            statistics = group.column(place).statistics
            known = statistics is not None and statistics.has_min_max
            found.append(
                Group(
                    path=path,
                    rows=group.num_rows,
                    low=_as_text(statistics.min) if known else None,
                    high=_as_text(statistics.max, greatest=True) if known else None,
                )
            )
    return found


def _as_text(bound: str | bytes, *, greatest: bool = False) -> str | None:
    """A bound of a group: None, which reads the group, where it was cut within a character."""
    if isinstance(bound, str):
        return bound
    try:
        return bound.decode()
    except UnicodeDecodeError:
        return None if greatest else ""


def cut(within: Sequence[Span], sides: Sequence[Sequence[Group]], most: int = ROWS_A_RANGE) -> Iterator[Span]:
    """The spans in parts of about `most` rows of each side."""
    bounds = sorted(
        (group.low or "", side, group.rows) for side, groups in enumerate(sides) for group in groups
    )
    for span in within:
        low, held = span.low, [0] * len(sides)
        for bound, side, rows in bounds:
            if bound <= low or (span.high is not None and bound >= span.high):
                continue
            if held[side] + rows > most and any(held):
                yield Span(prefix=span.prefix, low=low, high=bound)
                low, held = bound, [0] * len(sides)
            held[side] += rows
        yield Span(prefix=span.prefix, low=low, high=span.high)


def overlapping(groups: Sequence[Group], span: Span) -> list[Path]:
    """The files that may hold keys of the range, each once."""
    return list(dict.fromkeys(group.path for group in groups if group.meets(span)))
