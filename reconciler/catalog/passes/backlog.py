"""What the breaker adds to a pass: marks still to be deleted, and deletions of the last 24 hours."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

import asyncpg

from reconciler.catalog.db.connections import AnyConnection
from reconciler.catalog.db.schema import SCHEMA
from reconciler.model import BY_STORE, Backlog, Verdict
from reconciler.model.keys import merge_prefixes, prefix_end

APPROVED = "p.state = 'released' AND p.decided_at IS NOT NULL"
"""SQL: a person has approved the pass."""


def by_store(alias: str) -> str:
    """SQL: the mark, or the line of the ledger, is of a record whose object the store expired by itself."""
    return f"({alias}.verdict = '{Verdict.DANGLING}' AND starts_with({alias}.reason, '{BY_STORE}'))"


_PREFIXES = "unnest($1::text[], $2::text[], $3::text[]) AS b (prefix, low, high)"

# Marks that may still be deleted; a failed pass releases none. Of tripped passes only the marks that this
# pass has seen again: it would have marked these keys itself, had they not been marked before.
PENDING = f"""
SELECT m.verdict, b.prefix, {APPROVED} AS approved, {by_store("m")} AS by_store, count(*) AS keys
FROM {SCHEMA}.marks m JOIN {SCHEMA}.passes p ON p.id = m.pass_id
LEFT JOIN {_PREFIXES} ON m.storage_key >= b.low AND (b.high IS NULL OR m.storage_key < b.high)
WHERE m.variant_of IS NULL
  AND (m.state = 'claimed' OR p.state IN ('running', 'released')
       OR p.state = 'tripped' AND m.last_pass_id = $4::bigint)
GROUP BY 1, 2, 3, 4
"""

_WENT = """l.event = 'result' AND l.mode = 'live'
    AND (l.what = 'object' AND l.result IN ('deleted', 'missing')
         OR l.what = 'record' AND l.result = 'deleted')"""

# The keys deleted in the last day, however often one was tried. A variant counts with its record.
GONE = f"""
SELECT l.verdict, b.prefix, ({APPROVED}) IS TRUE AS approved, {by_store("l")} AS by_store,
       count(DISTINCT l.storage_key) AS keys
FROM {SCHEMA}.ledger l LEFT JOIN {SCHEMA}.passes p ON p.id = l.pass_id
LEFT JOIN {_PREFIXES} ON l.storage_key >= b.low AND (b.high IS NULL OR l.storage_key < b.high)
WHERE l.at > clock_timestamp() - interval '24 hours' AND {_WENT} AND l.variant_of IS NULL
GROUP BY 1, 2, 3, 4
"""

# What we may have deleted from a side since then: variants as well, and keys that a crash left claimed, which
# may be gone.
SINCE = f"""
SELECT w.verdict, b.prefix, count(*) AS keys
FROM (SELECT l.verdict, l.storage_key FROM {SCHEMA}.ledger l WHERE l.at >= $4::timestamptz AND {_WENT}
      UNION SELECT m.verdict, m.storage_key FROM {SCHEMA}.marks m WHERE m.state = 'claimed') w
LEFT JOIN {_PREFIXES} ON w.storage_key >= b.low AND (b.high IS NULL OR w.storage_key < b.high)
GROUP BY 1, 2
"""

# The rows without an object in the sweep that a person approved last.
MISSING = f"""
SELECT coalesce((p.tally ->> 'missing')::bigint, 0) AS missing,
       p.decided_at > clock_timestamp() - interval '24 hours' AS recently
FROM {SCHEMA}.passes p WHERE p.kind = 'sweep' AND {APPROVED} ORDER BY p.id DESC LIMIT 1
"""


async def read(
    connection: AnyConnection, prefixes: Sequence[str], pass_id: int | None, since: datetime | None
) -> Backlog:
    """The backlog as the breaker counts it for that pass; None is a pass that was never begun (a plan)."""
    names = merge_prefixes(prefixes)
    arguments = [list(names), list(names), [prefix_end(name) for name in names]]
    pending = await connection.fetch(PENDING, *arguments, pass_id)
    gone = await connection.fetch(GONE, *arguments)
    went = await connection.fetch(SINCE, *arguments, since) if since is not None else None
    missing = await connection.fetchrow(MISSING)
    approved = _counts(pending, approved=True)
    # The approval counts as long as some of those rows wait, or count as gone.
    covered = missing is not None and (missing["recently"] or bool(approved.get(Verdict.DANGLING)))
    return Backlog(
        pending=_counts(pending),
        gone=_counts(gone),
        approved=approved,
        approved_gone=_counts(gone, approved=True),
        approved_missing=missing["missing"] if missing is not None and covered else 0,
        since=_went(went),
        by_store=_by_store(pending),
        by_store_gone=_by_store(gone),
        by_prefix={
            name: Backlog(
                pending=_counts(pending, name),
                gone=_counts(gone, name),
                approved=_counts(pending, name, approved=True),
                approved_gone=_counts(gone, name, approved=True),
                since=_went(went, name),
            )
            for name in names
        },
    )


def _went(rows: Sequence[asyncpg.Record] | None, prefix: str | None = None) -> dict[Verdict, int] | None:
    if rows is None:
        return None
    counts = Counter[Verdict]()
    for row in rows:
        if prefix in {None, row["prefix"]}:
            counts[Verdict(row["verdict"])] += row["keys"]
    return dict(counts)


def _by_store(rows: Sequence[asyncpg.Record]) -> int:
    return sum(row["keys"] for row in rows if row["by_store"] and not row["approved"])


def _counts(
    rows: Sequence[asyncpg.Record], prefix: str | None = None, *, approved: bool = False
) -> dict[Verdict, int]:
    """Keys by verdict, of that prefix; with None, of all keys, inside and outside of prefixes."""
    counts: dict[Verdict, int] = {}
    for row in rows:
        if row["approved"] == approved and prefix in {None, row["prefix"]}:
            verdict = Verdict(row["verdict"])
            counts[verdict] = counts.get(verdict, 0) + row["keys"]
    return counts
