"""The one index that we may add to the gateway's schema: the storage key in byte order."""

from __future__ import annotations

import asyncpg

from reconciler.catalog.config import TableMapping, quoted, split_table
from reconciler.catalog.connections import Connection
from reconciler.catalog.tables import SCHEMA
from reconciler.errors import ConfigError

MAX_NAME = 63
"""Bytes that Postgres keeps of a name."""

# Valid indexes whose first column is the storage key under a collation that compares bytes: "C" and
# POSIX, or the database's own where that is C. No predicate, since every row counts.
FIND = """
SELECT i.indexrelid::regclass::text
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_am am ON am.oid = c.relam AND am.amname = 'btree'
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
WHERE i.indrelid = $1::regclass AND a.attname = $2
  AND i.indisvalid AND i.indisready AND i.indpred IS NULL
  AND (i.indcollation[0] IN ('pg_catalog."C"'::regcollation, 'pg_catalog."POSIX"'::regcollation)
       OR i.indcollation[0] = 'pg_catalog."default"'::regcollation
          AND (SELECT datcollate IN ('C', 'POSIX') AND datlocprovider = 'c'
               FROM pg_database WHERE datname = current_database()))
ORDER BY i.indcollation[0] = 'pg_catalog."default"'::regcollation, i.indexrelid
LIMIT 1
"""

# Postgres 14 and before know no other provider than the C library.
FIND_BEFORE_15 = FIND.replace(" AND datlocprovider = 'c'", "")


def name_of(tables: TableMapping) -> str:
    """The index's name, cut to what Postgres keeps."""
    table = split_table(tables.media_table)[1]
    suffix = f"_{tables.media.storage_key}_bytes"
    room = MAX_NAME - len(suffix.encode())
    return table.encode()[: max(room, 0)].decode(errors="ignore") + suffix


def statement(tables: TableMapping) -> str:
    """Builds the index while the gateway goes on reading and writing."""
    schema, table = split_table(tables.media_table)
    return (
        f"CREATE INDEX CONCURRENTLY {quoted(name_of(tables))}"
        f' ON {quoted(schema)}.{quoted(table)} ({quoted(tables.media.storage_key)} COLLATE "C")'
    )


def offline_statement(tables: TableMapping) -> str:
    """The same for a script, which has to run outside a transaction."""
    return statement(tables).replace("CONCURRENTLY", "CONCURRENTLY IF NOT EXISTS")


async def find(connection: Connection, tables: TableMapping) -> str | None:
    """The name of an index in byte order on the storage key."""
    schema, table = split_table(tables.media_table)
    query = FIND if connection.get_server_version().major >= 15 else FIND_BEFORE_15  # noqa: PLR2004
    found: str | None = await connection.fetchval(
        query, f"{quoted(schema)}.{quoted(table)}", tables.media.storage_key
    )
    return found


async def ensure(connection: Connection, tables: TableMapping) -> str:
    """Build the index unless there is one; says what was done.

    A build that was interrupted leaves an invalid index behind, which is dropped first. Raises
    ConfigError where the table is missing or partitioned.
    """
    existing = await find(connection, tables)
    if existing is not None:
        return f"index {existing} is in byte order already"
    schema, _ = split_table(tables.media_table)
    name = f"{quoted(schema)}.{quoted(name_of(tables))}"
    # A build waits for older transactions, and over many rows takes longer than any statement of ours.
    await connection.execute("SET statement_timeout = 0; SET lock_timeout = 0")
    if await connection.fetchval("SELECT to_regclass($1)", name) is not None:
        await connection.execute(f"DROP INDEX CONCURRENTLY {name}")
    try:
        await connection.execute(statement(tables))
    except (asyncpg.FeatureNotSupportedError, asyncpg.WrongObjectTypeError) as error:
        raise ConfigError(f"the index in byte order cannot be built: {error}; build it by hand") from error
    # Remembered, so that the way down drops it, and only it.
    await connection.execute(
        f"INSERT INTO {SCHEMA}.created (kind, name) VALUES ('index', $1) ON CONFLICT DO NOTHING", name
    )
    return f"created index {name}"
