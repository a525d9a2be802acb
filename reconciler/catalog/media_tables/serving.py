"""What the service of media asks: whether a key may be served now, and to whom. Reads only.

Nothing of it is kept: a row that leaves, a virtual key that is disabled, a deletion that begins count for the
next request. Requests that come at the same time are looked up by one statement.
"""

from collections.abc import Sequence

from reconciler.catalog.db.config import KeyColumns, quoted
from reconciler.catalog.db.connections import Database, Row
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.db.together import Together
from reconciler.catalog.media_tables.links import generation
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.errors import ConfigError
from reconciler.model import LiveRow, Looked, Owner

# An object whose mark is claimed is being deleted, whatever its row still says.
FIND = """
SELECT asked.place, live.* FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS asked (key, caller, place)
CROSS JOIN LATERAL (
  SELECT {owner}::text AS owner, {group} AS owner_group, {valid} AS owner_valid, {links} AS links,
         d.storage_key IS NOT NULL AS marked,
         extract(epoch FROM {expires} - now())::float8 AS seconds_left,
         c.id AS caller, c.key_group AS caller_group
  FROM {media}{keys} LEFT JOIN LATERAL ({caller}) c ON true
      LEFT JOIN {schema}.marks d ON d.storage_key = asked.key
  WHERE {key} = asked.key AND {undeleted} AND coalesce({expires} > now(), true)
    AND d.state IS DISTINCT FROM 'claimed'
) live
"""

CALLER = """
SELECT {id}::text AS id, {group} AS key_group FROM {keys} WHERE {hash} = asked.caller::{type} AND {valid}
"""
NOBODY = "SELECT NULL::text AS id, NULL::text AS key_group WHERE false"


class ServedMedia:
    """Looks a storage key up for a request."""

    def __init__(self, database: Database, media: MediaTables, keys: KeyColumns) -> None:
        self._database = database
        self._together = Together(self._found)
        self._knows_callers = media.has_keys and media.key_time("key_hash") is not None
        self._named = keys.key_hash
        group = (media.has_keys and media.key_time("group_id")) or None
        grouped = f"{group}::text" if group else "NULL::text"
        valid, caller = "true", NOBODY
        if media.has_keys:
            valid = f"coalesce({media.key_enabled} AND coalesce({media.owner_expires} > now(), true), false)"
        if self._knows_callers:
            caller = CALLER.format(
                id=media.key_id,
                group=grouped,
                keys=media.keys,
                hash=f"k.{quoted(keys.key_hash)}",
                type=media.key_hash_type,
                valid=valid,
            )
        self._caller = f"SELECT c.* FROM (SELECT $1::text AS caller) asked CROSS JOIN LATERAL ({caller}) c"
        deleted = media.media_time("deleted_at")
        self._find = FIND.format(
            owner=media.owner_id,
            group=grouped,
            valid=valid,
            links=generation(media.owner_id),
            expires=media.expires,
            media=media.media,
            keys=f" LEFT JOIN {media.keys} ON {media.owned}" if media.has_keys else "",
            caller=caller,
            key=media.equal_key,
            undeleted="true" if deleted is None else f"{deleted} IS NULL",
            schema=SCHEMA,
        )

    def require_callers(self) -> None:
        """Raises ConfigError where the tables do not say whose a virtual key is."""
        if not self._knows_callers:
            named = self._named or "(empty)"
            raise ConfigError(
                f"RECONCILER_CATALOG__KEY_COLUMNS__KEY_HASH {named}: the virtual keys' table has no such"
                " column, so nobody can be told from anybody; name the one with the SHA-256 of a key in"
                " hexadecimal digits, or set RECONCILER_MEDIA__ACCESS=public"
            )

    async def caller(self, presented: str) -> Owner | None:
        """Whose the virtual key with that SHA-256 is; None where it is unknown, disabled or expired.

        Raises CatalogUnavailable.
        """
        async with self._database.connection() as connection:
            row = await connection.fetchrow(self._caller, presented)
        return None if row is None else Owner(id=row["id"], group=row["key_group"])

    async def find(self, key: str, caller: str | None) -> Looked:
        """The live rows that name the key. `caller` is the SHA-256 of the virtual key that was presented, in
        hexadecimal digits. Raises CatalogUnavailable, BadValue.
        """
        return await self._together((key, caller))

    async def _found(self, asked: Sequence[tuple[str, str | None]]) -> Sequence[Looked]:
        keys, callers = [key for key, _ in asked], [caller for _, caller in asked]
        async with self._database.connection() as connection:
            rows = await connection.fetch(self._find, keys, callers)
        by_place: list[list[Row]] = [[] for _ in asked]
        for row in rows:
            by_place[row["place"] - 1].append(row)
        return [_looked(found) for found in by_place]


def _looked(rows: Sequence[Row]) -> Looked:
    known = rows[0] if rows else None
    return Looked(
        rows=[_live(row) for row in rows],
        caller=None
        if known is None or known["caller"] is None
        else Owner(id=known["caller"], group=known["caller_group"]),
    )


def _live(row: Row) -> LiveRow:
    return LiveRow(
        owner=Owner(id=row["owner"], group=row["owner_group"]),
        owner_valid=row["owner_valid"],
        links=row["links"],
        marked=row["marked"],
        seconds_left=row["seconds_left"],
    )
