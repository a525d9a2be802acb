"""The role's rights: checked before anything is deleted, since half a deletion is of no use (R-55)."""

from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.catalog.db.config import quoted
from reconciler.catalog.db.connections import AnyConnection
from reconciler.catalog.db.schema import SCHEMA

# Rights on one table. Locking rows needs UPDATE on any column, though none is changed. An undo inserts every
# column that the table does not compute itself.
TABLE = """
SELECT n.nspname::text AS schema, c.relname::text AS name,
       has_schema_privilege(n.oid, 'USAGE') AS "USAGE",
       has_table_privilege(c.oid, 'SELECT') AS "SELECT",
       has_any_column_privilege(c.oid, 'UPDATE') AS "UPDATE",
       has_table_privilege(c.oid, 'DELETE') AS "DELETE",
       (SELECT bool_and(has_column_privilege(c.oid, a.attnum, 'INSERT')) FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '') AS "INSERT"
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::oid
"""

# Rights on our own schema: a listing without order makes a table there. NULL where there is no schema yet.
OWN = f"""
SELECT has_schema_privilege(n.oid, 'USAGE') AND has_schema_privilege(n.oid, 'CREATE') AS schema,
       (SELECT bool_and(has_table_privilege(c.oid, right_)) FROM pg_class c,
               unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS right_
        WHERE c.relnamespace = n.oid AND c.relkind = 'r' AND c.relpersistence = 'p'
          AND c.relname <> 'alembic_version') AS tables
FROM pg_namespace n WHERE n.nspname = '{SCHEMA}'
"""

MEDIA = ("SELECT", "UPDATE", "DELETE")
UNDO = ("INSERT",)
KEYS = ("SELECT", "UPDATE")
OTHERS = ("SELECT",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lacking:
    """The missing rights, in words, and the statements that grant them, each with its semicolon."""

    what: str
    statements: tuple[str, ...]

    @property
    def grants(self) -> str:
        """The statements in one line."""
        return " ".join(self.statements)


@dataclass(frozen=True, slots=True)
class _Table:
    schema: str
    name: str
    granted: frozenset[str]

    @property
    def qualified(self) -> str:
        return f"{quoted(self.schema)}.{quoted(self.name)}"


@dataclass(frozen=True, slots=True)
class Rights:
    """The role's rights. `keys` is None where no keys' table is mapped; the `others` are only read."""

    role: str
    media: _Table
    keys: _Table | None
    own: bool
    others: tuple[_Table, ...] = ()

    def lacking(self, *, undoable: bool) -> Lacking | None:
        """Missing rights that live mode needs; with `undoable` also those that restore rows."""
        wanted = [(self.media, MEDIA + (UNDO if undoable else ()))]
        wanted += [(self.keys, KEYS)] if self.keys else []
        wanted += [(other, OTHERS) for other in self.others]
        what, grants, role = [], [], quoted(self.role)
        for table, needed in wanted:
            if "USAGE" not in table.granted:
                what.append(f"USAGE on schema {quoted(table.schema)}")
                grants.append(f"GRANT USAGE ON SCHEMA {quoted(table.schema)} TO {role};")
            if missing := [right for right in needed if right not in table.granted]:
                what.append(f"{', '.join(missing)} on {table.qualified}")
                grants.append(f"GRANT {', '.join(missing)} ON {table.qualified} TO {role};")
        if not self.own:
            what.append(f"rights on schema {SCHEMA} and its tables")
            grants.append(f"GRANT USAGE, CREATE ON SCHEMA {SCHEMA} TO {role};")
            grants.append(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {SCHEMA} TO {role};")
        if not what:
            return None
        line = f"role {role} lacks {', and '.join(what)}, which deleting takes"
        return Lacking(what=line, statements=tuple(dict.fromkeys(grants)))


async def look(connection: AnyConnection, media: int, keys: int | None, others: Sequence[int] = ()) -> Rights:
    """The rights of this session's role on the tables of these oids, and in our own schema."""
    role = await connection.fetchval("SELECT current_user::text")
    own = await connection.fetchrow(OWN)
    tables = [await _table(connection, oid) for oid in (media, keys) if oid is not None]
    return Rights(
        role,
        tables[0],
        tables[1] if len(tables) > 1 else None,
        own is None or (own["schema"] and own["tables"] is not False),
        tuple([await _table(connection, oid) for oid in others]),
    )


async def _table(connection: AnyConnection, oid: int) -> _Table:
    row = await connection.fetchrow(TABLE, oid)
    assert row is not None, "it was found before"
    granted = frozenset(right for right in ("USAGE", *MEDIA, *UNDO) if row[right])
    return _Table(row["schema"], row["name"], granted)


def revoked(table: str, role: str) -> str:
    """One line for a right that was revoked while the program ran."""
    return (
        f"role {quoted(role)} may no longer remove rows of {table}: nothing is deleted, objects neither;"
        f" GRANT DELETE ON {table} TO {quoted(role)};"
    )
