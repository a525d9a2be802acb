"""Sweeps by inventory that are killed, and those that work beside writers: nothing live is lost."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from reconciler.model import Outcome
from tests.integration.kill_at import killed_at
from tests.integration.site import DAY, Site
from tests.servers import Bucket, S3Server, fresh_bucket
from tests.support.inventories import Inventory

pytestmark = [pytest.mark.anyio, pytest.mark.soak]

KILLED = [
    ("export", "copy", "after"),
    ("compare", "", ""),
    ("area", "copy", "before"),
    ("area", "seal", "after"),
]
STAGING = "SELECT relname::text FROM pg_class WHERE relname LIKE 'staging\\_%' AND relkind = 'r'"
WRITERS, ROUNDS, SWEEPS = 16, 6, 3


def left_in(folder: Path) -> int:
    return len(list(folder.iterdir()))


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


@pytest.mark.parametrize("where", KILLED, ids="-".join)
async def test_a_sweep_by_inventory_that_was_killed_leaves_nothing_behind(
    site: Site, inventory: Inventory, tmp_path: Path, where: tuple[str, str, str]
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
    assert left_in(tmp_path) == 0
    assert await site.sql(STAGING) == []
    inventory.deliver()
    # The killed pass had the first of the two, and no word in it counts.
    report = await site.once()
    assert (report.outcome, report.removed.records) == (Outcome.CONVERGED, 1)
    assert await site.state() == (live, live)


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
