"""The breaker's caps at the claim: keys claimed in the last 24 hours, and this batch.

Counted in the claim's own transaction, by five minutes, verdict and prefix: a sum over a few hundred
rows, where the ledger has hundreds of thousands. Keys that a person has approved are not counted, as long as
the approval counts.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import asyncpg

from reconciler.catalog.db.connections import AnyConnection
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.passes.backlog import APPROVED, by_store
from reconciler.catalog.passes.rows import tally_from
from reconciler.model import Backlog, ClaimedKey, PassKind, Tally, TrippedPass, Verdict
from reconciler.model.keys import merge_prefixes, prefix_of
from reconciler.model.moments import moment
from reconciler.ports import ClaimRequest, Ended

WINDOW = timedelta(hours=24)
"""The breaker's day. Only five minutes wholly within it count, so that a claim is never judged more strictly
than the pass that released it."""

PART = timedelta(minutes=5)

KEPT = timedelta(days=2)

OF_BATCH = f"""
SELECT p.id, p.kind, {APPROVED} AS approved, p.decided_by, p.decided_at,
       greatest((SELECT live_since FROM {SCHEMA}.term) + $2::interval, p.decided_at) AS live
FROM {SCHEMA}.passes p WHERE p.id = ANY($1::bigint[])
"""

LEFT = f"SELECT count(*) FROM {SCHEMA}.marks WHERE pass_id = $1 AND state = 'found'"

SPENT = f"""
SELECT verdict, prefix, sum(keys)::bigint AS keys FROM {SCHEMA}.spending
WHERE since >= $1 GROUP BY verdict, prefix
"""

# Of the keys claimed since then, those whose object the store expired by itself. Rescues say so, and were
# counted when they were claimed first.
BY_STORE_SINCE = f"""
SELECT count(DISTINCT l.storage_key) FROM {SCHEMA}.ledger l JOIN {SCHEMA}.passes p ON p.id = l.pass_id
WHERE l.at >= $1::timestamptz AND l.event = 'intent' AND l.mode = 'live' AND l.variant_of IS NULL
  AND l.detail IS NULL AND {by_store("l")} AND NOT ({APPROVED})
"""

# The tally of the last released pass of each kind.
SEEN = f"""
SELECT m.kind, (SELECT p.tally FROM {SCHEMA}.passes p WHERE p.kind = m.kind AND p.state = 'released'
                  ORDER BY p.id DESC LIMIT 1) AS tally
FROM unnest($1::text[]) AS m (kind)
"""

# Latched like every trip; marks of it that were released are no longer claimed.
TRIP = f"""
UPDATE {SCHEMA}.passes SET state = 'tripped', trip_reason = $2
WHERE id = ANY($1::bigint[]) AND state = 'released'
"""

SPEND = f"""
INSERT INTO {SCHEMA}.spending (since, verdict, prefix, keys)
SELECT date_bin('5 minutes', $1::timestamptz, '2000-01-01 00:00+00'), s.verdict, s.prefix, s.keys
FROM unnest($2::text[], $3::text[], $4::bigint[]) AS s (verdict, prefix, keys)
ON CONFLICT (since, verdict, prefix) DO UPDATE SET keys = {SCHEMA}.spending.keys + excluded.keys
"""

PURGE = f"DELETE FROM {SCHEMA}.spending WHERE since < clock_timestamp() - $1::interval"


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """The keys that may be claimed, and the passes tripped because of the others."""

    keys: list[ClaimedKey]
    tripped: tuple[TrippedPass, ...] = ()


async def allow(
    connection: AnyConnection, keys: list[ClaimedKey], wanted: ClaimRequest, now: datetime
) -> Allowed:
    """Check a batch about to be claimed against the caps and its approvals, and count it; in the claim's
    transaction.

    One leader claims at a time, one batch after the other, so no other claim counts at the same time.
    """
    ids, delay = sorted({key.mark.pass_id for key in keys}), wanted.policy.delete_delay
    passes = await connection.fetch(OF_BATCH, ids, delay)
    ended = await _end(connection, keys, [row for row in passes if row["approved"]], wanted.ended, now)
    keys = [key for key in keys if key.mark.pass_id not in {each.pass_id for each in ended}]
    capped = await _capped(connection, keys, [row for row in passes if not row["approved"]], wanted, now)
    return replace(capped, tripped=(*ended, *capped.tripped))


async def _end(
    connection: AnyConnection,
    keys: Sequence[ClaimedKey],
    approved: Sequence[asyncpg.Record],
    ended: Ended,
    now: datetime,
) -> tuple[TrippedPass, ...]:
    """Trip the passes of whose marks one is in the batch after its approval has ended."""
    tripped = []
    for row in approved:
        # A variant goes with its record, which went in time.
        mine = [key.mark for key in keys if key.mark.pass_id == row["id"] and key.mark.variant_of is None]
        due = [max(mark.due_at, row["live"]) for mark in mine]
        if any(ended(row["decided_at"], each, now) for each in due):
            left = await connection.fetchval(LEFT, row["id"])
            reason = (
                f"its approval by {row['decided_by']} at {moment(row['decided_at'])} has ended"
                f" (RECONCILER_APPROVAL_TTL), and {left:,} of its marks are left"
            )
            await connection.execute(TRIP, [row["id"]], reason)
            tripped.append(TrippedPass(pass_id=row["id"], reason=reason))
    return tuple(tripped)


async def _capped(
    connection: AnyConnection,
    keys: list[ClaimedKey],
    passes: Sequence[asyncpg.Record],
    wanted: ClaimRequest,
    now: datetime,
) -> Allowed:
    kinds = {row["id"]: PassKind(row["kind"]) for row in passes}
    # A variant is not counted: it goes with a record that was.
    bound = [key for key in keys if key.mark.pass_id in kinds and key.mark.variant_of is None]
    if not bound:
        return Allowed(keys=keys)
    prefixes = merge_prefixes(wanted.policy.prefixes)
    batch = Counter((key.mark.verdict, prefix_of(key.mark.storage_key, prefixes) or "") for key in bound)
    backlog = _backlog(batch, await _spent(connection, now), prefixes)
    if backlog.pending.get(Verdict.DANGLING):
        expired = sum(key.mark.by_store for key in bound)
        # Not of the first five minutes, which may not be counted among what was spent.
        gone = await connection.fetchval(BY_STORE_SINCE, now - WINDOW + PART)
        backlog = replace(backlog, by_store=expired, by_store_gone=gone)
    objections = wanted.cap(backlog, await _seen(connection, sorted({*kinds.values()})))
    tripped = [
        TrippedPass(pass_id=pass_id, reason=f"at the claim: {objections[kind]}")
        for pass_id, kind in sorted(kinds.items())
        if kind in objections
    ]
    for each in tripped:
        await connection.execute(TRIP, [each.pass_id], each.reason)
    stopped = {each.pass_id for each in tripped}
    left = [key for key in keys if key.mark.pass_id not in stopped]
    stays = {key.mark.storage_key for key in left}
    await _spend(connection, [key for key in bound if key.mark.storage_key in stays], prefixes, now)
    return Allowed(keys=left, tripped=tuple(tripped))


async def purge(connection: AnyConnection) -> None:
    """Drop counts that no cap reads any more."""
    await connection.execute(PURGE, KEPT)


async def _spent(connection: AnyConnection, now: datetime) -> Mapping[tuple[Verdict, str], int]:
    rows = await connection.fetch(SPENT, now - WINDOW)
    return {(Verdict(row["verdict"]), row["prefix"]): row["keys"] for row in rows}


async def _seen(connection: AnyConnection, kinds: Sequence[PassKind]) -> Mapping[PassKind, Tally]:
    rows = await connection.fetch(SEEN, [kind.value for kind in kinds])
    return {PassKind(row["kind"]): tally_from(row["tally"]) for row in rows if row["tally"]}


async def _spend(
    connection: AnyConnection, keys: Sequence[ClaimedKey], prefixes: Sequence[str], now: datetime
) -> None:
    if not keys:
        return
    counts = Counter(
        (key.mark.verdict.value, prefix_of(key.mark.storage_key, prefixes) or "") for key in keys
    )
    by_kind = sorted(counts.items())
    await connection.execute(
        SPEND,
        now,
        [verdict for (verdict, _), _ in by_kind],
        [prefix for (_, prefix), _ in by_kind],
        [number for _, number in by_kind],
    )


def _backlog(
    batch: Mapping[tuple[Verdict, str], int],
    spent: Mapping[tuple[Verdict, str], int],
    prefixes: Sequence[str],
) -> Backlog:
    return Backlog(
        pending=_total(batch.items()),
        gone=_total(spent.items()),
        by_prefix={
            prefix: Backlog(
                pending=_total(each for each in batch.items() if each[0][1] == prefix),
                gone=_total(each for each in spent.items() if each[0][1] == prefix),
            )
            for prefix in prefixes
        },
    )


def _total(counts: Iterable[tuple[tuple[Verdict, str], int]]) -> dict[Verdict, int]:
    total: Counter[Verdict] = Counter()
    for (verdict, _), number in counts:
        total[verdict] += number
    return dict(total)
