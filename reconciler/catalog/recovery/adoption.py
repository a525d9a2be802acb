"""Rows for objects that have none: what is known of each object, the rows made, and their removal again.

A row is made in one transaction with its line of the ledger. A mark of the key, in any state, keeps the row
from being made; and a mark that is written meanwhile is claimed only once this transaction, which has an id
before it looks, has ended: then the claim finds the row. So no row is made for what is being deleted.
"""

import json
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg

from reconciler.catalog.db.bounds import storable
from reconciler.catalog.db.config import TableMapping
from reconciler.catalog.db.connections import COLLISIONS, AnyConnection, Database
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.media_tables import departing, making, references
from reconciler.catalog.media_tables.guard import REFUSED
from reconciler.catalog.media_tables.making import Making
from reconciler.catalog.media_tables.near_misses.twins import twins
from reconciler.catalog.media_tables.records import lookup, require_tables
from reconciler.catalog.media_tables.tables import MediaTables, by_key
from reconciler.catalog.media_tables.user_code import (
    BUSY,
    NotRemoved,
    explained,
    in_their_settings,
    is_of,
    remove_rows,
)
from reconciler.errors import CatalogUnavailable, ErrorKind, NotDone
from reconciler.model import (
    Adoptable,
    Adopted,
    Adoption,
    AdoptionTerms,
    BegunAdoption,
    Candidate,
    Left,
    Mark,
    Verdict,
)
from reconciler.ports import Judge

TAKEN = timedelta(seconds=15)
"""How long an adoption belongs to whoever carries it out, unless that is renewed."""

# The number of a pass: one sequence for both, so that a number is one thing.
NUMBER = f"""
INSERT INTO {SCHEMA}.passes (kind, cutoff, config_hash, mode, state, epoch, tally)
VALUES ('adoption', clock_timestamp(), '', 'live', 'failed', 0, '{{}}') RETURNING id
"""

UNFINISHED = f"""
SELECT id, listed_at IS NOT NULL AS listed, taken_by,
       taken_until > clock_timestamp() AND taken_by <> $3 AS taken
FROM {SCHEMA}.adoptions WHERE asked = $1 AND dry_run = $2 AND ended_at IS NULL
ORDER BY id DESC LIMIT 1 FOR UPDATE
"""

STAGE = f"""
INSERT INTO {SCHEMA}.adoption_objects (adoption_id, storage_key, bytes)
SELECT $1::bigint, c.storage_key, c.bytes FROM unnest($2::text[], $3::bigint[]) AS c (storage_key, bytes)
ON CONFLICT DO NOTHING
"""

# The ledger has no index on the key: it is read once, and not for each page. A later deletion has a mark, and
# a tombstone.
DELETED = f"""
WITH gone AS (
    SELECT storage_key, bool_or(event = 'erased') AS erased, bool_or(verdict = 'departed') AS departed,
           max(id) FILTER (WHERE event = 'result' AND result = 'deleted') AS deleted,
           coalesce(max(id) FILTER (WHERE event = 'restored'), 0) AS restored
    FROM {SCHEMA}.ledger
    WHERE mode = 'live' AND what = 'object' AND event IN ('result', 'erased', 'restored', 'cancelled')
    GROUP BY 1
)
UPDATE {SCHEMA}.adoption_objects o
SET state = 'left', reason = CASE WHEN g.erased THEN '{Left.ERASED}' WHEN g.departed THEN '{Left.DEPARTED}'
                                  ELSE '{Left.DELETED}' END
FROM gone g
WHERE o.adoption_id = $1 AND o.state = 'found' AND o.storage_key = g.storage_key
  AND (g.erased OR g.departed OR g.deleted > g.restored)
"""

# Locks the marks, so that none of them is claimed before the row is there; see the module.
KNOWN = f"""
SELECT m.storage_key, CASE WHEN m.verdict = 'departed' THEN '{Left.DEPARTED}'
                           WHEN m.state = 'claimed' THEN '{Left.CLAIMED}' ELSE '{Left.MARKED}' END AS reason
FROM {SCHEMA}.marks m WHERE m.storage_key = ANY($1::text[]) ORDER BY m.storage_key FOR SHARE
"""

# After the marks are locked: what a confirmation has left by then is seen. Where a row was made before and is
# gone, somebody removed it: the notes of the triggers do not outlive the pass that reads them.
LEFT = f"""
SELECT storage_key, '{Left.DELETED}' AS reason FROM {SCHEMA}.tombstones
WHERE storage_key = ANY($1::text[]) AND ends_at > clock_timestamp()
UNION ALL
SELECT storage_key, CASE WHEN erased THEN '{Left.ERASED}' ELSE '{Left.DELETED}' END FROM {SCHEMA}.hidden
WHERE storage_key = ANY($1::text[]) AND state IN ('hidden', 'restoring', 'purging')
UNION ALL
SELECT storage_key, '{Left.DEPARTED}' FROM {SCHEMA}.departures WHERE storage_key = ANY($1::text[])
UNION ALL
SELECT storage_key, '{Left.RESERVED}' FROM {SCHEMA}.reservations
WHERE storage_key = ANY($1::text[]) AND state = 'open' AND expires_at > clock_timestamp()
UNION ALL
SELECT storage_key, CASE WHEN state = 'undone' THEN '{Left.UNDONE}' ELSE '{Left.DEPARTED}' END
FROM {SCHEMA}.adoption_objects
WHERE storage_key = ANY($1::text[]) AND (state = 'undone' OR state = 'adopted' AND record_id IS NOT NULL)
"""

# What a sweep leaves to be an orphan: the same, and what an earlier adoption has found out of the ledger.
BARRED = f"""
{LEFT} UNION ALL
SELECT storage_key, reason FROM {SCHEMA}.adoption_objects
WHERE storage_key = ANY($1::text[]) AND state = 'left'
  AND split_part(reason, ':', 1) = ANY(ARRAY['{Left.DELETED}', '{Left.ERASED}', '{Left.DEPARTED}',
                                              '{Left.RETENTION}'])
"""

OF_SWEEP = f"""
INSERT INTO {SCHEMA}.adoptions (id, asked, author, dry_run, taken_until, taken_by)
VALUES ($1, 'sweep', 'sweep', false, '-infinity', '') ON CONFLICT DO NOTHING
"""

SETTLE = f"""
UPDATE {SCHEMA}.adoption_objects o
SET state = s.state, reason = s.reason, owner = s.owner, record_id = s.record_id, row_hash = s.row_hash
FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
    AS s (storage_key, state, reason, owner, record_id, row_hash)
WHERE o.adoption_id = $1 AND o.storage_key = s.storage_key AND o.state = 'found'
"""

NOTE = f"""
INSERT INTO {SCHEMA}.ledger (operation_id, epoch, event, mode, what, storage_key, record_id, verdict, reason,
                             bytes, etag, pass_id, owners)
SELECT $1, (SELECT epoch FROM {SCHEMA}.term), $2, 'live', 'record', l.storage_key, l.record_id,
       '{Verdict.ADOPT}', $3, l.bytes, l.etag, $4,
       CASE WHEN l.owner IS NULL THEN NULL ELSE ARRAY[l.owner] END
FROM unnest($5::text[], $6::text[], $7::bigint[], $8::text[], $9::text[])
    AS l (storage_key, record_id, bytes, etag, owner)
"""

SHOW = f"""
SELECT a.id, a.begun_at, a.ended_at, a.dry_run, a.listed_at IS NOT NULL AS listed, a.passed_over,
       count(o.storage_key) AS candidates,
       count(*) FILTER (WHERE o.state = 'adopted') AS adopted,
       count(*) FILTER (WHERE o.state = 'undone') AS undone,
       coalesce(sum(o.bytes) FILTER (WHERE o.state = 'adopted'), 0)::bigint AS adopted_bytes
FROM {SCHEMA}.adoptions a LEFT JOIN {SCHEMA}.adoption_objects o ON o.adoption_id = a.id
WHERE a.id = $1 GROUP BY a.id
"""

BY_REASON = f"""
SELECT split_part(reason, ':', 1) AS reason, count(*) AS number FROM {SCHEMA}.adoption_objects
WHERE adoption_id = $1 AND state = 'left' GROUP BY 1 ORDER BY 2 DESC, 1
"""

OBJECTS = f"""
SELECT storage_key, bytes AS size, reason, owner, record_id FROM {SCHEMA}.adoption_objects
WHERE adoption_id = $1 AND state IN ('adopted', 'left') AND storage_key > $2 ORDER BY storage_key LIMIT $3
"""

MADE = f"""
SELECT storage_key, record_id, row_hash, owner, bytes FROM {SCHEMA}.adoption_objects
WHERE adoption_id = $1 AND state = 'adopted' AND storage_key > $2 ORDER BY storage_key LIMIT $3
"""

FORGET = f"""
DELETE FROM {SCHEMA}.adoptions a
WHERE coalesce(ended_at, begun_at) < clock_timestamp() - $1::interval AND NOT EXISTS (
    SELECT FROM {SCHEMA}.adoption_objects o WHERE o.adoption_id = a.id AND o.state = 'undone')
"""

ROW_HASH = "encode(sha256(convert_to(m::text, 'UTF8')), 'hex')"
"""Of all its columns, under the session's own settings: what is changed since is not ours to remove."""


class _NotMade(Exception):
    """The table has another row now than the one that was to be made."""


class _Going(Exception):
    """Some of the rows would go at the next retention pass. `why` by key."""

    def __init__(self, why: Mapping[str, str]) -> None:
        super().__init__()
        self.why = why


class PostgresAdoptions:
    """`ports.Adoptions`, and what an operator asks of them."""

    def __init__(self, database: Database, media: MediaTables, tables: TableMapping) -> None:
        self._database = database
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

    async def begin(self, asked: str, author: str, by: str, *, dry_run: bool) -> BegunAdoption:
        """Take up the one that was asked for in these words and has not ended, or begin one.

        Raises NotDone where another process is carrying it out.
        """

        async def work(connection: AnyConnection) -> BegunAdoption:
            row = await connection.fetchrow(UNFINISHED, asked, dry_run, by)
            if row is None:
                number: int = await connection.fetchval(NUMBER)
                await connection.execute(f"DELETE FROM {SCHEMA}.passes WHERE id = $1", number)
                await connection.execute(
                    f"INSERT INTO {SCHEMA}.adoptions (id, asked, author, dry_run, taken_until, taken_by)"
                    " VALUES ($1, $2, $3, $4, clock_timestamp() + $5::interval, $6)",
                    number,
                    asked,
                    author,
                    dry_run,
                    TAKEN,
                    by,
                )
                return BegunAdoption(id=number, listed=False)
            if row["taken"]:
                message = f"adoption {row['id']} is under way, by {row['taken_by']}"
                raise NotDone(ErrorKind.CONFLICT, "adopting", message, pass_id=row["id"])
            await _take(connection, row["id"], by)
            return BegunAdoption(id=row["id"], listed=row["listed"])

        return await self._database.transaction(work)

    async def keep(self, adoption: BegunAdoption, by: str) -> None:
        """Say that it is still being carried out. Raises NotDone where another process has taken it up."""
        async with self._database.connection() as connection:
            if not await _take(connection, adoption.id, by):
                message = f"adoption {adoption.id} was taken up by another process meanwhile"
                raise NotDone(ErrorKind.CONFLICT, "adopting", message, pass_id=adoption.id)

    async def stage(self, adoption_id: int, found: Sequence[Candidate]) -> None:
        """Note objects without a row. One that is noted already stays as it is."""
        kept = [each for each in found if storable(each.storage_key)]
        async with self._database.connection() as connection:
            await connection.execute(
                STAGE, adoption_id, [each.storage_key for each in kept], [each.size for each in kept]
            )

    async def relist(self, adoption: BegunAdoption) -> None:
        """Forget what was noted before a listing that did not end."""
        async with self._database.connection() as connection:
            await connection.execute(
                f"DELETE FROM {SCHEMA}.adoption_objects WHERE adoption_id = $1", adoption.id
            )
            await _forget_spellings(connection, adoption)

    async def listed(self, adoption: BegunAdoption, passed_over: Mapping[str, int]) -> None:
        """All candidates are noted. Leaves out what we deleted, or erased on request."""

        async def work(connection: AnyConnection) -> None:
            await connection.execute(DELETED, adoption.id)
            await connection.execute(
                f"UPDATE {SCHEMA}.adoptions SET listed_at = clock_timestamp(), passed_over = $2"
                " WHERE id = $1",
                adoption.id,
                json.dumps(dict(passed_over)),
            )

        await self._database.transaction(work)

    async def page(self, adoption: BegunAdoption, after: str, limit: int) -> Sequence[Candidate]:
        """The next objects that are not settled yet, in the order of their keys."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                f"SELECT storage_key, bytes AS size FROM {SCHEMA}.adoption_objects WHERE adoption_id = $1"
                " AND state = 'found' AND storage_key > $2 ORDER BY storage_key LIMIT $3",
                adoption.id,
                after,
                limit,
            )
        return [Candidate(**dict(row)) for row in rows]

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
                await _note(connection, f"owner by {terms.owner}", adoption.id, made)
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
        why = await self._known(connection, rows, prefixes)
        rows = [row for row in rows if row.storage_key not in why]
        why |= await self._without_owner(connection, rows)
        rows = [row for row in rows if row.storage_key not in why]
        return await self._insert(connection, rows, how, judge, why), why

    async def _known(
        self, connection: AnyConnection, rows: Sequence[Adoptable], prefixes: Sequence[str]
    ) -> dict[str, str]:
        """Why keys must not be adopted, from what is recorded of them: the weightiest last."""
        keys = [row.storage_key for row in rows]
        if not keys:
            return {}
        marked = {row["storage_key"]: row["reason"] for row in await connection.fetch(KNOWN, keys)}
        rows_now = by_key(await lookup(connection, self._media, keys))
        found: dict[str, str] = dict.fromkeys(rows_now, Left.HAS_ROW)
        found |= dict.fromkeys(await references.named(connection, self._media, keys), Left.HAS_ROW)
        seen = [_as_mark(row) for row in rows if row.storage_key not in found]
        for key, other in (await twins(connection, self._media, seen, prefixes)).items():
            found[key] = f"{Left.NEAR_MISS}: a row spells it {other}"
        found |= marked
        for key, reason in await connection.fetch(LEFT, keys):
            if key not in rows_now:
                found[key] = reason
        return found

    async def _without_owner(self, connection: AnyConnection, rows: Sequence[Adoptable]) -> dict[str, str]:
        """Those whose owner is no virtual key."""
        if not self._media.has_keys or not self.owned:
            return {}
        known = await self._existing(connection, {row.owner for row in rows if row.owner is not None})
        return {
            row.storage_key: f"{Left.UNKNOWN_OWNER}: {row.owner}" for row in rows if row.owner not in known
        }

    async def noted(self) -> bool:
        async with self._database.connection() as connection:
            return bool(await departing.whole(connection, self._tables))

    async def existing(self, owners: Collection[str]) -> Collection[str]:
        if not self._media.has_keys:
            return ()
        async with self._database.connection() as connection:
            return await self._existing(connection, owners)

    async def barred(self, keys: Sequence[str]) -> Collection[str]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(BARRED, [key for key in keys if storable(key)])
        return {row["storage_key"] for row in rows}

    async def found(self, pass_id: int, found: Sequence[Candidate]) -> None:
        async with self._database.connection() as connection:
            await connection.execute(OF_SWEEP, pass_id)
        await self.stage(pass_id, found)

    async def exists(self, owner: str) -> bool:
        """Whether there is a virtual key of that id."""
        async with self._database.connection() as connection:
            return bool(await self._existing(connection, {owner}))

    async def _existing(self, connection: AnyConnection, owners: Collection[str]) -> set[str]:
        """Those that are virtual keys, by their ids as the database writes them."""
        media = self._media
        wanted = [each for each in owners if making.plausible(each, media.key_id_kind)]
        query = (
            f"SELECT {media.key_id}::text AS id FROM {media.keys}"
            f" WHERE {media.key_id} = ANY($1::text[]::{media.key_id_type}[])"
        )
        found = {row["id"] for row in await connection.fetch(query, wanted)}
        return found.intersection(owners)

    async def _insert(
        self,
        connection: AnyConnection,
        rows: Sequence[Adoptable],
        how: Making,
        judge: Judge,
        why: dict[str, str],
    ) -> list[tuple[Adoptable, asyncpg.Record]]:
        """Insert all at once; where one makes that fail, in halves, so that it fails alone."""
        if not rows:
            return []
        try:
            async with connection.transaction():
                return await self._insert_all(connection, rows, how, judge, why)
        except _Going as going:
            why |= going.why
            staying = [row for row in rows if row.storage_key not in going.why]
            return await self._insert(connection, staying, how, judge, why)
        except COLLISIONS:
            raise
        except (asyncpg.PostgresError, _NotMade) as error:
            if is_of(error, BUSY):
                raise CatalogUnavailable(f"{self._media.names[0]} is busy: {explained(error)}") from error
            if len(rows) == 1:
                why[rows[0].storage_key] = _refused(error)
                return []
        middle = len(rows) // 2
        made = await self._insert(connection, rows[:middle], how, judge, why)
        return made + await self._insert(connection, rows[middle:], how, judge, why)

    async def _insert_all(
        self,
        connection: AnyConnection,
        rows: Sequence[Adoptable],
        how: Making,
        judge: Judge,
        why: dict[str, str],
    ) -> list[tuple[Adoptable, asyncpg.Record]]:
        media = self._media
        async with in_their_settings(connection):
            made = await connection.fetch(making.statement(how, media), *how.arrays(rows))
        ids = {row["storage_key"]: row["id"] for row in made}
        keys = list(ids)
        there = by_key(await lookup(connection, media, keys))
        now = datetime.now(UTC)
        going = {}
        for key in keys:
            if [row.id for row in there.get(key, ())] != [ids[key]]:
                raise _NotMade("its row does not count, or a trigger changed its key")
            if verdict := judge(there[key][0], now):
                going[key] = f"{Left.RETENTION}: {verdict}"
        if going:
            # Taken back with the others, which are made again.
            raise _Going(going)
        hashes = {
            row["id"]: row
            for row in await connection.fetch(
                f"SELECT {media.identity.text} AS id, {ROW_HASH} AS row_hash FROM {media.table}"
                f" WHERE {media.identity.among('$1')}",
                list(ids.values()),
            )
        }
        for row in rows:
            if row.storage_key not in ids:
                why[row.storage_key] = Left.HAS_ROW
        return [(row, hashes[ids[row.storage_key]]) for row in rows if row.storage_key in ids]

    async def end(self, adoption: BegunAdoption, retention: timedelta) -> None:
        """All is settled. Older adoptions are forgotten after that time."""
        async with self._database.connection() as connection:
            await connection.execute(
                f"UPDATE {SCHEMA}.adoptions SET ended_at = clock_timestamp()"
                " WHERE id = $1 AND ended_at IS NULL",
                adoption.id,
            )
            await _forget_spellings(connection, adoption)
            await connection.execute(FORGET, retention)

    async def show(self, adoption_id: int) -> Adoption:
        """What became of it so far. Raises NotDone where there is none of that number."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(SHOW, adoption_id)
            if row is None:
                message = f"there is no adoption {adoption_id}"
                raise NotDone(ErrorKind.NOT_FOUND, "no_such_adoption", message, pass_id=adoption_id)
            left = await connection.fetch(BY_REASON, adoption_id)
        passed = {str(name): int(number) for name, number in json.loads(row["passed_over"]).items()}
        return Adoption(
            **{**dict(row), "passed_over": passed}, left={each["reason"]: each["number"] for each in left}
        )

    async def objects(self, adoption_id: int, page_size: int = 1000) -> AsyncIterator[Sequence[Adopted]]:
        """What became of each object, in the order of the keys."""
        after = ""
        while True:
            async with self._database.connection() as connection:
                rows = await connection.fetch(OBJECTS, adoption_id, after, page_size)
            if not rows:
                return
            yield [Adopted(**dict(row)) for row in rows]
            after = rows[-1]["storage_key"]

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
            return found[-1]["storage_key"], *(await self._remove(connection, adoption_id, found, author))

        return await self._database.transaction(work)

    async def _remove(
        self, connection: AnyConnection, adoption_id: int, found: Sequence[asyncpg.Record], author: str
    ) -> tuple[int, int]:
        media = self._media
        rows = await connection.fetch(
            f"SELECT {media.identity.text} AS id, {ROW_HASH} AS row_hash FROM {media.table}"
            f" WHERE {media.identity.among('$1')} FOR UPDATE",
            [row["record_id"] for row in found],
        )
        now = {row["id"]: row["row_hash"] for row in rows}
        ours = [row for row in found if now.get(row["record_id"]) == row["row_hash"]]
        going = await self._removed(connection, ours)
        await connection.execute(
            f"UPDATE {SCHEMA}.adoption_objects SET state = 'undone'"
            " WHERE adoption_id = $1 AND storage_key = ANY($2::text[])",
            adoption_id,
            [row["storage_key"] for row in going],
        )
        await connection.execute(
            NOTE,
            uuid4(),
            "unadopted",
            f"undone by {author}",
            adoption_id,
            [row["storage_key"] for row in going],
            [row["record_id"] for row in going],
            [row["bytes"] for row in going],
            [None for _ in going],
            [row["owner"] for row in going],
        )
        return len(going), len(found) - len(going)

    async def _removed(
        self, connection: AnyConnection, rows: Sequence[asyncpg.Record]
    ) -> Sequence[asyncpg.Record]:
        """Those that could be removed: all at once, or in halves where something keeps one of them."""
        if not rows:
            return ()
        try:
            async with connection.transaction():
                await remove_rows(connection, self._media, [row["record_id"] for row in rows])
        except COLLISIONS:
            raise
        except (asyncpg.PostgresError, NotRemoved) as error:
            if is_of(error, BUSY):
                raise CatalogUnavailable(f"{self._media.names[0]} is busy: {explained(error)}") from error
            if len(rows) == 1:
                return ()
        else:
            return rows
        middle = len(rows) // 2
        return [
            *await self._removed(connection, rows[:middle]),
            *await self._removed(connection, rows[middle:]),
        ]


async def _take(connection: AnyConnection, adoption_id: int, by: str) -> bool:
    """Renew the right to carry it out; False where another process has it."""
    taken = await connection.fetchval(
        f"UPDATE {SCHEMA}.adoptions SET taken_until = clock_timestamp() + $2::interval, taken_by = $3"
        " WHERE id = $1 AND (taken_by = $3 OR taken_until < clock_timestamp()) RETURNING true",
        adoption_id,
        TAKEN,
        by,
    )
    return bool(taken)


async def _forget_spellings(connection: AnyConnection, adoption: BegunAdoption) -> None:
    await connection.execute(f"DELETE FROM {SCHEMA}.spellings WHERE pass_id = $1", adoption.spellings)


async def _note(
    connection: AnyConnection,
    reason: str,
    adoption_id: int,
    made: Sequence[tuple[Adoptable, asyncpg.Record]],
) -> None:
    await connection.execute(
        NOTE,
        uuid4(),
        "adopted",
        reason,
        adoption_id,
        [row.storage_key for row, _ in made],
        [each["id"] for _, each in made],
        [row.size for row, _ in made],
        [row.etag for row, _ in made],
        [row.owner for row, _ in made],
    )


def _as_mark(row: Adoptable) -> Mark:
    """Any row that spells it otherwise counts, as for an object whose row has departed."""
    return Mark(
        storage_key=row.storage_key,
        verdict=Verdict.DEPARTED,
        reason="",
        bytes=row.size,
        pass_id=0,
        object_etag=row.etag,
        object_last_modified=row.created_at,
        first_seen_at=row.created_at,
        last_seen_at=row.created_at,
        sightings=1,
        due_at=row.created_at,
    )


def _refused(error: Exception) -> str:
    if is_of(error, (REFUSED,)):
        return Left.CLAIMED
    return f"{Left.REFUSED}: {explained(error)}"
