"""Rows written since the last sweep began, compared with its orphans before a claim."""

from collections.abc import Sequence

import anyio

from reconciler.catalog.db.connections import AnyConnection, Database
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.media_tables import references
from reconciler.catalog.media_tables.near_misses.noted import PAGE, SWEPT, PostgresNearMisses, note_departed
from reconciler.catalog.media_tables.records import require_tables
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.model.keys import merge_prefixes
from reconciler.model.spelling import Orphans

# $1 is the sweep whose orphans were compared last, and $2 the horizon of that time.
STANDING = f"""
SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS horizon, s.id, s.begun_xid::text AS begun_xid,
       (SELECT bucket FROM {SCHEMA}.site) AS bucket,
       EXISTS (SELECT FROM {SCHEMA}.marks WHERE state = 'found' AND due_at <= clock_timestamp()) AS due,
       s.id IS DISTINCT FROM $1 OR EXISTS (
           SELECT FROM {SCHEMA}.passes p WHERE p.state = 'released' AND p.released_xid >= $2::text::xid8
           AND p.released_xid < pg_snapshot_xmin(pg_current_snapshot())) AS another
FROM (SELECT) one LEFT JOIN LATERAL (
    SELECT * FROM {SCHEMA}.passes WHERE kind = 'sweep' AND state IN ('released', 'tripped')
    ORDER BY id DESC LIMIT 1) s ON true
"""

# Departures that are not among its orphans: there was a row then.
UNNOTED = f"""
SELECT m.storage_key FROM {SCHEMA}.marks m
WHERE m.verdict = 'departed' AND m.state = 'found' AND m.storage_key > $2::text AND NOT EXISTS (
    SELECT FROM {SCHEMA}.spellings o WHERE o.storage_key = m.storage_key AND o.pass_id = $1 AND NOT o.is_row)
ORDER BY m.storage_key LIMIT $3
"""

# Rows outside its prefixes, and names in further columns, it notes only as pairs of its own orphans.
ANYWHERE = f"""
SELECT EXISTS (SELECT FROM {SCHEMA}.marks WHERE verdict = 'departed' AND state = 'found')
   AND ($1::boolean OR (SELECT outside FROM ({SWEPT}) s))
"""

# Of a transaction that the sweep could not see. An age is negative for the ids of the last moments, and
# for frozen rows that are very old: the first count, and most of the others do not.
SINCE = "age({alias}.xmin) BETWEEN -10000000 AND age('{xid}'::xid8::xid)"

# Rows that came since the sweep: written since, or in a partition that was attached since.
WRITTEN = f"""({SINCE} OR {{alias}}.tableoid IN (
    WITH RECURSIVE tree AS (
        SELECT {{oid}}::oid AS relid, false AS attached
        UNION ALL
        SELECT i.inhrelid, tree.attached OR {SINCE.replace("{alias}", "i")}
        FROM tree JOIN pg_inherits i ON i.inhparent = tree.relid)
    SELECT relid FROM tree WHERE attached))"""

SHARE = 100
"""Comparing before a claim takes at most this part of the time."""


class WrittenSince:
    """Rows written since the last sweep began, compared with its orphans before a claim."""

    def __init__(self, database: Database, media: MediaTables) -> None:
        self._database = database
        self._media = media
        self._near = PostgresNearMisses(database)
        self._pass: int | None = None
        self._horizon = "0"
        self._noted = 0
        self._again_at = 0.0

    async def compare(self, prefixes: tuple[str, ...]) -> str:
        """Note the pairs. Returns a transaction id: only passes released before it may be claimed.

        What earlier transactions wrote has been read, at most `SHARE` times as long ago as it took.
        """
        self._noted = max(self._noted, await self._note_departed())
        async with self._database.connection() as connection:
            row = await connection.fetchrow(STANDING, self._pass, self._horizon)
            assert row is not None
            horizon, pass_id, begun, bucket, due, another = row
        if not due:
            return "0"
        started = anyio.current_time()
        if another or started >= self._again_at or int(self._horizon) <= self._noted:
            if begun is not None:
                async with self._database.connection() as connection:
                    await require_tables(connection, self._media)
                    await references.require_tables(connection, self._media)
                orphans = Orphans(pass_id=pass_id, bucket=bucket or "", prefixes=merge_prefixes(prefixes))
                await self._compare(orphans, None if await self._all_rows() else int(begun))
            self._pass, self._horizon = pass_id, horizon
            self._again_at = anyio.current_time() + SHARE * (anyio.current_time() - started)
        # A writer who could not see a note has ended once the horizon has passed it, and is compared then.
        return self._horizon if int(self._horizon) > self._noted else "0"

    async def _note_departed(self) -> int:
        """Note departures again whose notes went with an earlier sweep's; returns a transaction id since."""
        after, xid = "", 0
        while True:
            async with self._database.connection() as connection:
                swept = await connection.fetchrow(SWEPT)
                if swept is None:
                    return xid
                found = await connection.fetch(UNNOTED, swept["id"], after, PAGE)
                keys = [row["storage_key"] for row in found]
            if not keys:
                return xid

            async def work(connection: AnyConnection, keys: Sequence[str] = keys) -> int:
                await note_departed(connection, keys)
                return int(await connection.fetchval("SELECT pg_current_xact_id()::text"))

            after, xid = keys[-1], await self._database.transaction(work)

    async def _all_rows(self) -> bool:
        """Whether something departed, and rows may spell it that the sweep did not note without an orphan."""
        async with self._database.connection() as connection:
            return bool(await connection.fetchval(ANYWHERE, bool(self._media.references)))

    async def _compare(self, orphans: Orphans, xid: int | None) -> None:
        """Compare the rows written since that transaction; None: all rows."""
        media = self._media
        columns = [(media.key_text, f"{media.table} WHERE {media.counts}", "m", media.oids[0])]
        columns += [
            (each.column, media.naming(each), "" if each.view else "f", each.oid) for each in media.references
        ]
        for key, rows, alias, oid in columns:
            written = ""
            if alias and xid is not None:
                written = f" AND {WRITTEN.format(alias=alias, xid=xid, oid=oid)}"
            written = f"{rows}{written}"
            async for keys in references.spelled_otherwise(self._database, key, written, orphans, PAGE):
                await self._near.note_outside(orphans.pass_id, orphans.folded(keys))
