"""Sweeps by inventory that are killed, and those that work beside writers: nothing live is lost."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from reconciler.model import Outcome
from reconciler.stores.s3.inventory import BucketFiles
from reconciler.stores.s3.reading import Body
from tests.integration.kill_at import killed_at
from tests.integration.site import DAY, Site
from tests.servers import Bucket, S3Server, fresh_bucket
from tests.support.inventories import Inventory

pytestmark = [pytest.mark.anyio, pytest.mark.soak]

KILLED = [
    (("download", "", ""), 1),
    (("export", "copy", "after"), 0),
    (("compare", "", ""), 0),
    (("area", "copy", "before"), 0),
    (("area", "seal", "after"), 0),
]
"""Where it is killed, and how many of the two files have to be fetched again after that."""
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


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The inventory's files that this process asks for."""
    asked: list[str] = []
    open_ = BucketFiles.open

    async def counting(self: BucketFiles, key: str) -> Body | None:
        if "/data/" in key:
            asked.append(key.rpartition("/")[2])
        return await open_(self, key)

    monkeypatch.setattr(BucketFiles, "open", counting)
    return asked


@pytest.mark.parametrize(("where", "again"), KILLED, ids=["-".join(where) for where, _ in KILLED])
async def test_a_sweep_by_inventory_that_was_killed_goes_on_with_what_it_had_fetched(
    site: Site,
    inventory: Inventory,
    fetched: list[str],
    tmp_path: Path,
    where: tuple[str, str, str],
    again: int,
) -> None:
    live = {f"image/{number:03}" for number in range(20)}
    await site.tracked(*live)
    await site.put("image/orphan")
    await site.row("image/missing", age=5 * DAY)
    inventory.deliver()
    await killed_at(site, *where, "once", "--json")
    assert await site.keys() == live | {"image/orphan"}
    assert left_in(tmp_path) == 1
    report = await site.once()
    assert (report.outcome, report.removed.objects) == (Outcome.PENDING, 1)
    assert len(fetched) == again
    assert left_in(tmp_path) == 0
    assert await site.sql(STAGING) == []
    inventory.deliver()
    # The killed pass had the first of the two, and no word in it counts.
    report = await site.once()
    assert (report.outcome, report.removed.records) == (Outcome.CONVERGED, 1)
    assert await site.state() == (live, live)


async def test_nothing_is_used_again_that_is_not_what_the_manifest_says(
    site: Site, inventory: Inventory, fetched: list[str], tmp_path: Path
) -> None:
    """Files that were cut, changed or swapped, and those of an inventory that is not the newest any more."""
    await site.tracked(*(f"image/{number:03}" for number in range(20)))
    await site.put("image/orphan")
    inventory.deliver()
    await killed_at(site, "compare", "", "", "once")
    (left,) = in_it(tmp_path)
    aside = tmp_path.with_name(f"{tmp_path.name}-aside")
    left.rename(aside)
    first, second = (left / f"listed-0000{number}" for number in (0, 1))

    def cut() -> None:
        first.write_bytes(first.read_bytes()[:-1])

    def changed() -> None:
        body = first.read_bytes()
        first.write_bytes(body[:50] + bytes([body[50] ^ 1]) + body[51:])

    def swapped() -> None:
        mine, other = first.read_bytes(), second.read_bytes()
        first.write_bytes(other)
        second.write_bytes(mine)

    for spoil, wanted in ((cut, 1), (changed, 1), (swapped, 2)):
        shutil.copytree(aside, left)
        (left / "rows-00000.parquet").write_bytes(b"of another export")
        spoil()
        fetched.clear()
        report, findings = await site.plan()
        assert (report.objects, [each.storage_key for each in findings]) == (21, ["image/orphan"])
        assert (len(fetched), left_in(tmp_path)) == (wanted, 0)
    shutil.copytree(aside, left)
    fetched.clear()
    inventory.deliver()
    await site.plan()
    assert (sorted(fetched), left_in(tmp_path)) == (["2-0.parquet", "2-1.parquet"], 0)


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
