"""Passes, their key ranges, and the marks that they write. Every write compares the term."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta

import asyncpg

from reconciler.catalog import holds
from reconciler.catalog.bounds import comparable, storable
from reconciler.catalog.connections import AnyConnection, Database, by_index
from reconciler.catalog.gateway import Gateway
from reconciler.catalog.schema import SCHEMA
from reconciler.catalog.terms import stand
from reconciler.errors import LeaseLost
from reconciler.model import (
    Backlog,
    Finding,
    KeepReason,
    KeyRange,
    ListingOrder,
    Marker,
    Mode,
    Pass,
    PassState,
    RangeProgress,
    Tally,
    Term,
    Trip,
    Verdict,
)

# Marks that are new. A key that is marked already is left alone here, without waiting for whoever
# holds it. In key order, so that two passes cannot wait for one another.
INSERT_MARKS = f"""
INSERT INTO {SCHEMA}.marks
    (storage_key, verdict, reason, bytes, object_etag, object_last_modified,
     pass_id, first_seen_at, last_seen_at, last_pass_id, last_sweep_id, sightings, due_at)
SELECT f.storage_key, f.verdict, f.reason, f.bytes, f.etag, f.modified,
       $7::bigint, seen.at, seen.at, $7, CASE WHEN $8::boolean THEN $7 END, 1, seen.at + $9::interval
FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::timestamptz[])
         AS f (storage_key, verdict, reason, bytes, etag, modified),
     (SELECT clock_timestamp() AS at) seen
ORDER BY f.storage_key COLLATE "C"
ON CONFLICT (storage_key) DO NOTHING
"""

# Marks found again: they join this pass unless their own is armed or of the other marker, whose breaker
# alone has counted them, and keep their due time. Only another complete sweep that says the same is a
# second sighting. Claimed or locked ones stay as they are.
REJOIN_MARKS = f"""
WITH again AS (
    SELECT m.storage_key, p.state = 'armed' OR p.marker <> $5::text AS stays,
           m.verdict = f.verdict AND $4 AS same,
           m.verdict = f.verdict AND $4::boolean AND m.last_sweep_id IS DISTINCT FROM $3::bigint
               AND s.state IN ('armed', 'tripped') AS second
    FROM unnest($1::text[], $2::text[]) AS f (storage_key, verdict)
    JOIN {SCHEMA}.marks m ON m.storage_key = f.storage_key
    JOIN {SCHEMA}.passes p ON p.id = m.pass_id
    LEFT JOIN {SCHEMA}.passes s ON s.id = m.last_sweep_id
    WHERE m.state = 'found' AND m.last_pass_id <> $3
    ORDER BY m.storage_key
    FOR UPDATE OF m SKIP LOCKED
)
UPDATE {SCHEMA}.marks m
SET last_seen_at = clock_timestamp(),
    last_pass_id = $3,
    last_sweep_id = CASE WHEN again.same THEN $3 ELSE m.last_sweep_id END,
    sightings = m.sightings + coalesce(again.second, false)::int,
    pass_id = CASE WHEN again.stays THEN m.pass_id ELSE $3 END
FROM again WHERE m.storage_key = again.storage_key
"""

# What a complete pass has not seen again: findings of passes that were never released, and records
# whose objects are back. A dangling mark that no sweep sees a second time would wait for ever, and
# keep its key from every other verdict.
WITHDRAW_UNSEEN = f"""
DELETE FROM {SCHEMA}.marks m USING {SCHEMA}.passes p
WHERE p.id = m.pass_id AND p.marker = $2 AND m.state = 'found'
  AND (p.state IN ('tripped', 'failed') AND m.pass_id < $1 AND m.last_pass_id < $1
       OR p.state = 'armed' AND m.verdict = 'dangling' AND m.last_sweep_id < $1)
"""

# What the breaker adds: marks that may still go (a pass that tripped or failed releases nothing) ...
PENDING = f"""
SELECT m.verdict, count(*) AS keys
FROM {SCHEMA}.marks m JOIN {SCHEMA}.passes p ON p.id = m.pass_id
WHERE m.state = 'claimed' OR p.state IN ('running', 'armed')
GROUP BY m.verdict
"""

# ... and the keys that went in the last day, however often one was tried.
GONE = f"""
SELECT verdict, count(DISTINCT storage_key) AS keys
FROM {SCHEMA}.ledger
WHERE at > clock_timestamp() - interval '24 hours' AND event = 'result' AND mode = 'live'
  AND (what = 'object' AND result IN ('deleted', 'missing') OR what = 'record' AND result = 'deleted')
GROUP BY verdict
"""


class PostgresPasses:
    """`ports.Passes` on Postgres."""

    def __init__(self, database: Database, gateway: Gateway) -> None:
        self._database = database
        self._gateway = gateway

    async def begin(
        self, term: Term, marker: Marker, config_hash: str, mode: Mode, order: ListingOrder | None
    ) -> Pass:
        async def work(connection: AnyConnection) -> Pass:
            await stand(connection, term)
            # What a crash left and nobody resumed releases nothing.
            await connection.execute(
                f"UPDATE {SCHEMA}.passes SET state = 'failed', finished_at = clock_timestamp(),"
                " trip_reason = 'superseded by a newer pass' WHERE marker = $1 AND state = 'running'",
                marker.value,
            )
            row = await connection.fetchrow(
                f"INSERT INTO {SCHEMA}.passes"
                " (marker, cutoff, config_hash, mode, listing_order, state, epoch, tally)"
                " VALUES ($1, clock_timestamp(), $2, $3, $4, 'running', $5, '{}') RETURNING *",
                marker.value,
                config_hash,
                mode.value,
                order.value if order else None,
                term.epoch,
            )
            assert row is not None
            return _pass_from(row)

        return await self._database.transaction(work)

    async def resumable(
        self, marker: Marker, config_hash: str, mode: Mode, order: ListingOrder, max_age: timedelta
    ) -> Pass | None:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                f"SELECT * FROM {SCHEMA}.passes WHERE marker = $1 AND state = 'running'"
                " AND config_hash = $2 AND mode = $3 AND listing_order = $4"
                " AND cutoff > clock_timestamp() - $5::interval ORDER BY id DESC LIMIT 1",
                marker.value,
                config_hash,
                mode.value,
                order.value,
                max_age,
            )
        return _pass_from(row) if row else None

    async def plan_ranges(self, term: Term, pass_id: int, ranges: Sequence[KeyRange]) -> None:
        async def work(connection: AnyConnection) -> None:
            await stand(connection, term)
            await _still_running(connection, pass_id)
            await connection.execute(
                f'INSERT INTO {SCHEMA}.ranges (pass_id, ordinal, prefix, "after", upto, watermark, tally)'
                " SELECT $1, r.ordinal, r.prefix, r.low, r.high, r.low, '{}'"
                " FROM unnest($2::int[], $3::text[], $4::text[], $5::text[])"
                " AS r (ordinal, prefix, low, high)",
                pass_id,
                list(range(len(ranges))),
                [each.prefix for each in ranges],
                [each.after for each in ranges],
                [each.upto for each in ranges],
            )

        await self._database.transaction(work)

    async def ranges(self, pass_id: int) -> Sequence[RangeProgress]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                f"SELECT * FROM {SCHEMA}.ranges WHERE pass_id = $1 ORDER BY ordinal", pass_id
            )
        return [
            RangeProgress(
                ordinal=row["ordinal"],
                range=KeyRange(prefix=row["prefix"], after=row["after"], upto=row["upto"]),
                watermark=row["watermark"],
                done=row["done"],
                tally=_tally_from(row["tally"]),
            )
            for row in rows
        ]

    async def record(
        self,
        term: Term,
        current: Pass,
        findings: Sequence[Finding],
        delete_delay: timedelta,
        progress: RangeProgress | None = None,
    ) -> None:
        marked = [each for each in findings if each.kept is None and storable(each.storage_key)]

        async def work(connection: AnyConnection) -> None:
            await stand(connection, term)
            await _still_running(connection, current.id)
            held = await holds.held(connection, self._gateway, [each.storage_key for each in marked])
            if free := [each for each in marked if each.storage_key not in held]:
                await _mark(connection, current, free, delete_delay)
            if progress is not None:
                await connection.execute(
                    f"UPDATE {SCHEMA}.ranges SET watermark = $3, done = $4, tally = $5"
                    " WHERE pass_id = $1 AND ordinal = $2",
                    current.id,
                    progress.ordinal,
                    comparable(progress.watermark),
                    progress.done,
                    _tally_text(progress.tally),
                )

        await self._database.transaction(work)

    async def arm(self, term: Term, current: Pass, tally: Tally) -> int:
        async def work(connection: AnyConnection) -> int:
            await self._finish(connection, term, current, tally, PassState.ARMED)
            # Its own xid, and later than every mark: a writer that this transaction could not see
            # ended before the horizon passes the stamp.
            stamp: str = await connection.fetchval(
                f"UPDATE {SCHEMA}.passes SET armed_xid = pg_current_xact_id() WHERE id = $1"
                " RETURNING armed_xid::text",
                current.id,
            )
            await connection.execute(WITHDRAW_UNSEEN, current.id, current.marker.value)
            return int(stamp)

        return await self._database.transaction(work)

    async def trip(self, term: Term, current: Pass, tally: Tally, trip: Trip) -> None:
        async def work(connection: AnyConnection) -> None:
            await self._finish(connection, term, current, tally, PassState.TRIPPED, trip)

        await self._database.transaction(work)

    async def fail(self, term: Term, current: Pass, reason: str) -> None:
        async def work(connection: AnyConnection) -> None:
            failure = Trip(reason=reason)
            await self._finish(connection, term, current, current.tally, PassState.FAILED, failure)

        await self._database.transaction(work)

    @staticmethod
    async def _finish(
        connection: AnyConnection,
        term: Term,
        current: Pass,
        tally: Tally,
        state: PassState,
        trip: Trip | None = None,
    ) -> None:
        await stand(connection, term)
        finished = await connection.fetchval(
            f"UPDATE {SCHEMA}.passes SET state = $2, tally = $3, finished_at = clock_timestamp(),"
            " trip_reason = $4, both_sides = $5 WHERE id = $1 AND state = 'running' RETURNING true",
            current.id,
            state.value,
            _tally_text(tally),
            trip.reason if trip else None,
            trip.both_sides if trip else False,
        )
        if not finished:
            raise LeaseLost(f"pass {current.id} is no longer running: another one has superseded it")

    async def last(self, marker: Marker, state: PassState | None = None) -> Pass | None:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                f"SELECT * FROM {SCHEMA}.passes WHERE marker = $1 AND finished_at IS NOT NULL"
                " AND ($2::text IS NULL OR state = $2) ORDER BY id DESC LIMIT 1",
                marker.value,
                state.value if state else None,
            )
        return _pass_from(row) if row else None

    async def backlog(self) -> Backlog:
        async with self._database.connection() as connection:
            pending = await connection.fetch(PENDING)
            gone = await connection.fetch(GONE)
        return Backlog(
            pending={Verdict(row["verdict"]): row["keys"] for row in pending},
            gone={Verdict(row["verdict"]): row["keys"] for row in gone},
        )


async def _still_running(connection: AnyConnection, pass_id: int) -> None:
    """Lock the pass against being armed or failed for the rest of the transaction."""
    state = await connection.fetchval(f"SELECT state FROM {SCHEMA}.passes WHERE id = $1 FOR SHARE", pass_id)
    if state != PassState.RUNNING:
        raise LeaseLost(f"pass {pass_id} is no longer running: another one has superseded it")


async def _mark(
    connection: AnyConnection, current: Pass, findings: Sequence[Finding], delete_delay: timedelta
) -> None:
    await by_index(connection)
    keys = [each.storage_key for each in findings]
    verdicts = [each.verdict.value for each in findings]
    sweep = current.marker is Marker.SWEEP
    status = await connection.execute(
        INSERT_MARKS,
        keys,
        verdicts,
        [each.reason for each in findings],
        [each.bytes for each in findings],
        [each.object_etag for each in findings],
        [each.object_last_modified for each in findings],
        current.id,
        sweep,
        delete_delay,
    )
    if int(status.rpartition(" ")[2]) < len(keys):
        marker = current.marker.value
        await connection.execute(REJOIN_MARKS, keys, verdicts, current.id, sweep, marker)


def _pass_from(row: asyncpg.Record) -> Pass:
    return Pass(
        id=row["id"],
        marker=Marker(row["marker"]),
        cutoff=row["cutoff"],
        config_hash=row["config_hash"],
        mode=Mode(row["mode"]),
        order=ListingOrder(row["listing_order"]) if row["listing_order"] else None,
        state=PassState(row["state"]),
        tally=_tally_from(row["tally"]),
        finished_at=row["finished_at"],
        trip_reason=row["trip_reason"],
        both_sides=row["both_sides"],
    )


def _tally_text(tally: Tally) -> str:
    return json.dumps(
        {
            "objects": tally.objects,
            "records": tally.records,
            "bytes": tally.bytes,
            "missing": tally.missing,
            "found": dict(tally.found),
            "found_bytes": dict(tally.found_bytes),
            "kept": dict(tally.kept),
        }
    )


def _tally_from(text: str) -> Tally:
    stored = json.loads(text)
    return Tally(
        objects=stored.get("objects", 0),
        records=stored.get("records", 0),
        bytes=stored.get("bytes", 0),
        missing=stored.get("missing", 0),
        found={Verdict(name): number for name, number in stored.get("found", {}).items()},
        found_bytes={Verdict(name): number for name, number in stored.get("found_bytes", {}).items()},
        kept={KeepReason(name): number for name, number in stored.get("kept", {}).items()},
    )
