"""One of the gateway's two tables as it really is, and what of its mapping does not fit."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from reconciler.catalog import indexes
from reconciler.catalog.config import (
    WHERE_PRESENT,
    KeyColumns,
    MediaColumns,
    TableMapping,
    column_settings,
    qualified,
    split_table,
)
from reconciler.catalog.connections import Connection

IDENTIFIERS = ("integer", "bigint", "uuid", "text", "varchar")
TIMES = ("timestamptz", "timestamp")
TEXTS = ("text", "varchar")

ALLOWED: dict[str, tuple[str, ...]] = {
    "id": IDENTIFIERS,
    "virtual_key_id": IDENTIFIERS,
    "storage_key": TEXTS,
    "size_bytes": ("smallint", "integer", "bigint", "numeric"),
    "is_enabled": ("boolean",),
}
"""Types by column; the others are times."""

ANY_TYPE = frozenset({"media_type", "provider"})
"""They are only told: as whatever text their values have."""

REQUIRED = frozenset({"id", "storage_key", "virtual_key_id", "is_enabled"})

NAMES = {
    "int2": "smallint",
    "int4": "integer",
    "int8": "bigint",
    "bool": "boolean",
}
"""Postgres' own names of types that people write differently."""

# A table, whatever kind of relation bears its name; privileges of this role on it. Locking rows for
# a claim needs UPDATE, though nothing is ever updated.
TABLE = """
SELECT c.oid, c.relkind::text AS kind, row_security_active(c.oid) AS filtered,
       has_schema_privilege(n.oid, 'USAGE') AS reachable,
       has_table_privilege(c.oid, 'SELECT') AS can_select,
       has_any_column_privilege(c.oid, 'UPDATE') AS can_update,
       has_table_privilege(c.oid, 'DELETE') AS can_delete,
       ARRAY(SELECT i.inhrelid::regclass::text FROM pg_inherits i
             WHERE i.inhparent = c.oid AND c.relkind = 'r' ORDER BY 1) AS heirs
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
"""

# Names to suggest where a table is missing.
TABLE_NAMES = """
SELECT n.nspname || '.' || c.relname AS name
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'reconciler')
  AND n.nspname NOT LIKE 'pg_toast%' AND n.nspname NOT LIKE 'pg_temp%'
ORDER BY 1
"""

# Columns with their base types (a domain counts as what it is over) and how they compare.
COLUMNS = """
SELECT a.attname AS name, coalesce(base.typname, t.typname)::text AS type,
       coalesce(l.collisdeterministic, true) AS deterministic,
       {bytewise} AS bytewise
FROM pg_attribute a
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_type base ON base.oid = t.typbasetype AND t.typtype = 'd'
LEFT JOIN pg_collation l ON l.oid = a.attcollation
JOIN pg_database d ON d.datname = current_database()
WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped
"""

# Which single columns are the first of an index, and which of them alone make a row unique.
INDEXES = """
SELECT a.attname AS name, bool_or(i.indisunique AND i.indnkeyatts = 1) AS is_unique
FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
WHERE i.indrelid = $1::oid AND i.indisvalid AND i.indpred IS NULL
GROUP BY a.attname
"""


class MappedTable:
    """What is known of it so far. With `faults` it cannot be read; `warnings` are for an operator to weigh.

    Rows are removed from it where `shrinks`. `types`, `deterministic` and `bytewise` are by field, and
    only of the fields that it has; `unique` and `indexed` name columns.
    """

    def __init__(self, setting: str, name: str, columns: MediaColumns | KeyColumns, *, shrinks: bool) -> None:
        self.setting = setting
        self.columns_setting = (
            "RECONCILER_CATALOG__MEDIA_COLUMNS" if "MEDIA" in setting else "RECONCILER_CATALOG__KEY_COLUMNS"
        )
        self.name = name
        self.mapped = column_settings(columns)
        self.oid: int | None = None
        self.types: dict[str, str] = {}
        self.unique: set[str] = set()
        self.indexed: set[str] = set()
        self.deterministic: dict[str, bool] = {}
        self.bytewise: dict[str, bool] = {}
        self.faults: list[str] = []
        self.warnings: list[str] = []
        self._shrinks = shrinks

    async def look(self, connection: Connection) -> None:
        found = await connection.fetchrow(TABLE, *split_table(self.name))
        if found is None:
            self.faults.append(await self._missing(connection))
            return
        name = f"{self.setting} {self.name}"
        if found["kind"] not in {"r", "p"}:
            self.faults.append(f"{name}: not a table but a view; name the table behind it")
            return
        if not (found["reachable"] and found["can_select"]):
            self.faults.append(f"{name}: not readable; GRANT SELECT ON {qualified(self.name)}")
        if found["filtered"]:
            self.faults.append(
                f"{name}: row-level security would hide rows from this role, and their objects would "
                "look orphaned; grant the role BYPASSRLS"
            )
        if found["heirs"]:
            self.faults.append(
                f"{name}: tables inherit from it ({', '.join(found['heirs'])}), and no index keeps an id from"
                " being in two of them; rows are removed by id: make them partitions, or end the inheritance"
            )
        missing = [
            privilege
            for privilege, granted in (
                ("UPDATE", found["can_update"]),
                ("DELETE", found["can_delete"] or not self._shrinks),
            )
            if not granted
        ]
        if missing:
            self.warnings.append(
                f"{name}: enough for a dry run; to delete, GRANT {', '.join(missing)} ON"
                f" {qualified(self.name)} (UPDATE to lock rows, which are never changed)"
            )
        self.oid = found["oid"]
        await self._look_at_columns(connection)

    async def _missing(self, connection: Connection) -> str:
        schema, name = split_table(self.name)
        names = [row["name"] for row in await connection.fetch(TABLE_NAMES)]
        lowered = {each.lower(): each for each in names}
        near = difflib.get_close_matches(f"{schema}.{name}".lower(), lowered, n=3, cutoff=0.7)
        hint = f"; there is {', '.join(lowered[each] for each in near)}" if near else ""
        if not near:
            database = await connection.fetchval("SELECT current_database()")
            hint = (
                f" in the database {database}; name yours, or correct RECONCILER_DATABASE_URL{self._making()}"
            )
        return f"{self.setting} {self.name}: no such table{hint}"

    def _making(self) -> str:
        default = TableMapping()
        ours = split_table(self.name) in {split_table(default.media_table), split_table(default.keys_table)}
        return "; a new gateway's are made by `reconciler migrate --create-tables`" if ours else ""

    async def _look_at_columns(self, connection: Connection) -> None:
        query = COLUMNS.format(bytewise=indexes.bytewise(connection))
        found = {row["name"]: row for row in await connection.fetch(query, self.oid)}
        for row in await connection.fetch(INDEXES, self.oid):
            self.indexed.add(row["name"])
            if row["is_unique"]:
                self.unique.add(row["name"])
        for field, column in self.mapped.items():
            if column in found:
                row = found[column]
                self.types[field] = kind = NAMES.get(row["type"], row["type"])
                self.deterministic[field], self.bytewise[field] = row["deterministic"], row["bytewise"]
                self._check_type(field, column, kind)
            elif field in REQUIRED or not self._may_be_absent(field, column):
                self.faults.append(self._no_column(field, column, found))
        self._check_unique()

    @staticmethod
    def _may_be_absent(field: str, column: str) -> bool:
        """Mapped to nothing; or one that is used where it is, under its default name."""
        return not column or (field in WHERE_PRESENT and column == getattr(MediaColumns(), field))

    def _no_column(self, field: str, column: str, found: Iterable[str]) -> str:
        lowered = {each.lower().replace("_", ""): each for each in found}
        near = difflib.get_close_matches(column.lower().replace("_", ""), lowered, n=1, cutoff=0.6)
        those = lowered[near[0]] if near else ", ".join(sorted(lowered.values()))
        hint = f"; there {'is' if near else 'are'} {those}"
        absent = "" if field in REQUIRED else ' (set it to "" if the table has none)'
        setting = f"{self.columns_setting}__{field.upper()}"
        return f"{setting} {column or '(empty)'}: no such column in {self.name}{hint}{absent}"

    def _check_type(self, field: str, column: str, kind: str) -> None:
        allowed = ALLOWED.get(field, TIMES)
        if kind not in allowed and field not in ANY_TYPE:
            setting = f"{self.columns_setting}__{field.upper()}"
            self.faults.append(f"{setting} {column}: its type is {kind}; allowed are {', '.join(allowed)}")

    def _check_unique(self) -> None:
        """Rows are removed by id, and joined with one owner: both ids must be unique."""
        column = self.mapped["id"]
        if "id" in self.types and column not in self.unique:
            self.faults.append(
                f"{self.columns_setting}__ID {column}: not unique in {self.name}; name its primary key"
            )
