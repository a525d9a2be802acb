"""The purge on real servers: what nobody brought back in time is freed, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import anyio
import anyio.to_thread
import pytest

from reconciler.model import Hold, HoldKind, Return
from tests.integration.kill_at import killed_at
from tests.integration.site import SOON_DEAD, Site
from tests.integration.test_versions import keep_versions, versions

pytestmark = [pytest.mark.anyio, pytest.mark.calm]

LONG_AGO = datetime.now(UTC) - timedelta(hours=1)
NOW = {"undo_window": "0s"}


async def lost(site: Site, key: str = "image/a") -> None:
    """Deleted, and hidden."""
    site.environment["RECONCILER_DELETE_MODE"] = "auto"
    await site.put(key)
    await site.row(key, ExpiresAt=LONG_AGO, Prompt="a cat", SizeBytes=1)
    await site.once()


async def quarantined(site: Site) -> set[str]:
    return await anyio.to_thread.run_sync(site.bucket.keys, ".reconciler/quarantine/")


async def prompts(site: Site) -> int:
    (row,) = await site.sql("SELECT count(*) FROM reconciler.ledger l WHERE l::text LIKE '%a cat%'")
    return int(row[0])


async def freed(site: Site) -> list[tuple[str, int]]:
    rows = await site.sql("SELECT storage_key, bytes FROM reconciler.ledger WHERE event = 'purged'")
    return [(row[0], row[1]) for row in rows]


@pytest.mark.incident(25)
async def test_after_the_window_the_copy_is_freed_and_the_row_forgotten(site: Site) -> None:
    """Until then its bytes are hidden: the ledger says what was freed, and when."""
    await lost(site)
    await site.once()
    assert (len(await quarantined(site)), await prompts(site), await freed(site)) == (1, 1, [])
    await site.once(**NOW)
    assert (await quarantined(site), await prompts(site)) == (set(), 0)
    assert await freed(site) == [("image/a", 1)]
    assert await site.sql("SELECT 1 FROM reconciler.hidden") == []
    undone = await site.undo(since=LONG_AGO)
    assert (undone.objects, undone.records, undone.gone, undone.complete) == (0, 0, 1, False)


@pytest.mark.incident(25)
async def test_hidden_versions_and_our_markers_are_purged_and_nothing_else(site: Site) -> None:
    keep_versions(site)
    await site.tracked("image/live")
    await site.put("image/live")
    await lost(site, "image/a/b")
    await site.put("image/a/b")
    kept, markers = await versions(site, "image/a/b")
    assert (len(kept), len(markers)) == (2, 1)
    await site.once(grace_period="1h", **NOW)
    kept, markers = await versions(site, "image/a/b")
    assert (len(kept), markers) == (1, [])
    assert await site.keys() == {"image/live", "image/a/b"}
    assert (len((await versions(site, "image/live"))[0]), await freed(site)) == (2, [("image/a/b", 1)])


async def test_nothing_is_purged_in_dry_run_or_while_paused(unordered_site: Site) -> None:
    site = unordered_site
    await lost(site)
    await site.once(dry_run="true", **NOW)
    assert len(await quarantined(site)) == 1
    await site.sql("UPDATE reconciler.pause SET paused = true")
    await site.once(**NOW)
    assert len(await quarantined(site)) == 1


async def test_the_breakers_count_holds_a_purge_back(unordered_site: Site) -> None:
    site = unordered_site
    await lost(site, "image/a")
    await lost(site, "image/b")
    await site.once(breaker__max_count="1", **NOW)
    assert len(await quarantined(site)) == 1
    await site.once(breaker__max_count="1", **NOW)
    assert len(await quarantined(site)) == 1


async def test_what_came_back_stays_when_its_copy_goes(site: Site) -> None:
    await lost(site)
    assert (await site.undo(since=LONG_AGO)).complete
    await site.once(**NOW)
    assert await quarantined(site) == set()
    assert await site.state() == ({"image/a"},) * 2


async def test_what_came_back_from_behind_a_marker_is_not_purged(ordered_site: Site) -> None:
    keep_versions(ordered_site)
    await lost(ordered_site)
    assert (await ordered_site.undo(since=LONG_AGO)).complete
    await ordered_site.once(**NOW)
    assert await ordered_site.state() == ({"image/a"},) * 2


@pytest.mark.attack(9)
@pytest.mark.calm(False)
async def test_what_is_being_purged_cannot_be_undone_and_the_other_way_round(unordered_site: Site) -> None:
    site = unordered_site
    await lost(site)
    await killed_at(site, "purges", "claim", "after", "once", **NOW)
    assert (await site.undo(since=LONG_AGO)).objects == 0
    assert await site.keys() == set()
    await site.sql("UPDATE reconciler.hidden SET state = 'restoring', claimed_at = clock_timestamp()")
    await site.once(**NOW)
    assert len(await quarantined(site)) == 1
    undone = await site.undo(since=LONG_AGO)
    assert [each.outcome for each in undone.refused] == []
    assert await site.keys() == {"image/a"}


async def test_a_purge_that_was_killed_is_finished_by_the_next(unordered_site: Site) -> None:
    site = unordered_site
    await lost(site)
    await site.sql(
        "UPDATE reconciler.hidden SET state = 'purging', claimed_at = clock_timestamp() - interval '1 hour'"
    )
    await site.once(**NOW, **SOON_DEAD)
    assert (await quarantined(site), await freed(site)) == (set(), [("image/a", 1)])


@pytest.mark.attack(84)
@pytest.mark.parametrize("kept", ["on hold", "in dry run"])
async def test_a_row_is_not_forgotten_before_its_copy_is_freed(site: Site, kept: str) -> None:
    await lost(site)
    if kept == "on hold":
        hold = Hold(kind=HoldKind.PREFIX, target="image/", reason="a case", author="legal")
        async with site.catalog() as catalog:
            await catalog.holds.add([hold])
    await site.once(**NOW, dry_run="false" if kept == "on hold" else "true")
    assert (len(await quarantined(site)), await prompts(site)) == (1, 1)
    undone = await site.undo(since=LONG_AGO)
    assert (undone.objects, undone.records, undone.complete) == (1, 1, True)


async def test_old_lines_of_the_ledger_go(unordered_site: Site) -> None:
    site = unordered_site
    await lost(site)
    for table, column in (("ledger", "at"), ("hidden", "hidden_at")):
        await site.sql(f"UPDATE reconciler.{table} SET {column} = {column} - interval '2 days'")
    await site.once(ledger_retention="3d", undo_window="1d")
    await site.sql("DELETE FROM reconciler.ledger WHERE event = 'purged'")
    await site.once(ledger_retention="1d", undo_window="1d")
    assert await site.ledger() == []
    assert Return.RESTORED not in {each.outcome for each in (await site.undo(since=LONG_AGO)).refused}


@pytest.mark.attack(6)
async def test_a_key_whose_copy_is_purged_takes_no_row_for_one_that_can_come_back(
    unordered_site: Site,
) -> None:
    """Where copies are kept for a shorter time than tombstones."""
    site = unordered_site
    await lost(site)
    await site.once(**NOW)
    assert [row[0] for row in await site.sql("SELECT recoverable FROM reconciler.tombstones")] == [False]


@pytest.mark.attack(6)
async def test_what_a_row_waits_for_is_not_purged(unordered_site: Site) -> None:
    """A person may have to decide, and a store may be away for longer than the window."""
    site = unordered_site
    await lost(site)
    await site.row("image/a", SizeBytes=7)
    await site.sql("INSERT INTO reconciler.restores (storage_key, reason) VALUES ('image/a', 'a row')")
    await site.once(**NOW)
    assert len(await quarantined(site)) == 1
    await site.sql('DELETE FROM "MediaRecords"')
    await site.sql("UPDATE reconciler.restores SET not_before = NULL")
    await site.once(**NOW)
    assert await quarantined(site) == set()
