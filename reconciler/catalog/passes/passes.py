"""Passes, their key ranges, and the marks that they write. Every write checks the term."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from reconciler.catalog import holds
from reconciler.catalog.db.bounds import comparable, storable
from reconciler.catalog.db.connections import AnyConnection, Database
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.leadership.fencing import stand
from reconciler.catalog.media_tables.near_misses.noted import note_departed
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.catalog.pass_groups import STATE
from reconciler.catalog.passes import backlog, departures
from reconciler.catalog.passes.mark_writer import WITHDRAW_UNSEEN, mark
from reconciler.catalog.passes.rows import inventory_text, pass_from, policy_text, tally_from, tally_text
from reconciler.errors import PassEnded
from reconciler.model import (
    Backlog,
    Finding,
    InventoryUsed,
    KeepReason,
    KeyRange,
    ListingOrder,
    Mode,
    Pass,
    PassKind,
    PassState,
    Policy,
    RangeProgress,
    Tally,
    Term,
    Trip,
)

SEEN = frozenset({None, KeepReason.HOLD})
"""What still confirms a mark. One whose clean-up is off is withdrawn."""

COMPARED = 20
"""Released passes of a kind that keep the rules they judged by. The last one is what a later one compares
with; should it trip at a claim after all, the one before is."""

# Rules may name thousands of virtual keys, and a retention pass is released every few minutes.
FORGET_RULES = f"""
UPDATE {SCHEMA}.passes SET policy = policy - 'rules' WHERE id = (
    SELECT id FROM {SCHEMA}.passes WHERE kind = $2 AND state = 'released' AND id < $1
    ORDER BY id DESC OFFSET {COMPARED - 1} LIMIT 1)
"""


class PostgresPasses:
    """`ports.Passes` on Postgres."""

    def __init__(self, database: Database, media: MediaTables) -> None:
        self._database = database
        self._media = media

    async def begin(
        self,
        term: Term,
        kind: PassKind,
        config_hash: str,
        mode: Mode,
        order: ListingOrder | None,
        policy: Policy | None = None,
        inventory: InventoryUsed | None = None,
    ) -> Pass:
        async def work(connection: AnyConnection) -> Pass:
            await stand(connection, term)
            row = await connection.fetchrow(
                f"INSERT INTO {SCHEMA}.passes"
                " (kind, cutoff, config_hash, mode, listing_order, state, epoch, tally, policy, begun_xid,"
                " inventory) VALUES ($1, clock_timestamp(), $2, $3, $4, 'running', $5, '{}', $6,"
                " pg_snapshot_xmin(pg_current_snapshot()), $7) RETURNING *",
                kind.value,
                config_hash,
                mode.value,
                order.value if order else None,
                term.epoch,
                policy_text(policy) if policy else None,
                inventory_text(inventory) if inventory else None,
            )
            assert row is not None
            # A pass that a crash interrupted and that was not resumed releases nothing.
            await connection.execute(
                f"UPDATE {SCHEMA}.passes SET state = 'failed', finished_at = clock_timestamp(),"
                " superseded_by = $2, trip_reason = format('pass %s began before it had ended', $2::bigint)"
                " WHERE kind = $1 AND state = 'running' AND id < $2",
                kind.value,
                row["id"],
            )
            if kind is PassKind.DEPARTURE:
                await departures.adopt(connection, row["id"])
            return pass_from(row)

        return await self._database.transaction(work)

    async def resumable(
        self, kind: PassKind, config_hash: str, mode: Mode, order: ListingOrder, max_age: timedelta
    ) -> Pass | None:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                f"SELECT * FROM {SCHEMA}.passes WHERE kind = $1 AND state = 'running'"
                " AND config_hash = $2 AND mode = $3 AND listing_order = $4"
                " AND cutoff > clock_timestamp() - $5::interval ORDER BY id DESC LIMIT 1",
                kind.value,
                config_hash,
                mode.value,
                order.value,
                max_age,
            )
            return pass_from(row) if row else None

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
                    tally=tally_from(row["tally"]),
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
        departed: Sequence[int] = (),
    ) -> None:
        seen = [each for each in findings if each.kept in SEEN and storable(each.storage_key)]

        async def work(connection: AnyConnection) -> None:
            await stand(connection, term)
            await _still_running(connection, current.id)
            if departed:
                await departures.hold(connection, departed)
            held = await holds.held(
                connection, self._media, [each.storage_key for each in seen if each.kept is None]
            )
            sorted_out = [
                replace(each, kept=KeepReason.HOLD) if each.storage_key in held else each for each in seen
            ]
            if departed:
                going = [each.storage_key for each in sorted_out if each.kept is None]
                await departures.make_way(connection, going)
                await note_departed(connection, going)
            if sorted_out:
                await mark(connection, current, sorted_out, delete_delay)
            if departed:
                await departures.take(connection, departed)
            if progress is not None:
                await connection.execute(
                    f"UPDATE {SCHEMA}.ranges SET watermark = $3, done = $4, tally = $5"
                    " WHERE pass_id = $1 AND ordinal = $2",
                    current.id,
                    progress.ordinal,
                    comparable(progress.watermark),
                    progress.done,
                    tally_text(progress.tally),
                )

        await self._database.transaction(work)

    async def arm(self, term: Term, current: Pass, tally: Tally) -> int:
        async def work(connection: AnyConnection) -> int:
            await self._finish(connection, term, current, tally, PassState.RELEASED)
            # The transaction's own xid, later than every mark: a writer that it could not see has ended
            # before the horizon passes the stamp.
            stamp: str = await connection.fetchval(
                f"UPDATE {SCHEMA}.passes SET released_xid = pg_current_xact_id() WHERE id = $1"
                " RETURNING released_xid::text",
                current.id,
            )
            await _withdraw_unseen(connection, current)
            await connection.execute(FORGET_RULES, current.id, current.kind.value)
            if current.kind is PassKind.DEPARTURE:
                await departures.forget_empty(connection)
            return int(stamp)

        return await self._database.transaction(work)

    async def trip(self, term: Term, current: Pass, tally: Tally, trip: Trip) -> None:
        async def work(connection: AnyConnection) -> None:
            await self._finish(connection, term, current, tally, PassState.TRIPPED, trip)
            # Keys found before and no longer found must not be deleted, nor be approved by a person.
            await _withdraw_unseen(connection, current)

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
            tally_text(tally),
            trip.reason if trip else None,
            trip.both_sides if trip else False,
        )
        if not finished:
            raise PassEnded(current.id)

    async def last(self, kind: PassKind, state: PassState | None = None) -> Pass | None:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                f"SELECT * FROM {SCHEMA}.passes p WHERE kind = $1 AND finished_at IS NOT NULL"
                f" AND ($2::text IS NULL OR {STATE} = $2) ORDER BY id DESC LIMIT 1",
                kind.value,
                state.value if state else None,
            )
            return pass_from(row) if row else None

    async def last_inventory(self) -> InventoryUsed | None:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                f"SELECT * FROM {SCHEMA}.passes WHERE kind = 'sweep' AND inventory IS NOT NULL AND state IN"
                " ('released', 'tripped', 'discarded')"
                " ORDER BY (inventory ->> 'began_at')::timestamptz DESC LIMIT 1"
            )
            return pass_from(row).inventory if row else None

    async def compared_at(self) -> datetime | None:
        async with self._database.connection() as connection:
            compared: datetime | None = await connection.fetchval(
                "SELECT coalesce(max(cutoff) FILTER (WHERE (tally ->> 'compared')::bigint > 0), min(cutoff))"
                f" FROM {SCHEMA}.passes WHERE kind = 'sweep' AND state IN ('released', 'tripped')"
            )
        return compared

    async def undecided(self, kind: PassKind) -> Pass | None:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                f"SELECT *, (SELECT bool_or(both_sides) FROM {SCHEMA}.passes"
                "            WHERE kind = $1 AND state = 'tripped') AS any_both_sides"
                f" FROM {SCHEMA}.passes WHERE kind = $1 AND state = 'tripped' ORDER BY id LIMIT 1",
                kind.value,
            )
            return replace(pass_from(row), both_sides=row["any_both_sides"]) if row else None

    async def backlog(
        self, prefixes: Sequence[str] = (), current: Pass | None = None, since: datetime | None = None
    ) -> Backlog:
        async with self._database.connection() as connection:
            return await backlog.read(connection, prefixes, current.id if current else None, since)


async def _withdraw_unseen(connection: AnyConnection, current: Pass) -> None:
    """A pass sees everything, but for one of departures: it sees what is new."""
    if current.kind is not PassKind.DEPARTURE:
        await connection.execute(WITHDRAW_UNSEEN, current.id, current.kind.value)


async def _still_running(connection: AnyConnection, pass_id: int) -> None:
    """Lock the pass against being released or failed for the rest of the transaction."""
    state = await connection.fetchval(f"SELECT state FROM {SCHEMA}.passes WHERE id = $1 FOR SHARE", pass_id)
    if state != PassState.RUNNING:
        raise PassEnded(pass_id)
