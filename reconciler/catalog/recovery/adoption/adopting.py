"""An object's way to its row: what is against it, the row made, its line of the ledger; and back."""

from collections.abc import Collection, Mapping, Sequence

import asyncpg

from reconciler.catalog.db.bounds import storable
from reconciler.catalog.db.config import TableMapping
from reconciler.catalog.db.connections import AnyConnection, Database
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.media_tables import departing, making, references
from reconciler.catalog.media_tables.making import Making
from reconciler.catalog.media_tables.records import require_tables
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.catalog.recovery.adoption.noting import note_made
from reconciler.catalog.recovery.adoption.refusals import BARRED, existing, known, without_owner
from reconciler.catalog.recovery.adoption.rows import insert
from reconciler.catalog.recovery.adoption.runs import AdoptionRuns
from reconciler.catalog.recovery.adoption.undoing import MADE, remove
from reconciler.model import (
    Adoptable,
    Adopted,
    AdoptionTerms,
    BegunAdoption,
)
from reconciler.ports import Judge

SETTLE = f"""
UPDATE {SCHEMA}.adoption_objects o
SET state = s.state, reason = s.reason, owner = s.owner, record_id = s.record_id, row_hash = s.row_hash
FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
    AS s (storage_key, state, reason, owner, record_id, row_hash)
WHERE o.adoption_id = $1 AND o.storage_key = s.storage_key AND o.state = 'found'
"""


class PostgresAdoptions(AdoptionRuns):
    """`ports.Adoptions`, and what an operator asks of them."""

    def __init__(self, database: Database, media: MediaTables, tables: TableMapping) -> None:
        super().__init__(database)
        self._media = media
        self._tables = tables
        self._how: tuple[AdoptionTerms, Making] | None = None

    @property
    def owned(self) -> bool:
        """Whether a row says whose it is."""
        return bool(self._tables.media.virtual_key_id)

    @property
    def verifiable(self) -> bool:
        """Whether it can be known that an owner exists."""
        return self._media.has_keys or not self.owned

    async def require(self, terms: AdoptionTerms) -> None:
        """Find a source for each column that needs one. Raises ConfigError naming those without."""
        async with self._database.connection() as connection:
            self._how = terms, await self._plan(connection, terms)

    async def _plan(self, connection: AnyConnection, terms: AdoptionTerms) -> Making:
        # As never accessed, what was just brought in would be stale at once.
        return await making.plan(
            connection,
            self._media,
            self._tables,
            terms.columns,
            "RECONCILER_ADOPTION__COLUMNS",
            example=', such as {"COLUMN": "constant:TEXT"} or "metadata:NAME"',
            accessed=True,
        )

    async def _making(self, connection: AnyConnection, terms: AdoptionTerms) -> Making:
        if self._how is None or self._how[0] is not terms:
            self._how = terms, await self._plan(connection, terms)
        return self._how[1]

    async def adopt(
        self,
        adoption: BegunAdoption,
        rows: Sequence[Adoptable],
        left: Mapping[str, str],
        terms: AdoptionTerms,
        prefixes: Sequence[str],
        judge: Judge,
        *,
        dry_run: bool,
    ) -> Sequence[Adopted]:
        """Make the rows that may be made, in one transaction with their lines of the ledger.

        `left` are further keys of the page, with the reason why there is nothing to make. In dry run all is
        tried and taken back. Raises CatalogUnavailable where the table is busy.
        """

        async def work(connection: AnyConnection) -> Sequence[Adopted]:
            how = await self._making(connection, terms)
            trial = connection.transaction()
            await trial.start()
            try:
                made, why = await self._make(connection, rows, how, prefixes, judge)
            except BaseException:
                await trial.rollback()
                raise
            await (trial.rollback() if dry_run else trial.commit())
            why |= left
            settled = [
                *(Adopted(storage_key=key, size=0, reason=each) for key, each in why.items()),
                *(
                    Adopted(
                        storage_key=row.storage_key,
                        size=row.size,
                        reason="",
                        owner=row.owner,
                        record_id=None if dry_run else each["id"],
                    )
                    for row, each in made
                ),
            ]
            hashes = {row.storage_key: each["row_hash"] for row, each in made}
            owners = {row.storage_key: row.owner for row in rows}
            await connection.execute(
                SETTLE,
                adoption.id,
                [each.storage_key for each in settled],
                ["left" if each.reason else "adopted" for each in settled],
                [each.reason for each in settled],
                [owners.get(each.storage_key) for each in settled],
                [each.record_id for each in settled],
                [hashes.get(each.storage_key) for each in settled],
            )
            if made and not dry_run:
                await note_made(connection, f"owner by {terms.owner}", adoption.id, made)
            return settled

        return await self._database.transaction(work)

    async def _make(
        self,
        connection: AnyConnection,
        rows: Sequence[Adoptable],
        how: Making,
        prefixes: Sequence[str],
        judge: Judge,
    ) -> tuple[list[tuple[Adoptable, asyncpg.Record]], dict[str, str]]:
        """The rows made, and why others were not, by key."""
        # Before anything is looked at: a mark that is written from now on is claimed only after our end.
        await connection.fetchval("SELECT pg_current_xact_id()")
        await require_tables(connection, self._media)
        await references.require_tables(connection, self._media)
        if not self._media.unique:
            # No index holds off a second row of the key: for these milliseconds nobody else writes one.
            await connection.execute(
                f"SET LOCAL lock_timeout = 400; LOCK TABLE {self._media.names[0]} IN SHARE ROW EXCLUSIVE MODE"
            )
        why = await known(connection, self._media, rows, prefixes)
        rows = [row for row in rows if row.storage_key not in why]
        if self._media.has_keys and self.owned:
            why |= await without_owner(connection, self._media, rows)
            rows = [row for row in rows if row.storage_key not in why]
        return await insert(connection, self._media, rows, how, judge, why), why

    async def noted(self) -> bool:
        async with self._database.connection() as connection:
            return bool(await departing.whole(connection, self._tables))

    async def existing(self, owners: Collection[str]) -> Collection[str]:
        if not self._media.has_keys:
            return ()
        async with self._database.connection() as connection:
            return await existing(connection, self._media, owners)

    async def barred(self, keys: Sequence[str]) -> Collection[str]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(BARRED, [key for key in keys if storable(key)])
        return {row["storage_key"] for row in rows}

    async def exists(self, owner: str) -> bool:
        """Whether there is a virtual key of that id."""
        async with self._database.connection() as connection:
            return bool(await existing(connection, self._media, {owner}))

    async def undo(
        self, adoption_id: int, after: str, limit: int, author: str
    ) -> tuple[str, int, int] | None:
        """Remove the next rows that it made and nobody has changed since.

        Returns the last key, and how many rows were removed and how many stay; None behind the last.
        Raises CatalogUnavailable where rows are busy.
        """

        async def work(connection: AnyConnection) -> tuple[str, int, int] | None:
            await require_tables(connection, self._media)
            found = await connection.fetch(MADE, adoption_id, after, limit)
            if not found:
                return None
            return found[-1]["storage_key"], *(
                await remove(connection, self._media, adoption_id, found, author)
            )

        return await self._database.transaction(work)
