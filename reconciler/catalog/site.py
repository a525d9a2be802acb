"""Which bucket this database is tied to: one row, made once."""

from __future__ import annotations

from uuid import UUID

from reconciler.catalog.connections import Database
from reconciler.catalog.schema import SCHEMA
from reconciler.errors import Halt
from reconciler.model import Identity


class PostgresSite:
    """`ports.Site` on Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def identity(self) -> Identity | None:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(f"SELECT * FROM {SCHEMA}.site WHERE bucket IS NOT NULL")
        if row is None:
            return None
        return Identity(
            site_id=row["site_id"],
            bucket=row["bucket"],
            prefixes=tuple(row["prefixes"]),
            created_at=row["bound_at"],
        )

    async def bind(self, identity: Identity) -> None:
        """Raises Halt where the database has another site id: it is another installation's."""
        async with self._database.connection() as connection:
            # Inserts at first contact; an id that differs is never written over.
            bound = await connection.fetchval(
                f"INSERT INTO {SCHEMA}.site (site_id, bucket, prefixes, bound_at) VALUES ($1, $2, $3, $4)"
                " ON CONFLICT (singleton) DO UPDATE SET bucket = $2, prefixes = $3, bound_at = $4"
                " WHERE site.site_id = $1 RETURNING site_id",
                identity.site_id,
                identity.bucket,
                list(identity.prefixes),
                identity.created_at,
            )
        if bound is None:
            raise Halt(
                f"this database is of another site than {identity.site_id}; check RECONCILER_DATABASE_URL"
            )

    async def new_id(self) -> UUID:
        async with self._database.connection() as connection:
            # Two replicas at their first contact must agree: the first one's stays.
            await connection.execute(
                f"INSERT INTO {SCHEMA}.site (site_id) VALUES (gen_random_uuid()) ON CONFLICT DO NOTHING"
            )
            site_id: UUID = await connection.fetchval(f"SELECT site_id FROM {SCHEMA}.site")
        return site_id
