"""Reads and compares columns of the gateway's own types: the one place that builds such SQL.

===============  ====================================================================================
a storage key    by its bytes, whatever its type and collation call equal: citext folds case, char(n)
                 pads with blanks, some collations treat two spellings as equal
a time           as timestamptz, or NULL where it is implausible: the zero times of languages and stores
                 (year 1, 1601, 1900, 1970, 1980, 2001), infinities, years beyond the calendar
a date           the end of that day, since its hour is unknown
an epoch number  in the declared unit
a size           whole bytes from 0 to 2^53, else unknown
a flag           boolean, or a number that is not 0
a row's id       one column, or all those of its primary key
===============  ====================================================================================
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from reconciler.catalog.db.config import quoted
from reconciler.model import EARLIEST, GREATEST_SIZE, LATEST

END_OF_TIME = f"'{LATEST:%Y-%m-%d} 00:00+00'::timestamptz"

BARE_KEYS = frozenset({"text", "varchar"})
"""Key types that compare bytes under `COLLATE "C"` as they are; others are cast to text first."""

UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000}
"""Units of an epoch number: how many of each make a second."""

NUMBERS = frozenset({"integer", "bigint", "numeric", "double precision"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnType:
    """A column's type: `kind` is its base type's usual name, `sql` that type as a cast names it.

    `collation` is the column's own, as an SQL name; "" where the type has none.
    """

    kind: str
    sql: str
    collation: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """How to read times without a zone (`zone`, an IANA name) and numbers (`unit`, of `UNITS`, or None)."""

    zone: str = "UTC"
    unit: str | None = None

    def plausible(self, column: str, kind: str) -> str:
        """SQL: whether the column holds a plausible time. An index on the column can answer it."""
        low, high = self._bounds(kind)
        return f"{column} >= {low} AND {column} < {high}"

    def earliest(self, kind: str) -> str:
        """The first plausible time, in the column's own type."""
        return self._bounds(kind)[0]

    def _bounds(self, kind: str) -> tuple[str, ...]:
        """The limits in the column's own type, since those of one type's calendar overflow another's."""
        ends = (EARLIEST, LATEST)
        if kind in NUMBERS:
            return tuple(f"{int(end.timestamp()) * self._units}" for end in ends)
        zone = " 00:00+00" if kind == "timestamptz" else ""
        return tuple(f"'{end:%Y-%m-%d}{zone}'::{kind}" for end in ends)

    @property
    def _units(self) -> int:
        return UNITS[self.unit or "s"]

    def moment(self, column: str, kind: str) -> str:
        """The column as timestamptz; NULL where it holds no plausible time."""
        if kind == "timestamptz":
            read = column
        elif kind in NUMBERS:
            read = f"to_timestamp({column}::double precision / {self._units})"
        elif kind == "date":
            read = f"({column} + 1)::timestamp AT TIME ZONE {self._zone}"
        else:
            read = f"{column} AT TIME ZONE {self._zone}"
        return f"CASE WHEN {self.plausible(column, kind)} THEN {read} END"

    def bound(self, parameter: str, kind: str) -> str:
        """A timestamptz parameter in the column's type: `column <= bound` where its moment is `<=` it."""
        instant = f"{parameter}::timestamptz"
        if kind == "timestamptz":
            return instant
        if kind in NUMBERS:
            count = f"extract(epoch FROM {instant}) * {self._units}"
            whole = kind in {"integer", "bigint"}
            return f"floor({count})::bigint" if whole else f"({count})::{kind}"
        local = f"{instant} AT TIME ZONE {self._zone}"
        return f"(({local})::date - 1)" if kind == "date" else f"({local})"

    @property
    def _zone(self) -> str:
        return "'" + self.zone.replace("'", "''") + "'"


def before(now: datetime, duration: timedelta) -> datetime:
    """`now - duration`, or the beginning of the calendar for durations that reach beyond it."""
    try:
        return now - duration
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC) + timedelta(days=1)


def size(column: str) -> str:
    """Bytes, or NULL for a number that is no size: negative, NaN, infinite, or more than any object has."""
    return f"CASE WHEN {column} >= 0 AND {column} <= {GREATEST_SIZE} THEN {column}::bigint END"


def flag(column: str, kind: str) -> str:
    """SQL: whether the flag is set. NULL counts as set, since an unknown value must protect."""
    return f"coalesce({column}{'' if kind == 'boolean' else ' <> 0'}, true)"


class Identity:
    """What identifies a row of the alias `m`, as one text: JSON where it takes several columns."""

    def __init__(self, columns: Sequence[tuple[str, ColumnType]]) -> None:
        self.columns = tuple(f"m.{quoted(name)}" for name, _ in columns)
        self._casts = tuple(kind.sql for _, kind in columns)

    @property
    def _single(self) -> bool:
        return len(self.columns) == 1

    @property
    def text(self) -> str:
        if self._single:
            return f"{self.columns[0]}::text"
        parts = ", ".join(f"{column}::text" for column in self.columns)
        return f"jsonb_build_array({parts})::text"

    def values(self, text: str) -> tuple[str, ...]:
        """The columns' values read back from such a text, each in its own type."""
        if self._single:
            return (f"{text}::text::{self._casts[0]}",)
        return tuple(f"({text}::text::jsonb ->> {place})::{cast}" for place, cast in enumerate(self._casts))

    def among(self, parameter: str) -> str:
        """SQL: whether the row's id is in an array of such texts. The id's index can answer it."""
        if self._single:
            return f"{self.columns[0]} = ANY({parameter}::text[]::{self._casts[0]}[])"
        values = ", ".join(self.values("wanted.id"))
        wanted = f"SELECT {values} FROM unnest({parameter}::text[]) AS wanted (id)"
        return f"({', '.join(self.columns)}) IN ({wanted})"

    def equals(self, parameter: str) -> str:
        """SQL: whether such a text identifies this row."""
        pairs = zip(self.columns, self.values(parameter), strict=True)
        return " AND ".join(f"{column} = {value}" for column, value in pairs)

    def copied(self) -> str:
        """The select list of a table of ids: columns `id0` and so on."""
        return ", ".join(f"{column} AS id{place}" for place, column in enumerate(self.columns))

    def equals_copied(self, alias: str) -> str:
        """SQL: whether a row of such a table identifies this one."""
        return " AND ".join(f"{column} = {alias}.id{place}" for place, column in enumerate(self.columns))
