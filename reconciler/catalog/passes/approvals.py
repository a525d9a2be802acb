"""What people decide about passes: list them, show one, approve or discard it.

None of it takes the lease, so it runs at the same time as a leader. A row lock on the passes of that kind
excludes the two from each other; both take it in the order of the passes' ids.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import NamedTuple

import asyncpg

from reconciler.catalog.db.connections import AnyConnection, Database
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.mark_rows import MARK_COLUMNS, mark_from
from reconciler.catalog.pass_groups import STATE, to_decide
from reconciler.catalog.passes.backlog import APPROVED
from reconciler.catalog.passes.rows import pass_from
from reconciler.errors import ErrorKind, NotDone
from reconciler.model import Approval, Pass, PassDetail, PassKind, PassState, Verdict
from reconciler.model.keys import merge_prefixes, prefix_end

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

TOGETHER = f"""
SELECT id, both_sides FROM {SCHEMA}.passes WHERE kind = $1 AND state = 'tripped' AND id <= $2 ORDER BY id
"""

COUNTS = f"""
SELECT m.pass_id, m.verdict, b.prefix, count(*) AS keys, coalesce(sum(m.bytes), 0)::bigint AS bytes
FROM {SCHEMA}.marks m
LEFT JOIN unnest($2::text[], $3::text[]) AS b (prefix, high)
    ON m.storage_key >= b.prefix AND (b.high IS NULL OR m.storage_key < b.high)
WHERE m.pass_id = ANY($1::bigint[])
GROUP BY 1, 2, 3
"""

EXAMPLES = f"""
SELECT {MARK_COLUMNS} FROM (
    SELECT *, row_number() OVER (PARTITION BY verdict ORDER BY storage_key) AS place
    FROM {SCHEMA}.marks WHERE pass_id = ANY($1::bigint[])) m
WHERE m.place <= $2 ORDER BY m.verdict, m.storage_key
"""

# Locks in the order of ids, as a pass does that ends: older ones, then its own.
LOCK = f"""
SELECT id, state, both_sides FROM {SCHEMA}.passes
WHERE kind = $1 AND state IN ('running', 'tripped') ORDER BY id FOR UPDATE
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

FOUND = f"SELECT count(*) FROM {SCHEMA}.marks WHERE pass_id = ANY($1::bigint[]) AND state = 'found'"

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

# A pass that is not tripped, and the decision that superseded it.
NOT_TRIPPED = f"""
SELECT {STATE} AS state, p.decided_by, p.superseded_by, s.state AS other_state, s.decided_by AS other_by
FROM {SCHEMA}.passes p LEFT JOIN {SCHEMA}.passes s ON s.id = p.superseded_by WHERE p.id = $1
"""


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
            together = [await _together(connection, each) for each in passes]
            ids = sorted({pass_id for each in together for pass_id in each})
            counts, _ = await _counts(connection, ids, ())
        return [
            PassDetail(
                current=current,
                marks=_sum(counts[pass_id] for pass_id in ids),
                examples=(),
                together=[*ids],
                to_decide=to_decide(ids, _marked(counts)),
            )
            for current, ids in zip(passes, together, strict=True)
        ]

    async def show(self, pass_id: int, examples: int = 5) -> PassDetail:
        """One pass with its marks by prefix, and a few of each verdict. Raises NotDone: no such pass."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(f"SELECT * FROM {SCHEMA}.passes WHERE id = $1", pass_id)
            if row is None:
                raise _unknown(pass_id)
            current = pass_from(row)
            ids = await _together(connection, current)
            prefixes = current.policy.prefixes if current.policy else ()
            counts, sizes = await _counts(connection, [*ids], prefixes)
            shown = await connection.fetch(EXAMPLES, [*ids], examples)
            due = await connection.fetchrow(DUE, [*ids])
            superseded = await connection.fetch(SUPERSEDED, pass_id)
        return PassDetail(
            current=current,
            marks=_sum(counts.values()),
            bytes=sizes,
            examples=[mark_from(each) for each in shown],
            together=[*ids],
            to_decide=to_decide(ids, _marked(counts)),
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
            await _lock(connection, pass_id, action)

    async def left(self, ids: Sequence[int]) -> int:
        """How many marks these passes have that nothing has claimed."""
        async with self._database.connection() as connection:
            left: int = await connection.fetchval(FOUND, ids)
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
            locked = await _lock(connection, pass_id, "approve")
            tripped = [row for row in locked if row["state"] == PassState.TRIPPED]
            together = [row for row in tripped if row["id"] <= pass_id]
            if any(row["both_sides"] for row in together) and not understood:
                raise _not_understood(pass_id)
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
            return Approved(await connection.fetchval(FOUND, ids), withdrawn)

        return await self._database.transaction(work)

    async def discard(self, pass_id: int, who: str) -> int:
        """Withdraw its marks. Returns how many. A running pass of the kind ends, and starts over.

        Raises NotDone if it is not tripped.
        """

        async def work(connection: AnyConnection) -> list[int]:
            # A running pass ends too: it leaves out keys that it saw marked already, and would look smaller
            # than it is without those marks.
            locked = await _lock(connection, pass_id, "discard")
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


async def _lock(connection: AnyConnection, pass_id: int, action: str) -> Sequence[asyncpg.Record]:
    """Lock the running and tripped passes of its kind; raises NotDone unless the pass itself is tripped."""
    kind = await connection.fetchval(f"SELECT kind FROM {SCHEMA}.passes WHERE id = $1", pass_id)
    if kind is None:
        raise _unknown(pass_id)
    locked: Sequence[asyncpg.Record] = await connection.fetch(LOCK, kind)
    tripped = [each for each in locked if each["state"] == PassState.TRIPPED]
    mine = next((each for each in tripped if each["id"] == pass_id), None)
    if mine is None:
        raise await _not_tripped(connection, pass_id, action, [each["id"] for each in tripped])
    worse = next((each["id"] for each in reversed(tripped) if each["both_sides"]), pass_id)
    if worse > pass_id and not mine["both_sides"]:
        raise NotDone(
            ErrorKind.CONFLICT,
            "later_pass_first",
            f"pass {worse}, later than {pass_id}, found both sides wrong: decide about that one",
            pass_id=pass_id,
            later=worse,
        )
    return locked


async def _not_tripped(
    connection: AnyConnection, pass_id: int, action: str, waiting: Sequence[int]
) -> NotDone:
    """`waiting`: the tripped passes of its kind."""
    row = await connection.fetchrow(NOT_TRIPPED, pass_id)
    assert row is not None
    by = f" (decided by {row['decided_by']})" if row["decided_by"] else ""
    other = row["superseded_by"]
    if other is not None:
        # A pass that was begun anew is superseded by the new one, about which nobody has decided.
        verb = "approved" if row["other_state"] == PassState.RELEASED else "discarded"
        by = f" by pass {other}" + (f", which {row['other_by']} has {verb}" if row["other_by"] else "")
    tail = f": there is nothing to {action}"
    if waiting:
        marks: int = await connection.fetchval(FOUND, waiting)
        tail += f"; pass {waiting[-1]} is the one that waits for a decision, with {marks:,} marked"
    elif other is not None:
        tail += "; what it found is judged again by the next pass"
    return NotDone(
        ErrorKind.CONFLICT,
        "pass_not_tripped",
        f"pass {pass_id} is {row['state']}{by}, not tripped{tail}",
        pass_id=pass_id,
        state=row["state"],
        decided_by=row["decided_by"],
        superseded_by=other,
        waits=waiting[-1] if waiting else None,
    )


def _unknown(pass_id: int) -> NotDone:
    return NotDone(ErrorKind.NOT_FOUND, "no_such_pass", f"there is no pass {pass_id}", pass_id=pass_id)


def _not_understood(pass_id: int) -> NotDone:
    return NotDone(
        ErrorKind.CONFLICT,
        "both_sides",
        f"pass {pass_id} found orphans and dangling records above their limits at once, which says that the"
        " comparison itself is wrong (another bucket, database, prefix or mapping); nothing was approved."
        " Mend that and discard the pass; or, if both sides really are to go, say that this is understood",
        pass_id=pass_id,
    )


async def _together(connection: AnyConnection, current: Pass) -> Mapping[int, bool]:
    """The passes that one decision covers, this one and tripped ones before it: is each of both sides?."""
    if current.state is not PassState.TRIPPED:
        return {current.id: current.both_sides}
    rows = await connection.fetch(TOGETHER, current.kind.value, current.id)
    return {row["id"]: row["both_sides"] for row in rows}


def _marked(counts: Mapping[int, Mapping[tuple[str, Verdict], int]]) -> set[int]:
    return {pass_id for pass_id, marks in counts.items() if sum(marks.values())}


async def _counts(
    connection: AnyConnection, ids: Sequence[int], prefixes: Sequence[str]
) -> tuple[Mapping[int, Mapping[tuple[str, Verdict], int]], Mapping[tuple[str, Verdict], int]]:
    """Marks by pass, and within it by prefix and verdict; and the bytes of all by the latter."""
    names = merge_prefixes(prefixes)
    ends = [prefix_end(name) for name in names]
    counts: dict[int, Counter[tuple[str, Verdict]]] = defaultdict(Counter)
    sizes: Counter[tuple[str, Verdict]] = Counter()
    for row in await connection.fetch(COUNTS, ids, list(names), ends):
        part = row["prefix"] or "", Verdict(row["verdict"])
        counts[row["pass_id"]][part] += row["keys"]
        sizes[part] += row["bytes"]
    return counts, sizes


def _sum(counts: Iterable[Mapping[tuple[str, Verdict], int]]) -> Mapping[tuple[str, Verdict], int]:
    total: Counter[tuple[str, Verdict]] = Counter()
    for each in counts:
        total.update(each)
    return total
