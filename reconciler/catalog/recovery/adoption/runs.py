"""Adoptions as they are begun, taken up again after a kill, and ended, with what became of each object."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta

from reconciler.catalog.db.bounds import storable
from reconciler.catalog.db.connections import AnyConnection, Database
from reconciler.catalog.db.schema import SCHEMA
from reconciler.errors import ErrorKind, NotDone
from reconciler.model import (
    Adopted,
    Adoption,
    BegunAdoption,
    Candidate,
    Left,
)

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

OF_SWEEP = f"""
INSERT INTO {SCHEMA}.adoptions (id, asked, author, dry_run, taken_until, taken_by)
VALUES ($1, 'sweep', 'sweep', false, '-infinity', '') ON CONFLICT DO NOTHING
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

FORGET = f"""
DELETE FROM {SCHEMA}.adoptions a
WHERE coalesce(ended_at, begun_at) < clock_timestamp() - $1::interval AND NOT EXISTS (
    SELECT FROM {SCHEMA}.adoption_objects o WHERE o.adoption_id = a.id AND o.state = 'undone')
"""


class AdoptionRuns:
    """What an operator, or a sweep, has begun."""

    def __init__(self, database: Database) -> None:
        self._database = database

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

    async def found(self, pass_id: int, found: Sequence[Candidate]) -> None:
        async with self._database.connection() as connection:
            await connection.execute(OF_SWEEP, pass_id)
        await self.stage(pass_id, found)

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
