"""Links to an owner's media: ended all at once, by a number that goes into each of them."""

from collections.abc import Sequence

import asyncpg

from reconciler.catalog.db import bounds
from reconciler.catalog.db.connections import AnyConnection, Database
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.errors import ErrorKind, NotDone

RAISE = f"""
WITH raised AS (
    INSERT INTO {SCHEMA}.link_generations AS g (virtual_key)
    SELECT DISTINCT id COLLATE "C" FROM unnest($1::text[]) AS o (id) ORDER BY 1
    ON CONFLICT (virtual_key) DO UPDATE SET generation = g.generation + 1, raised_at = clock_timestamp()
    RETURNING virtual_key
)
INSERT INTO {SCHEMA}.ledger (epoch, event, mode, what, storage_key, verdict, reason, detail)
SELECT (SELECT epoch FROM {SCHEMA}.term), 'cancelled', 'live', 'virtual_key', virtual_key, '', 'links',
       format('all links to the media of this virtual key ended by %s: %s', $2::text, $3::text)
FROM raised
"""


def generation(owner: str) -> str:
    """SQL: the number that the links of an owner are signed with, whose id is that expression."""
    return (
        f"coalesce((SELECT g.generation FROM {SCHEMA}.link_generations g"
        f' WHERE g.virtual_key = {owner}::text COLLATE "C"), 0)'
    )


class Links:
    """Ends links. Nothing is kept of a single one, so there is no list of them."""

    def __init__(self, database: Database, media: MediaTables) -> None:
        self._database = database
        self._media = media

    async def revoke(self, virtual_keys: Sequence[str], *, by: str, reason: str) -> Sequence[str]:
        """End every link made so far to media of these virtual keys, or of none of them.

        Returns their ids as the table writes them. Raises NotDone for what is none.
        """
        async with self._database.connection() as connection:
            known = [await self._known(connection, each) for each in virtual_keys]
        await self._database.transaction(lambda connection: connection.execute(RAISE, known, by, reason))
        return known

    async def _known(self, connection: AnyConnection, given: str) -> str:
        media, found = self._media, None
        if bounds.storable(given):
            query = f"SELECT $1::text::{media.owner_type}::text"
            if media.has_keys:
                query = (
                    f"SELECT {media.key_id}::text::{media.owner_type}::text FROM {media.keys}"
                    f" WHERE {media.key_id} = $1::text::{media.key_id_type}"
                )
            try:
                found = await connection.fetchval(query, given)
            except asyncpg.DataError:
                found = None
        if found is None:
            message = f"{given}: there is no such virtual key"
            raise NotDone(ErrorKind.NOT_FOUND, "no_such_virtual_key", message, virtual_key_id=given)
        return str(found)
