"""`ledger`: every deletion with its reason and result, for those who audit them."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from reconciler.model import LedgerFilter
from reconciler.operations.history import ledger as pages
from tests.cli.program import Ran, reconciler
from tests.integration.site import Site, make_site
from tests.servers import Bucket, execute

COUNTS = (20_000, 200_000)
ROOM_MIB = 3
"""What ten times the lines may take more: their text alone, all at once, would take 60."""


@pytest.fixture
def audited(database: str, moto_bucket: Bucket) -> Site:
    """A site on which an orphan, and the media of two virtual keys, went."""
    site = make_site(database, moto_bucket, calm=True)
    site.environment["RECONCILER_DELETE_MODE"] = "quarantine"
    anyio.run(_go, site)
    return site


async def _go(site: Site) -> None:
    await site.put("image/orphan")
    for name in ("one", "two"):
        owner = await site.virtual_key()
        await site.tracked(f"video/{name}", owner=owner)
    await site.sql('UPDATE "MediaRecords" SET "ExpiresAt" = now() - interval \'1 day\'')
    assert (await site.once()).removed.objects == 3


def ledger(site: Site, *options: str) -> Ran:
    ran = reconciler("ledger", *options, env={"RECONCILER_DATABASE_URL": site.database})
    assert (ran.status, ran.told) == (0, [])
    return ran


def lines(site: Site, *options: str) -> Sequence[Mapping[str, Any]]:
    return [json.loads(line) for line in ledger(site, "--json", *options).out.splitlines()]


def test_every_deletion_is_there_with_its_reason_and_result(audited: Site) -> None:
    told = lines(audited)
    results = {
        (each["storage_key"], each["what"]): (each["verdict"], each["result"])
        for each in told
        if each["event"] == "result"
    }
    assert results == {
        ("image/orphan", "object"): ("orphan", "deleted"),
        **{
            (f"video/{name}", what): ("expired", "deleted")
            for name in ("one", "two")
            for what in ("object", "record")
        },
    }
    ended = [each["reason"] for each in told if each["verdict"] == "expired"]
    assert all(re.fullmatch(r"expired at \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", reason) for reason in ended)
    assert {each["event"] for each in told} == {"intent", "result"}
    assert [each["at"] for each in told] == sorted(each["at"] for each in told)
    table = ledger(audited).out
    assert "video/two" in table
    assert len(table.splitlines()) == len(told) + 1


def test_lines_are_chosen_by_owner_key_pass_and_time(audited: Site) -> None:
    (owner,) = lines(audited, "--key", "video/one")[0]["virtual_key_ids"]
    of_one = lines(audited, "--virtual-key", owner)
    assert {each["storage_key"] for each in of_one} == {"video/one"}
    assert {(each["event"], each["what"]) for each in of_one} == {
        (event, what) for event in ("intent", "result") for what in ("object", "record")
    }
    assert all(each["virtual_key_ids"] == [owner] for each in of_one)
    assert of_one == lines(audited, "--key", "video/one")
    sweep = lines(audited, "--pass", str(lines(audited, "--key", "image/orphan")[0]["pass_id"]))
    assert {each["storage_key"] for each in sweep} == {"image/orphan"}
    assert sweep[0]["virtual_key_ids"] == []
    execute(
        audited.database, "UPDATE reconciler.ledger SET at = at - interval '3 h' WHERE verdict = 'orphan'"
    )
    assert {each["verdict"] for each in lines(audited, "--since", "2h")} == {"expired"}
    assert {each["verdict"] for each in lines(audited, "--until", "2h")} == {"orphan"}
    assert len(lines(audited, "--since", "4h", "--until", "2h")) == len(sweep)
    assert ledger(audited, "--key", "video/\udcff").out == "There is no such line.\n"


def test_what_comes_back_is_its_owners_too(audited: Site) -> None:
    owner = lines(audited, "--key", "video/two")[0]["virtual_key_ids"][0]
    assert reconciler("undo", "--key", "video/two", env=audited.environment).status == 0
    back = lines(audited, "--virtual-key", owner, "--since", "1d")[-2:]
    assert {(each["event"], each["what"]) for each in back} == {
        ("restored", "object"),
        ("restored", "record"),
    }


def test_csv_has_a_line_for_each_and_pages_meet_without_gap(audited: Site) -> None:
    """Also where lines share one instant, across the end of a page."""
    execute(audited.database, "UPDATE reconciler.ledger SET at = (SELECT max(at) FROM reconciler.ledger)")
    rows = list(csv.DictReader(io.StringIO(ledger(audited, "--format", "csv").out)))
    told = lines(audited)
    assert [row["storage_key"] for row in rows] == [each["storage_key"] for each in told]
    assert [row["virtual_key_ids"] for row in rows] == [" ".join(each["virtual_key_ids"]) for each in told]
    anyio.run(_by_pages, audited, [each["storage_key"] for each in told])
    assert len(lines(audited, "--limit", "3")) == 3
    assert len(ledger(audited, "--limit", "3", "--format", "csv").out.splitlines()) == 4
    assert [each["storage_key"] for each in lines(audited, "--last", "3")] == [
        each["storage_key"] for each in told[-3:]
    ]
    assert lines(audited, "--last", str(len(told))) == lines(audited, "--last", "999") == told
    assert lines(audited, "--last", "1", "--key", "image/orphan")[0]["event"] == "result"
    newest = ledger(audited, "--last", "3").out.splitlines()
    assert (len(newest), newest[-1].partition(";")[0]) == (5, "The newest 3")
    assert "The newest" not in ledger(audited, "--limit", "3").out
    assert "The newest" not in ledger(audited, "--last", "999").out


async def _by_pages(site: Site, keys: Sequence[str]) -> None:
    async with site.catalog() as catalog:
        found = [line async for page in pages(catalog, LedgerFilter(), 3) for line in page]
    assert [line.storage_key for line in found] == keys
    assert [line.id for line in found] == sorted({line.id for line in found})


def test_times_that_exclude_each_other_are_wrong_usage(audited: Site) -> None:
    ran = reconciler("ledger", "--since", "1h", "--until", "2h", env=audited.environment)
    assert (ran.status, ran.told) == (2, ["reconciler: --until '2h': must be later than --since '1h'"])


@pytest.mark.soak
def test_ten_times_the_lines_take_no_more_memory(database: str, tmp_path: Path) -> None:
    peaks = []
    for count in COUNTS:
        execute(database, "TRUNCATE reconciler.ledger")
        execute(
            database,
            "INSERT INTO reconciler.ledger"
            " (at, epoch, event, mode, what, storage_key, verdict, reason, result, owners)"
            " SELECT now() - n * interval '1 s', 1, 'result', 'live', 'object', 'image/' || n, 'orphan',"
            " 'no record; last modified at 2026-06-01 12:00:00Z', 'deleted', '{a}'"
            f" FROM generate_series(1, {count}) n",
        )
        command = (sys.executable, "-m", "tests.incidents.peak", str(tmp_path / "peak"), "ledger", "--json")
        environment = {**os.environ, "RECONCILER_DATABASE_URL": database}
        with (tmp_path / "lines").open("w+") as out:
            subprocess.run((*command, "--virtual-key", "a"), stdout=out, env=environment, check=True)
            out.seek(0)
            assert sum(1 for _ in out) == count
        peaks.append(int((tmp_path / "peak").read_text()) / 1024)
    assert peaks[1] - peaks[0] < ROOM_MIB, peaks
