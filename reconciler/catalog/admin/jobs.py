"""Jobs: work that was asked for. Passes are the leader's; what needs no lease is taken by any replica."""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from reconciler.catalog.db.connections import AnyConnection, Database, Row
from reconciler.catalog.db.schema import SCHEMA
from reconciler.errors import ErrorKind, NotDone
from reconciler.model import Job, JobKind, JobState, PassKind

TAKEN = timedelta(seconds=30)
"""How long a job is another replica's, unless that says it is still at it."""

ASK = f"""
INSERT INTO {SCHEMA}.jobs (id, kind, asked, dry_run, author) VALUES ($1, $2, $3, $4, $5) RETURNING *
"""

PAGE = f"""
SELECT * FROM {SCHEMA}.jobs
WHERE $1::timestamptz IS NULL OR (asked_at, id) < ($1, $2::uuid) ORDER BY asked_at DESC, id DESC LIMIT $3
"""

TAKE = f"""
UPDATE {SCHEMA}.jobs
SET state = 'running', taken_by = $1, taken_until = clock_timestamp() + $2::interval,
    begun_at = coalesce(begun_at, clock_timestamp())
WHERE id = (SELECT id FROM {SCHEMA}.jobs
            WHERE kind = ANY($3::text[])
              AND (state = 'waiting' OR state = 'running' AND taken_until < clock_timestamp())
            ORDER BY asked_at FOR UPDATE SKIP LOCKED LIMIT 1)
RETURNING *
"""

KEEP = f"""
UPDATE {SCHEMA}.jobs SET taken_until = clock_timestamp() + $3::interval, done = $4
WHERE id = $1 AND taken_by = $2 AND state = 'running' RETURNING cancel
"""

END = f"""
UPDATE {SCHEMA}.jobs
SET state = $3, result = $4, error = $5, done = $6, ended_at = clock_timestamp(), taken_until = NULL
WHERE id = $1 AND taken_by = $2 AND state = 'running'
"""

CANCEL = f"""
UPDATE {SCHEMA}.jobs
SET cancel = true, state = CASE WHEN state = 'waiting' THEN 'cancelled' ELSE state END,
    ended_at = CASE WHEN state = 'waiting' THEN clock_timestamp() END
WHERE id = $1 AND state IN ('waiting', 'running') AND (state = 'waiting' OR kind = ANY($2::text[]))
RETURNING *
"""

# Those of a former term, too: the pass that was to answer them may never have ended.
WANTED = f"""
SELECT DISTINCT kind FROM {SCHEMA}.jobs
WHERE kind = ANY($1::text[]) AND (state = 'waiting' OR state = 'running' AND taken_by <> $2)
"""

BEGIN_PASS = f"""
UPDATE {SCHEMA}.jobs
SET state = 'running', taken_by = $2, begun_at = coalesce(begun_at, clock_timestamp())
WHERE kind = $1 AND state IN ('waiting', 'running')
"""

END_PASS = f"""
UPDATE {SCHEMA}.jobs SET state = 'done', pass_id = $3, error = NULL, ended_at = clock_timestamp()
WHERE kind = $1 AND state = 'running' AND taken_by = $2
"""

FAIL_PASS = f"UPDATE {SCHEMA}.jobs SET error = $3 WHERE kind = $1 AND state = 'running' AND taken_by = $2"

PASSES = [kind.value for kind in (JobKind.SWEEP, JobKind.RETENTION)]
CANCELLABLE = [JobKind.UNDO.value, JobKind.LOOK.value]
"""What can end in the middle: what has come back is back, and the rest stays as it is."""


class PostgresJobs:
    """`ports.Jobs` on Postgres, and what the admin API does with jobs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ask(
        self, job_id: UUID, kind: JobKind, asked: Mapping[str, object], *, dry_run: bool, author: str
    ) -> Job:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(ASK, job_id, kind.value, json.dumps(asked), dry_run, author)
        assert row is not None
        return _order(row)

    async def look(self, job_id: UUID) -> Job:
        """Raises NotDone: there is no such job."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(f"SELECT * FROM {SCHEMA}.jobs WHERE id = $1", job_id)
        if row is None:
            raise _unknown(job_id)
        return _order(row)

    async def page(self, before: Job | None, limit: int) -> Sequence[Job]:
        """The newest first, behind the one `before`, of which only time and id are read."""
        place = (before.asked_at, before.id) if before else (None, None)
        async with self._database.connection() as connection:
            return [_order(row) for row in await connection.fetch(PAGE, *place, limit)]

    async def cancel(self, job_id: UUID) -> Job:
        """Have it end. Raises NotDone: no such job, it has ended, or it cannot end in the middle."""

        async def work(connection: AnyConnection) -> tuple[Row | None, Row | None]:
            row = await connection.fetchrow(CANCEL, job_id, CANCELLABLE)
            return row, await connection.fetchrow(f"SELECT * FROM {SCHEMA}.jobs WHERE id = $1", job_id)

        cancelled, found = await self._database.transaction(work)
        if cancelled is not None:
            return _order(cancelled)
        if found is None:
            raise _unknown(job_id)
        raise NotDone(
            ErrorKind.CONFLICT,
            "not_cancellable",
            f"operation {job_id} is {found['state']}, and cannot be cancelled any more",
            id=str(job_id),
            state=found["state"],
        )

    # --- what needs no lease ----------------------------------------------------------------------

    async def take(self, holder: str, kinds: Sequence[JobKind]) -> Job | None:
        """The oldest job of these kinds that nobody works on, which is this replica's for `TAKEN` then."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(TAKE, holder, TAKEN, [kind.value for kind in kinds])
            return _order(row) if row else None

    async def keep(self, job: Job, holder: str, done: int) -> bool:
        """Say that it is still worked on, and how far it is. Returns whether it is to end: it was cancelled,
        or another replica has it.
        """
        async with self._database.connection() as connection:
            cancelled = await connection.fetchval(KEEP, job.id, holder, TAKEN, done)
            return cancelled is not False

    async def end(
        self,
        job: Job,
        holder: str,
        state: JobState,
        *,
        done: int,
        result: Mapping[str, object] | None = None,
        error: str | None = None,
    ) -> None:
        told = json.dumps(result) if result is not None else None
        async with self._database.connection() as connection:
            await connection.execute(END, job.id, holder, state.value, told, error, done)

    # --- passes -----------------------------------------------------------------------------------

    async def wanted(self, holder: str) -> frozenset[PassKind]:
        async with self._database.connection() as connection:
            return frozenset(PassKind(row["kind"]) for row in await connection.fetch(WANTED, PASSES, holder))

    async def begin(self, kind: PassKind, holder: str) -> None:
        async with self._database.connection() as connection:
            await connection.execute(BEGIN_PASS, kind.value, holder)

    async def answered(self, kind: PassKind, holder: str, pass_id: int) -> None:
        async with self._database.connection() as connection:
            await connection.execute(END_PASS, kind.value, holder, pass_id)

    async def failed(self, kind: PassKind, holder: str, error: str) -> None:
        async with self._database.connection() as connection:
            await connection.execute(FAIL_PASS, kind.value, holder, error)


def _unknown(job_id: UUID) -> NotDone:
    message = f"there is no operation {job_id}"
    return NotDone(ErrorKind.NOT_FOUND, "no_such_operation", message, id=str(job_id))


def _order(row: Row) -> Job:
    return Job(
        id=row["id"],
        kind=JobKind(row["kind"]),
        asked=json.loads(row["asked"]),
        dry_run=row["dry_run"],
        author=row["author"],
        asked_at=row["asked_at"],
        state=JobState(row["state"]),
        begun_at=row["begun_at"],
        ended_at=row["ended_at"],
        cancel=row["cancel"],
        done=row["done"],
        pass_id=row["pass_id"],
        result=json.loads(row["result"]) if row["result"] else None,
        error=row["error"],
    )
