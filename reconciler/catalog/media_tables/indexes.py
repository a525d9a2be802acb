"""The one index that we may add to the gateway's schema: the storage key in byte order."""

from dataclasses import dataclass

import asyncpg

from reconciler.catalog.db.config import TableMapping, qualified, quoted, split_table
from reconciler.catalog.db.connections import Connection
from reconciler.catalog.db.schema import SCHEMA
from reconciler.errors import ConfigError

MAX_NAME = 63
"""Bytes that Postgres keeps of a name."""

# Valid indexes whose first column is the storage key in byte order: under "C", or under the column's own
# collation where that is C (the database's may be). For a type that compares otherwise (citext, char(n)), it
# is the key as text. Without a predicate, since every row counts.
FIND = """
SELECT i.indexrelid::regclass::text AS name, a.attnum IS NOT NULL AND i.indcollation[0] = a.attcollation
           AS is_natural
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_am am ON am.oid = c.relam AND am.amname = 'btree'
JOIN pg_opclass o ON o.oid = i.indclass[0]
JOIN pg_opfamily f ON f.oid = o.opcfamily AND f.opfname = 'text_ops'
LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] AND a.attnum > 0
LEFT JOIN pg_collation l ON l.oid = a.attcollation
JOIN pg_database d ON d.datname = current_database()
WHERE i.indrelid = to_regclass($1)
  AND (a.attname = $2
       OR i.indkey[0] = 0
          AND btrim(pg_get_indexdef(i.indexrelid, 1, true), '()') = quote_ident($2) || '::text')
  AND i.indisvalid AND i.indisready AND i.indpred IS NULL
  AND (i.indcollation[0] = 'pg_catalog."C"'::regcollation
       OR i.indcollation[0] = a.attcollation AND {bytewise})
ORDER BY is_natural DESC, i.indexrelid
LIMIT 1
"""

# Whether the key's type compares otherwise than by bytes; a domain compares as its base type.
COMPARES_OTHERWISE = """
SELECT format_type(c.oid, -1) IN ('bpchar', 'citext') OR format_type(c.oid, -1) LIKE '%.citext' FROM (
    WITH RECURSIVE bases (oid) AS (
        SELECT atttypid FROM pg_attribute WHERE attrelid = to_regclass($1) AND attname = $2
        UNION ALL
        SELECT d.typbasetype FROM bases JOIN pg_type d ON d.oid = bases.oid WHERE d.typtype = 'd'
    )
    SELECT b.oid FROM bases JOIN pg_type b ON b.oid = bases.oid WHERE b.typtype <> 'd'
) c
"""

BYTEWISE = """(coalesce(l.collname IN ('C', 'POSIX')
    OR l.collname = 'default' AND d.datcollate IN ('C', 'POSIX') AND {libc}, false))"""
"""SQL: whether a collation `l` in the database `d` compares bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ByteOrder:
    """An index in byte order. `natural`: under the column's own collation, so no COLLATE is needed."""

    name: str
    natural: bool


def bytewise(connection: Connection) -> str:
    """`BYTEWISE` for this server: Postgres 14 and before know no provider but the C library."""
    newer = connection.get_server_version().major >= 15  # noqa: PLR2004
    return BYTEWISE.format(libc="d.datlocprovider = 'c'" if newer else "true")


def name_of(tables: TableMapping) -> str:
    """The index's name, cut to what Postgres keeps."""
    table = split_table(tables.media_table)[1]
    suffix = f"_{tables.media.storage_key}_bytes"
    room = MAX_NAME - len(suffix.encode())
    return table.encode()[: max(room, 0)].decode(errors="ignore") + suffix


def statement(tables: TableMapping, *, as_text: bool = False) -> str:
    """Builds the index while the gateway goes on reading and writing."""
    key = quoted(tables.media.storage_key)
    return (
        f"CREATE INDEX CONCURRENTLY {quoted(name_of(tables))}"
        f' ON {qualified(tables.media_table)} ({f"({key}::text)" if as_text else key} COLLATE "C")'
    )


def offline_statement(tables: TableMapping) -> str:
    """The same for a script; it has to run outside a transaction."""
    return statement(tables).replace("CONCURRENTLY", "CONCURRENTLY IF NOT EXISTS")


async def find(connection: Connection, tables: TableMapping) -> ByteOrder | None:
    """An index in byte order on the storage key; None without one."""
    row = await connection.fetchrow(
        FIND.format(bytewise=bytewise(connection)), qualified(tables.media_table), tables.media.storage_key
    )
    return None if row is None else ByteOrder(name=row["name"], natural=row["is_natural"])


async def ensure(connection: Connection, tables: TableMapping) -> str:
    """Build the index unless there is one; says what was done.

    A build that was interrupted leaves an invalid index behind, which is dropped first. Raises
    ConfigError where the table is missing or partitioned.
    """
    if await connection.fetchval("SELECT to_regclass($1)", qualified(tables.media_table)) is None:
        raise ConfigError(
            f"RECONCILER_CATALOG__MEDIA_TABLE {tables.media_table}: no such table, so no index is built"
        )
    existing = await find(connection, tables)
    if existing is not None:
        return f"index {existing.name} is in byte order already"
    schema, _ = split_table(tables.media_table)
    name = f"{quoted(schema)}.{quoted(name_of(tables))}"
    # A build waits for older transactions, and with many rows takes longer than any statement of ours.
    await connection.execute("SET statement_timeout = 0; SET lock_timeout = 0")
    if await connection.fetchval("SELECT to_regclass($1)", name) is not None:
        await connection.execute(f"DROP INDEX CONCURRENTLY {name}")
    as_text = await connection.fetchval(
        COMPARES_OTHERWISE, qualified(tables.media_table), tables.media.storage_key
    )
    wanted = statement(tables, as_text=bool(as_text))
    try:
        await connection.execute(wanted)
    except (asyncpg.FeatureNotSupportedError, asyncpg.WrongObjectTypeError) as error:
        advice = _by_hand(wanted, error)
        raise ConfigError(f"the index in byte order cannot be built: {error}; {advice}") from error
    # Recorded, so that a downgrade drops it, and only it.
    await connection.execute(
        f"INSERT INTO {SCHEMA}.created (kind, name) VALUES ('index', $1) ON CONFLICT DO NOTHING", name
    )
    return f"created index {name}"


def _by_hand(wanted: str, error: asyncpg.PostgresError) -> str:
    if "virtual" in str(error):
        return "make the storage key's column a stored generated one, which an index can hold"
    alone = wanted.replace("CONCURRENTLY ", "")
    return f"build it by hand while writers may wait, or on each partition first: {alone}"
