"""A comparison in shares: plain values, files of our own in the bucket, a leader who may be replaced.

Here each share is pickled, and carried out in this process; `test_inventory_ray.py` has those of Ray.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import pytest
from anyio.from_thread import run as from_thread

from reconciler.app import shares
from reconciler.model import EXPORTS, Outcome, Verdict
from reconciler.sources import on_ray, sharing
from reconciler.sources.shares import Compare
from tests.incidents.test_telling import USURPED
from tests.integration.site import DAY, Site
from tests.servers import Bucket, S3Server, fresh_bucket
from tests.support.inventories import Inventory

pytestmark = [pytest.mark.anyio, pytest.mark.calm]

Before = Callable[[Any], None]


@pytest.fixture
def delivered(moto: S3Server) -> Iterator[Bucket]:
    with fresh_bucket(moto) as bucket:
        yield bucket


@pytest.fixture
def site(ordered_site: Site) -> Site:
    changes = {
        "sweep__source": "inventory",
        "inventory__id": "daily",
        "inventory__engine": "ray",
        "upload_window": "0s",
    }
    return Site(ordered_site.database, ordered_site.bucket, ordered_site.settings(**changes))


@pytest.fixture
def inventory(site: Site, delivered: Bucket) -> Inventory:
    made = Inventory(site.bucket, delivered)
    made.configure()
    return made


@pytest.fixture
def before() -> list[Before]:
    """What happens before each share is carried out."""
    return []


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, before: list[Before]) -> None:
    def carry_out(work: Any, shared: Sequence[Any], step: Callable[[], None]) -> Iterator[tuple[int, Any]]:
        act, asked = pickle.loads(pickle.dumps((work, shared)))
        with shares.opened(*act.args) as worker:
            of_it: Any = worker.look if act.func is shares.look else worker.compare
            for place, share in enumerate(asked):
                step()
                for happen in before:
                    happen(share)
                yield place, pickle.loads(pickle.dumps(of_it(share)))

    monkeypatch.setattr(on_ray, "connected", nullcontext)
    monkeypatch.setattr(on_ray, "carry_out", carry_out)


async def scene(site: Site) -> set[str]:
    """Returns the keys that live."""
    live = {*(f"image/{number:03}" for number in range(20)), "video/a b+c%20é/ö"}
    await site.tracked(*live)
    await site.put("image/orphan", "video/or phan+%20")
    await site.row("image/missing", age=5 * DAY)
    return live


def exported(site: Site) -> list[str]:
    found = site.bucket.client.list_objects_v2(Bucket=site.bucket.name, Prefix=EXPORTS)
    return [each["Key"] for each in found.get("Contents", ())]


@pytest.mark.parametrize("form", ["Parquet", "CSV"])
async def test_shares_find_what_one_process_finds(site: Site, inventory: Inventory, form: str) -> None:
    inventory.form = form
    inventory.configure()
    live = await scene(site)
    inventory.deliver()
    alone, alone_found = await site.plan(inventory__engine="duckdb")
    shared, found = await site.plan()
    assert sorted(map(str, found)) == sorted(map(str, alone_found))
    assert (shared.objects, shared.records) == (alone.objects, alone.records) == (23, 22)
    report = await site.once()
    assert (report.removed.objects, report.found[Verdict.DANGLING]) == (2, 1)
    assert await site.keys() == live
    assert exported(site) == []


async def test_what_killed_comparisons_left_goes_after_a_day_and_nothing_else(
    site: Site, inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scene(site)
    left = f"{EXPORTS}{'0' * 32}/rows-00000-000.parquet"
    beside = (".reconciler/exported", "image/exports/000")
    await site.put(left, *beside)
    inventory.deliver()
    await site.plan()
    assert exported(site) == [left]

    monkeypatch.setattr(sharing, "LEFT_AFTER", -DAY)
    await site.plan()
    assert exported(site) == []
    for key in beside:
        assert site.bucket.client.head_object(Bucket=site.bucket.name, Key=key)


@pytest.mark.parametrize("phase", ["look", "compare"])
async def test_a_file_that_is_damaged_ends_it_by_one_line(
    site: Site, inventory: Inventory, before: list[Before], phase: str
) -> None:
    """What a share returns for it is a value: an exception would be repeated."""
    await scene(site)

    def damage(share: Any) -> None:
        files = share.rows if isinstance(share, Compare) else [share.file]
        bucket = site.bucket if isinstance(share, Compare) else inventory.destination
        if isinstance(share, Compare) == (phase == "compare"):
            for file in files:
                bucket.put(file.key, b"x" * file.size)

    before.append(damage)
    inventory.deliver()
    report = await site.once()
    assert (report.outcome, report.removed.objects) == (Outcome.FAILED, 0)
    assert "has MD5" in report.detail
    assert "\n" not in report.detail
    assert exported(site) == []


async def test_a_leader_who_was_replaced_meanwhile_writes_nothing(
    site: Site, inventory: Inventory, before: list[Before]
) -> None:
    await scene(site)
    everything = await site.state()

    def usurp(share: Any) -> None:
        if isinstance(share, Compare):
            from_thread(partial(site.sql, USURPED))

    before.append(usurp)
    inventory.deliver()
    report = await site.once()
    assert (report.outcome, report.removed.objects) == (Outcome.FAILED, 0)
    assert await site.sql("SELECT storage_key FROM reconciler.marks") == []
    assert await site.state() == everything
