"""Protocol step 5: rescue abandoned claims, by a later operation. They only ever roll forward."""

import json
from datetime import timedelta
from uuid import uuid4

import asyncpg

from reconciler.catalog.db.connections import AnyConnection, by_index
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.leadership.fencing import TERM_BEGAN, stand
from reconciler.catalog.mark_rows import MARK_COLUMNS, mark_from
from reconciler.catalog.marks.claims import IN_FLIGHT, note_intents
from reconciler.catalog.marks.ledger import Operation
from reconciler.model import Claim, ClaimedKey, DeleteMode, RecordRef, Remove, Term, Verdict

# Our own claims are abandoned after IN_FLIGHT, a failure or LET_GO; others' once none of their requests can
# still be on its way: all were sent before the lease was ours, however old the claim. Claims that a
# newer program made in a way unknown to this one are left to it.
UNFINISHED = f"""
SELECT {MARK_COLUMNS}, m.operation_id, m.attempts, m.records, m.delete_object, m.verify_absence,
       m.delete_mode, m.quarantine_key
FROM {SCHEMA}.marks m
WHERE m.state = 'claimed'
  AND (m.epoch = $1 AND m.not_before <= $2::timestamptz
       OR m.epoch <> $1 AND m.attempted_at + $3::interval <= $2
          AND (m.last_error IS NOT NULL
               OR {TERM_BEGAN} + $3::interval <= $2))
  AND m.verdict = ANY($5::text[]) AND coalesce(m.delete_mode, 'direct') = ANY($6::text[])
ORDER BY m.storage_key LIMIT $4
FOR UPDATE OF m SKIP LOCKED
"""

KNOWN = [list(Verdict), list(DeleteMode)]

# Claims left to a newer program are not waited for.
ABANDONED = f"""
SELECT count(*) FROM {SCHEMA}.marks
WHERE state = 'claimed' AND epoch <> $1
  AND verdict = ANY($2::text[]) AND coalesce(delete_mode, 'direct') = ANY($3::text[])
"""

# Claims that failed have a last_error, and keep their own waiting time.
LET_GO = f"""
UPDATE {SCHEMA}.marks SET not_before = clock_timestamp()
WHERE state = 'claimed' AND epoch = $1 AND last_error IS NULL AND not_before > clock_timestamp()
"""

# A new operation under this term, so that the former one can no longer confirm these claims.
TAKE_OVER = f"""
UPDATE {SCHEMA}.marks
SET operation_id = $2, epoch = $3, claimed_xid = pg_current_xact_id(), attempted_at = $4::timestamptz,
    not_before = $4 + $5::interval, attempts = attempts + 1, last_error = NULL
WHERE storage_key = ANY($1::text[])
"""


async def rescue_claim(
    connection: AnyConnection, term: Term, longest_call: timedelta, limit: int
) -> Claim | None:
    """See `ports.Marks.rescue`. The decision stands: a claim only rolls forward."""
    standing = await stand(connection, term)
    if standing.paused:
        return None
    await by_index(connection)
    rows = await connection.fetch(UNFINISHED, term.epoch, standing.now, longest_call, limit, *KNOWN)
    if not rows:
        return None
    operation = uuid4()
    keys = tuple(_claimed_from(row) for row in rows)
    await connection.execute(
        TAKE_OVER,
        [key.mark.storage_key for key in keys],
        operation,
        term.epoch,
        standing.now,
        IN_FLIGHT,
    )
    former = f"rolls operation {rows[0]['operation_id']} forward"
    await note_intents(connection, Operation(id=operation, epoch=term.epoch), keys, former)
    return Claim(operation_id=operation, epoch=term.epoch, xid=0, keys=keys, taken=len(keys))


def _claimed_from(row: asyncpg.Record) -> ClaimedKey:
    stored = json.loads(row["records"]) if row["records"] else []
    decision = Remove(
        records=tuple(RecordRef(id=each, version=version) for each, version in stored),
        delete_object=row["delete_object"],
        verify_absence=row["verify_absence"],
    )
    return ClaimedKey(
        mark=mark_from(row),
        decision=decision,
        attempts=row["attempts"] + 1,
        mode=DeleteMode(row["delete_mode"] or DeleteMode.DIRECT),
        quarantine_key=row["quarantine_key"],
    )


async def count_abandoned(connection: AnyConnection, term: Term) -> int:
    count: int = await connection.fetchval(ABANDONED, term.epoch, *KNOWN)
    return count
