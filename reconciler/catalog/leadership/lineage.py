"""Facts about the Postgres server that a restore, a copy or a failover changes."""

import asyncpg

from reconciler.catalog.db.config import TableMapping, qualified
from reconciler.catalog.db.connections import AnyConnection
from reconciler.catalog.db.schema import SCHEMA
from reconciler.model import Lineage

GUARDED = {
    "cluster": "(SELECT system_identifier FROM pg_control_system())",
    "timeline": "('x' || left(pg_walfile_name(pg_current_wal_flush_lsn()), 8))::bit(32)::int",
    # The flushed position: WAL that is not durable yet may be lost in a crash, which is no restore.
    "wal": "(pg_current_wal_flush_lsn() - '0/0')::bigint",
}
"""Facts that a provider may withhold from a role, or not have."""

UNTOLD = (
    asyncpg.InsufficientPrivilegeError,
    asyncpg.FeatureNotSupportedError,
    asyncpg.UndefinedFunctionError,
)


async def readable(connection: AnyConnection) -> frozenset[str]:
    """The guarded facts that this role may read. Not within a transaction, which an error would end."""
    granted = set()
    for name, expression in GUARDED.items():
        try:
            await connection.fetchval(f"SELECT {expression}")
        except UNTOLD:
            continue
        granted.add(name)
    return frozenset(granted)


async def read(connection: AnyConnection, tables: TableMapping, granted: frozenset[str]) -> Lineage:
    """All facts; of the guarded ones only those named in `granted`."""
    guarded = (f"{GUARDED[name] if name in granted else 'NULL'} AS {name}" for name in GUARDED)
    names = [qualified(name) if name else None for name in (tables.media_table, tables.keys_table)]
    row = await connection.fetchrow(
        "SELECT (SELECT oid FROM pg_database WHERE datname = current_database())::bigint AS database,"
        " to_regclass($1)::oid::bigint AS media, to_regclass($2)::oid::bigint AS keys,"
        f" to_regclass('{SCHEMA}.site')::oid::bigint AS own, clock_timestamp() AS at, {', '.join(guarded)}",
        *names,
    )
    assert row is not None, "a SELECT without FROM has a row"
    return Lineage(**row)
