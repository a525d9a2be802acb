"""The state of marks and passes."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TypeAlias

from reconciler import model
from reconciler.catalog.db.connections import AnyConnection, Row
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.mark_rows import LIVE_DELAY, LIVE_SINCE, SEEN_ENOUGH, claimable_arguments
from reconciler.catalog.pass_groups import to_decide
from reconciler.catalog.recovery.purge import HIDDEN_TOTALS
from reconciler.catalog.statistics.breakdown import OUTSIDE, WHOLE
from reconciler.model.keys import merge_prefixes, prefix_end

Drift: TypeAlias = Mapping[model.Verdict, tuple[int, int, datetime | None]]
"""As in `Standing`: marks, their bytes, first sighting of the oldest."""

DRIFT = f"""
SELECT verdict, count(*) AS keys, sum(greatest(bytes, 0))::text AS bytes, min(first_seen_at) AS oldest
FROM {SCHEMA}.marks GROUP BY verdict
"""

# Each mark once: prefixes do not lie inside one another.
DRIFT_BY_PREFIX = f"""
SELECT b.prefix, m.verdict, count(*) AS keys, sum(greatest(m.bytes, 0))::text AS bytes,
       min(m.first_seen_at) AS oldest
FROM {SCHEMA}.marks m LEFT JOIN unnest($1::text[], $2::text[]) AS b (prefix, high)
    ON m.storage_key >= b.prefix AND (b.high IS NULL OR m.storage_key < b.high)
GROUP BY 1, 2
"""

# As `CLAIMABLE`, but with postponed and claimed marks, which are due too and not deleted yet, and with those
# to be due within $6, if a pass sees them once more. The delay of every mark restarts when dry run turns into
# live. A CASE, since of an OR the costly conditions are evaluated once for the table and again for the join.
DUE = f"""
SELECT m.verdict, count(*) FILTER (WHERE w.now) AS due, min(w.at) FILTER (WHERE w.now) AS oldest,
       count(*) FILTER (WHERE NOT w.now) AS soon, min(w.at) FILTER (WHERE NOT w.now AND w.at > $1) AS next
FROM {SCHEMA}.marks m JOIN {SCHEMA}.passes p ON p.id = m.pass_id
CROSS JOIN LATERAL (SELECT {LIVE_SINCE} + {LIVE_DELAY} AS since) live
CROSS JOIN LATERAL (
    SELECT greatest(m.due_at, live.since) AS at,
           m.state = 'claimed' OR greatest(m.due_at, live.since) <= $1 AND {SEEN_ENOUGH} AS now) w
WHERE CASE
    WHEN m.state = 'claimed' THEN true
    WHEN p.state <> 'released' OR m.verdict <> ALL($2::text[]) THEN false
    WHEN w.at > $1::timestamptz + $6::interval THEN false
    ELSE EXISTS (SELECT FROM unnest($4::text[], $5::text[]) AS b (low, high)
                 WHERE m.storage_key >= b.low AND (b.high IS NULL OR m.storage_key < b.high))
         AND NOT {{held}} END
GROUP BY 1
"""

TRIPPED = f"""
SELECT kind, id, both_sides, coalesce(trip_reason, '') AS reason, coalesce(finished_at, cutoff) AS since,
       id IN (SELECT pass_id FROM {SCHEMA}.marks) AS marked
FROM {SCHEMA}.passes WHERE state = 'tripped' ORDER BY id
"""

RESTORES = f"SELECT count(*) AS keys, min(queued_at) AS oldest FROM {SCHEMA}.restores"

DEPARTURES = f"SELECT count(*) AS notes, min(left_at) AS oldest FROM {SCHEMA}.departures"

# Key ranges of the newest sweep, while it runs.
RANGES = f"""
SELECT count(*) FILTER (WHERE r.done) AS done, count(*) FILTER (WHERE NOT r.done) AS open
FROM {SCHEMA}.ranges r
WHERE r.pass_id = (SELECT n.id FROM (SELECT id, state FROM {SCHEMA}.passes
                                     WHERE kind = 'sweep' ORDER BY id DESC LIMIT 1) n
                   WHERE n.state = 'running')
"""


async def standing(
    connection: AnyConnection, due_marks: str, policy: model.Policy, verdicts: Sequence[model.Verdict]
) -> model.Standing:
    """`due_marks` is `DUE` with the condition of what is held."""
    now: datetime = await connection.fetchval("SELECT clock_timestamp()")
    prefixes = merge_prefixes(policy.prefixes)
    ends = [prefix_end(prefix) for prefix in prefixes]
    marked = await connection.fetch(DRIFT_BY_PREFIX, list(prefixes), ends)
    due = await connection.fetch(due_marks, *claimable_arguments(now, policy, verdicts), model.SOON)
    tripped = await connection.fetch(TRIPPED)
    ranges = await connection.fetchrow(RANGES)
    hidden = await connection.fetchrow(HIDDEN_TOTALS)
    restores = await connection.fetchrow(RESTORES)
    departures = await connection.fetchrow(DEPARTURES)
    assert departures is not None
    assert ranges is not None
    assert hidden is not None
    assert restores is not None
    return model.Standing(
        drift=_by_verdict(marked),
        by_prefix=_by_prefix(marked, prefixes),
        due=sum(row["due"] for row in due),
        oldest_due=min((row["oldest"] for row in due if row["oldest"]), default=None),
        due_soon={model.Verdict(row["verdict"]): row["soon"] for row in due},
        next_due=min((row["next"] for row in due if row["next"]), default=None),
        tripped=_undecided(tripped),
        ranges_done=ranges["done"],
        ranges_open=ranges["open"],
        hidden=(hidden["objects"], int(hidden["bytes"])),
        restores=restores["keys"],
        oldest_restore=restores["oldest"],
        departures=departures["notes"],
        oldest_departure=departures["oldest"],
    )


async def drift(connection: AnyConnection) -> Drift:
    rows = await connection.fetch(DRIFT)
    return {model.Verdict(row["verdict"]): (row["keys"], int(row["bytes"]), row["oldest"]) for row in rows}


def _undecided(tripped: Sequence[Row]) -> Mapping[model.PassKind, model.Undecided]:
    """As `reconciler passes` lists them: one pass stands for all of its kind that wait for a decision."""
    found = {}
    for kind in dict.fromkeys(row["kind"] for row in tripped):
        rows = {row["id"]: row for row in tripped if row["kind"] == kind}
        both = {pass_id: row["both_sides"] for pass_id, row in rows.items()}
        chosen = to_decide(both, {pass_id for pass_id, row in rows.items() if row["marked"]})
        found[model.PassKind(kind)] = model.Undecided(
            pass_id=chosen, reason=rows[chosen]["reason"], since=min(row["since"] for row in rows.values())
        )
    return found


def _by_verdict(rows: Sequence[Row]) -> Drift:
    drift: dict[model.Verdict, tuple[int, int, datetime]] = {}
    for row in rows:
        verdict = model.Verdict(row["verdict"])
        keys, size, oldest = drift.get(verdict, (0, 0, row["oldest"]))
        drift[verdict] = keys + row["keys"], size + int(row["bytes"]), min(oldest, row["oldest"])
    return drift


def _by_prefix(
    rows: Sequence[Row], prefixes: Sequence[str]
) -> Mapping[str, Mapping[model.Verdict, tuple[int, int]]]:
    """Each managed prefix, and `OUTSIDE` if there are marks outside: the prefixes were others once."""
    parts: dict[str, dict[model.Verdict, tuple[int, int]]] = {prefix or WHOLE: {} for prefix in prefixes}
    for row in rows:
        name = OUTSIDE if row["prefix"] is None else row["prefix"] or WHOLE
        parts.setdefault(name, {})[model.Verdict(row["verdict"])] = row["keys"], int(row["bytes"])
    return parts
