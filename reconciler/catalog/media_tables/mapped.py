"""One of the gateway's two tables as it really is, and the faults of its mapping."""

import difflib
from collections.abc import Iterable

from reconciler.catalog.db.config import (
    WHERE_PRESENT,
    KeyColumns,
    MediaColumns,
    TableMapping,
    column_settings,
    qualified,
    quoted,
    split_columns,
    split_table,
)
from reconciler.catalog.db.connections import Connection, Row
from reconciler.catalog.db.expressions import ColumnType
from reconciler.catalog.media_tables import columns
from reconciler.catalog.media_tables.columns import INEXACT, Column, Found, ambiguous, misfit

REQUIRED = frozenset({"id", "storage_key", "is_enabled"})
DEFAULTS = column_settings(KeyColumns()) | column_settings(MediaColumns())
"""The gateway's own names, of either table: one name stands for one field."""

# A table, or any other relation of its name, and whether this role may read it.
TABLE = """
WITH RECURSIVE tables (oid) AS (
    SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1::text AND c.relname = $2::text
    UNION SELECT i.inhrelid FROM pg_inherits i JOIN tables t ON t.oid = i.inhparent
)
SELECT c.oid, c.relkind::text AS kind, row_security_active(c.oid) AS filtered,
       has_schema_privilege(n.oid, 'USAGE') AS reachable,
       has_table_privilege(c.oid, 'SELECT') AS can_select,
       current_user::text AS role,
       ARRAY(SELECT i.inhrelid::regclass::text FROM pg_inherits i
             WHERE i.inhparent = c.oid AND c.relkind = 'r' ORDER BY 1) AS heirs,
       EXISTS (SELECT FROM pg_subscription_rel s JOIN tables t ON t.oid = s.srrelid) AS subscribed
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


class MappedTable:
    """What is known of the table so far. With `faults` it cannot be read; an operator weighs the `warnings`.

    With `shrinks`, rows are removed from it, and may be identified by several columns. `columns` are by
    field, and only of fields that the table has; `identity` are the columns that identify a row.
    """

    def __init__(
        self,
        setting: str,
        name: str,
        mapped: MediaColumns | KeyColumns,
        *,
        shrinks: bool,
        unit: str | None = None,
    ) -> None:
        self.setting = setting
        self.columns_setting = (
            "RECONCILER_CATALOG__MEDIA_COLUMNS" if "MEDIA" in setting else "RECONCILER_CATALOG__KEY_COLUMNS"
        )
        self.name = name
        self.mapped = column_settings(mapped)
        self.oid: int | None = None
        self.columns: dict[str, Column] = {}
        self.identity: tuple[Column, ...] = ()
        self.faults: list[str] = []
        self.warnings: list[str] = []
        self._found = Found(columns={}, indexed=frozenset(), uniques=())
        self._shrinks = shrinks
        self._unit = unit

    @property
    def types(self) -> dict[str, ColumnType]:
        """Types by field, of the fields that the table has."""
        return {field: column.type for field, column in self.columns.items()}

    def indexed(self, field: str) -> bool:
        """Whether an index begins with that field's column."""
        return self.mapped[field] in self._found.indexed

    def unique(self, field: str) -> bool:
        """Whether no two rows have the same value in that field's column."""
        return self._found.unique(self.mapped[field])

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
            self.faults.append(f"{name}: not readable by role {found['role']}; {_to_read(self.name, found)}")
        if found["filtered"]:
            self.faults.append(
                f"{name}: row-level security would hide rows from this role, and their objects would "
                "look orphaned; grant the role BYPASSRLS"
            )
        if found["subscribed"]:
            self.faults.append(
                f"{name}: filled by a logical subscription, whose lag looks like drift; name the publisher's"
                " database, or DROP SUBSCRIPTION where this one is the primary now"
            )
        if found["heirs"]:
            self.faults.append(
                f"{name}: tables inherit from it ({', '.join(found['heirs'])}), and no index keeps an id from"
                " being in two of them; rows are removed by id: make them partitions, or end the inheritance"
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
        assert self.oid is not None
        self._found = found = await columns.find(connection, self.oid)
        for field, column in self.mapped.items():
            if field == "id" and column not in found.columns and self._shrinks:
                self._check_ids(split_columns(column))
            elif column in found.columns:
                self.columns[field] = found.columns[column]
                self._check_type(field, found.columns[column])
            elif field in REQUIRED or not self._may_be_absent(field, column):
                self.faults.append(self._no_column(field, column))
        if "id" in self.columns:
            self._check_unique((self.mapped["id"],))

    def check_filter(self, names: Iterable[str]) -> None:
        """Check that the row filter's columns exist; `row_filter` checks their types."""
        for name in names:
            if name not in self._found.columns:
                wrong = f"no such column in {self.name}{self._near(name)}"
                self.faults.append(f"RECONCILER_CATALOG__MEDIA_WHERE__{name}: {wrong}")

    def _check_ids(self, names: tuple[str, ...]) -> None:
        """Check several columns that identify a row together."""
        missing = [name for name in names if name not in self._found.columns]
        self.faults += [self._no_column("id", name) for name in missing]
        if not missing:
            self._check_unique(names)

    @staticmethod
    def _may_be_absent(field: str, column: str) -> bool:
        """Whether it is mapped to "", or has the default name of a column that is used only where present."""
        return not column or (field in WHERE_PRESENT and column == DEFAULTS[field])

    def _no_column(self, field: str, column: str) -> str:
        absent = "" if field in REQUIRED else ' (set it to "" if the table has none)'
        named = self._named(field, column or "(empty)")
        return f"{named}: no such column in {self.name}{self._near(column)}{absent}"

    def _near(self, column: str) -> str:
        """The end of a message: the column that may be meant, or all that exist."""
        lowered = {each.lower().replace("_", ""): each for each in self._found.columns}
        near = difflib.get_close_matches(column.lower().replace("_", ""), lowered, n=1, cutoff=0.6)
        those = lowered[near[0]] if near else ", ".join(sorted(lowered.values()))
        return f"; there {'is' if near else 'are'} {those}"

    def _check_type(self, field: str, column: Column) -> None:
        wrong = misfit(field, column, self._unit)
        if wrong is None and field == ("virtual_key_id" if self._shrinks else "id"):
            wrong = ambiguous(column)
        if wrong is not None:
            self.faults.append(f"{self._named(field, column.name)}: {wrong}")

    def _check_unique(self, names: tuple[str, ...]) -> None:
        """Rows are removed by columns that identify them, and joined with one owner by a single column."""
        setting, identity = self._named("id", ",".join(names)), self._found.identity(names)
        if identity is None or not (self._shrinks or identity == names):
            advice = "name its primary key" if self._shrinks else "name a column that is"
            self.faults.append(f"{setting}: not unique in {self.name}; {advice}")
            return
        self.identity = tuple(self._found.columns[name] for name in identity)
        for each in self.identity:
            if len(identity) > 1 and each.type.kind in INEXACT:
                why = f"{each.name} of its primary key is {each.type.kind}, whose values have several texts"
                self.faults.append(f"{setting}: {why}; name other columns that are unique together")

    def _named(self, field: str, column: str) -> str:
        return f"{self.columns_setting}__{field.upper()} {column}"


def _to_read(table: str, found: Row) -> str:
    """Statements to paste that grant this role what it lacks to read the table."""
    schema, role = quoted(split_table(table)[0]), quoted(found["role"])
    reach = "" if found["reachable"] else f"GRANT USAGE ON SCHEMA {schema} TO {role}; "
    return f"{reach}GRANT SELECT ON {qualified(table)} TO {role};"
