"""Looks at every table of a strange database, and at some rows of each. Only reads, and never for long."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import asyncpg

from reconciler.catalog.db import connections
from reconciler.catalog.db.calls import called
from reconciler.catalog.db.config import CatalogConfig, literal, qualified, quoted, split_table
from reconciler.catalog.db.connections import Connection, Row
from reconciler.catalog.media_tables import columns
from reconciler.model import KeyForm, SeenColumn, SeenTable, holds_several

TABLES_AT_MOST = 1_000
SAMPLE = 200
"""Rows of each table whose values are looked at."""
LONGEST = 2048
"""The most bytes of a value that may name an object."""
COUNTED = 10_000
"""Rows that are counted where the statistics know nothing of a table."""
COUNTED_BY_PREFIX = 1_000_000
PREFIXES = 100
SOON = "2s"
"""The longest that a search for the first values of one column may take."""

TEXTS = frozenset(columns.ALLOWED["storage_key"])
ARRAYS = frozenset(f"{kind}[]" for kind in TEXTS)
TELLING = 6
"""Characters from which on a text is not at the end of another one by chance."""
HELD = 32
"""Texts of one array or JSON that are looked at, the first."""
LARGEST = 65_536
"""The most bytes, as stored, of such a value."""
STRINGS = """'strict $.** ? (@.type() == "string")'"""
NUMBERS = frozenset({"integer", "bigint", "numeric", "double precision"})
"""Types in which times may be counted; their values say in which unit."""

UNREADABLE = (
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.DataError,
)
"""A table that others have locked or dropped rights on, or with a column that cannot be computed."""

# Tables, and not their partitions, which belong to one.
TABLES = """
SELECT c.oid, n.nspname || '.' || c.relname AS name, c.reltuples::bigint AS rows,
       has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
           AND NOT row_security_active(c.oid) AS readable
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
  AND n.nspname NOT IN ('information_schema', 'reconciler') AND n.nspname NOT LIKE 'pg\\_%'
  AND c.relname <> 'alembic_version' AND strpos(n.nspname || c.relname, '.') = 0
ORDER BY 2 LIMIT $1
"""

# Foreign keys of one column: it, and the table and column that it names.
OWNERS = """
SELECT a.attname::text AS name, n.nspname || '.' || c.relname AS target, b.attname::text AS there
FROM pg_constraint k
JOIN pg_class c ON c.oid = k.confrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
JOIN pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = k.confkey[1]
WHERE k.contype = 'f' AND k.conrelid = $1::oid AND cardinality(k.conkey) = 1
"""


# The columns that a view reads, through other views too.
BEHIND = """
WITH RECURSIVE views (oid) AS (
    SELECT to_regclass(named.name)::oid FROM unnest($1::text[]) AS named (name)
    UNION SELECT d.refobjid FROM views v JOIN pg_rewrite w ON w.ev_class = v.oid
        JOIN pg_depend d ON d.objid = w.oid AND d.classid = 'pg_rewrite'::regclass
            AND d.refclassid = 'pg_class'::regclass
)
SELECT DISTINCT n.nspname || '.' || c.relname || '.' || a.attname AS name
FROM views v JOIN pg_rewrite w ON w.ev_class = v.oid
JOIN pg_depend d ON d.objid = w.oid AND d.classid = 'pg_rewrite'::regclass
    AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0
JOIN pg_class c ON c.oid = d.refobjid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid
WHERE c.relkind IN ('r', 'p')
"""


class Survey:
    """One database, read bit by bit."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def names(self) -> tuple[str, str]:
        """The names of the database and of this role."""
        found = await self._connection.fetchrow("SELECT current_database()::text, current_user::text")
        assert found is not None, "a SELECT without FROM has a row"
        return found[0], found[1]

    async def tables(self) -> Sequence[SeenTable]:
        """Every table, with some values of those columns that may name objects or count times."""
        return [await self._table(row) for row in await self._connection.fetch(TABLES, TABLES_AT_MOST)]

    async def columns_behind(self, relations: Sequence[str]) -> Collection[str]:
        """The tables' columns that those of these which are views read, as `schema.table.column`."""
        rows = await self._connection.fetch(BEHIND, [qualified(each) for each in relations])
        return {row["name"] for row in rows}

    async def values(
        self, table: str, column: str, where: Mapping[str, str], prefixes: Sequence[str], form: KeyForm
    ) -> Sequence[str]:
        """Up to 1,000 values of rows whose objects are in the prefixes, from all over the table."""
        inside = " OR ".join(f"left(k, {len(prefix)}) = {literal(prefix)}" for prefix in prefixes)
        rows = await self._connection.fetch(
            f"SELECT v FROM (SELECT {_text(column)} AS v, {expression(column, form)} AS k"
            f" FROM {qualified(table)}{await self._part(table)} WHERE {_counts(column, where)}) named"
            f" WHERE {inside} LIMIT 1000"
        )
        return [row["v"] for row in rows]

    async def rows_by_prefix(
        self, table: str, column: str, where: Mapping[str, str], form: KeyForm
    ) -> Mapping[str, int]:
        """Rows by the first part of their object's key ("" for a key without a slash), the most first.

        At most a million rows are counted.
        """
        rows = await self._connection.fetch(
            "SELECT left(k, strpos(k, '/')) AS prefix, count(*) AS rows FROM"
            f" (SELECT {expression(column, form)} AS k FROM {qualified(table)}"
            f" WHERE {_counts(column, where)} LIMIT {COUNTED_BY_PREFIX}) named"
            f" GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {PREFIXES}"
        )
        return {row["prefix"]: row["rows"] for row in rows}

    async def _table(self, row: Row) -> SeenTable:
        with suppress(*UNREADABLE):
            if row["readable"]:
                return await self._readable(row)
        return SeenTable(name=row["name"], rows=max(row["rows"], 0), readable=False)

    async def _readable(self, row: Row) -> SeenTable:
        found = await columns.find(self._connection, row["oid"])
        owners = await self._connection.fetch(OWNERS, row["oid"])
        values = await self._sample(row["name"], found)
        held = await self._held(row["name"], found)
        # The primary key comes first.
        identities = [names for names in found.uniques if all(found.columns[name].required for name in names)]
        return SeenTable(
            name=row["name"],
            rows=await self._rows(row),
            columns=[
                SeenColumn(
                    name=each.name,
                    kind=each.type.kind,
                    required=each.required,
                    generated=each.generated,
                    values=values.get(each.name, ()),
                    held=held.get(each.name, ()),
                )
                for each in found.columns.values()
            ],
            identity=next(iter(identities), ()),
            uniques=frozenset(names[0] for names in found.uniques if len(names) == 1),
            owners={each["name"]: (each["target"], each["there"]) for each in owners},
        )

    async def _rows(self, row: Row) -> int:
        if row["rows"] > 0:
            return int(row["rows"])
        limited = f"SELECT FROM {qualified(row['name'])} LIMIT {COUNTED}"
        counted: int = await self._connection.fetchval(f"SELECT count(*) FROM ({limited}) counted")
        return counted

    async def _sample(self, table: str, found: columns.Found) -> Mapping[str, Sequence[str | None]]:
        """Some rows' values of the columns that matter. A column that is empty in these is searched."""
        texts = [each.name for each in found.columns.values() if each.type.kind in TEXTS]
        wanted = [*texts, *(each.name for each in found.columns.values() if each.type.kind in NUMBERS)]
        if not wanted:
            return {}
        rows = await self._connection.fetch(
            f"SELECT {', '.join(map(_short, wanted))}"
            f" FROM {qualified(table)}{await self._part(table)} LIMIT {SAMPLE}"
        )
        values: dict[str, list[str | None]] = {
            name: [row[place] for row in rows] for place, name in enumerate(wanted)
        }
        for name in texts:
            if len(rows) == SAMPLE and not any(values[name]):
                values[name] = [*await self._first(table, name)]
        return values

    async def _held(self, table: str, found: columns.Found) -> Mapping[str, Sequence[Sequence[str]]]:
        """Texts in the arrays and JSON of some rows, but those that another column of the row has as well."""
        several = [each for each in found.columns.values() if holds_several(each.type.kind)]
        wanted = [each for each in several if each.type.kind in ARRAYS or not each.type.kind.endswith("[]")]
        own = ", ".join(_short(each.name) for each in found.columns.values() if each.type.kind in TEXTS)
        held: dict[str, Sequence[Sequence[str]]] = {}
        for each in wanted:
            query = (
                f"SELECT {_texts_in(each.name, each.type.kind)} AS held, ARRAY[{own}]::text[] AS own"
                f" FROM {qualified(table)}{await self._part(table)}"
                f" WHERE {quoted(each.name)} IS NOT NULL LIMIT {SAMPLE}"
            )
            # JSON may hold what Postgres cannot give as text, such as a NUL.
            with suppress(*UNREADABLE):
                async with self._connection.transaction():
                    await self._connection.execute(f"SET LOCAL statement_timeout = '{SOON}'")
                    rows = await self._connection.fetch(query)
                    held[each.name] = [_others(row["held"] or (), row["own"]) for row in rows]
        return held

    async def _first(self, table: str, column: str) -> Sequence[str]:
        """The first values of a column that is mostly empty, if they are found soon."""
        query = f"SELECT {_short(column)} FROM {qualified(table)} WHERE {quoted(column)} IS NOT NULL LIMIT 50"
        try:
            async with self._connection.transaction():
                await self._connection.execute(f"SET LOCAL statement_timeout = '{SOON}'")
                return [row[0] for row in await self._connection.fetch(query) if row[0]]
        except asyncpg.QueryCanceledError:
            return []

    async def _part(self, table: str) -> str:
        """SQL that takes a part of a large table, from all over it: the first rows are the oldest."""
        rows = await self._connection.fetchval(
            "SELECT c.reltuples FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = $1 AND c.relname = $2",
            *split_table(table),
        )
        share = min(100.0, 100 * 5_000 / rows) if rows > 0 else 100.0
        return "" if share >= 100 else f" TABLESAMPLE SYSTEM ({max(share, 0.0001):.4f})"  # noqa: PLR2004


@asynccontextmanager
async def opened(config: CatalogConfig) -> AsyncIterator[Survey]:
    """A survey over a connection of its own. Raises CatalogUnavailable, ConfigError (login)."""
    with called(config):
        connection = await connections.connect(config)
        try:
            yield Survey(connection)
        finally:
            await connection.close()


def _text(column: str) -> str:
    """The column as text that is compared by its bytes."""
    return f'({quoted(column)}::text COLLATE "C")'


def _short(column: str) -> str:
    return f"CASE WHEN octet_length({quoted(column)}::text) <= {LONGEST} THEN {quoted(column)}::text END"


def _others(held: Sequence[str], own: Sequence[str | None]) -> Sequence[str]:
    """The texts that do not spell out what another column of their row says, such as its own key, as it is or
    as an address. What has more in front, such as `thumbs/` and that key, names another object.
    """
    said = [text for text in own if text and len(text) >= TELLING]

    def spells(text: str, other: str) -> bool:
        front = text.removesuffix(other)
        return text.endswith(other) and (front in {"", "/"} or "://" in front)

    return [text for text in held if not any(spells(text, other) for other in said)]


def _texts_in(column: str, kind: str) -> str:
    """SQL: an array of the first texts in an array, or in JSON at any depth."""
    texts = (
        f"SELECT text FROM ({_each_text(column, kind)}) t WHERE octet_length(text) <= {LONGEST} LIMIT {HELD}"
    )
    return f"CASE WHEN pg_column_size({quoted(column)}) <= {LARGEST} THEN ARRAY({texts}) END"


def _each_text(column: str, kind: str) -> str:
    """SQL of a query for the texts in one value."""
    if not holds_several(kind):
        return f"SELECT {quoted(column)}::text AS text"
    if kind.endswith("[]"):
        return f"SELECT u.text FROM unnest({quoted(column)}::text[]) AS u (text)"
    return f"SELECT j.j #>> '{{}}' AS text FROM jsonb_path_query({quoted(column)}::jsonb, {STRINGS}) AS j (j)"


def view_of_keys(table: str, column: str, kind: str, form: KeyForm, role: str) -> tuple[str, str]:
    """Statements, on one line, that make a view of the keys in a column, one a row, which the role may read;
    and the name of the view's column.
    """
    schema, name = split_table(table)
    view, key = f"{schema}.{name}_{column}_keys", _spelled("t.text", form)
    keys = f"SELECT {key} AS key FROM {qualified(table)} CROSS JOIN LATERAL ({_each_text(column, kind)}) t"
    made = f"CREATE OR REPLACE VIEW {qualified(view)} AS {keys};"
    return f"{made} GRANT SELECT ON {qualified(view)} TO {quoted(role)};", f"{view}.key"


def _counts(column: str, where: Mapping[str, str]) -> str:
    """SQL: whether a row may name an object of this bucket."""
    filters = "".join(f" AND {_text(name)} = {literal(value)}" for name, value in where.items())
    return f"{quoted(column)} IS NOT NULL{filters}"


def expression(column: str, form: KeyForm) -> str:
    """SQL of the object's key; immutable, so that a generated column can hold it."""
    return _spelled(_text(column), form)


def _spelled(text: str, form: KeyForm) -> str:
    if form.strip:
        size, front = len(form.strip), literal(form.strip)
        text = f"CASE WHEN left({text}, {size}) = {front} THEN substr({text}, {size + 1}) ELSE {text} END"
    if form.cut_query:
        text = f"split_part({text}, '?', 1)"
    return f"{literal(form.add)} || {text}" if form.add else text


def generated_column(table: str, column: str, made: str, form: KeyForm) -> Sequence[str]:
    """The statements, for the table's owner, that make a column of the objects' keys, and its index."""
    return (
        (
            f'ALTER TABLE {qualified(table)} ADD COLUMN {quoted(made)} text COLLATE "C"'
            f" GENERATED ALWAYS AS ({expression(column, form)}) STORED;"
        ),
        f"CREATE INDEX CONCURRENTLY ON {qualified(table)} ({quoted(made)});",
    )
