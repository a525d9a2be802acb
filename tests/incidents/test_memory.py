"""What a sweep holds in memory does not grow with the bucket."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import anyio
import anyio.to_thread
import asyncpg
import pytest

from tests.contract.catalog import LONG_AGO
from tests.integration.site import Site, make_site
from tests.servers import Bucket
from tools.benchmarks.corpus import keys_by_day
from tools.benchmarks.programs import listing_server, measure
from tools.benchmarks.site import CREDENTIALS, OWNER, forget_identity, once

pytestmark = [pytest.mark.anyio, pytest.mark.soak]

FEW, MANY = 8_000, 40_000
ROOM_MIB = 8
"""What the larger bucket may take more: a few pages. Its findings alone, all at once, would take 20."""


@pytest.mark.incident(19)
@pytest.mark.parametrize("order", ["bytes", "none"])
async def test_five_times_the_bucket_takes_no_more_memory(database: str, tmp_path: Path, order: str) -> None:
    """I-19: a driver ran out of memory, a command took 1 GB for 50,000 files. Half is drift here."""
    peaks = []
    for count in (FEW, MANY):
        await insert(database, list(chain.from_iterable(keys for _, keys in keys_by_day(count)))[::2])
        with listing_server(count, tmp_path) as endpoint:
            forget_identity(endpoint)
            peaks.append(dry_run(database, endpoint, order, tmp_path / "peak", count // 2))
        await reset(database)
    assert peaks[1] - peaks[0] < ROOM_MIB, peaks


def dry_run(database: str, endpoint: str, order: str, peak: Path, orphans: int) -> float:
    """The most that one pass held, in MiB."""
    settings = {"DRY_RUN": "true", "BUCKET__LISTING_ORDER": order, "LISTING_CONCURRENCY": "2"}
    program = (sys.executable, "-m", "tests.incidents.peak", str(peak))
    run = once(database, endpoint, settings, CREDENTIALS, program)
    assert run.report()["found"]["orphan"] == orphans
    return int(peak.read_text()) / 1024


async def insert(database: str, keys: Sequence[str]) -> None:
    connection = await asyncpg.connect(database)
    try:
        await connection.execute(
            'INSERT INTO "VirtualKeys" ("Id", "KeyName", "KeyHash", "IsEnabled", "CreatedAt")'
            " VALUES ($1, 'one', 'one', true, now() - interval '1 year')",
            OWNER,
        )
        await connection.execute(
            'INSERT INTO "MediaRecords"'
            ' ("Id", "StorageKey", "VirtualKeyId", "MediaType", "SizeBytes", "CreatedAt")'
            " SELECT gen_random_uuid(), key, $1, 'image', 1, now() - interval '5 days'"
            " FROM unnest($2::text[]) key",
            OWNER,
            keys,
        )
    finally:
        await connection.close()


async def reset(database: str) -> None:
    """As before the first contact: the next bucket is another one."""
    connection = await asyncpg.connect(database)
    try:
        await connection.execute('TRUNCATE "MediaRecords", "VirtualKeys" CASCADE')
        await connection.execute("TRUNCATE reconciler.marks, reconciler.passes, reconciler.site CASCADE")
    finally:
        await connection.close()


ROWS = 24
"""More than an undo brings back at once."""
SMALL, LARGE = 1_000, 8_000_000
WIDE_ROOM_MIB = 32
"""What rows of eight megabytes may take more than rows of a kilobyte: four of those in hand at once."""


WIDEN = """UPDATE "MediaRecords" SET "Payload" = repeat('p', $1), "Other" = to_json(repeat('o', $1))"""
WIDE = """
SELECT count(*), md5(string_agg("Payload" || "Other"::text, '' ORDER BY "StorageKey")) FROM "MediaRecords"
"""


@pytest.mark.incident(50)
async def test_wide_rows_are_removed_and_brought_back_in_no_more_memory(
    database: str, seaweed_bucket: Bucket, tmp_path: Path
) -> None:
    """I-50: with 800 KB a row, batches by count exhausted the memory. Here nothing of a row crosses."""
    site = make_site(database, seaweed_bucket, calm=True)
    site.environment.update(RECONCILER_DELETE_MODE="auto", RECONCILER_LOG_LEVEL="warning")
    await site.sql('ALTER TABLE "MediaRecords" ADD COLUMN "Payload" text, ADD COLUMN "Other" json')
    owner = await site.virtual_key()
    peaks = {}
    for width in (SMALL, LARGE):
        for number in range(ROWS):
            key = f"image/{width}/{number}"
            await site.put(key)
            await site.row(key, owner, ExpiresAt=LONG_AGO)
        await site.sql(WIDEN, width // 2)
        before = await site.sql(WIDE)
        for command in (["once", "--json"], ["undo", "--since", "1h"]):
            peaks[width, command[0]] = await peak(site, tmp_path / "peak", command)
        assert await site.sql(WIDE) == before
        assert before[0][0] == ROWS
        await site.sql('DELETE FROM "MediaRecords"')
        await site.sql("TRUNCATE reconciler.holds, reconciler.hidden, reconciler.ledger")
    for name in ("once", "undo"):
        assert peaks[LARGE, name] - peaks[SMALL, name] < WIDE_ROOM_MIB, peaks


async def peak(site: Site, file: Path, command: Sequence[str]) -> float:
    """The most that the command held, in MiB."""
    program = [sys.executable, "-m", "tests.incidents.peak", str(file), *command]
    await anyio.to_thread.run_sync(measure, program, site.environment)
    return int(await anyio.Path(file).read_text()) / 1024
