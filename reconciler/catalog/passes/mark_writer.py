"""How a pass's findings become marks, and which marks a complete pass withdraws."""

from collections.abc import Sequence
from datetime import timedelta

from reconciler.catalog.db.connections import AnyConnection, by_index
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.mark_rows import KNOWN
from reconciler.model import Finding, Pass, PassKind, Verdict

# Inserts new marks. Whose a key is, the rows that name it say at the claim, and of a row that left the note
# does. A key that is marked already is left alone here, without waiting for a lock on its mark. In key
# order, so that two passes cannot wait for one another.
INSERT_MARKS = f"""
INSERT INTO {SCHEMA}.marks
    (storage_key, verdict, reason, bytes, object_etag, object_last_modified,
     pass_id, first_seen_at, last_seen_at, last_pass_id, last_sweep_id, confirmed_id, sightings, due_at,
     owners, nominated)
SELECT f.storage_key, f.verdict, f.reason, f.bytes, f.etag, f.modified,
       $7::bigint, seen.at, seen.at, $7, CASE WHEN $8::boolean THEN $7 END, $7, 1, seen.at + $9::interval,
       CASE WHEN f.verdict = '{Verdict.DEPARTED}' AND f.owner IS NOT NULL THEN ARRAY[f.owner] END,
       $11::boolean
FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::timestamptz[], $10::text[])
         AS f (storage_key, verdict, reason, bytes, etag, modified, owner),
     (SELECT clock_timestamp() AS at) seen
ORDER BY f.storage_key COLLATE "C"
ON CONFLICT (storage_key) DO NOTHING
"""

# Drops new marks whose key was deleted since the pass began: the page was listed before that, and the key
# would be deleted twice. A separate statement, since the insertion may have waited for the very confirmation
# that left the tombstone. The next pass finds keys uploaded again since.
DROP_GONE = f"""
WITH gone AS MATERIALIZED (
    SELECT t.storage_key FROM {SCHEMA}.tombstones t
    WHERE t.storage_key = ANY($1::text[]) AND t.gone_at >= $3
)
DELETE FROM {SCHEMA}.marks m USING gone
WHERE m.storage_key = gone.storage_key AND m.pass_id = $2 AND m.state = 'found'
"""

# Marks found again join this pass and keep their due time. They do not join if their own pass is released,
# or tripped and waits for a decision (an approval releases what that pass found, neither less nor more), or
# of the other kind, whose breaker alone has counted them. A second sighting takes another complete sweep
# with the same verdict; where this one is by an inventory, the other was by an earlier inventory. A key on
# hold is seen and joins nothing. Claimed or locked marks, and a newer program's, stay as they are. Only a
# pass of its own kind confirms a mark: a sweep by the same verdict, retention by any of its own.
REJOIN_MARKS = f"""
WITH again AS (
    SELECT m.storage_key,
           f.kept OR p.state NOT IN ('running', 'failed', 'discarded') OR p.kind <> $5::text AS stays,
           m.verdict = f.verdict AND $4 AS same,
           p.kind = $5 AND (m.verdict = f.verdict OR NOT $4::boolean) AS confirmed,
           m.verdict = f.verdict AND $4::boolean AND m.last_sweep_id IS DISTINCT FROM $3::bigint
               AND s.state IN ('released', 'tripped') AND NOT f.kept
               AND ($7::timestamptz IS NULL OR (s.inventory ->> 'began_at')::timestamptz < $7) AS second
    FROM unnest($1::text[], $2::text[], $6::boolean[]) AS f (storage_key, verdict, kept)
    JOIN {SCHEMA}.marks m ON m.storage_key = f.storage_key
    JOIN {SCHEMA}.passes p ON p.id = m.pass_id
    LEFT JOIN {SCHEMA}.passes s ON s.id = m.last_sweep_id
    WHERE m.state = 'found' AND m.last_pass_id <> $3 AND {KNOWN}
    ORDER BY m.storage_key
    FOR UPDATE OF m SKIP LOCKED
)
UPDATE {SCHEMA}.marks m
SET last_seen_at = clock_timestamp(),
    last_pass_id = $3,
    last_sweep_id = CASE WHEN again.same THEN $3 ELSE m.last_sweep_id END,
    confirmed_id = CASE WHEN again.confirmed THEN $3 ELSE m.confirmed_id END,
    sightings = m.sightings + coalesce(again.second, false)::int,
    pass_id = CASE WHEN again.stays THEN m.pass_id ELSE $3 END
FROM again WHERE m.storage_key = again.storage_key
"""

# Withdraws marks that a complete pass no longer finds, released or not: the row is back, the object is
# gone, the expiry was extended, or the verdict's clean-up is off: switched on again, it is found by
# a pass that trips for it, and an earlier release holds no longer. Marks locked by a writer are skipped, as
# everywhere: the writer may in turn wait for another of these; no claim takes such a mark until a
# pass has seen it again. A newer program's marks stay: without one, this program would find the key for its
# own reason, and delete it.
WITHDRAW_UNSEEN = f"""
WITH free AS (
    SELECT m.storage_key FROM {SCHEMA}.marks m JOIN {SCHEMA}.passes p ON p.id = m.pass_id
    WHERE p.kind = $2 AND m.state = 'found' AND m.confirmed_id < $1 AND m.variant_of IS NULL AND {KNOWN}
    FOR UPDATE OF m SKIP LOCKED
)
DELETE FROM {SCHEMA}.marks m USING free WHERE m.storage_key = free.storage_key
"""


async def mark(
    connection: AnyConnection, current: Pass, findings: Sequence[Finding], delete_delay: timedelta
) -> None:
    """Write marks for findings that are not kept, in the caller's transaction; kept ones are only seen."""
    await by_index(connection)
    new = [each for each in findings if each.kept is None]
    sweep = current.kind is PassKind.SWEEP
    status = await connection.execute(
        INSERT_MARKS,
        [each.storage_key for each in new],
        [each.verdict.value for each in new],
        [each.reason for each in new],
        [each.bytes for each in new],
        [each.object_etag for each in new],
        [each.object_last_modified for each in new],
        current.id,
        sweep,
        delete_delay,
        [each.virtual_key_id for each in new],
        current.inventory is not None,
    )
    if int(status.rpartition(" ")[2]) < len(findings):
        await connection.execute(
            REJOIN_MARKS,
            [each.storage_key for each in findings],
            [each.verdict.value for each in findings],
            current.id,
            sweep,
            current.kind.value,
            [each.kept is not None for each in findings],
            current.inventory and current.inventory.began_at,
        )
    await connection.execute(DROP_GONE, [each.storage_key for each in new], current.id, current.cutoff)
