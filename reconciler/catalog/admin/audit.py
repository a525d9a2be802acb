"""The audit of changes over HTTP, which also keeps the answers to requests that may be repeated."""

from collections.abc import Sequence

from reconciler.catalog.db.connections import AnyConnection, Database, Row
from reconciler.catalog.db.schema import SCHEMA
from reconciler.errors import ErrorKind, NotDone
from reconciler.model import AuditLine, Change, Repeat

DAY = "interval '24 hours'"
"""How long the answer to a request is kept for its repetition."""

LOST = "interval '2 minutes'"
"""After so long without an answer a request has died with its replica."""

# A key that is too old, or whose request died, is free again; the line stays.
RELEASE = f"""
UPDATE {SCHEMA}.audit SET idempotency_key = NULL, digest = NULL, answer = NULL
WHERE caller = $1 AND idempotency_key = $2
  AND at < clock_timestamp() - CASE WHEN status IS NULL THEN {LOST} ELSE {DAY} END
"""

BEGIN = f"""
INSERT INTO {SCHEMA}.audit (caller, role, address, action, target, asked, idempotency_key, digest)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (caller, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING RETURNING id
"""

EARLIER = f"""
SELECT status, location, answer, digest FROM {SCHEMA}.audit WHERE caller = $1 AND idempotency_key = $2
"""

END = f"""
UPDATE {SCHEMA}.audit
SET status = $2, outcome = $3, location = $4,
    answer = CASE WHEN idempotency_key IS NOT NULL THEN $5 END,
    idempotency_key = CASE WHEN $5::text IS NOT NULL THEN idempotency_key END
WHERE id = $1
"""

PAGE = f"""
SELECT id, at, caller, role, address, action, target, asked, status, outcome FROM {SCHEMA}.audit
WHERE ($1::bigint IS NULL OR id < $1) AND ($2::text IS NULL OR caller = $2)
ORDER BY id DESC LIMIT $3
"""


class Audit:
    """Written before a change is made, and again when it is known what came of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, change: Change, key: str | None = None, digest: str | None = None) -> int | Repeat:
        """Note a change that is about to be made. Returns the line's number; or, where the same caller sent
        the same request with the same `key` within a day, the answer that it got.

        Raises NotDone where that request is still under way, or was another one.
        """
        values = (change.caller, change.role, change.address, change.action, change.target, change.asked)

        async def work(connection: AnyConnection) -> tuple[int | None, Row | None]:
            if key is not None:
                await connection.execute(RELEASE, change.caller, key)
            line: int | None = await connection.fetchval(BEGIN, *values, key, digest)
            earlier = None if line else await connection.fetchrow(EARLIER, change.caller, key)
            return line, earlier

        line, earlier = await self._database.transaction(work)
        if line is not None:
            return line
        return _repeat(earlier, digest)

    async def end(
        self, line: int, status: int, outcome: str | None, location: str | None, answer: str | None
    ) -> None:
        """Note what came of it. `answer` None: nothing was done, and a repetition tries anew."""
        async with self._database.connection() as connection:
            await connection.execute(END, line, status, outcome, location, answer)

    async def page(self, before: int | None, limit: int, caller: str | None = None) -> Sequence[AuditLine]:
        """The lines, the newest first, behind the one `before`, of that caller or of all."""
        async with self._database.connection() as connection:
            return [_line(row) for row in await connection.fetch(PAGE, before, caller, limit)]


def _repeat(earlier: Row | None, digest: str | None) -> Repeat:
    if earlier is not None and earlier["digest"] != digest:
        message = "another request was sent with this Idempotency-Key"
        raise NotDone(ErrorKind.CONFLICT, "idempotency_key_reused", message)
    if earlier is None or earlier["status"] is None:
        message = "the request that was sent with this Idempotency-Key is still under way"
        raise NotDone(ErrorKind.CONFLICT, "still_under_way", message)
    return Repeat(status=earlier["status"], location=earlier["location"], answer=earlier["answer"])


def _line(row: Row) -> AuditLine:
    names = ("caller", "role", "address", "action", "target", "asked")
    return AuditLine(
        id=row["id"],
        at=row["at"],
        change=Change(**{name: row[name] for name in names}),
        status=row["status"],
        outcome=row["outcome"],
    )
