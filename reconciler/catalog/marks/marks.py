"""Marks and the ledger: the database's half of the deletion protocol, one transaction for each step."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from reconciler.catalog import holds
from reconciler.catalog.db.connections import AnyConnection, Database
from reconciler.catalog.db.isolation import Results, claimed_alone, confirmed_alone, looked_at_alone
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.leadership.fencing import stand
from reconciler.catalog.mark_rows import (
    BEHIND_HORIZON,
    CLAIMABLE,
    LIVE_DELAY,
    MARK_COLUMNS,
    SEEN_ENOUGH,
    claimable_arguments,
    mark_from,
)
from reconciler.catalog.marks.claims import IN_FLIGHT, Claimer, needed
from reconciler.catalog.marks.confirmation import Confirmer
from reconciler.catalog.marks.rescue import LET_GO, count_abandoned, rescue_claim
from reconciler.catalog.media_tables import quotas, references, rights, triggers
from reconciler.catalog.media_tables.near_misses.twins import twins
from reconciler.catalog.media_tables.near_misses.written import WrittenSince
from reconciler.catalog.media_tables.records import add_rewritten, lookup, require_tables
from reconciler.catalog.media_tables.tables import MediaTables, by_key
from reconciler.catalog.passes import deletion_caps
from reconciler.errors import Halt
from reconciler.model import (
    REASONS_TOLD,
    Cancel,
    Claim,
    ClaimedKey,
    Decision,
    DueKey,
    Hidden,
    ObjectResult,
    Policy,
    Postpone,
    Refusal,
    RefusedMarks,
    Remove,
    Removed,
    Term,
    Verdict,
    Waiting,
)
from reconciler.model.moments import moment
from reconciler.ports import ClaimRequest, Decide

# A preview does not wait for the horizon: it deletes nothing.
PREVIEW = f"""
SELECT {MARK_COLUMNS}, m.previewed_at IS NOT NULL AS previewed
FROM {SCHEMA}.marks m JOIN {SCHEMA}.passes p ON p.id = m.pass_id
WHERE {CLAIMABLE} AND NOT {{held}} AND m.storage_key > $6::text
ORDER BY m.storage_key LIMIT $7
"""

# Marks of these verdicts in the managed prefixes, claimed or released, that no claim could take now. Marks on
# hold are kept, and do not count as waiting.
WAITING = f"""
SELECT count(*) AS marks, count(*) FILTER (WHERE NOT {SEEN_ENOUGH}) AS unseen,
       min(d.due_at) FILTER (WHERE d.due_at > $1::timestamptz AND {SEEN_ENOUGH}) AS due_at
FROM {SCHEMA}.marks m JOIN {SCHEMA}.passes p ON p.id = m.pass_id
CROSS JOIN LATERAL (
    SELECT greatest(m.due_at, m.not_before, (SELECT live_since FROM {SCHEMA}.term) + {LIVE_DELAY}) AS due_at
) d
WHERE m.verdict = ANY($2::text[])
  AND EXISTS (SELECT FROM unnest($4::text[], $5::text[]) AS b (low, high)
              WHERE m.storage_key >= b.low AND (b.high IS NULL OR m.storage_key < b.high))
  AND (m.state = 'claimed' OR p.state = 'released' AND NOT {{held}}
       AND ({CLAIMABLE} AND {BEHIND_HORIZON} AND NOT EXISTS (SELECT FROM {SCHEMA}.pause WHERE paused))
           IS NOT TRUE)
"""

# Transactions hold a lock on their own id, which every role may see; only some roles see their session's
# name. The transaction that has been open longest holds the horizon back.
OLDEST_TRANSACTION = """
SELECT l.pid, a.application_name, a.xact_start, x.gid, x.prepared
FROM pg_locks l
LEFT JOIN pg_stat_activity a ON a.pid = l.pid
LEFT JOIN pg_prepared_xacts x ON x.transaction = l.transactionid
WHERE l.locktype = 'transactionid' AND l.granted AND l.mode = 'ExclusiveLock'
  AND l.pid IS DISTINCT FROM pg_backend_pid()
ORDER BY age(l.transactionid) DESC LIMIT 1
"""


# Whether a new pass or a claim waits for a transaction that was open before it. The newest passes are
# enough: a transaction that holds back an older one holds back these as well.
HELD_BACK = f"""
SELECT EXISTS (SELECT FROM (SELECT state, released_xid FROM {SCHEMA}.passes ORDER BY id DESC LIMIT 20) p
               WHERE p.state = 'released' AND p.released_xid >= pg_snapshot_xmin(pg_current_snapshot()))
    OR EXISTS (SELECT FROM {SCHEMA}.marks m
               WHERE m.state = 'claimed' AND m.claimed_xid >= pg_snapshot_xmin(pg_current_snapshot()))
"""


IS_REFUSED = "last_error IS NOT NULL AND (refusals > 0 OR object_gone_at IS NOT NULL)"
REFUSED = f"""
SELECT count(*) FILTER (WHERE object_gone_at IS NULL) AS kept, count(object_gone_at) AS gone
FROM {SCHEMA}.marks WHERE {IS_REFUSED}
"""
REFUSED_EXAMPLES = f"""
SELECT storage_key, last_error FROM {SCHEMA}.marks WHERE {IS_REFUSED}
ORDER BY object_gone_at IS NULL, storage_key LIMIT $1
"""


class PostgresMarks:
    """`ports.Marks` on Postgres."""

    def __init__(self, database: Database, media: MediaTables) -> None:
        self._database = database
        self._media = media
        self._claimer = Claimer(media)
        self._written = WrittenSince(database, media)
        self._confirmer = Confirmer(media)
        held = holds.held_condition(media, "$1")
        self._preview = PREVIEW.format(held=held)
        self._waiting = WAITING.format(held=held)

    async def claim(self, term: Term, wanted: ClaimRequest) -> Claim:
        before = await self._written.compare(wanted.policy.prefixes)

        async def claim(size: int) -> Claim:
            async def work(connection: AnyConnection) -> Claim:
                return await self._claimer.claim(connection, term, replace(wanted, limit=size), before)

            return await self._database.transaction(work)

        async def put_off_first(reason: str) -> bool:
            async def work(connection: AnyConnection) -> bool:
                return await self._claimer.put_off_first(connection, term, wanted, before, reason)

            return await self._database.transaction(work)

        return await self._stamped(await claimed_alone(claim, put_off_first, wanted.limit))

    async def rescue(self, term: Term, longest_call: timedelta, limit: int) -> Claim | None:
        async def work(connection: AnyConnection) -> Claim | None:
            return await rescue_claim(connection, term, longest_call, limit)

        claim = await self._database.transaction(work)
        return None if claim is None else await self._stamped(claim)

    async def _stamped(self, claim: Claim) -> Claim:
        """The claim with a transaction id newer than that of any writer that could not see it.

        The claim's own id is too old: it is assigned with the first lock, and a writer that began
        between then and the commit has a later one.
        """
        if not claim.keys:
            return claim
        async with self._database.connection() as connection:
            xid = await connection.fetchval("SELECT pg_current_xact_id()::text")
        return replace(claim, xid=int(xid))

    async def let_go(self, term: Term) -> None:
        async with self._database.connection() as connection:
            await connection.execute(LET_GO, term.epoch)

    async def confirm(
        self,
        term: Term,
        claim: Claim,
        results: Mapping[str, tuple[ObjectResult, str]],
        decide: Decide,
        upload_window: timedelta,
        hidden: Mapping[str, Hidden] | None = None,
    ) -> Removed:
        async def confirm(part: Claim, answers: Results) -> Removed:
            async def work(connection: AnyConnection) -> Removed:
                return await self._confirmer.confirm(
                    connection, term, part, answers, decide, upload_window, hidden or {}
                )

            return await self._database.transaction(work)

        return await confirmed_alone(confirm, claim, results)

    async def extend(self, claim: Claim) -> None:
        async with self._database.connection() as connection:
            await connection.execute(
                f"UPDATE {SCHEMA}.marks SET not_before = clock_timestamp() + $2::interval"
                " WHERE operation_id = $1 AND state = 'claimed'",
                claim.operation_id,
                IN_FLIGHT,
            )

    async def horizon_passed(self, xid: int) -> bool:
        async with self._database.connection() as connection:
            passed: bool = await connection.fetchval(
                "SELECT pg_snapshot_xmin(pg_current_snapshot()) > $1::text::xid8", str(xid)
            )
        return passed

    async def guarded(self) -> bool:
        if self._media.references:
            # The triggers watch only the media table's key, and no other table has any.
            return False

        async def work(connection: AnyConnection) -> bool:
            return await triggers.hold(connection, self._database.config.tables)

        return await self._database.transaction(work)

    async def look_again(
        self, claim: Claim, decide: Decide, policy: Policy, *, guarded: bool
    ) -> Mapping[str, str]:
        async def look(part: Claim) -> Mapping[str, str]:
            return await self._look_again(part, decide, policy, guarded=guarded)

        return await looked_at_alone(look, claim)

    async def _look_again(
        self, claim: Claim, decide: Decide, policy: Policy, *, guarded: bool
    ) -> Mapping[str, str]:
        async with self._database.connection() as connection:
            await require_tables(connection, self._media)
            now: datetime = await connection.fetchval("SELECT clock_timestamp()")
            keys = [key.mark.storage_key for key in claim.keys]
            named = by_key(await lookup(connection, self._media, keys))
            if policy.rewrites_keys:
                await add_rewritten(connection, self._media, keys, named)
            going = needed(key.mark for key in claim.keys)
            await references.add_named(connection, self._media, going, named)
            marks = [key.mark for key in claim.keys]
            await quotas.add_usage(
                connection, self._media, policy, marks, named, now, operation=claim.operation_id
            )
            held = await holds.held(connection, self._media, keys)
            objects = [] if guarded else [key.mark for key in claim.keys if key.decision.delete_object]
            others = await twins(connection, self._media, objects, policy.prefixes)
        spared = {key: f"the row {other!r} spells its key otherwise" for key, other in others.items()}
        spared |= {key: f"on hold: {hold.reason}" for key, hold in held.items()}
        for key in claim.keys:
            decision = decide(key.mark, named.get(key.mark.storage_key, ()), now)
            reason = _spared(key, decision)
            if reason:
                spared[key.mark.storage_key] = reason
        return spared

    async def due(
        self, policy: Policy, verdicts: Sequence[Verdict], decide: Decide, page_size: int = 1000
    ) -> AsyncIterator[Sequence[DueKey]]:
        last = ""
        while True:
            async with self._database.connection() as connection:
                now: datetime = await connection.fetchval("SELECT clock_timestamp()")
                arguments = claimable_arguments(now, policy, verdicts)
                rows = await connection.fetch(self._preview, *arguments, last, page_size)
                marks = [mark_from(row) for row in rows]
                named = by_key(await lookup(connection, self._media, [mark.storage_key for mark in marks]))
                await references.add_named(connection, self._media, needed(marks), named)
                await quotas.add_usage(connection, self._media, policy, marks, named, now)
                page = []
                for mark, row in zip(marks, rows, strict=True):
                    decision = decide(mark, named.get(mark.storage_key, ()), now)
                    if isinstance(decision, Remove):
                        page.append(DueKey(mark=mark, decision=decision, seen=row["previewed"]))
            if page:
                yield page
            if len(marks) < page_size:
                return
            last = marks[-1].storage_key

    async def note_preview(self, term: Term, keys: Sequence[str]) -> None:
        if not keys:
            return

        async def work(connection: AnyConnection) -> None:
            await stand(connection, term)
            await connection.execute(
                # Skips marks locked by a writer, since nothing here may wait; they are reported once more.
                f"WITH free AS (SELECT storage_key FROM {SCHEMA}.marks"
                " WHERE storage_key = ANY($1::text[]) AND previewed_at IS NULL"
                " ORDER BY storage_key FOR UPDATE SKIP LOCKED)"
                f" UPDATE {SCHEMA}.marks m SET previewed_at = clock_timestamp() FROM free"
                " WHERE m.storage_key = free.storage_key",
                list(keys),
            )

        await self._database.transaction(work)

    async def waiting(self, policy: Policy, verdicts: Sequence[Verdict]) -> Waiting:
        async with self._database.connection() as connection:
            now: datetime = await connection.fetchval("SELECT clock_timestamp()")
            arguments = claimable_arguments(now, policy, verdicts)
            row = await connection.fetchrow(self._waiting, *arguments)
            return Waiting(**row) if row else Waiting()

    async def abandoned(self, term: Term) -> int:
        async with self._database.connection() as connection:
            return await count_abandoned(connection, term)

    async def drift(self) -> Mapping[Verdict, tuple[int, int, datetime | None]]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                "SELECT verdict, count(*) AS keys, sum(greatest(bytes, 0))::text AS bytes,"
                " min(first_seen_at) AS oldest"
                f" FROM {SCHEMA}.marks GROUP BY verdict"
            )
            return {Verdict(row["verdict"]): (row["keys"], int(row["bytes"]), row["oldest"]) for row in rows}

    async def refused(self) -> RefusedMarks:
        async with self._database.connection() as connection:
            counts = await connection.fetchrow(REFUSED)
            examples = await connection.fetch(REFUSED_EXAMPLES, REASONS_TOLD)
            assert counts is not None, "a count has a row"
            return RefusedMarks(
                kept=counts["kept"],
                gone=counts["gone"],
                examples=tuple(
                    Refusal(storage_key=row["storage_key"], reason=row["last_error"]) for row in examples
                ),
            )

    async def require_rights(self, *, undoable: bool) -> None:
        async with self._database.connection() as connection:
            found = await rights.look(connection, *self._media.oids)
        if lacking := found.lacking(undoable=undoable):
            raise Halt(f"{lacking.what}: nothing is deleted; {lacking.grants}")

    async def blocked_by(self) -> str | None:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(OLDEST_TRANSACTION)
            if row is None:
                return None
            if row["gid"] is not None:
                return f"prepared transaction {row['gid']}, open since {moment(row['prepared'])}"
            name = f" ({row['application_name']})" if row["application_name"] else ""
            since = f", open since {moment(row['xact_start'])}" if row["xact_start"] else ""
            return f"pid {row['pid']}{name}{since}"

    async def held_back_by(self) -> str | None:
        async with self._database.connection() as connection:
            held_back = await connection.fetchval(HELD_BACK)
        return await self.blocked_by() if held_back else None

    async def purge(self) -> None:
        async with self._database.connection() as connection:
            await connection.execute(f"DELETE FROM {SCHEMA}.tombstones WHERE ends_at <= clock_timestamp()")
            await deletion_caps.purge(connection)
        await holds.purge(self._database)


def _spared(key: ClaimedKey, decision: Decision) -> str | None:
    """Why nothing may be sent for the key any more; None if the decision still stands."""
    if isinstance(decision, Cancel | Postpone):
        return decision.reason
    if key.decision.delete_object and not decision.delete_object:
        return "another row names it now"
    if {ref.id for ref in key.decision.records} != {ref.id for ref in decision.records}:
        return "other rows name it now"
    return None
