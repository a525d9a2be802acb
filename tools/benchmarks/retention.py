"""What fifty rules of retention add to a pass over a million rows."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from reconciler.app.wiring import catalog_config
from reconciler.catalog.open import open_catalog
from reconciler.model import Policy
from reconciler.planning import retention
from reconciler.settings import Settings, load
from tests.servers import execute
from tools.benchmarks.corpus import PREFIX
from tools.benchmarks.figures import Figure, at_most, for_comparison
from tools.benchmarks.site import Site

RULES = 50
ROUNDS = 3
CUSTOMERS = 500
MODELS = 20
TITLE = "retention pass, {keys:,} rows, {rules} rules"

# Media of five hundred customers and twenty models, of every age up to 400 days, half of it never accessed.
SPREAD = f"""
INSERT INTO "VirtualKeys" ("Id", "KeyName", "KeyHash")
SELECT ('00000000-0000-4000-9000-' || lpad(n::text, 12, '0'))::uuid, 'bench', n::text
FROM generate_series(1, {CUSTOMERS}) n;
UPDATE "MediaRecords" m SET
    "VirtualKeyId" = ('00000000-0000-4000-9000-' || lpad((1 + n % {CUSTOMERS})::text, 12, '0'))::uuid,
    "MediaType" = CASE n % 10 WHEN 0 THEN 'Video' WHEN 1 THEN 'audio' ELSE 'image' END,
    "Provider" = 'provider-' || n % 7, "Model" = 'model-' || n % {MODELS},
    "CreatedAt" = now() - interval '400 days' * ((n * 7919) % 1000003) / 1000003.0,
    "LastAccessedAt" = CASE WHEN n % 2 = 0
                            THEN now() - interval '400 days' * ((n * 104729) % 1000003) / 1000003.0 END
FROM (SELECT "Id", row_number() OVER (ORDER BY "StorageKey") AS n FROM "MediaRecords") numbered
WHERE m."Id" = numbered."Id";
"""


def rules(site: Site, keys: int) -> list[Figure]:
    """Passes in turns, without rules and with fifty, by their wall-clock time; each finds about as much.

    A pass finds and judges, and writes no marks: that costs the same for either, and would hide the rest.
    """
    with site.database(keys) as database:
        execute(database, *SPREAD.strip().split(";\n"))
        execute(database, 'VACUUM (ANALYZE) "MediaRecords"')
        return asyncio.run(_measured(database, keys))


async def _measured(database: str, keys: int) -> list[Figure]:
    title = TITLE.format(keys=keys, rules=RULES)
    figures: list[Figure] = []
    for share, days in (("a quarter of the rows is due", 300), ("no row is due", 5_000)):
        took: dict[bool, list[float]] = {False: [], True: []}
        found: dict[bool, int] = {}
        for _ in range(ROUNDS):
            for ruled, seconds in took.items():
                settings = _settings(database, _rules(days) if ruled else [], days)
                spent, found[ruled] = await _pass(settings)
                seconds.append(spent)
        without, by_rules = median(took[False]), median(took[True])
        told = f"{share} ({found[False]:,} without rules, {found[True]:,} with)"
        if found[False]:
            figures.append(at_most(title, f"{told}, against no rules", by_rules / without, 1.5, " times"))
        figures.append(for_comparison(title, f"{told}, without rules", without, " s"))
        figures.append(for_comparison(title, f"{told}, with rules", by_rules, " s"))
    return figures


def _rules(days: int) -> Sequence[Mapping[str, Any]]:
    """Of customers, models, types and prefixes; as many that keep longer as that keep less long."""
    made: list[Mapping[str, Any]] = []
    for place in range(RULES - 1):
        customer = f"00000000-0000-4000-9000-{1 + place * 7:012}"
        kinds: Sequence[Mapping[str, Any]] = (
            {"virtual_key_id": customer},
            {"virtual_key_id": customer, "media_type": ["image", "video"]},
            {"model": f"model-{place % MODELS}", "provider": f"provider-{place % 7}"},
            {"prefix": f"{PREFIX}no-{place}/"},
        )
        longer = days + 20 if place % 2 else days - 20
        match = kinds[place % len(kinds)]
        made.append({"name": f"rule-{place}", "match": match, "media_retention_days": longer})
    return [*made, {"name": "films", "match": {"media_type": "video"}, "media_retention_days": "forever"}]


def _settings(database: str, those: Sequence[Mapping[str, Any]], days: int) -> Settings:
    return load(
        {
            "RECONCILER_DATABASE_URL": database,
            "RECONCILER_BUCKET__NAME": "bench",
            "RECONCILER_BUCKET__PREFIXES": json.dumps([PREFIX]),
            "RECONCILER_MEDIA_RETENTION_DAYS": str(days),
            "RECONCILER_RETENTION__RULES": json.dumps(those),
        }
    )


async def _pass(settings: Settings) -> tuple[float, int]:
    """Seconds that finding and judging takes, and how many rows go."""
    policy: Policy = settings.policy()
    async with open_catalog(catalog_config(settings)) as catalog:
        now = await catalog.records.now()
        began, found = time.perf_counter(), 0
        for verdict in retention.RULES:
            async for page in catalog.records.nominate(verdict, policy, now):
                judged = [retention.judge_record(row, policy, now) for row in page]
                found += sum(each is not None and each.verdict is verdict for each in judged)
        return time.perf_counter() - began, found
