"""What passes found over time, what is due by the hour and what went by the day. Reads only."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import TypeVar

from reconciler import model
from reconciler.catalog import holds
from reconciler.catalog.db.connections import Database, Row
from reconciler.catalog.db.patient import patient
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.mark_rows import LIVE_DELAY, LIVE_SINCE, SEEN_ENOUGH, claimable_arguments
from reconciler.catalog.media_tables.tables import MediaTables

T = TypeVar("T")

# The last complete pass of each kind in each step. What departed is found once, so it is no state of things.
DRIFT = f"""
WITH newest AS (
    SELECT max(id) AS id,
           to_timestamp(floor(extract(epoch FROM cutoff) / $2::float8) * $2::float8) AS at
    FROM {SCHEMA}.passes
    WHERE cutoff > $1::timestamptz - $3::interval AND kind IN ('sweep', 'retention')
      AND state IN ('released', 'tripped', 'discarded')
    GROUP BY kind, 2)
SELECT p.kind, n.at, p.tally -> 'found' AS found, p.tally -> 'found_bytes' AS bytes
FROM newest n JOIN {SCHEMA}.passes p ON p.id = n.id ORDER BY n.at, p.kind
"""

# As what `Standing` counts as due and due soon, but for claimed marks.
DUE = f"""
SELECT greatest(0, floor(extract(epoch FROM w.at - $1) / 3600))::int AS slot, m.verdict,
       count(*) AS keys, sum(greatest(m.bytes, 0))::text AS bytes
FROM {SCHEMA}.marks m JOIN {SCHEMA}.passes p ON p.id = m.pass_id
CROSS JOIN LATERAL (SELECT {LIVE_SINCE} + {LIVE_DELAY} AS since) live
CROSS JOIN LATERAL (SELECT greatest(m.due_at, live.since) AS at) w
WHERE CASE
    WHEN m.state <> 'found' OR p.state <> 'released' OR m.verdict <> ALL($2::text[]) THEN false
    WHEN w.at >= $1::timestamptz + $6::interval OR NOT {SEEN_ENOUGH} THEN false
    ELSE EXISTS (SELECT FROM unnest($4::text[], $5::text[]) AS b (low, high)
                 WHERE m.storage_key >= b.low AND (b.high IS NULL OR m.storage_key < b.high))
         AND NOT {{held}} END
GROUP BY 1, 2
"""

# Keys once, whether object, row or both went. By the index on `at`.
GONE = f"""
SELECT (at AT TIME ZONE 'UTC')::date AS slot, verdict, count(DISTINCT storage_key) AS keys,
       coalesce(sum(greatest(bytes, 0)) FILTER (WHERE what = 'object'), 0)::text AS bytes
FROM {SCHEMA}.ledger
WHERE at >= (($1::timestamptz AT TIME ZONE 'UTC')::date - $2::int + 1)::timestamp AT TIME ZONE 'UTC'
  AND mode = 'live' AND event = 'result' AND result = 'deleted'
GROUP BY 1, 2
"""


class PostgresTrends:
    """Reads them for people."""

    def __init__(self, database: Database, media: MediaTables) -> None:
        self._database = database
        self._due = DUE.format(held=holds.held_condition(media, "$1"))

    async def look(self, policy: model.Policy, verdicts: Sequence[model.Verdict]) -> model.Trends:
        """What is due is told under these settings. Reads every mark, and the ledger of the last days, on
        a dedicated connection. Raises CatalogUnavailable, also after ten minutes.
        """
        async with patient(self._database.config) as connection:
            now: datetime = await connection.fetchval("SELECT clock_timestamp()")
            step = model.DRIFT_STEP.total_seconds()
            found = await connection.fetch(DRIFT, now, step, model.DRIFT_SPAN)
            due = await connection.fetch(
                self._due, *claimable_arguments(now, policy, verdicts), model.DUE_SPAN
            )
            gone = await connection.fetch(GONE, now, model.GONE_DAYS)
        by_hour: Mapping[int, model.Amounts] = _by_slot(due)
        by_day: Mapping[date, model.Amounts] = _by_slot(gone)
        return model.Trends(at=now, drift=_found(found), due=by_hour, gone=by_day)


def _found(rows: Sequence[Row]) -> Sequence[model.DriftFound]:
    told = []
    for row in rows:
        keys, sizes = json.loads(row["found"] or "{}"), json.loads(row["bytes"] or "{}")
        found = {model.Verdict(word): (number, sizes.get(word, 0)) for word, number in keys.items() if number}
        told.append(model.DriftFound(kind=model.PassKind(row["kind"]), at=row["at"], found=found))
    return told


def _by_slot(rows: Sequence[Row]) -> dict[T, model.Amounts]:
    slots: dict[T, dict[model.Verdict, tuple[int, int]]] = defaultdict(dict)
    for row in rows:
        slots[row["slot"]][model.Verdict(row["verdict"])] = row["keys"], int(row["bytes"])
    return {**slots}
