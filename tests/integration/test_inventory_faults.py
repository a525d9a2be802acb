"""Sweeps by inventory that are killed, and those that work beside writers: nothing live is lost."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pyarrow.parquet as pq
import pytest

from reconciler.model import Outcome
from reconciler.sources import comparing, exporting, ranges
from reconciler.sources.comparing import Comparison
from reconciler.sources.ranges import Span
from reconciler.stores.s3.inventory import BucketFiles
from reconciler.stores.s3.reading import Body
from tests.integration.kill_at import FEW, killed_at
from tests.integration.site import DAY, Site
from tests.servers import Bucket, S3Server, fresh_bucket
from tests.support.inventories import Inventory

pytestmark = [pytest.mark.anyio, pytest.mark.soak]

KILLED = [
    (("download", "", ""), (1, 1, 0)),
    (("export", "copy", "after"), (0, 1, 0)),
    (("range", "", ""), (0, 0, 2)),
    (("area", "copy", "before"), (0, 0, None)),
    (("area", "seal", "after"), (0, 0, None)),
]
"""Where it is killed; how many of the two files are fetched again after that, how often rows are
exported, and how many ranges are not compared again (None: all).
"""
STAGING = "SELECT relname::text FROM pg_class WHERE relname LIKE 'staging\\_%' AND relkind = 'r'"
WRITERS, ROUNDS, SWEEPS = 16, 6, 3


def in_it(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def left_in(folder: Path) -> int:
    return len(in_it(folder))


@pytest.fixture
def delivered(moto: S3Server) -> Iterator[Bucket]:
    with fresh_bucket(moto) as bucket:
        yield bucket


@pytest.fixture
def site(ordered_site: Site, tmp_path: Path) -> Site:
    changes = {
        "sweep__source": "inventory",
        "inventory__id": "daily",
        "inventory__directory": str(tmp_path),
        "upload_window": "0s",
        # A busy machine may take its time to renew it; the dead one's is ended by `killed_at`.
        "lease__ttl": "10s",
    }
    return Site(ordered_site.database, ordered_site.bucket, ordered_site.settings(**changes))


@pytest.fixture
def inventory(site: Site, delivered: Bucket) -> Inventory:
    made = Inventory(site.bucket, delivered)
    made.configure()
    return made


@dataclass(slots=True)
class Done:
    """What this process does that one before may have done: files fetched, rows exported, ranges compared."""

    fetched: list[str] = field(default_factory=list)
    exports: int = 0
    spans: list[Span] = field(default_factory=list)


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> Done:
    """Counted; and ranges have a few rows, as those of the process that is killed at one of them."""
    made = Done()
    open_, export, compare = BucketFiles.open, exporting.export, Comparison.compare

    async def opening(self: BucketFiles, key: str) -> Body | None:
        if "/data/" in key:
            made.fetched.append(key.rpartition("/")[2])
        return await open_(self, key)

    async def exported(*arguments: Any) -> Any:
        made.exports += 1
        return await export(*arguments)

    def compared(self: Comparison, span: Span) -> comparing.Found:
        made.spans.append(span)
        return compare(self, span)

    monkeypatch.setattr(BucketFiles, "open", opening)
    monkeypatch.setattr(exporting, "export", exported)
    monkeypatch.setattr(Comparison, "compare", compared)
    monkeypatch.setattr(ranges.cut, "__defaults__", (FEW,))
    return made


def noted(folder: Path) -> int:
    """How many ranges the killed process had compared."""
    return sum(len(path.read_text().splitlines()) for path in folder.rglob("ranges-*"))


@pytest.mark.parametrize(("where", "again"), KILLED, ids=["-".join(where) for where, _ in KILLED])
async def test_a_sweep_by_inventory_that_was_killed_goes_on_where_it_was(
    site: Site,
    inventory: Inventory,
    done: Done,
    tmp_path: Path,
    where: tuple[str, str, str],
    again: tuple[int, int, int | None],
) -> None:
    live = {f"image/{number:03}" for number in range(20)}
    await site.tracked(*live)
    await site.put("image/orphan", "image/late")
    await site.row("image/missing", age=5 * DAY)
    inventory.deliver()
    await killed_at(site, *where, "once", "--json")
    assert await site.keys() == live | {"image/orphan", "image/late"}
    assert left_in(tmp_path) == 1
    before = noted(tmp_path)
    await site.row("image/late")  # which no export before knows
    report = await site.once()
    assert (report.outcome, report.removed.objects) == (Outcome.PENDING, 1)
    fetched, exports, ranges_kept = again
    assert (len(done.fetched), done.exports) == (fetched, exports)
    assert before == ranges_kept if ranges_kept is not None else done.spans == []
    assert left_in(tmp_path) == 0
    assert await site.sql(STAGING) == []
    inventory.deliver()
    # The killed pass had the first of the two, and no word in it counts.
    report = await site.once()
    assert (report.outcome, report.removed.records) == (Outcome.CONVERGED, 1)
    assert await site.state() == (live | {"image/late"}, live | {"image/late"})


async def test_nothing_is_used_again_that_is_not_what_it_was(
    site: Site, inventory: Inventory, done: Done, tmp_path: Path
) -> None:
    """Files that were cut, changed or swapped, an export of long ago, and another inventory's."""
    await site.tracked(*(f"image/{number:03}" for number in range(20)))
    await site.put("image/orphan")
    inventory.deliver()
    await killed_at(site, "area", "copy", "before", "once")
    (left,) = in_it(tmp_path)
    aside = tmp_path.with_name(f"{tmp_path.name}-aside")
    left.rename(aside)
    first, second = (left / f"listed-0000{number}" for number in (0, 1))
    every = noted(aside)

    def cut() -> None:
        first.write_bytes(first.read_bytes()[:-1])

    def changed() -> None:
        body = first.read_bytes()
        first.write_bytes(body[:50] + bytes([body[50] ^ 1]) + body[51:])

    def swapped() -> None:
        mine, other = first.read_bytes(), second.read_bytes()
        first.write_bytes(other)
        second.write_bytes(mine)

    def without_rows() -> None:
        for rows in left.glob("rows-*"):
            pq.write_table(pq.read_table(rows).slice(0, 0), rows)

    def found_nothing() -> None:
        (orphans,) = left.glob("found-*")
        pq.write_table(pq.read_table(orphans).slice(0, 0), orphans)

    def long_ago() -> None:
        head = json.loads((left / "export.json").read_text())
        read_at = datetime.fromisoformat(head["read_at"]) - timedelta(hours=1)
        (left / "export.json").write_text(json.dumps({**head, "read_at": read_at.isoformat()}))

    async def planned(*expected: int) -> None:
        report, findings = await site.plan()
        assert (report.objects, [each.storage_key for each in findings]) == (21, ["image/orphan"])
        assert (len(done.fetched), done.exports, len(done.spans)) == expected
        assert left_in(tmp_path) == 0

    assert every > 2
    for spoil, expected in (
        (cut, (1, 0, 0)),
        (changed, (1, 0, 0)),
        (swapped, (2, 0, 0)),
        (without_rows, (0, 1, every)),
        (found_nothing, (0, 0, 1)),
        (long_ago, (0, 1, every)),
    ):
        shutil.copytree(aside, left)
        done.fetched, done.exports, done.spans = [], 0, []
        spoil()
        await planned(*expected)
    shutil.copytree(aside, left)
    done.fetched, done.exports, done.spans = [], 0, []
    inventory.deliver()
    await planned(2, 1, every)
    assert sorted(done.fetched) == ["2-0.parquet", "2-1.parquet"]


async def test_a_stale_inventory_takes_nothing_from_who_writes_meanwhile(
    site: Site, inventory: Inventory
) -> None:
    """Keys that it shows as orphans are put again with a row; tracked ones are removed, and put again."""
    pool = [f"image/{number:03}" for number in range(96)]
    await site.tracked(*pool[::2])
    await site.put(*pool[1::2], *(f"video/orphan-{number}" for number in range(4)))
    inventory.deliver(began=datetime.now(UTC) - DAY)
    owner = await site.virtual_key()
    swept = 0

    async def write(number: int) -> None:
        """Keys of its own, so that no two writers are at one."""
        mine, dice, turn = pool[number::WRITERS], random.Random(number), 0
        async with site.connected() as connection:
            while turn < ROUNDS or swept < SWEEPS:
                turn += 1
                key = dice.choice(mine)
                if dice.random() < 0.3:
                    await connection.execute('DELETE FROM "MediaRecords" WHERE "StorageKey" = $1', key)
                    await anyio.to_thread.run_sync(remove, key)
                    continue
                body = f"{number} {turn}".encode()
                await anyio.to_thread.run_sync(site.bucket.put, key, body)
                named = await connection.fetchval(
                    'SELECT count(*) FROM "MediaRecords" WHERE "StorageKey" = $1', key
                )
                if not named:
                    await site.row(key, owner, on=connection)

    def remove(key: str) -> None:
        site.bucket.client.delete_object(Bucket=site.bucket.name, Key=key)

    async def sweep() -> None:
        nonlocal swept
        while swept < SWEEPS:
            await site.once()
            swept += 1

    async with anyio.create_task_group() as group:
        group.start_soon(sweep)
        for number in range(WRITERS):
            group.start_soon(write, number)
    keys, rows = await site.state()
    assert rows - keys == set()
    assert not any(key.startswith("video/orphan") for key in keys)
    ledger = [
        result for event, _, what, result in await site.ledger() if (event, what) == ("result", "object")
    ]
    assert "deleted" in ledger
