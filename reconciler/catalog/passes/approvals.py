"""What people decide about passes: list them, show one, approve or discard it.

None of it takes the lease, so it runs at the same time as a leader. A row lock on the passes of that kind
excludes the two from each other; both take it in the order of the passes' ids.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import NamedTuple

from reconciler.catalog.db.connections import AnyConnection, Database
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.mark_rows import MARK_COLUMNS, mark_from
from reconciler.catalog.pass_groups import STATE, to_decide
from reconciler.catalog.passes import counted_marks, tripped_passes
from reconciler.catalog.passes.backlog import APPROVED
from reconciler.catalog.passes.rows import pass_from
from reconciler.model import Approval, PassDetail, PassKind, PassState

WITHDRAWN_AT_ONCE = 10_000
"""Marks that one statement of `discard` deletes: a writer waits for at most one such statement."""

# Of the tripped passes of a kind only the newest is listed, for all of them. They come first, however many
# passes came since: a decision must not get out of sight.
LISTED = f"""
SELECT p.* FROM {SCHEMA}.passes p
WHERE ($2::boolean OR p.state <> 'tripped' OR NOT EXISTS (
    SELECT FROM {SCHEMA}.passes n WHERE n.kind = p.kind AND n.state = 'tripped' AND n.id > p.id))
  AND ($3::text IS NULL OR {STATE} = $3) AND ($4::text IS NULL OR p.kind = $4)
ORDER BY p.state = 'tripped' DESC, p.id DESC LIMIT $1
"""

PAGE = f"""
SELECT p.* FROM {SCHEMA}.passes p
WHERE ($1::bigint IS NULL OR p.id < $1)
  AND ($2::text IS NULL OR {STATE} = $2) AND ($3::text IS NULL OR p.kind = $3)
ORDER BY p.id DESC LIMIT $4
"""

EXAMPLES = f"""
SELECT {MARK_COLUMNS} FROM (
    SELECT *, row_number() OVER (PARTITION BY verdict ORDER BY storage_key) AS place
    FROM {SCHEMA}.marks WHERE pass_id = ANY($1::bigint[])) m
WHERE m.place <= $2 ORDER BY m.verdict, m.storage_key
"""

# The stamp is this transaction's own xid: newer than every mark, since they were committed before
# the pass could trip, and newer than every writer that could not see them. The statement's
# time identifies passes that were approved together, since the stamp may be renewed.
APPROVE = f"""
UPDATE {SCHEMA}.passes
SET state = 'released', released_xid = pg_current_xact_id(),
    decided_by = $2, decided_at = statement_timestamp()
WHERE id = ANY($1::bigint[])
"""

# Written in the ledger, or a key's history would not know why it was not deleted after all.
NOTED = f"""
noted AS (
    INSERT INTO {SCHEMA}.ledger
        (epoch, event, mode, what, storage_key, verdict, reason, detail, pass_id, variant_of, owners)
    SELECT (SELECT epoch FROM {SCHEMA}.term), 'cancelled', 'live', 'object', storage_key,
           verdict, reason, $2, pass_id, variant_of, owners
    FROM gone
)
SELECT count(*) FROM gone
"""

_IN_PLAN = """EXISTS (
    SELECT FROM unnest({keys}::text[], {verdicts}::text[]) AS listed (storage_key, verdict)
    WHERE listed.storage_key = coalesce(m.variant_of, m.storage_key) AND listed.verdict = m.verdict)"""

# Marks of these passes that a plan does not list, with its variants' records. No claim can take them yet.
NOT_LISTED = f"""
WITH gone AS (
    DELETE FROM {SCHEMA}.marks m WHERE m.pass_id = ANY($1::bigint[]) AND m.state = 'found'
                                   AND NOT {_IN_PLAN.format(keys="$3", verdicts="$4")}
    RETURNING *
), {NOTED}
"""

COUNT_LISTED = f"""
SELECT count(*) FROM {SCHEMA}.marks m WHERE m.pass_id = ANY($1::bigint[]) AND m.state = 'found'
                                        AND {_IN_PLAN.format(keys="$2", verdicts="$3")}
"""

DISCARD = f"""
UPDATE {SCHEMA}.passes SET state = 'discarded', decided_by = $2, decided_at = clock_timestamp()
WHERE id = ANY($1::bigint[])
"""

# The next pass finds again what later passes added, and is judged without this latch. Their own trip reasons
# ask for a decision that was still open, so they are quoted as said before it.
END = f"""
UPDATE {SCHEMA}.passes
SET state = 'failed', finished_at = coalesce(finished_at, clock_timestamp()), superseded_by = $3,
    trip_reason = coalesce($2::text || '; before that decision it said: ' || trip_reason, $2::text)
WHERE id = ANY($1::bigint[])
"""

WITHDRAW = f"""
WITH gone AS (
    DELETE FROM {SCHEMA}.marks WHERE storage_key IN (
        SELECT storage_key FROM {SCHEMA}.marks WHERE pass_id = ANY($1::bigint[]) AND state = 'found'
        ORDER BY storage_key LIMIT $3 FOR UPDATE SKIP LOCKED)
    RETURNING *
), {NOTED}
"""

DUE = f"SELECT min(due_at), max(due_at) FROM {SCHEMA}.marks WHERE pass_id = ANY($1::bigint[])"

# A claim compares with the same times (`deletion_caps`). Passes of one decision share its time.
IN_FORCE = f"""
SELECT max(p.id) AS id, p.kind, p.decided_by, p.decided_at, count(*) AS marks,
    min(t.may_go) + $2::interval AS first, max(t.may_go) + $2::interval AS last
FROM {SCHEMA}.passes p JOIN {SCHEMA}.marks m ON m.pass_id = p.id
CROSS JOIN LATERAL (SELECT greatest(
    m.due_at, p.decided_at, (SELECT live_since FROM {SCHEMA}.term) + $1::interval) AS may_go) t
WHERE {APPROVED} AND m.state = 'found' AND m.variant_of IS NULL
GROUP BY p.kind, p.decided_by, p.decided_at ORDER BY 1
"""

SUPERSEDED = f"SELECT id FROM {SCHEMA}.passes WHERE superseded_by = $1 AND state = 'failed' ORDER BY id"


class Approved(NamedTuple):
    """How many marks an approval has released, and how many it has withdrawn, since a plan left them out."""

    released: int
    withdrawn: int


class PostgresApprovals:
    """A person's decisions about passes. They need no lease and work while another replica leads.

    Consecutive tripped passes of one kind are decided together: a decision about one also covers the
    marks of the earlier ones, as far as each later pass has seen them again. What later ones have added is
    judged again by the next pass.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def listed(
        self,
        limit: int,
        *,
        everything: bool = False,
        state: PassState | None = None,
        kind: PassKind | None = None,
    ) -> Sequence[PassDetail]:
        """The tripped passes, then the newest of the others, of that state and kind; without examples.

        Of the tripped passes of a kind only the one to decide about is listed, unless `everything` is
        requested.
        """
        found = await self._details(LISTED, limit, everything, state and state.value, kind and kind.value)
        return found if everything else [await self._decisive(each) for each in found]

    async def _decisive(self, detail: PassDetail) -> PassDetail:
        """Of tripped passes the one to decide about, to which the later ones have added no mark."""
        if detail.current.state is not PassState.TRIPPED or detail.to_decide == detail.current.id:
            return detail
        async with self._database.connection() as connection:
            row = await connection.fetchrow(f"SELECT * FROM {SCHEMA}.passes WHERE id = $1", detail.to_decide)
        together = [each for each in detail.together if each <= (detail.to_decide or each)]
        return replace(detail, current=pass_from(row), together=together) if row else detail

    async def page(
        self, before: int | None, limit: int, *, state: PassState | None = None, kind: PassKind | None = None
    ) -> Sequence[PassDetail]:
        """All passes of that state and kind, the newest first, behind the one `before`; without examples."""
        return await self._details(PAGE, before, state and state.value, kind and kind.value, limit)

    async def _details(self, query: str, *arguments: object) -> Sequence[PassDetail]:
        async with self._database.connection() as connection:
            passes = [pass_from(row) for row in await connection.fetch(query, *arguments)]
            together = [await counted_marks.together(connection, each) for each in passes]
            ids = sorted({pass_id for each in together for pass_id in each})
            counts, _ = await counted_marks.by_pass(connection, ids, ())
        return [
            PassDetail(
                current=current,
                marks=counted_marks.added_up(counts[pass_id] for pass_id in ids),
                examples=(),
                together=[*ids],
                to_decide=to_decide(ids, counted_marks.marked(counts)),
            )
            for current, ids in zip(passes, together, strict=True)
        ]

    async def show(self, pass_id: int, examples: int = 5) -> PassDetail:
        """One pass with its marks by prefix, and a few of each verdict. Raises NotDone: no such pass."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(f"SELECT * FROM {SCHEMA}.passes WHERE id = $1", pass_id)
            if row is None:
                raise tripped_passes.unknown(pass_id)
            current = pass_from(row)
            ids = await counted_marks.together(connection, current)
            prefixes = current.policy.prefixes if current.policy else ()
            counts, sizes = await counted_marks.by_pass(connection, [*ids], prefixes)
            shown = await connection.fetch(EXAMPLES, [*ids], examples)
            due = await connection.fetchrow(DUE, [*ids])
            superseded = await connection.fetch(SUPERSEDED, pass_id)
        return PassDetail(
            current=current,
            marks=counted_marks.added_up(counts.values()),
            bytes=sizes,
            examples=[mark_from(each) for each in shown],
            together=[*ids],
            to_decide=to_decide(ids, counted_marks.marked(counts)),
            supersedes=[each["id"] for each in superseded],
            due=(due[0], due[1]) if due and due[0] else None,
        )

    async def in_force(self, delay: timedelta, ttl: timedelta | None) -> Sequence[Approval]:
        """The approvals of which marks are left, by pass. `ttl`: how long they count, if that is known."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(IN_FORCE, delay, ttl)
        return [
            Approval(
                pass_id=row["id"],
                kind=PassKind(row["kind"]),
                by=row["decided_by"],
                at=row["decided_at"],
                marks=row["marks"],
                until=(row["first"], row["last"]) if row["first"] else None,
            )
            for row in rows
        ]

    async def require(self, pass_id: int, action: str) -> None:
        """Raises NotDone unless there is this to do about the pass, such as `approve`: it is tripped."""
        async with self._database.connection() as connection:
            await tripped_passes.lock(connection, pass_id, action)

    async def left(self, ids: Sequence[int]) -> int:
        """How many marks these passes have that nothing has claimed."""
        async with self._database.connection() as connection:
            left: int = await connection.fetchval(tripped_passes.FOUND, ids)
        return left

    async def listed_by(self, ids: Sequence[int], only: Collection[tuple[str, str]]) -> int:
        """How many marks of these passes an approval of `only` these keys with verdicts would release."""
        keys, verdicts = [key for key, _ in only], [verdict for _, verdict in only]
        async with self._database.connection() as connection:
            listed: int = await connection.fetchval(COUNT_LISTED, ids, keys, verdicts)
        return listed

    async def approve(
        self,
        pass_id: int,
        who: str,
        *,
        understood: bool = False,
        only: Collection[tuple[str, str]] | None = None,
    ) -> Approved:
        """Release it with a new stamp. Returns how many marks that releases, and how many it withdraws.

        They still wait for their due time, and each claim decides again. `only`: the storage keys with
        verdicts that are approved; all other marks of the pass are withdrawn, and a running pass ends,
        because it left out what was marked. Raises NotDone if it is not tripped, or if it found both sides
        wrong and that is not `understood`.
        """

        async def work(connection: AnyConnection) -> Approved:
            locked = await tripped_passes.lock(connection, pass_id, "approve")
            tripped = [row for row in locked if row["state"] == PassState.TRIPPED]
            together = [row for row in tripped if row["id"] <= pass_id]
            if any(row["both_sides"] for row in together) and not understood:
                raise tripped_passes.not_understood(pass_id)
            ids = [row["id"] for row in together]
            later = [row["id"] for row in tripped if row["id"] > pass_id]
            withdrawn = 0
            if only is not None:
                keys, verdicts = [key for key, _ in only], [verdict for _, verdict in only]
                why = f"pass {pass_id} was approved in part by {who}"
                withdrawn = await connection.fetchval(NOT_LISTED, ids, why, keys, verdicts)
                later = [row["id"] for row in locked if row["id"] not in ids]
            await connection.execute(APPROVE, ids, who)
            await connection.execute(END, later, f"pass {pass_id} was approved", pass_id)
            return Approved(await connection.fetchval(tripped_passes.FOUND, ids), withdrawn)

        return await self._database.transaction(work)

    async def discard(self, pass_id: int, who: str) -> int:
        """Withdraw its marks. Returns how many. A running pass of the kind ends, and starts over.

        Raises NotDone if it is not tripped.
        """

        async def work(connection: AnyConnection) -> list[int]:
            # A running pass ends too: it leaves out keys that it saw marked already, and would look smaller
            # than it is without those marks.
            locked = await tripped_passes.lock(connection, pass_id, "discard")
            ids = [row["id"] for row in locked if row["id"] <= pass_id and row["state"] == PassState.TRIPPED]
            await connection.execute(DISCARD, ids, who)
            rest = [row["id"] for row in locked if row["id"] not in ids]
            await connection.execute(END, rest, f"pass {pass_id} was discarded", pass_id)
            return ids

        ids = await self._database.transaction(work)
        return await self._withdraw(ids, f"pass {pass_id} was discarded by {who}")

    async def _withdraw(self, ids: Sequence[int], why: str) -> int:
        """Withdraw a discarded pass's marks, which are not claimable; locked ones go with the next pass."""
        withdrawn = 0
        while True:
            async with self._database.connection() as connection:
                deleted: int = await connection.fetchval(WITHDRAW, ids, why, WITHDRAWN_AT_ONCE)
            withdrawn += deleted
            if deleted < WITHDRAWN_AT_ONCE:
                return withdrawn
