"""Attacks on what a row needs: it comes back by itself, and nothing of it ends before. On real servers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

from reconciler.engine.collect.purge import Purger
from reconciler.engine.recover.restore_queue import Healer
from reconciler.model import DeleteMode, KeepReason, Outcome, Verdict
from tests.attacks.scene import Scene
from tests.contract.catalog import LONG_AGO
from tests.integration.site import Site, make_site
from tests.integration.test_versions import keep_versions
from tests.servers import Bucket

pytestmark = pytest.mark.anyio

KEYS = ("image/a", "image/b/ü", "video/c")
SHORT = timedelta(0)


@pytest.fixture
def site(database: str, bucket: Bucket) -> Site:
    made = make_site(database, bucket, calm=True)
    made.environment["RECONCILER_DELETE_MODE"] = "auto"
    return made


@pytest.fixture
def ordered_site(database: str, moto_bucket: Bucket) -> Site:
    made = make_site(database, moto_bucket, calm=True)
    made.environment["RECONCILER_DELETE_MODE"] = "auto"
    return made


async def lose(site: Site, **columns: Any) -> None:
    """Their objects are deleted as orphans; then their rows come."""
    await site.put(*KEYS)
    assert (await site.once()).removed.objects == len(KEYS)
    owner = await site.virtual_key()
    for key in KEYS:
        await site.row(key, owner, SizeBytes=1, **columns)


# --- healing does not hang on clean-up -------------------------------------------------------


@pytest.mark.attack(46)
@pytest.mark.parametrize(
    "settings",
    [
        {"dangling_cleanup_enabled": "false"},
        {"breaker__max_dangling": "0"},
        {"delete_delay": "24h"},
        {"grace_period": "72h"},
        {"orphan_cleanup_enabled": "false", "enable_auto_cleanup": "false"},
    ],
    ids=lambda settings: next(iter(settings)),
)
async def test_rows_get_their_objects_back_in_one_sweep_whatever_clean_up_is_set_to(
    ordered_site: Site, settings: Mapping[str, str]
) -> None:
    site = ordered_site
    await lose(site)
    report = await site.once(**settings)
    assert (report.outcome, report.removed.records) == (Outcome.CONVERGED, 0)
    assert await site.state() == (set(KEYS), set(KEYS))


@pytest.mark.attack(46)
async def test_rows_of_another_verdict_get_theirs_back_from_behind_a_marker(ordered_site: Site) -> None:
    """Expired, and nothing takes them: their verdict is retention's, which never looks at objects."""
    keep_versions(ordered_site)
    await lose(ordered_site, ExpiresAt=datetime.now(UTC) - timedelta(minutes=1))
    await ordered_site.once(enable_auto_cleanup="false")
    assert await ordered_site.state() == (set(KEYS), set(KEYS))


@pytest.mark.attack(46)
@pytest.mark.parametrize("stopped", ["dry run", "paused"])
async def test_where_nothing_may_happen_they_are_only_counted(ordered_site: Site, stopped: str) -> None:
    site = ordered_site
    await lose(site)
    if stopped == "paused":
        await site.sql("UPDATE reconciler.pause SET paused = true")
    report = await site.once(dry_run="true" if stopped == "dry run" else "false")
    assert (report.found[Verdict.DANGLING], report.kept[KeepReason.RECOVERABLE]) == (3, 3)
    assert await site.sql("SELECT 1 FROM reconciler.restores") == []
    assert await site.keys() == set()
    planned, _ = await site.plan()
    assert planned.kept[KeepReason.RECOVERABLE] == 3
    await site.sql("UPDATE reconciler.pause SET paused = false")
    await site.once()
    assert await site.keys() == set(KEYS)


@pytest.mark.attack(46)
async def test_an_object_gets_its_row_back_where_no_orphan_is_taken(ordered_site: Site) -> None:
    """It came after its row had been removed for want of it."""
    site = ordered_site
    await site.row("image/late", SizeBytes=1)
    for _ in range(2):
        await site.once()
    assert await site.rows() == set()
    await site.put("image/late")
    report = await site.once(orphan_cleanup_enabled="false")
    assert report.found[Verdict.ORPHAN] == 1
    assert await site.state() == ({"image/late"},) * 2


# --- the purge is a deletion ----------------------------------------------------------------


def quarantining(scene: Scene) -> None:
    scene.policy = replace(scene.policy, delete_mode=DeleteMode.QUARANTINE)


async def hidden(scene: Scene, *keys: str) -> None:
    """Deleted as orphans, each with its copy in quarantine."""
    quarantining(scene)
    scene.put(*keys)
    await scene.mark(*keys)
    claim = await scene.claim()
    assert await scene.ready(claim)
    await scene.finish(claim)
    assert not scene.objects


def purger(scene: Scene) -> Purger:
    collector = scene.collector()
    runtime = replace(scene.runtime, undo_window=SHORT)
    return Purger(
        scene.ports, collector.guard, lambda: runtime, anyio.Event(), SHORT, collector.wait_for_horizon
    )


def copies(scene: Scene) -> int:
    return sum(key.startswith(".reconciler/quarantine/") for key in scene.bucket.objects)


def healer(scene: Scene) -> Healer:
    return Healer(scene.ports, scene.collector().guard, lambda: scene.runtime)


@pytest.mark.attack(47)
async def test_what_a_row_names_is_not_purged_but_comes_back(bare: Scene) -> None:
    await hidden(bare, "image/a", "image/b")
    writer = await bare.writer()
    await writer.insert("image/a", SizeBytes=10)
    done = await purger(bare).run(bare.term)
    assert (done.objects, copies(bare)) == (1, 1)
    assert await bare.restores() == ["image/a"]
    assert await healer(bare).run() == 1
    assert bare.objects == {"image/a"}


@pytest.mark.attack(47)
async def test_a_writer_who_was_open_at_the_purge_keeps_what_it_names(bare: Scene) -> None:
    """It committed after the claim had read the rows: the second look sees what it wrote."""
    await hidden(bare, "image/a")
    writer = await bare.writer()
    await writer.begin()
    await writer.insert("image/a", SizeBytes=1)
    purges = bare.stage.catalog.purges
    (taken,) = await purges.claim(bare.term, SHORT, 10)
    horizon = await purges.horizon()
    assert not await bare.stage.catalog.marks.horizon_passed(horizon), "it is waited for"
    await writer.commit()
    assert await bare.stage.catalog.marks.horizon_passed(horizon)
    assert list(await purges.look_again(bare.term, [taken.id])) == [taken.id]
    assert [row["recoverable"] for row in await bare.sql.fetch("SELECT * FROM reconciler.tombstones")] == [
        True
    ]
    await purger(bare).run(bare.term)
    assert (copies(bare), await bare.restores()) == (1, ["image/a"])


@pytest.mark.attack(47)
async def test_an_old_copy_goes_although_a_row_names_its_key_where_the_object_lies(bare: Scene) -> None:
    await hidden(bare, "image/a")
    await bare.tracked("image/a")
    done = await purger(bare).run(bare.term)
    assert (done.objects, copies(bare), bare.objects) == (1, 0, {"image/a"})
    assert await bare.restores() == []


# --- what the trigger lets in is what healing brings back ---------------------------------------


@pytest.mark.attack(48)
@pytest.mark.parametrize(
    "columns",
    [
        {"SizeBytes": 12_345},
        {"SizeBytes": None, "CreatedAt": datetime.now(UTC) + timedelta(hours=9)},
        {"SizeBytes": 7, "CreatedAt": datetime.now(UTC) + timedelta(hours=14)},
        {"SizeBytes": 1, "CreatedAt": LONG_AGO},
    ],
    ids=["another size", "local time", "both", "neither"],
)
async def test_a_row_that_the_triggers_let_in_gets_its_object(
    scene: Scene, columns: Mapping[str, Any]
) -> None:
    await hidden(scene, "image/a")
    writer = await scene.writer()
    await writer.insert("image/a", **columns)
    assert await healer(scene).run() == 1
    assert scene.objects == {"image/a"}
    assert await scene.restores() == []
