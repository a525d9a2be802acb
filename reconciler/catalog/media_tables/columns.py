"""The actual columns of a mapped table, and the types that serve for each field."""

from dataclasses import dataclass

import asyncpg

from reconciler.catalog.db.connections import Connection
from reconciler.catalog.db.expressions import NUMBERS, ColumnType
from reconciler.catalog.media_tables import indexes

IDENTIFIERS = ("smallint", "integer", "bigint", "numeric", "uuid", "text", "varchar", "char(n)")
ZONELESS = frozenset({"timestamp", "date"})
"""Times without a zone; the zone has to be known."""
TIMES = ("timestamptz", "timestamp", "date", "integer", "bigint", "numeric", "double precision")
INTEGERS = ("smallint", "integer", "bigint")

ALLOWED: dict[str, tuple[str, ...]] = {
    "id": IDENTIFIERS,
    "virtual_key_id": IDENTIFIERS,
    "storage_key": ("text", "varchar", "char(n)", "citext"),
    "size_bytes": (*INTEGERS, "numeric"),
    "is_enabled": ("boolean", *INTEGERS, "numeric"),
    "content_hash": ("text", "varchar", "char(n)", "citext", "uuid"),
    "access_count": (*INTEGERS, "numeric"),
    "key_hash": ("text", "varchar", "char(n)", "citext"),
}
"""Types by column field, domains over them included; the others are times."""

ANY_TYPE = frozenset({"media_type", "provider", "model", "group_id"})
"""Only the text of these fields' values is read, so any type serves."""

INEXACT = frozenset({"real", "double precision", "money", "citext"})
"""Types in which one value has several texts, so that their text does not identify a row."""

THROUGH_A_VIEW = "a view that gives them, one a row, named in RECONCILER_CATALOG__ALSO_REFERENCED"

NAMES = {
    "int2": "smallint",
    "int4": "integer",
    "int8": "bigint",
    "bool": "boolean",
    "bpchar": "char(n)",
    "float4": "real",
    "float8": "double precision",
}
"""Postgres' own names of types, with their usual ones."""

GENERATED = {
    "storage_key": 'text COLLATE "C" GENERATED ALWAYS AS (…) STORED',
    "is_enabled": "boolean GENERATED ALWAYS AS (…) STORED",
}
"""The generated column to make from one of another type; for all other fields a time."""

# The columns by name, with their base types (a domain counts as its base type, however deep) and how
# they compare. `sql` is how a cast has to name the type: without -1 a bpchar would be cut to one character.
COLUMNS = """
SELECT a.attname::text AS name, a.attgenerated <> '' AS generated, a.attgenerated = 'v' AS virtual,
       a.attnotnull AS required,
       CASE WHEN n.nspname = 'pg_catalog' OR t.typname = 'citext' THEN t.typname::text
            ELSE format_type(t.oid, -1) END AS type,
       format_type(t.oid, -1) AS sql,
       coalesce(quote_ident(ln.nspname) || '.' || quote_ident(l.collname), '') AS collation,
       coalesce(l.collisdeterministic, true) AS deterministic,
       {bytewise} AS bytewise,
       a.atttypmod >= 4 AND (a.atttypmod - 4) & 65535 = 0 AS whole
FROM pg_attribute a
CROSS JOIN LATERAL (
    WITH RECURSIVE bases (oid) AS (
        SELECT a.atttypid
        UNION ALL
        SELECT d.typbasetype FROM bases JOIN pg_type d ON d.oid = bases.oid WHERE d.typtype = 'd'
    )
    SELECT b.* FROM bases JOIN pg_type b ON b.oid = bases.oid WHERE b.typtype <> 'd'
) t
JOIN pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_collation l ON l.oid = a.attcollation
LEFT JOIN pg_namespace ln ON ln.oid = l.collnamespace
JOIN pg_database d ON d.datname = current_database()
WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped
"""

# The indexes that hold every row: their columns in order, and whether they are unique by these alone.
INDEXES = """
SELECT ARRAY(SELECT a.attname::text FROM generate_series(0, i.indnkeyatts - 1) AS n (place)
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[n.place]
             ORDER BY n.place) AS columns,
       i.indkey[0] <> 0 AS plain,
       i.indisunique AND i.indexprs IS NULL AS is_unique
FROM pg_index i
WHERE i.indrelid = $1::oid AND i.indisvalid AND i.indpred IS NULL
ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column. `generated`: Postgres computes it; `virtual`: whenever it is read, so no index holds it.

    `whole`: a numeric without digits after the point, so that each number has one text.
    """

    name: str
    type: ColumnType
    required: bool
    generated: bool
    virtual: bool
    deterministic: bool
    bytewise: bool
    whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A table's columns and indexes.

    `indexed` are the first columns of its indexes, `uniques` the columns of those that are unique.
    """

    columns: dict[str, Column]
    indexed: frozenset[str]
    uniques: tuple[tuple[str, ...], ...]

    def unique(self, name: str) -> bool:
        """Whether that column alone identifies a row."""
        return (name,) in self.uniques

    def identity(self, named: tuple[str, ...]) -> tuple[str, ...] | None:
        """Columns that identify a row: the named ones, or those of a unique index that contains them.

        A partitioned table's primary key contains its partition columns, so that an id alone may be in two
        of its partitions (R-81). None where no columns identify a row.
        """
        if any(set(each) <= set(named) for each in self.uniques):
            return named
        for each in self.uniques:
            if set(named) <= set(each) and all(self.columns[name].required for name in each):
                return each
        return None


async def find(connection: Connection, oid: int) -> Found:
    query = COLUMNS.format(bytewise=indexes.bytewise(connection))
    columns = {row["name"]: _column(row) for row in await connection.fetch(query, oid)}
    found = await connection.fetch(INDEXES, oid)
    return Found(
        columns=columns,
        indexed=frozenset(row["columns"][0] for row in found if row["plain"]),
        uniques=tuple(tuple(row["columns"]) for row in found if row["is_unique"]),
    )


def _column(row: asyncpg.Record) -> Column:
    return Column(
        name=row["name"],
        type=ColumnType(kind=_usual(row["type"]), sql=row["sql"], collation=row["collation"]),
        required=row["required"],
        generated=row["generated"],
        virtual=row["virtual"],
        deterministic=row["deterministic"],
        bytewise=row["bytewise"],
        whole=row["whole"],
    )


def _usual(name: str) -> str:
    """A type's usual name; Postgres' own names of arrays begin with an underscore."""
    return f"{_usual(name[1:])}[]" if name.startswith("_") else NAMES.get(name, name)


def misfit(field: str, column: Column, unit: str | None) -> str | None:
    """What is wrong with the column for that field, and what to do; None where it serves."""
    kind, allowed = column.type.kind, ALLOWED.get(field, TIMES)
    if field in ANY_TYPE:
        return None
    if kind in allowed:
        if field not in ALLOWED and kind in NUMBERS and unit is None:
            return f"its type is {kind}; set RECONCILER_CATALOG__EPOCH_UNIT to what it counts: s, ms or us"
        return None
    wrong = f"its type is {kind}; allowed are {', '.join(allowed)}"
    if field == "storage_key" and kind.endswith("[]"):
        return f"{wrong}; map the table that has a row for each object, and keep these by {THROUGH_A_VIEW}"
    if field in {"id", "virtual_key_id"}:
        return f"{wrong}; a generated column of such a type serves as well"
    made = GENERATED.get(field, "timestamptz GENERATED ALWAYS AS (…) STORED")
    return f"{wrong}; make a column of it that is, {made}, and name that"


def ambiguous(column: Column) -> str | None:
    """What is wrong with an owner's id that has several texts: a hold on `7` would miss `7.00`."""
    if column.type.kind != "numeric" or column.whole:
        return None
    return "its type is numeric with digits behind the point; make it numeric(…, 0) or bigint"
