"""`reconciler pause` and `resume`: on running replicas, over restarts, and where nothing runs."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from reconciler.model import Outcome
from tests.cli.program import Ran, reconciler
from tests.integration.daemons import Daemon, daemon, until
from tests.integration.site import Site
from tests.support.mounted import Log

pytestmark = pytest.mark.anyio

PROMISED = timedelta(seconds=1)


async def run(site: Site, *command: str, **settings: str) -> Ran:
    environment = site.settings(**settings)
    return await anyio.to_thread.run_sync(lambda: reconciler(*command, env=environment))


async def results(site: Site) -> list[datetime]:
    found = await site.sql("SELECT at FROM reconciler.ledger WHERE event = 'result' ORDER BY at")
    return [row["at"] for row in found]


async def test_a_pause_stops_every_replica_within_a_second_and_outlives_restarts(
    ordered_site: Site, tmp_path: Path
) -> None:
    site = ordered_site
    logs = [Log(tmp_path / name) for name in ("first", "second", "third")]
    keys = [f"image/{number:03}" for number in range(120)]
    await site.put(*keys)

    async def is_paused(which: Daemon, value: float) -> bool:
        return await which.metric("media_reconciler_paused") == value

    slowly = {"max_deletes_per_second": "10"}
    async with (
        daemon(site, logs[0].file, **slowly) as first,
        daemon(site, logs[1].file, **slowly) as second,
    ):

        async def collecting() -> bool:
            return len(await results(site)) > 0

        await until(collecting)
        told = await run(site, "pause", "--reason", "a restore is under way")
        assert (told.status, told.told) == (0, [])
        assert "(a restore is under way)" in told.out
        (row,) = await site.sql("SELECT changed_at, changed_by FROM reconciler.pause WHERE paused")
        assert "@" in row["changed_by"]
        await until(lambda: is_paused(first, 1))
        await until(lambda: is_paused(second, 1))
        since = row["changed_at"].timestamp()
        for replica, log in ((first, logs[0]), (second, logs[1])):
            assert await replica.metric("media_reconciler_paused_since_timestamp_seconds") == since
            (line,) = log.events("paused: nothing is deleted")
            assert (line["by"], line["reason"]) == (row["changed_by"], "a restore is under way")
            assert line["at"] <= row["changed_at"] + PROMISED
        left = await site.keys()
        assert left, "the test has to pause in the midst of it"
        assert await first.stop() == 0

        async def leads() -> bool:
            return await second.metric("media_reconciler_leader") == 1

        await until(leads)

    await site.put("image/later")
    async with daemon(site, logs[2].file) as third:
        await until(lambda: is_paused(third, 1))

        async def swept() -> bool:
            found = await site.sql("SELECT 1 FROM reconciler.marks WHERE storage_key = 'image/later'")
            return bool(found)

        await until(swept)
        assert (await third.get("/healthz"))[0] == 200
        assert await site.keys() == {*left, "image/later"}
        assert (await results(site))[-1] <= row["changed_at"] + PROMISED
        assert (await run(site, "resume")).out.startswith("resumed; it was paused since")

        async def gone() -> bool:
            return await site.keys() == set()

        await until(gone)
        assert await is_paused(third, 0)
        assert await third.metric("media_reconciler_paused_since_timestamp_seconds") == 0
        (line,) = logs[2].events("resumed")
        assert "@" in line["by"]
        assert "(a restore is under way)" in line["was"]


async def test_it_works_where_nothing_runs_and_every_command_says_it(site: Site) -> None:
    await site.put("image/orphan")
    database = {"RECONCILER_DATABASE_URL": site.database}
    alone = reconciler("pause", env=database)
    assert alone.status == 0
    assert alone.out.startswith("paused since ")
    again = reconciler("pause", "--reason", "another", env=database)
    assert again.status == 0
    first, _, _ = alone.out.partition(": within a second")
    assert again.out.startswith(f"already {first}: that pause and its reason are kept")
    assert "another" not in again.out
    report = await site.once()
    assert (report.outcome, report.removed.objects) == (Outcome.PENDING, 0)
    once = await run(site, "once", "--json")
    assert (once.status, '"outcome": "pending"' in once.out) == (0, True)
    for told in (once, await run(site, "plan", "--format", "jsonl")):
        (line,) = [line for line in told.told if line.startswith("reconciler: paused since ")]
        assert line.endswith(": nothing is deleted until `reconciler resume`")
    doctor = await run(site, "doctor")
    assert "run `reconciler resume`" in doctor.out
    assert await site.keys() == {"image/orphan"}
    assert reconciler("resume", env=database).out.startswith("resumed; it was paused since ")
    assert reconciler("resume", env=database).out == "it was not paused\n"
    assert (await site.once()).outcome is Outcome.CONVERGED
    assert await site.keys() == set()


def test_a_database_without_our_schema_is_told_of_in_one_line(empty_database: str) -> None:
    told = reconciler("pause", env={**os.environ, "RECONCILER_DATABASE_URL": empty_database})
    assert (told.status, told.out, len(told.told)) == (3, "", 1)
    assert "run `reconciler migrate`" in told.told[0]
