"""Looks at the real schema before anything is read from it, and says all that is wrong at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from reconciler.catalog import cascades, connections, indexes, triggers
from reconciler.catalog.calls import called
from reconciler.catalog.config import (
    WHERE_PRESENT,
    CatalogConfig,
    KeyColumns,
    MediaColumns,
    column_settings,
    qualified,
    split_table,
)
from reconciler.catalog.connections import Connection
from reconciler.catalog.gateway import ColumnTypes
from reconciler.catalog.schema import SchemaVersion
from reconciler.catalog.triggers import Triggers

OLDEST = 130000
"""Postgres 13: the first with xid8 and pg_current_snapshot()."""

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

COMPARABLE = ({"integer", "bigint"}, {"text", "varchar"}, {"uuid"})
"""Types of a row's key id and the keys' id that an index can compare."""

# What the server is, in one row.
SERVER = """
SELECT current_setting('server_version_num')::int AS version, current_setting('server_version') AS release,
       pg_is_in_recovery() AS in_recovery, current_setting('server_encoding') AS encoding,
       current_user::text AS role
"""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaReport:
    """What was found. With `faults` nothing can be read; `warnings` are for an operator to weigh.

    Each fault and warning is one line that says what to do. `byte_order_index` names the index that
    serves the sweep, None where every window would be sorted. `types` is None where there are faults.
    """

    release: str = ""
    role: str = ""
    revision: str | None = None
    oldest: str | None = None
    byte_order_index: str | None = None
    storage_key_unique: bool = False
    faults: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    types: ColumnTypes | None = None
    triggers: Triggers = Triggers.ABSENT

    @property
    def version(self) -> SchemaVersion:
        """Where our own schema stands."""
        return SchemaVersion(revision=self.revision, oldest=self.oldest)

    @property
    def at_head(self) -> bool:
        """Whether our own schema is one that this program can use."""
        return self.version.misfit is None


async def inspect(config: CatalogConfig) -> SchemaReport:
    """Look at the schema over a connection of its own. Raises CatalogUnavailable, ConfigError (login)."""
    with called(config):
        connection = await connections.connect(config)
        try:
            return await _Inspection(connection, config).report()
        finally:
            await connection.close()


class _Table:
    """One of the two tables, and what is known of it so far."""

    def __init__(self, setting: str, name: str, columns: MediaColumns | KeyColumns) -> None:
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


class _Inspection:
    def __init__(self, connection: Connection, config: CatalogConfig) -> None:
        self._connection = connection
        self._config = config
        self._faults: list[str] = []
        self._warnings: list[str] = []
        tables = config.tables
        self._media = _Table("RECONCILER_CATALOG__MEDIA_TABLE", tables.media_table, tables.media)
        self._keys = _Table("RECONCILER_CATALOG__KEYS_TABLE", tables.keys_table, tables.keys)

    async def report(self) -> SchemaReport:
        server = await self._connection.fetchrow(SERVER)
        assert server is not None
        self._check_server(server["version"], server["release"], server["encoding"])
        if server["in_recovery"]:
            self._faults.append(
                f"RECONCILER_DATABASE_URL {self._config.where}: a replica, whose lag looks like drift;"
                " name the primary"
            )
        for table in (self._media, self._keys):
            await self._look_at(table)
        version = await connections.schema_version(self._connection)
        types, index, found = None, None, Triggers.ABSENT
        if not self._faults:
            found = await triggers.state(self._connection, self._config.tables)
            index = await indexes.find(self._connection, self._config.tables)
            types = self._column_types(index)
            self._weigh(index)
            assert self._media.oid is not None
            cascade = await cascades.warning(
                self._connection, self._config.tables.media_table, self._media.oid
            )
            self._warnings += [cascade] if cascade else []
        return SchemaReport(
            release=server["release"],
            role=server["role"],
            revision=version.revision,
            oldest=version.oldest,
            byte_order_index=index.name if index else None,
            storage_key_unique=self._storage_key in self._media.unique,
            faults=tuple(self._faults),
            warnings=tuple(self._warnings),
            types=types,
            triggers=found,
        )

    @property
    def _storage_key(self) -> str:
        return self._config.tables.media.storage_key

    def _check_server(self, version: int, release: str, encoding: str) -> None:
        if version < OLDEST:
            self._faults.append(
                f"RECONCILER_DATABASE_URL: Postgres {release} is too old; 13 or later is needed"
            )
        if encoding != "UTF8":
            self._faults.append(
                f"RECONCILER_DATABASE_URL: the database's encoding is {encoding}; it must be UTF8"
            )

    async def _look_at(self, table: _Table) -> None:
        found = await self._connection.fetchrow(TABLE, *split_table(table.name))
        if found is None:
            self._faults.append(await self._missing(table))
            return
        name = f"{table.setting} {table.name}"
        if found["kind"] not in {"r", "p"}:
            self._faults.append(f"{name}: not a table but a view; name the table behind it")
            return
        if not (found["reachable"] and found["can_select"]):
            self._faults.append(f"{name}: not readable; GRANT SELECT ON {qualified(table.name)}")
        if found["filtered"]:
            self._faults.append(
                f"{name}: row-level security would hide rows from this role, and their objects would "
                "look orphaned; grant the role BYPASSRLS"
            )
        if found["heirs"]:
            self._faults.append(
                f"{name}: tables inherit from it ({', '.join(found['heirs'])}), and no index keeps an id from"
                " being in two of them; rows are removed by id: make them partitions, or end the inheritance"
            )
        missing = [
            privilege
            for privilege, granted in (
                ("UPDATE", found["can_update"]),
                ("DELETE", found["can_delete"] or table is self._keys),
            )
            if not granted
        ]
        if missing:
            self._warnings.append(
                f"{name}: enough for a dry run; to delete, GRANT {', '.join(missing)} ON"
                f" {qualified(table.name)} (UPDATE to lock rows, which are never changed)"
            )
        table.oid = found["oid"]
        await self._look_at_columns(table)

    async def _missing(self, table: _Table) -> str:
        schema, name = split_table(table.name)
        names = [row["name"] for row in await self._connection.fetch(TABLE_NAMES)]
        lowered = {each.lower(): each for each in names}
        near = difflib.get_close_matches(f"{schema}.{name}".lower(), lowered, n=3, cutoff=0.7)
        hint = f"; there is {', '.join(lowered[each] for each in near)}" if near else ""
        create = " (`reconciler migrate` creates both tables where neither exists)"
        return f"{table.setting} {table.name}: no such table{hint}" + ("" if near else create)

    async def _look_at_columns(self, table: _Table) -> None:
        query = COLUMNS.format(bytewise=indexes.bytewise(self._connection))
        found = {row["name"]: row for row in await self._connection.fetch(query, table.oid)}
        for row in await self._connection.fetch(INDEXES, table.oid):
            table.indexed.add(row["name"])
            if row["is_unique"]:
                table.unique.add(row["name"])
        for field, column in table.mapped.items():
            if column in found:
                row = found[column]
                table.types[field] = kind = NAMES.get(row["type"], row["type"])
                table.deterministic[field], table.bytewise[field] = row["deterministic"], row["bytewise"]
                self._check_type(table, field, column, kind)
            elif field in REQUIRED or not self._may_be_absent(field, column):
                self._faults.append(self._no_column(table, field, column, found))
        self._check_unique(table)

    @staticmethod
    def _may_be_absent(field: str, column: str) -> bool:
        """Mapped to nothing; or one that is used where it is, under its default name."""
        return not column or (field in WHERE_PRESENT and column == getattr(MediaColumns(), field))

    @staticmethod
    def _no_column(table: _Table, field: str, column: str, found: Iterable[str]) -> str:
        lowered = {each.lower().replace("_", ""): each for each in found}
        near = difflib.get_close_matches(column.lower().replace("_", ""), lowered, n=1, cutoff=0.6)
        those = lowered[near[0]] if near else ", ".join(sorted(lowered.values()))
        hint = f"; there {'is' if near else 'are'} {those}"
        absent = "" if field in REQUIRED else ' (set it to "" if the table has none)'
        setting = f"{table.columns_setting}__{field.upper()}"
        return f"{setting} {column or '(empty)'}: no such column in {table.name}{hint}{absent}"

    def _check_type(self, table: _Table, field: str, column: str, kind: str) -> None:
        allowed = ALLOWED.get(field, TIMES)
        if kind not in allowed and field not in ANY_TYPE:
            setting = f"{table.columns_setting}__{field.upper()}"
            self._faults.append(f"{setting} {column}: its type is {kind}; allowed are {', '.join(allowed)}")

    def _check_unique(self, table: _Table) -> None:
        """Rows are removed by id, and joined with one owner: both ids must be unique."""
        column = table.mapped["id"]
        if "id" in table.types and column not in table.unique:
            self._faults.append(
                f"{table.columns_setting}__ID {column}: not unique in {table.name}; name its primary key"
            )

    def _column_types(self, index: indexes.ByteOrder | None) -> ColumnTypes | None:
        media, keys = self._media, self._keys
        kinds = {media.types["virtual_key_id"], keys.types["id"]}
        if not any(kinds <= family for family in COMPARABLE):
            self._faults.append(
                f"{media.columns_setting}__VIRTUAL_KEY_ID {media.mapped['virtual_key_id']}: its type is"
                f" {media.types['virtual_key_id']}, but {keys.columns_setting}__ID is {keys.types['id']};"
                " they must be comparable"
            )
            return None
        # An index serves one collation: what is compared has to be written in the index's.
        collate = ' COLLATE "C"'
        natural = index.natural if index else media.bytewise["storage_key"]
        own_index = self._storage_key in media.indexed and media.deterministic["storage_key"]
        assert media.oid is not None
        assert keys.oid is not None
        return ColumnTypes(
            media_oid=media.oid,
            keys_oid=keys.oid,
            media=media.types,
            keys=keys.types,
            byte_order="" if natural else collate,
            equality="" if natural or (own_index and index is None) else collate,
            unique=self._storage_key in media.unique and media.deterministic["storage_key"],
            virtual_key_index=media.mapped["virtual_key_id"] in media.indexed,
        )

    def _weigh(self, index: indexes.ByteOrder | None) -> None:
        tables = self._config.tables
        if index is None:
            self._warnings.append(
                f"{tables.media_table}: no index on {self._storage_key} in byte order, so each window of "
                "a sweep sorts the table; `reconciler migrate --create-index` builds one without locking"
            )
        for field in ("virtual_key_id", "expires_at", "created_at", "deleted_at"):
            column = self._media.mapped[field]
            if field in self._media.types and column not in self._media.indexed:
                self._warnings.append(
                    f"{tables.media_table}: no index on {column}, so every retention pass reads the table"
                )
        if "last_accessed_at" not in self._media.types:
            self._warnings.append(
                f"{tables.media_table}: no column says when media was last accessed, so none is ever stale"
            )
