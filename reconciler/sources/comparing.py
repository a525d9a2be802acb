"""Compare inventory and rows, one key range after another: what is on one side only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from reconciler.errors import InventoryRefused
from reconciler.model import RESERVED_PREFIX
from reconciler.sources import engine, ranges
from reconciler.sources.ranges import Group, Span

if TYPE_CHECKING:
    import duckdb

COUNTED: Final = ("key IS NULL", f"key = '{RESERVED_PREFIX}identity.json'")
"""What is counted of the listed objects: keys that cannot be told, and our own identity object."""

SMALLEST: Final = 1_000
"""Rows of a range below which it is not halved again for want of memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """Both sides on local disk: `listed_sql` reads key, size, modified and etag from `{source}`."""

    listed: Sequence[Group]
    listed_sql: str
    rows: Sequence[Group]
    young: int
    """Objects changed at or after this time (milliseconds since 1970) are not nominated."""


@dataclass(slots=True)
class Found:
    """What one range holds, and the files in which its findings are, if it has any."""

    span: Span
    objects: int = 0
    bytes: int = 0
    rows: int = 0
    recent: int = 0
    unripe: int = 0
    orphans: int = 0
    missing: int = 0
    orphan_files: list[Path] = field(default_factory=list)
    missing_files: list[Path] = field(default_factory=list)


# The range stands on both sides: each skips what is beyond it, and has no key that is NULL. So what has no
# partner in this join is what NOT EXISTS finds either way, in half of its time.
_LISTED: Final = "SELECT key, size, modified, etag FROM ({listed}) WHERE {within}"
_NAMED: Final = "SELECT key, ripe FROM {rows} WHERE {within}"
_NO_ROWS: Final = "(SELECT NULL::VARCHAR AS key, false AS ripe WHERE false)"
_SEEN: Final = "SELECT count(*), coalesce(sum(size), 0)::BIGINT FROM ({listed})"
_ROWS: Final = "SELECT count(*) FROM ({named})"
_APART: Final = """
CREATE OR REPLACE TEMP TABLE apart AS
SELECT l.key IS NOT NULL AS alone, coalesce(l.key, r.key) AS key, l.size, l.modified, l.etag,
    coalesce(CASE WHEN l.key IS NULL THEN r.ripe ELSE l.modified < {young} END, false) AS old
FROM ({listed}) l FULL JOIN ({named}) r ON l.key = r.key
WHERE l.key IS NULL OR r.key IS NULL
"""
_COUNTED: Final = """
SELECT count(*) FILTER (WHERE alone AND old), count(*) FILTER (WHERE alone AND NOT old),
    count(*) FILTER (WHERE NOT alone AND old), count(*) FILTER (WHERE NOT alone AND NOT old) FROM apart
"""
_ORPHANS: Final = "SELECT key, size, modified, etag FROM apart WHERE alone AND old"
_MISSING: Final = "SELECT key FROM apart WHERE NOT alone AND old"


class Comparison:
    """Compares ranges within one connection. Blocking; for a thread of its own."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, sides: Sides, into: Path) -> None:
        self._connection = connection
        self._sides = sides
        self._into = into

    def compare(self, span: Span) -> Found:
        """Compare one range; in halves where it does not fit into memory."""
        try:
            return self._compare(span)
        except Exception as error:
            if not engine.out_of_memory(error):
                raise
        middle = self._middle(span)
        low, high = (
            self.compare(Span(prefix=span.prefix, low=span.low, high=middle)),
            self.compare(Span(prefix=span.prefix, low=middle, high=span.high)),
        )
        return _joined(span, low, high)

    def _compare(self, span: Span) -> Found:
        within = _within(span)
        source = self._source(self._sides.listed, span)
        rows = self._source(self._sides.rows, span) if self._sides.rows else _NO_ROWS
        listed = _LISTED.format(listed=self._sides.listed_sql.format(source=source), within=within)
        named = _NAMED.format(rows=rows, within=within)
        found = Found(span=span)
        found.objects, found.bytes = self._one(_SEEN.format(listed=listed))
        (found.rows,) = self._one(_ROWS.format(named=named))
        self._run(_APART.format(young=self._sides.young, listed=listed, named=named))
        found.orphans, found.recent, found.missing, found.unripe = self._one(_COUNTED)
        if found.orphans:
            found.orphan_files = [self._write(_ORPHANS)]
        if found.missing:
            found.missing_files = [self._write(_MISSING)]
        return found

    def _source(self, groups: Sequence[Group], span: Span) -> str:
        paths = ranges.overlapping(groups, span) or [groups[0].path]
        return f"read_parquet({engine.files(paths)})"

    def _middle(self, span: Span) -> str:
        """A key that divides the rows of a range. Raises InventoryRefused where it is too small for that."""
        sides = self._sides
        for groups, sql in ((sides.rows, "SELECT key FROM {source}"), (sides.listed, sides.listed_sql)):
            if not groups:
                continue
            each = sql.format(source=self._source(groups, span))
            within = f"SELECT key FROM ({each}) WHERE {_within(span)}"
            (rows,) = self._one(f"SELECT count(*) FROM ({within})")
            sampled = f"SELECT key FROM ({within}) USING SAMPLE reservoir({SMALLEST} ROWS)"
            keys = [key for (key,) in self._connection.execute(f"{sampled} ORDER BY key").fetchall()]
            if rows >= SMALLEST and (middle := str(keys[len(keys) // 2])) > span.low:
                return middle
        raise InventoryRefused(
            "the inventory cannot be compared within RECONCILER_INVENTORY__MEMORY: raise it"
        )

    def _write(self, query: str) -> Path:
        # A name of its own: over an existing file, a crash would leave that, as if it were of this run.
        path = self._into / f"found-{uuid4().hex}.parquet"
        self._run(
            f"COPY ({query} ORDER BY key) TO {engine.text(str(path))} (FORMAT parquet, COMPRESSION zstd)"
        )
        return path

    def _run(self, query: str) -> None:
        self._connection.execute(query).fetchall()

    def _one(self, query: str) -> Any:  # noqa: ANN401 - a row
        return self._connection.execute(query).fetchall()[0]


def count(connection: duckdb.DuckDBPyConnection, sides: Sides, condition: str) -> int:
    """How many listed objects satisfy a condition."""
    paths = list(dict.fromkeys(group.path for group in sides.listed))
    listed = sides.listed_sql.format(source=f"read_parquet({engine.files(paths)})")
    found: int = connection.execute(f"SELECT count(*) FROM ({listed}) WHERE {condition}").fetchall()[0][0]
    return found


def _within(span: Span) -> str:
    beyond = "" if span.high is None else f" AND key < {engine.text(span.high)}"
    return f"key >= {engine.text(span.low)}{beyond}"


def _joined(span: Span, low: Found, high: Found) -> Found:
    return Found(
        span=span,
        objects=low.objects + high.objects,
        bytes=low.bytes + high.bytes,
        rows=low.rows + high.rows,
        recent=low.recent + high.recent,
        unripe=low.unripe + high.unripe,
        orphans=low.orphans + high.orphans,
        missing=low.missing + high.missing,
        orphan_files=low.orphan_files + high.orphan_files,
        missing_files=low.missing_files + high.missing_files,
    )
