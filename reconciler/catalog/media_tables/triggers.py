"""The optional triggers on the gateway's rows: a writer and the collector never miss each other.

Protocol step 6. A writer's row locks the mark of its key, so that no claim takes it while the writer is
open. If the key is claimed, the row is refused. If it was deleted within the upload window, its object is
brought back, or the row is refused where that is impossible. Marks are never changed.

Enabled ALWAYS, so that `session_replication_role` does not skip them, and SECURITY DEFINER, so that the
gateway's role needs no right on our schema. The keys' table has none: a virtual key is never refused.

With them go the triggers that note departures (`departing`), which refuse nothing.
"""

import re
from collections.abc import Iterable
from enum import StrEnum

import asyncpg

from reconciler.catalog.db.config import TableMapping, literal, qualified, quoted
from reconciler.catalog.db.connections import AnyConnection, Connection
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.media_tables import departing, trial
from reconciler.catalog.media_tables.guard import (
    DROP,
    FIXED,
    GUARD_RECORD,
    INSTALL,
    RECORD_FUNCTION,
    TRIGGER,
    compared,
    watched,
)
from reconciler.errors import CatalogUnavailable, ConfigError

# Over all tables that rows can be written to: whether the trigger exists, fires always and for all
# that it should, and is the last to see the row. 23 means: before, for each row, insert or update.
STATE = f"""
WITH RECURSIVE tables (oid) AS (
    SELECT to_regclass($1)::oid
    UNION SELECT i.inhrelid FROM pg_inherits i JOIN tables t ON t.oid = i.inhparent
)
SELECT count(g.oid) = 0 AS absent,
       coalesce(bool_or(g.tgenabled IN ('D', 'R')), false) AS disabled,
       coalesce(bool_or(g.tgenabled = 'O'), false) AS demoted,
       bool_and(g.oid IS NOT NULL AND g.tgtype = 23 AND g.tgqual IS NULL AND g.tgattr::text = '') AS whole,
       bool_or(EXISTS (SELECT FROM pg_trigger later WHERE later.tgrelid = t.oid AND NOT later.tgisinternal
           AND later.tgenabled <> 'D' AND later.tgtype & 3 = 3 AND later.tgtype & 20 <> 0
           AND later.tgname > g.tgname)) AS overtaken,
       ({compared("to_regclass($1)", "$2::text[]")}) AS compared,
       ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = to_regclass($1)
             AND a.attname = ANY($2::text[]) AND a.attgenerated <> '') AS generated
FROM tables t LEFT JOIN pg_trigger g ON g.tgrelid = t.oid AND g.tgname = '{TRIGGER}'
    AND g.tgfoid = to_regprocedure('{SCHEMA}.{RECORD_FUNCTION}')
"""

# Whether the table has such a trigger at all: the first look, since STATE takes ten times as long.
PRESENT = f"SELECT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = to_regclass($1) AND tgname = '{TRIGGER}')"

# Under `quote_all_identifiers` the search path is stored with quotes.
BODIES = f"""
SELECT count(*) = cardinality($1::text[]) FROM unnest($1::text[], $2::text[]) AS w (name, body)
JOIN pg_proc p ON p.oid = to_regprocedure('{SCHEMA}.' || w.name) AND p.prosrc = w.body
WHERE p.prosecdef = (w.name = '{RECORD_FUNCTION}')
  AND (NOT p.prosecdef OR replace(array_to_string(p.proconfig, '; '), '"', '')
                          = 'search_path=pg_catalog, pg_temp; enable_seqscan=off')
"""

# The table, and those of its partitions that are partitioned themselves: partitions can be attached to each.
# On a plain table a vacuum takes the same lock, and must not be kept waiting; on a partition the role may
# lack the right to it.
PARENTS = """
WITH RECURSIVE tables (oid, depth) AS (
    SELECT to_regclass($1)::oid, 0
    UNION ALL SELECT i.inhrelid, t.depth + 1 FROM pg_inherits i JOIN tables t ON t.oid = i.inhparent
)
SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS name,
       c.relkind = 'p' AND has_table_privilege(c.oid, 'UPDATE, DELETE, TRUNCATE') AS lockable
FROM tables t JOIN pg_class c ON c.oid = t.oid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'p' OR t.depth = 0 ORDER BY t.depth, t.oid
"""

# Whether another session holds the lock that attaches a table to one of these, with rows that no trigger has
# seen. Checked where we do not take that lock ourselves.
GROWING = """
SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'relation' AND relation = ANY($1::oid[]) AND granted
               AND mode = 'ShareUpdateExclusiveLock' AND pid IS DISTINCT FROM pg_backend_pid()
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))
"""


class Triggers(StrEnum):
    """The state of the triggers. Only INSTALLED holds writers off; otherwise a claim waits instead."""

    INSTALLED = "installed"
    ABSENT = "absent"
    DISABLED = "disabled"
    DEMOTED = "demoted"
    """Enabled, but not ALWAYS: the state after `DISABLE TRIGGER ALL` and `ENABLE TRIGGER ALL`."""
    OVERTAKEN = "overtaken"
    """Another trigger fires later and may change the row."""
    OUTDATED = "outdated"
    """Not on every partition, or not those of this version and mapping."""


def script(tables: TableMapping) -> str:
    """The statements that install them, in one transaction; repeating it is harmless."""
    return _in_one(_installation(tables))


def _installation(tables: TableMapping) -> tuple[str, ...]:
    values = {
        ":table": literal(qualified(tables.media_table)),
        ":key": literal(tables.media.storage_key),
        ":watched": _array(watched(tables)),
        ":body": literal(GUARD_RECORD),
        ":columns": _array(column for column, _ in tables.media_where),
        ":values": _array(value for _, value in tables.media_where),
    }
    install = re.sub("|".join(values), lambda found: values[found.group()], INSTALL)
    functions = [
        f"CREATE FUNCTION {SCHEMA}.{name} RETURNS {kind} LANGUAGE plpgsql AS {literal(body)}"
        for name, kind, body in FIXED
    ]
    return (*DROP, *departing.DROP, *functions, install.strip(), departing.installation(tables))


def removal() -> str:
    """The statements that remove them, in one transaction."""
    return _in_one((*DROP, *departing.DROP))


async def install(connection: Connection, tables: TableMapping) -> str:
    """Install them unless they are there as they should be, and try them; returns what was done.

    Raises ConfigError where the table or the right to it is missing, or where the gateway's statements
    would fail; then nothing is changed. Raises CatalogUnavailable where an open transaction locks the table.
    """
    table, found = tables.media_table, await state(connection, tables)
    if found is Triggers.INSTALLED and not await departing.whole(connection, tables):
        found = Triggers.OUTDATED
    async with connection.transaction():
        if found is not Triggers.INSTALLED:
            await _execute(connection, ";".join(_installation(tables)), table)
        tried = await trial.attempt(connection, tables)
        if tried.broken:
            raise ConfigError(f"no triggers were installed on {table}: {'; '.join(tried.broken)}")
    untried = "".join(f"; not tried: {line}" for line in tried.untried)
    if found is Triggers.INSTALLED:
        return f"the triggers on {table} are installed already{untried}"
    replaced = "" if found is Triggers.ABSENT else f", which were {found.value}"
    return f"installed the triggers on {table}{replaced}{untried}"


async def remove(connection: Connection, tables: TableMapping) -> str:
    """Remove them, in any state; returns what was done. Raises as `install` does."""
    table = tables.media_table
    noting = await departing.whole(connection, tables)
    if noting is None and await state(connection, tables) is Triggers.ABSENT:
        return f"there are no triggers on {table}"
    await _execute(connection, removal(), table)
    return f"removed the triggers on {table}"


async def _execute(connection: Connection, statements: str, table: str) -> None:
    try:
        await connection.execute(statements)
    except asyncpg.LockNotAvailableError as error:
        raise CatalogUnavailable(
            f"an open transaction keeps {table}, and writers must not queue up behind this one; try again"
        ) from error
    except asyncpg.InsufficientPrivilegeError as error:
        raise ConfigError(
            f"{str(error).splitlines()[0]}: run it as the owner of {table} and of schema {SCHEMA}, or give"
            " an administrator the output of --sql"
        ) from error
    except asyncpg.RaiseError as error:
        raise ConfigError(str(error).splitlines()[0]) from error


async def hold(connection: AnyConnection, tables: TableMapping) -> bool:
    """Whether the triggers saw all that each transaction open at this moment has written.

    Triggers are dropped, disabled and enabled under a lock that excludes writers, so this takes a writer's
    lock for the rest of the caller's transaction. Otherwise a transaction that has switched them off,
    written without them and not committed would be missed (R-33).
    """
    table = qualified(tables.media_table)
    if not await connection.fetchval(PRESENT, table):
        return False
    if await state(connection, tables) is not Triggers.INSTALLED:
        return False
    await connection.execute(f"LOCK TABLE {table} IN ROW EXCLUSIVE MODE")
    growing = []
    for each in await connection.fetch(PARENTS, table):
        if each["lockable"]:
            # Rows can also come with a new partition, under a lock that does not exclude writers.
            await connection.execute(f"LOCK TABLE ONLY {each['name']} IN SHARE UPDATE EXCLUSIVE MODE")
        else:
            growing.append(each["oid"])
    if await connection.fetchval(GROWING, growing):
        return False
    return await state(connection, tables) is Triggers.INSTALLED


async def state(connection: AnyConnection, tables: TableMapping) -> Triggers:
    """The current state of the triggers. Every role may read it."""
    row = await connection.fetchrow(STATE, qualified(tables.media_table), watched(tables))
    assert row is not None
    if row["absent"]:
        return Triggers.ABSENT
    for found in (Triggers.DISABLED, Triggers.DEMOTED, Triggers.OVERTAKEN):
        if row[found.value]:
            return found
    names = [name.replace("key text", "text") for name, _, _ in FIXED]
    bodies = [body for _, _, body in FIXED]
    body = _record_body(tables, row["compared"], row["generated"])
    current = await connection.fetchval(BODIES, [*names, RECORD_FUNCTION], [*bodies, body])
    return Triggers.INSTALLED if current and row["whole"] else Triggers.OUTDATED


def _record_body(tables: TableMapping, compared: list[str], generated: list[str]) -> str:
    """The body of the trigger's function, as INSTALL makes it."""
    names = [quoted(name) for name in compared]
    counts = "".join(
        f' AND NEW.{quoted(column)}::text COLLATE "C" = {literal(value)}'
        for column, value in tables.media_where
        if column not in generated
    )
    body = GUARD_RECORD.replace("<key>", quoted(tables.media.storage_key))
    body = body.replace("<old>", ", ".join(f"OLD.{name}" for name in names))
    body = body.replace("<new>", ", ".join(f"NEW.{name}" for name in names))
    return body.replace("<counts>", counts)


def _array(texts: Iterable[str]) -> str:
    return f"ARRAY[{', '.join(map(literal, texts))}]::text[]"


def _in_one(statements: Iterable[str]) -> str:
    return "".join(f"{statement};\n" for statement in ("BEGIN", *statements, "COMMIT"))
