"""Tries the triggers on the gateway's own table, as its INSERT and UPDATE would. All is rolled back.

It writes an existing row once more, unchanged, while its key is claimed, and again while its object is
gone. The triggers refuse it before any constraint is checked, so we need not invent a valid row. The
table's own BEFORE triggers fire too; no others can.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg

from reconciler.catalog.db import connections
from reconciler.catalog.db.calls import called
from reconciler.catalog.db.config import CatalogConfig, TableMapping, literal, qualified, quoted
from reconciler.catalog.db.connections import AnyConnection
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.media_tables import row_filter
from reconciler.catalog.media_tables.guard import REFUSED, compared, watched
from reconciler.model import RESERVED_PREFIX

SCRATCH = f"{RESERVED_PREFIX}trial"
"""The key to try with an empty table."""

OURS = "function reconciler.guard_"
"""A part of the context of errors that our own functions raised."""

CLAIM = f"""
WITH pass AS (
    INSERT INTO {SCHEMA}.passes (kind, cutoff, config_hash, mode, state, epoch, tally)
    VALUES ('sweep', clock_timestamp(), '', 'dry_run', 'failed', 0, '{{}}') RETURNING id
)
INSERT INTO {SCHEMA}.marks (storage_key, verdict, reason, bytes, pass_id, first_seen_at, last_seen_at,
                            last_pass_id, sightings, due_at, state)
SELECT $1, 'orphan', '', 0, id, clock_timestamp(), clock_timestamp(), id, 1, 'infinity', 'claimed' FROM pass
"""

UNCLAIM = f"DELETE FROM {SCHEMA}.marks WHERE storage_key = $1"

INSERT_TOMBSTONE = f"""
INSERT INTO {SCHEMA}.tombstones (storage_key, verdict, operation_id, gone_at, ends_at, recoverable)
VALUES ($1, 'orphan', gen_random_uuid(), clock_timestamp(), clock_timestamp() + interval '1 hour', false)
ON CONFLICT (storage_key) DO UPDATE SET ends_at = excluded.ends_at, recoverable = false
"""

# The columns to copy a row by, and those that the triggers compare.
COLUMNS = f"""
SELECT ARRAY(SELECT attname::text FROM pg_attribute
             WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
             ORDER BY attnum) AS copied,
       ({compared("to_regclass($1)", "$2::text[]")}) AS compared
"""


@dataclass(slots=True)
class Trial:
    """`broken`: the gateway's statements that fail, or are let through. `untried`: those that could not be
    tried, with the reason. Each is one line; `tried` names those that were refused, as they should be.
    """

    tried: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    untried: list[str] = field(default_factory=list)


async def of(config: CatalogConfig) -> Trial:
    """Try the triggers over a dedicated connection."""
    with called(config):
        connection = await connections.connect(config)
        try:
            tables, _ = await row_filter.typed(connection, config.tables)
            return await attempt(connection, tables)
        finally:
            await connection.close()


async def attempt(connection: AnyConnection, tables: TableMapping) -> Trial:
    """Try a table whose triggers are installed; within a transaction it uses a savepoint."""
    trial = Trial()
    async with _rolled_back(connection):
        try:
            key, statements = await _statements(connection, tables)
            await connection.execute(CLAIM, key)
            await _try_all(connection, trial, statements, "claimed")
            await connection.execute(UNCLAIM, key)
            await connection.execute(INSERT_TOMBSTONE, key)
            await _try_all(connection, trial, statements, "gone")
            await connection.execute(f"SELECT {SCHEMA}.guard_probe($1)", key)
            if trial.untried:
                call = f"SELECT {SCHEMA}.guard_keys($1)"
                await _try(connection, trial, "the triggers' function by itself", call, key)
        except asyncpg.PostgresError as error:
            (trial.broken if _ours(error) else trial.untried).append(_line("the triggers", error))
    return trial


async def _statements(connection: AnyConnection, tables: TableMapping) -> tuple[str, dict[str, str]]:
    """A key without a mark, and the gateway's statements that write it, by name."""
    media, key = qualified(tables.media_table), quoted(tables.media.storage_key)
    found = await connection.fetchrow(COLUMNS, media, watched(tables))
    assert found is not None, "a SELECT without FROM has a row"
    counting = {tables.media.storage_key: SCRATCH, **dict(tables.media_where)}
    others = [quoted(name) for name in found["compared"] if name not in counting]
    counts = "".join(
        f' AND {quoted(column)}::text COLLATE "C" = {literal(value)}' for column, value in tables.media_where
    )
    given = "".join(f", {name} IS NOT NULL" for name in others)
    row = await connection.fetchrow(
        f'SELECT tableoid::regclass::text, ctid::text, {key}::text COLLATE "C"{given} FROM {media}'
        f" WHERE {key} IS NOT NULL AND NOT EXISTS (SELECT FROM {SCHEMA}.marks"
        f' WHERE storage_key = {key}::text COLLATE "C"){counts} LIMIT 1'
    )
    if row is None:
        names, values = ", ".join(map(quoted, counting)), ", ".join(map(literal, counting.values()))
        return SCRATCH, {"INSERT": f"INSERT INTO {media} ({names}) VALUES ({values})"}
    part, place, written, *present = row
    names = ", ".join(map(quoted, found["copied"]))
    statements = {
        "INSERT": f"INSERT INTO {media} ({names}) OVERRIDING SYSTEM VALUE"
        f" SELECT {names} FROM ONLY {part} WHERE ctid = '{place}'"
    }
    changed = [name for name, there in zip(others, present, strict=True) if there]
    if changed:
        statements["UPDATE"] = f"UPDATE ONLY {part} SET {changed[0]} = NULL WHERE ctid = '{place}'"
    return written, statements


async def _try_all(connection: AnyConnection, trial: Trial, statements: dict[str, str], state: str) -> None:
    for name, statement in statements.items():
        await _try(connection, trial, f"{name} of a key that is {state}", statement)


async def _try(connection: AnyConnection, trial: Trial, name: str, statement: str, *values: str) -> None:
    """Run a statement that has to be refused, and record the result."""
    try:
        async with _rolled_back(connection):
            done = await connection.execute(statement, *values)
    except asyncpg.PostgresError as error:
        if error.sqlstate == REFUSED:
            trial.tried.append(name)
        elif isinstance(error, asyncpg.UniqueViolationError) and not _ours(error):
            trial.broken.append(f"{name} is let through")  # indexes are checked after every trigger
        else:
            (trial.broken if _ours(error) else trial.untried).append(_line(name, error))
        return
    if done.endswith(" 0"):
        trial.untried.append(f"{name}: nothing was written, a trigger or a rule of the table keeps it out")
    else:
        trial.broken.append(f"{name} is let through")


def _ours(error: asyncpg.PostgresError) -> bool:
    return OURS in (getattr(error, "context", None) or "")


def _line(name: str, error: asyncpg.PostgresError) -> str:
    return f"{name}: {str(error).splitlines()[0]} ({error.sqlstate})"


@asynccontextmanager
async def _rolled_back(connection: AnyConnection) -> AsyncIterator[None]:
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield
    finally:
        await transaction.rollback()
