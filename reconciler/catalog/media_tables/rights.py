"""What the role may do: asked before anything is deleted, since half of a deletion helps nobody (R-55)."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.catalog.db.config import quoted
from reconciler.catalog.db.connections import AnyConnection
from reconciler.catalog.db.schema import SCHEMA

# Of one table. Locking rows takes UPDATE of any column, though none is changed. An undo inserts every
# column that the table does not compute by itself.
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

# Of our own schema: a table is made there for a listing without order. NULL where it is not yet there.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Lacking:
    """What is missing, in words, and the statements that grant it, each with its semicolon."""

    what: str
    grants: str


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
    """What the role was found to have. `keys` None where no keys' table is mapped."""

    role: str
    media: _Table
    keys: _Table | None
    own: bool

    def lacking(self, *, undoable: bool) -> Lacking | None:
        """What live takes and is missing; bringing rows back counts where deletions are `undoable`."""
        wanted = [(self.media, MEDIA + (UNDO if undoable else ()))]
        wanted += [(self.keys, KEYS)] if self.keys else []
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
            grants.append(
                f"GRANT USAGE, CREATE ON SCHEMA {SCHEMA} TO {role};"
                f" GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {SCHEMA} TO {role};"
            )
        if not what:
            return None
        told = f"role {role} lacks {', and '.join(what)}, which deleting takes"
        return Lacking(what=told, grants=" ".join(dict.fromkeys(grants)))


async def look(connection: AnyConnection, media: int, keys: int | None) -> Rights:
    """What the role of this session may do with the tables of these oids, and in our own schema."""
    role = await connection.fetchval("SELECT current_user::text")
    own = await connection.fetchrow(OWN)
    tables = [await _table(connection, oid) for oid in (media, keys) if oid is not None]
    return Rights(
        role,
        tables[0],
        tables[1] if len(tables) > 1 else None,
        own is None or (own["schema"] and own["tables"] is not False),
    )


async def _table(connection: AnyConnection, oid: int) -> _Table:
    row = await connection.fetchrow(TABLE, oid)
    assert row is not None, "it was found before"
    granted = frozenset(right for right in ("USAGE", *MEDIA, *UNDO) if row[right])
    return _Table(row["schema"], row["name"], granted)


def revoked(table: str, role: str) -> str:
    """One line for a right that went while the program ran."""
    return (
        f"role {quoted(role)} may no longer remove rows of {table}: nothing is deleted, objects neither;"
        f" GRANT DELETE ON {table} TO {quoted(role)};"
    )
