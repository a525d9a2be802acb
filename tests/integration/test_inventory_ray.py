"""The comparison on many machines: Ray's processes find what one finds, whoever of them dies."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio.to_thread
import pytest

from reconciler.model import EXPORTS
from tests.integration.site import DAY, Site
from tests.servers import Bucket, S3Server, fresh_bucket
from tests.support.alone import alone
from tests.support.inventories import Inventory

pytestmark = [pytest.mark.anyio, pytest.mark.calm, pytest.mark.alone, pytest.mark.soak]


@pytest.fixture
def delivered(moto: S3Server) -> Iterator[Bucket]:
    with fresh_bucket(moto) as bucket:
        yield bucket


@pytest.fixture
def site(ordered_site: Site, delivered: Bucket, tmp_path: Path) -> Site:
    changes = {
        "sweep__source": "inventory",
        "inventory__id": "daily",
        "inventory__directory": str(tmp_path),
        "upload_window": "0s",
    }
    return Site(ordered_site.database, ordered_site.bucket, ordered_site.settings(**changes))


@pytest.fixture
def inventory(site: Site, delivered: Bucket) -> Inventory:
    made = Inventory(site.bucket, delivered)
    made.configure()
    return made


async def scene(site: Site) -> set[str]:
    """Returns the keys that live."""
    live = {*(f"image/{number:03}" for number in range(20)), "video/a b+c%20é/ö"}
    await site.tracked(*live)
    await site.put("image/orphan", "video/or phan+%20")
    await site.row("image/missing", age=5 * DAY)
    return live


async def on_ray(site: Site, how: str, *command: str) -> tuple[int | None, str, str]:
    """Exit, stdout and stderr of a command whose comparisons are Ray's; `how` is of `dying_shares`."""
    ports = [urlsplit(each).port or 0 for each in (site.bucket.server.endpoint_url, site.database)]
    environment = {**os.environ, **site.settings(inventory__engine="ray")}
    # Otherwise it writes a token to the home directory.
    environment["RAY_AUTH_MODE"] = "disabled"

    def run() -> tuple[int | None, str, str]:
        program = "tests.support.dying_shares"
        with alone(program, how, *command, ports=ports, environment=environment) as started:
            told, complaints = started.communicate(timeout=120)
            return started.returncode, told, complaints

    return await anyio.to_thread.run_sync(run)


def exported(site: Site) -> list[str]:
    found = site.bucket.client.list_objects_v2(Bucket=site.bucket.name, Prefix=EXPORTS)
    return [each["Key"] for each in found.get("Contents", ())]


def findings(told: str) -> set[tuple[Any, ...]]:
    return {(each["storage_key"], each["verdict"]) for each in map(json.loads, told.splitlines())}


async def test_processes_of_ray_find_what_one_process_finds(site: Site, inventory: Inventory) -> None:
    live = await scene(site)
    inventory.deliver()
    _, alone_found = await site.plan()
    status, told, complaints = await on_ray(site, "never", "plan", "--json")
    assert status == 0, complaints
    assert findings(told) == {(each.storage_key, each.verdict) for each in alone_found}
    assert exported(site) == []
    assert await site.keys() == live | {"image/orphan", "video/or phan+%20"}


async def test_a_process_that_dies_in_a_share_changes_nothing(
    site: Site, inventory: Inventory, tmp_path: Path
) -> None:
    """It had written what it found: the share is carried out again, and only the second file is read."""
    live = await scene(site)
    inventory.deliver()
    died = tmp_path / "died"
    status, told, complaints = await on_ray(site, str(died), "once", "--json")
    assert died.read_text().startswith(EXPORTS), complaints
    assert status == 0, complaints
    report = json.loads(told)
    assert (report["outcome"], report["objects"]) == ("pending", 23)
    assert await site.keys() == live
    marked = await site.sql("SELECT storage_key FROM reconciler.marks")
    assert [row[0] for row in marked] == ["image/missing"]
    assert exported(site) == []
