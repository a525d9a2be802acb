"""Records that leave the table, and what becomes of their objects, on real servers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import anyio
import anyio.to_thread
import pytest

from reconciler.catalog import migrate
from reconciler.model import Mode, Outcome, Verdict
from tests.integration.daemons import daemon, until
from tests.integration.site import Site
from tests.support.proxy import Direction, proxy_of

pytestmark = [pytest.mark.anyio, pytest.mark.calm]

PATIENT = {"grace_period": "48h", "delete_delay": "24h", "delete_mode": "auto"}
"""Only what departed goes at once."""


@pytest.fixture
async def gateway(ordered_site: Site) -> Site:
    """A site with the triggers, and a sweep behind it."""
    await install(ordered_site)
    ordered_site.environment.update({f"RECONCILER_{name.upper()}": value for name, value in PATIENT.items()})
    await ordered_site.tracked("image/live")
    await ordered_site.once()
    return ordered_site


async def install(site: Site) -> None:
    await anyio.to_thread.run_sync(lambda: migrate.upgrade(site.database, with_triggers=True))


def holds_only(site: Site, *keys: str) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        return await site.keys() == set(keys)

    return holds


async def test_the_objects_of_a_deleted_key_go_with_it_and_come_back(gateway: Site) -> None:
    owner = await gateway.virtual_key()
    for number in range(5):
        await gateway.tracked(f"image/{number}", owner=owner)
    await gateway.tracked("image/alone")
    await gateway.sql('DELETE FROM "VirtualKeys" WHERE "Id" = $1', owner)
    await gateway.sql('DELETE FROM "MediaRecords" WHERE "StorageKey" = $1', "image/alone")
    report = await gateway.once()
    assert (report.outcome, report.found[Verdict.DEPARTED]) == (Outcome.CONVERGED, 6)
    assert report.found.get(Verdict.ORPHAN, 0) == 0, "they are not counted twice"
    assert (report.removed.objects, report.removed.records) == (6, 0)
    assert await gateway.keys() == {"image/live"}
    lines = await gateway.sql(
        "SELECT what, event, count(*) FROM reconciler.ledger WHERE owners = ARRAY[$1] GROUP BY 1, 2",
        str(owner),
    )
    assert {tuple(line) for line in lines} == {
        ("object", "intent", 5),
        ("object", "result", 5),
        ("record", "result", 5),
    }, "whose it was is known afterwards"
    await gateway.undo(keys=("image/alone",))
    assert await gateway.state() == ({"image/live", "image/alone"},) * 2, "with its row"
    assert (await gateway.once()).found.get(Verdict.DEPARTED, 0) == 0


async def test_what_goes_by_retention_has_not_departed(gateway: Site) -> None:
    await gateway.put("image/expired")
    await gateway.sql("UPDATE reconciler.term SET live_since = '-infinity'")
    await gateway.row("image/expired", ExpiresAt=datetime.now(UTC) - timedelta(hours=1))
    assert (await gateway.once(delete_delay="0s")).removed.records == 1
    assert await gateway.sql("SELECT * FROM reconciler.departures") == []


async def test_in_dry_run_it_is_marked_and_stays(gateway: Site) -> None:
    await gateway.tracked("image/a")
    await gateway.sql('DELETE FROM "MediaRecords" WHERE "StorageKey" = $1', "image/a")
    report = await gateway.once(dry_run="true")
    assert (report.mode, report.found[Verdict.DEPARTED], report.removed.objects) == (Mode.DRY_RUN, 1, 1)
    _, findings = await gateway.plan()
    assert [(each.verdict, each.storage_key) for each in findings] == [(Verdict.DEPARTED, "image/a")]
    assert await gateway.keys() == {"image/live", "image/a"}


async def test_with_direct_it_waits_as_long_as_everything_else(gateway: Site) -> None:
    await gateway.tracked("image/a")
    await gateway.sql('DELETE FROM "MediaRecords" WHERE "StorageKey" = $1', "image/a")
    # As if the object had been put long before.
    await gateway.sql("UPDATE reconciler.departures SET left_at = left_at + interval '1 hour'")
    report = await gateway.once(delete_mode="direct")
    assert (report.outcome, report.found[Verdict.DEPARTED]) == (Outcome.PENDING, 1)
    assert await gateway.keys() == {"image/live", "image/a"}


@pytest.mark.attack(103)
@pytest.mark.parametrize("mode", ["auto", "direct"])
async def test_an_object_that_was_put_after_its_record_left_is_the_sweeps(gateway: Site, mode: str) -> None:
    """It is the next record's, whose row is on its way."""
    await gateway.tracked("image/a")
    await gateway.sql('DELETE FROM "MediaRecords" WHERE "StorageKey" = $1', "image/a")
    if mode == "auto":
        await gateway.sql("UPDATE reconciler.departures SET left_at = left_at - interval '1 minute'")
    report = await gateway.once(delete_mode=mode)
    assert report.found.get(Verdict.DEPARTED, 0) == 0
    assert await gateway.keys() == {"image/live", "image/a"}


@pytest.mark.attack(104)
async def test_a_delete_without_a_condition_trips_and_waits_for_approval(gateway: Site) -> None:
    await gateway.tracked("image/a")
    await gateway.sql('DELETE FROM "MediaRecords"')
    report = await gateway.once(breaker__max_fraction="0.1")
    assert report.outcome is Outcome.TRIPPED
    assert "2 records left the table, and not one is left" in report.detail
    assert (await gateway.once(breaker__max_fraction="0.1")).outcome is Outcome.TRIPPED, "it waits"
    assert await gateway.keys() == {"image/live", "image/a"}
    tripped = [each for each, *how in await gateway.passes() if how == ["departure", "tripped"]]
    await gateway.approve(max(tripped))
    await gateway.once(breaker__max_fraction="0.1")
    assert await gateway.keys() == set()


async def test_a_truncated_table_is_left_to_the_sweep(gateway: Site) -> None:
    await gateway.sql('TRUNCATE "MediaRecords"')
    report = await gateway.once()
    assert report.found.get(Verdict.DEPARTED, 0) == 0
    assert await gateway.keys() == {"image/live"}
    assert await gateway.sql("SELECT * FROM reconciler.departures") == []


@pytest.mark.parametrize("way", ["again", "moved", "renamed"])
async def test_what_a_row_names_again_stays(gateway: Site, way: str) -> None:
    await gateway.tracked("image/a")
    await gateway.row("image/b")
    delete = 'DELETE FROM "MediaRecords" WHERE "StorageKey" = \'image/a\''
    rename = 'UPDATE "MediaRecords" SET "StorageKey" = '
    if way == "again":
        await gateway.sql(delete)
        await gateway.row("image/a")
    elif way == "moved":
        await gateway.script(f"{rename}'image/c' WHERE \"StorageKey\" = 'image/a'")
        await gateway.script(f"{rename}'image/a' WHERE \"StorageKey\" = 'image/b'")
    else:
        await gateway.script(f"{delete}; {rename}'/image/a' WHERE \"StorageKey\" = 'image/b'")
    report = await gateway.once()
    assert report.removed.objects == 0
    assert "image/a" in await gateway.keys()


async def test_the_daemon_sees_a_departure_in_seconds_and_what_left_while_it_was_down(gateway: Site) -> None:
    for key in ("image/down", "image/up"):
        await gateway.tracked(key)
    await gateway.sql('DELETE FROM "MediaRecords" WHERE "StorageKey" = $1', "image/down")
    async with daemon(gateway, sweep_interval="1h", retention_interval="1h") as running:
        await until(holds_only(gateway, "image/live", "image/up"))
        await gateway.sql('DELETE FROM "MediaRecords" WHERE "StorageKey" = $1', "image/up")
        await until(holds_only(gateway, "image/live"))

        async def counted() -> bool:
            deleted = {"verdict": "departed", "mode": "live"}
            return await running.metric("media_reconciler_deleted_keys_total", **deleted) == 2

        await until(counted)
        assert await running.stop() == 0


async def test_what_is_not_announced_is_found_by_the_poll(gateway: Site) -> None:
    """The daemon listens on another channel: nothing tells it so."""
    await gateway.tracked("image/a")

    def mute(_: Direction, block: bytes) -> bytes:
        return block.replace(b"reconciler_departures", b"reconciler_nothing_at")

    async with proxy_of(gateway.database) as proxy:
        proxy.rewrite = mute
        settings = {"database_url": proxy.through(gateway.database), "sweep_interval": "1h"}
        async with daemon(gateway, **settings) as running:

            async def leads() -> bool:
                return await running.metric("media_reconciler_leader") == 1

            await until(leads)
            await gateway.sql('DELETE FROM "MediaRecords" WHERE "StorageKey" = $1', "image/a")
            await until(holds_only(gateway, "image/live"))
            assert await running.stop() == 0


@pytest.mark.parametrize("how", ["banned", "expired"])
async def test_the_daemon_sees_the_end_of_a_key_in_seconds(gateway: Site, how: str) -> None:
    owner = await gateway.virtual_key()
    await gateway.tracked("image/a", owner=owner)
    ends = {
        "banned": 'UPDATE "VirtualKeys" SET "IsEnabled" = false WHERE "Id" = $1',
        "expired": 'UPDATE "VirtualKeys" SET "ExpiresAt" = now() + interval \'3 seconds\' WHERE "Id" = $1',
    }
    # No other pass of retention would come within the time of this test.
    async with daemon(gateway, sweep_interval="1h", retention_interval="1h", delete_delay="0s") as running:

        async def leads() -> bool:
            return await running.metric("media_reconciler_leader") == 1

        await until(leads)
        await gateway.sql(ends[how], owner)

        async def gone() -> bool:
            return await gateway.state() == ({"image/live"}, {"image/live"})

        await until(gone)
        assert await running.stop() == 0


async def test_a_key_that_is_enabled_in_time_keeps_its_media(gateway: Site) -> None:
    owner = await gateway.virtual_key()
    await gateway.tracked("image/a", owner=owner)
    async with daemon(gateway, sweep_interval="1h", retention_interval="1h") as running:
        await gateway.sql('UPDATE "VirtualKeys" SET "IsEnabled" = false WHERE "Id" = $1', owner)

        async def marked() -> bool:
            return bool(await gateway.sql("SELECT FROM reconciler.marks WHERE verdict = 'revoked'"))

        await until(marked)
        assert await running.stop() == 0
    await gateway.sql('UPDATE "VirtualKeys" SET "IsEnabled" = true WHERE "Id" = $1', owner)
    await gateway.once(delete_delay="0s")
    assert await gateway.state() == ({"image/live", "image/a"},) * 2
