"""Marks as rows: their columns, and which of them may be claimed."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import asyncpg

from reconciler.catalog.db import bounds
from reconciler.catalog.db.schema import SCHEMA
from reconciler.model import VERDICTS, Mark, PassKind, PassState, Policy, Verdict, believable, believable_size

MARK_COLUMNS = (
    "m.storage_key, m.verdict, m.reason, m.bytes, m.pass_id, m.object_etag, m.object_last_modified,"
    " m.first_seen_at, m.last_seen_at, m.sightings, m.due_at, m.variant_of, m.owners, m.nominated"
)


def _words(words: Iterable[str]) -> str:
    return ", ".join(f"'{word}'" for word in words)


KNOWN = (
    f"m.verdict IN ({_words(Verdict)}) AND p.kind IN ({_words(PassKind)})"
    f" AND p.state IN ({_words(PassState)})"
)
"""Marks in words that this program knows. Every other mark is a newer program's and left to it: no pass joins
or withdraws it, and no claim takes it.
"""

SEEN_ENOUGH = (
    f"(m.sightings >= 2 OR m.verdict NOT IN ({_words(each for each in VERDICTS if each.spec.twice)}))"
)
"""SQL: the mark was seen as often as its verdict requires."""

_COMPLETE = (
    f"(SELECT coalesce(max(c.id), 0) FROM {SCHEMA}.passes c"
    " WHERE c.kind = '{0}' AND c.state IN ('released', 'tripped'))"
)

SEEN_LATELY = (
    f"({KNOWN} AND (m.variant_of IS NOT NULL OR m.confirmed_id >="
    f" CASE p.kind WHEN 'sweep' THEN {_COMPLETE.format('sweep')}"
    f" WHEN 'retention' THEN {_COMPLETE.format('retention')} ELSE 0 END))"
)
"""Marks found by the last complete pass of their kind, or by one that is running; a mark that it missed is
not trusted, nor is a newer program's. A variant is exempt: no pass finds it, and it goes with its record.
What departed is found once.
"""

LIVE_SINCE = f"coalesce((SELECT live_since FROM {SCHEMA}.term), '-infinity')"

LIVE_DELAY = (
    f"CASE WHEN p.kind = 'departure' AND p.cutoff >= {LIVE_SINCE} THEN interval '0' ELSE $3::interval END"
)
"""How long a mark waits after dry run was switched off: the delay, from then on. A departure that was found
since has its own delay already.
"""

# Marks that may be claimed at $1, of the verdicts $2, under the delay $3, in the key ranges $4/$5. The
# pass has to be released, and (for a claim, not for a preview) its stamp must be older than every open
# transaction. Times are parameters taken beforehand, so that an index on due_at can answer. A variant waits
# for its record's mark.
CLAIMABLE = f"""
    m.state = 'found' AND p.state = 'released' AND m.verdict = ANY($2::text[])
    AND m.due_at <= $1::timestamptz
    AND {LIVE_SINCE} + {LIVE_DELAY} <= $1
    AND (m.not_before IS NULL OR m.not_before <= $1)
    AND {SEEN_ENOUGH} AND {SEEN_LATELY}
    AND (m.variant_of IS NULL OR NOT EXISTS (SELECT FROM {SCHEMA}.marks r WHERE r.storage_key = m.variant_of))
    AND EXISTS (SELECT FROM unnest($4::text[], $5::text[]) AS b (low, high)
                WHERE m.storage_key >= b.low AND (b.high IS NULL OR m.storage_key < b.high))
"""

BEHIND_HORIZON = "p.released_xid < pg_snapshot_xmin(pg_current_snapshot())"


def claimable_arguments(
    now: datetime, policy: Policy, verdicts: Sequence[Verdict]
) -> tuple[datetime, list[str], timedelta, list[str], list[str | None]]:
    """Parameters $1 to $5 of `CLAIMABLE`. The prefixes are today's, not those of the pass (R-18)."""
    within = bounds.managed(policy.prefixes)
    return (
        now,
        [verdict.value for verdict in verdicts],
        policy.delete_delay,
        [low for low, _ in within],
        [high for _, high in within],
    )


def mark_from(row: asyncpg.Record) -> Mark:
    """One row of `MARK_COLUMNS`."""
    return Mark(
        storage_key=row["storage_key"],
        verdict=Verdict(row["verdict"]),
        reason=row["reason"],
        bytes=believable_size(row["bytes"]),
        pass_id=row["pass_id"],
        object_etag=row["object_etag"],
        object_last_modified=believable(row["object_last_modified"]),
        first_seen_at=row["first_seen_at"],
        last_seen_at=row["last_seen_at"],
        sightings=row["sightings"],
        due_at=row["due_at"],
        variant_of=row["variant_of"],
        owners=tuple(row["owners"] or ()),
        nominated=row["nominated"],
    )
