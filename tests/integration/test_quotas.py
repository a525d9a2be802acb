"""Quotas on real servers: what goes, what keeps it, what a person is asked and told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from reconciler.model import KeepReason, Outcome, Verdict
from tests.cli.program import reconciler
from tests.integration.site import DAY, Site

pytestmark = [pytest.mark.anyio, pytest.mark.calm]

TWO = {"quota__max_objects": "2", "quota__evict": "oldest"}


async def filled(site: Site, count: int = 4, **columns: Any) -> str:
    """An owner's media, `image/0` the oldest."""
    owner = await site.virtual_key()
    for place in range(count):
        await site.put(f"image/{place}")
        await site.row(f"image/{place}", owner, age=(50 - place) * DAY, **columns)
    return str(owner)


async def test_a_quota_that_only_counts_deletes_nothing(ordered_site: Site) -> None:
    site = ordered_site
    await filled(site)
    report = await site.once(quota__max_objects="2")
    assert (report.outcome, report.found.get(Verdict.OVER_QUOTA, 0)) == (Outcome.CONVERGED, 0)
    assert len(await site.keys()) == 4


async def test_the_first_pass_that_evicts_waits_for_a_person(ordered_site: Site) -> None:
    site = ordered_site
    await filled(site)
    await site.once()
    tripped = await site.once(**TWO)
    assert (tripped.outcome, tripped.found[Verdict.OVER_QUOTA]) == (Outcome.TRIPPED, 2)
    ((reason,),) = await site.sql("SELECT trip_reason FROM reconciler.passes WHERE state = 'tripped'")
    assert "quota None -> 2 objects a virtual key, evict oldest" in reason
    assert len(await site.keys()) == 4
    assert await site.approve(await site.tripped()) == 2
    assert (await site.once(**TWO)).outcome is Outcome.CONVERGED
    assert await site.state() == ({"image/2", "image/3"},) * 2
    await site.put("image/4")
    (owner,) = await site.sql('SELECT DISTINCT "VirtualKeyId" FROM "MediaRecords"')
    await site.row("image/4", owner[0])
    again = await site.once(**TWO)
    assert (again.outcome, again.removed.objects) == (Outcome.CONVERGED, 1), "what grows needs no decision"
    assert await site.state() == ({"image/3", "image/4"},) * 2


async def test_what_is_on_hold_stays_and_nothing_goes_in_its_place(ordered_site: Site) -> None:
    site = ordered_site
    await filled(site)
    assert reconciler("hold", "add", "--key", "image/1", "--reason", "x", env=site.settings()).status == 0
    report = await site.once(**TWO)
    assert report.kept[KeepReason.HOLD] == 1
    assert await site.keys() == {"image/1", "image/2", "image/3"}


@pytest.mark.attack(114)
async def test_what_was_brought_back_is_not_evicted_again(ordered_site: Site) -> None:
    site = ordered_site
    await filled(site)
    recoverable = {**TWO, "delete_mode": "quarantine"}
    await site.once(**recoverable)
    assert await site.keys() == {"image/2", "image/3"}
    undone = await site.undo(keys=("image/0",))
    assert (undone.objects, undone.records) == (1, 1)
    report = await site.once(**recoverable)
    assert report.kept[KeepReason.HOLD] == 1
    assert await site.state() == ({"image/0", "image/2", "image/3"},) * 2


async def test_a_dry_run_says_what_would_go(ordered_site: Site) -> None:
    site = ordered_site
    await filled(site)
    _, findings = await site.plan(**TWO)
    assert [(each.verdict, each.storage_key) for each in findings] == [
        (Verdict.OVER_QUOTA, f"image/{place}") for place in (0, 1)
    ]
    report = await site.once(**TWO, dry_run="true")
    assert (report.removed.objects, len(await site.keys())) == (2, 4)


async def test_what_is_told_of_a_quota(ordered_site: Site) -> None:
    site = ordered_site
    owner = await filled(site)
    await site.once(**TWO, dry_run="true")
    env = site.settings(**TWO, grace_period="48h")
    stored = json.loads(reconciler("storage", "--json", env=env).out)
    (quota,) = stored["quotas"]
    assert quota == {
        "name": None,
        "max_objects": 2,
        "max_bytes": None,
        "evict": "oldest",
        "reached": {"80%": 1, "100%": 1},
        "nearest": [{"virtual_key": owner, "objects": 4, "bytes": 4, "share": 2.0}],
    }
    table = reconciler("storage", env=env).out
    assert "quota (global settings): 2 objects a virtual key, evict oldest" in table
    assert "virtual keys that keep 80 % of it: 1, 100 % of it: 1" in table
    (told,) = json.loads(reconciler("policy", "--format", "json", env=env).out)["rules"]
    assert told["of_quota"].startswith(
        "A virtual key may keep 2 files of it; beyond that the oldest is deleted"
    )
    shown = {
        key: json.loads(reconciler("explain", "--json", key, env=env).out) for key in ("image/0", "image/2")
    }
    assert shown["image/0"]["verdict"] == "over_quota"
    assert shown["image/2"]["verdict"] is None
    (rule,) = [each for each in shown["image/2"]["rows"][0]["rules"] if each["verdict"] == "over_quota"]
    assert (rule["compared"]["objects"], rule["compared"]["objects_before"]) == (4, 2)
