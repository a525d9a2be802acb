"""What it costs to add up a large owner anew for each batch that a quota evicts."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from reconciler.app.wiring import catalog_config
from reconciler.catalog.open import Catalog, open_catalog
from reconciler.model import (
    Decision,
    Finding,
    Mark,
    Mode,
    ObjectResult,
    PassKind,
    Policy,
    Record,
    Tally,
    Term,
    Verdict,
)
from reconciler.planning import claim_decision, retention
from reconciler.ports import ClaimRequest
from reconciler.settings import Settings, load
from tests.servers import execute
from tools.benchmarks.corpus import PREFIX
from tools.benchmarks.figures import TIMES, Figure, at_most, for_comparison
from tools.benchmarks.site import Site

BATCH = 1_000
BATCHES = 5
NOTHING, AN_HOUR = timedelta(0), timedelta(hours=1)

# Of every age from 100 to 400 days; half of it never accessed.
AGED = """
UPDATE "MediaRecords" m SET
    "CreatedAt" = now() - interval '100 days' - interval '300 days' * ((n * 7919) % 1000003) / 1000003.0,
    "LastAccessedAt" = CASE WHEN n % 2 = 0 THEN now() - interval '99 days' END
FROM (SELECT "Id", row_number() OVER (ORDER BY "StorageKey") AS n FROM "MediaRecords") numbered
WHERE m."Id" = numbered."Id"
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of a pass that finds and judges, and of a batch from claim to confirmation, in the middle."""

    finding: float
    batch: float


def quotas(site: Site, keys: int) -> list[Figure]:
    """One owner has all rows. Some go because it keeps too many, and as many more by their age."""
    going = BATCH * BATCHES
    with site.database(keys) as database:
        execute(database, AGED)
        execute(database, 'VACUUM (ANALYZE) "MediaRecords"')
        costs = {
            verdict: asyncio.run(_measured(_settings(database, those), verdict))
            for verdict, those in (
                (Verdict.OVER_QUOTA, {"QUOTA__MAX_OBJECTS": str(keys - going), "QUOTA__EVICT": "oldest"}),
                # The oldest that are left.
                (Verdict.STALE, {"MEDIA_RETENTION_DAYS": str(399 - math.ceil(300 * 2 * going / keys))}),
            )
        }
    by_age, by_quota = costs[Verdict.STALE], costs[Verdict.OVER_QUOTA]
    title = f"a quota that evicts, one owner of {keys:,} rows"
    return [
        at_most(title, "a pass, against one by age", by_quota.finding / by_age.finding, 2, TIMES),
        for_comparison(title, "a pass", by_quota.finding, " s"),
        at_most(title, f"a batch of {BATCH:,}, against one by age", by_quota.batch / by_age.batch, 2, TIMES),
        for_comparison(title, f"a batch of {BATCH:,}, without the store", by_quota.batch, " s"),
    ]


def _settings(database: str, those: Mapping[str, str]) -> Settings:
    return load(
        {
            "RECONCILER_DATABASE_URL": database,
            "RECONCILER_BUCKET__NAME": "bench",
            "RECONCILER_BUCKET__PREFIXES": json.dumps([PREFIX]),
            "RECONCILER_MEDIA_RETENTION_DAYS": "36500",
            "RECONCILER_DELETE_DELAY": "0s",
            **{f"RECONCILER_{name}": value for name, value in those.items()},
        }
    )


async def _measured(settings: Settings, verdict: Verdict) -> Cost:
    async with open_catalog(catalog_config(settings)) as catalog:
        term = await catalog.lease.acquire(verdict, AN_HOUR)
        assert isinstance(term, Term)
        await catalog.lease.observe_mode(term, Mode.LIVE)
        began = time.perf_counter()
        findings = await _found(catalog, settings.policy(), verdict)
        finding = time.perf_counter() - began
        current = await catalog.passes.begin(term, PassKind.RETENTION, "", Mode.LIVE, None)
        for start in range(0, BATCH * BATCHES, BATCH):
            await catalog.passes.record(term, current, findings[start : start + BATCH], NOTHING)
        await catalog.passes.arm(term, current, Tally())
        batches = [await _batch(catalog, term, settings, verdict) for _ in range(BATCHES)]
        await catalog.lease.release(term)
        return Cost(finding, median(batches))


async def _found(catalog: Catalog, policy: Policy, verdict: Verdict) -> list[Finding]:
    now, found = await catalog.records.now(), list[Finding]()
    for each in retention.RULES:
        async for page in catalog.records.nominate(each, policy, now):
            judged = [retention.judge_record(row, policy, now) for row in page]
            found += [one for one in judged if one is not None and one.verdict is verdict]
    return found


async def _batch(catalog: Catalog, term: Term, settings: Settings, verdict: Verdict) -> float:
    """What the database does for a batch: claim, the second look, and the confirmation."""
    policy = settings.policy()

    def decide(mark: Mark, records: Sequence[Record], now: datetime) -> Decision:
        return claim_decision.decide(mark, records, policy, now)

    began = time.perf_counter()
    wanted = ClaimRequest(policy, [verdict], BATCH, decide, lambda *_: {})
    claim = await catalog.marks.claim(term, wanted)
    assert await catalog.marks.look_again(claim, decide, policy, guarded=True) == {}
    answers = {key.mark.storage_key: (ObjectResult.DELETED, "") for key in claim.keys}
    removed = await catalog.marks.confirm(term, claim, answers, decide, AN_HOUR)
    assert removed.records == BATCH, (removed, claim.taken, claim.cancelled)
    return time.perf_counter() - began
