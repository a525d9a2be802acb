"""The library for gateways, and how the reconciler honours what is reserved with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import anyio
import anyio.to_thread
import pytest

from media_reconciler import tracking, tracking_sync
from media_reconciler.tracking import NotDone, Reservation, Tracker, open_tracker
from reconciler.embedded.postgres import EmbeddedPostgres
from reconciler.errors import ConfigError
from tests.contract.guarded import CLAIM, INSERT_TOMBSTONE
from tests.integration.daemons import until
from tests.integration.site import Site, make_site
from tests.servers import S3Server, fresh_bucket, fresh_database

pytestmark = [pytest.mark.anyio, pytest.mark.calm]

END = "UPDATE reconciler.reservations SET expires_at = now() - interval '1 second' WHERE storage_key = $1"


@pytest.fixture(scope="module")
def site(
    postgres: EmbeddedPostgres,
    migrated_template: str,
    administered: Callable[[str], None],
    seaweed: S3Server,
) -> Iterator[Site]:
    with (
        fresh_database(postgres, migrated_template, administered) as database,
        fresh_bucket(seaweed) as bucket,
    ):
        yield make_site(database, bucket, calm=True)


def opened(site: Site, **settings: str) -> Any:
    return open_tracker(site.settings(**settings))


async def refusal(call: Any) -> str:
    with pytest.raises(NotDone) as raised:
        await call
    return raised.value.code


async def states(site: Site, key: str) -> list[str]:
    found = await site.sql("SELECT state FROM reconciler.reservations WHERE storage_key = $1", key)
    return [row[0] for row in found]


async def test_what_is_reserved_is_no_orphan_until_the_reservation_ends(site: Site) -> None:
    owner = await site.virtual_key()
    async with opened(site) as tracker:
        await tracker.reserve("image/reserved", owner=str(owner))
        await site.put("image/reserved", "image/orphan")
        _, findings = await site.plan()
        assert [each.storage_key for each in findings] == ["image/orphan"]
        report = await site.once()
        assert report.removed.objects == 1
        assert "image/reserved" in await site.keys()
        await site.sql(END, "image/reserved")
        await site.once()
        assert "image/reserved" not in await site.keys()


async def test_what_was_marked_before_it_was_reserved_is_not_claimed(site: Site) -> None:
    await site.put("image/marked")
    await site.once(delete_delay="1h")
    async with opened(site) as tracker:
        await tracker.reserve("image/marked", owner=str(await site.virtual_key()))
        await site.sql("UPDATE reconciler.marks SET due_at = now()")
        await site.once()
    assert "image/marked" in await site.keys()
    assert ("intent", "image/marked") not in {(event, key) for event, key, _, _ in await site.ledger()}
    await site.sql(END, "image/marked")
    await site.once()
    assert "image/marked" not in await site.keys()


async def test_a_reservation_that_is_being_made_holds_off_the_claim(site: Site) -> None:
    """It waits for another upload of its owner's to be counted: a claim cannot see it, and finds the mark
    locked.
    """
    owner = str(await site.virtual_key())
    await site.put("image/racing")
    await site.once(delete_delay="1h")
    free = "SELECT FROM reconciler.marks WHERE storage_key = 'image/racing' FOR UPDATE SKIP LOCKED"
    assert await site.sql(free)

    async def waits() -> bool:
        return bool(await site.sql("SELECT FROM pg_stat_activity WHERE wait_event = 'advisory'"))

    # The lock's end lets the reservation through, and the group waits for it.
    async with (
        opened(site, quota__max_objects="5") as tracker,
        anyio.create_task_group() as group,
        site.connected() as other,
        other.transaction(),
    ):
        lock = "SELECT pg_advisory_xact_lock(hashtextextended('reconciler.reservations ' || $1, 0))"
        await other.execute(lock, owner)
        group.start_soon(partial(tracker.reserve, "image/racing", owner=owner))
        await until(waits)
        assert await states(site, "image/racing") == []
        assert not await site.sql(free)
    assert await states(site, "image/racing") == ["open"]


async def test_a_row_is_made_once_and_ends_the_reservation(site: Site) -> None:
    owner = await site.virtual_key()
    async with opened(site, catalog__media_columns__content_hash="ContentHash") as tracker:
        reserved = await tracker.reserve("video/made.mp4", owner=str(owner), content_type="video/mp4")
        await site.put("video/made.mp4")
        for _ in range(2):
            await tracker.record(
                reserved, size=1, content_hash="ab" * 32, columns={"Prompt": "a cat", "Model": None}
            )
    (row,) = await site.sql(
        'SELECT "VirtualKeyId", "MediaType", "SizeBytes", "ContentHash", "Prompt", "AccessCount",'
        ' now() - "CreatedAt" < interval \'1 minute\' FROM "MediaRecords" WHERE "StorageKey" = $1',
        "video/made.mp4",
    )
    assert tuple(row) == (owner, "video", 1, "ab" * 32, "a cat", 0, True)
    assert await states(site, "video/made.mp4") == ["recorded"]
    await site.once()
    assert "video/made.mp4" in await site.keys()


async def test_what_has_ended_makes_no_row(site: Site) -> None:
    owner = str(await site.virtual_key())
    async with opened(site) as tracker:
        late = await tracker.reserve("image/late", owner=owner)
        await site.sql(END, "image/late")
        assert await refusal(tracker.record(late, size=1)) == "reservation_ended"
        released = await tracker.reserve("image/late", owner=owner)
        await tracker.release(released)
        assert await refusal(tracker.record(released, size=1)) == "reservation_ended"
        claimed = await tracker.reserve("image/overtaken", owner=owner)
        await site.sql(CLAIM, "image/overtaken")
        assert await refusal(tracker.record(claimed, size=1)) == "being_deleted"
    assert not {"image/late", "image/overtaken"} & await site.rows()
    await site.sql("DELETE FROM reconciler.marks")


async def test_keys_that_cannot_be_had_are_refused(site: Site) -> None:
    owner = str(await site.virtual_key())
    await site.row("image/row")
    await site.sql(CLAIM, "image/claimed")
    async with site.connected() as connection:
        await connection.execute(INSERT_TOMBSTONE, "image/tombstone", True)
    async with opened(site, quota__max_bytes="1000") as tracker:
        await tracker.reserve("image/taken", owner=owner)
        wrong = {
            "image/taken": "reserved",
            "image/row": "reserved",
            "image/claimed": "being_deleted",
            "image/tombstone": "being_deleted",
            "logs/outside": "not_managed",
            "image/": "not_managed",
            ".reconciler/identity.json": "not_managed",
        }
        assert {key: await refusal(tracker.reserve(key, owner=owner)) for key in wrong} == wrong
        await tracker.reserve("image/first", owner=owner, size=600)
        assert await refusal(tracker.reserve("image/second", owner=owner, size=600)) == "over_quota"
        unknown = await tracker.reserve("image/unknown", owner=owner)
        assert await refusal(tracker.record(unknown, size=600)) == "over_quota"
        nobody = await tracker.reserve("image/nobody", owner=str(UUID(int=0)))
        assert await refusal(tracker.record(nobody, size=1)) == "row_refused"
        wrong_column = tracker.record(unknown, size=1, columns={"Nothing": "1"})
        assert await refusal(wrong_column) == "no_such_column"
    await site.sql("DELETE FROM reconciler.marks")


async def test_an_upload_in_parts_under_a_reservation_is_not_aborted(site: Site) -> None:
    bucket = site.bucket

    def begin(key: str) -> None:
        bucket.client.create_multipart_upload(Bucket=bucket.name, Key=key)

    def unfinished() -> set[str]:
        found = bucket.client.list_multipart_uploads(Bucket=bucket.name).get("Uploads", [])
        return {each["Key"] for each in found}

    async with opened(site) as tracker:
        await tracker.reserve("image/parts", owner=str(await site.virtual_key()))
        for key in ("image/parts", "image/abandoned"):
            await anyio.to_thread.run_sync(begin, key)
        await site.once(abort_multipart_after="0s")
    assert await anyio.to_thread.run_sync(unfinished) == {"image/parts"}


def blocking(environment: dict[str, str], owner: str, put: Callable[[str], object]) -> Reservation:
    with tracking_sync.open_tracker(environment) as tracker:
        reserved = tracker.reserve("image/blocking", owner=owner, lasts=timedelta(minutes=5))
        put(reserved.key)
        tracker.record(reserved, size=1)
        tracker.release(tracker.reserve("image/given-back", owner=owner))
        return reserved


async def test_code_without_an_event_loop_has_the_same_calls(site: Site) -> None:
    owner = str(await site.virtual_key())
    await anyio.to_thread.run_sync(partial(blocking, site.settings(), owner, site.bucket.put))
    assert "image/blocking" in await site.rows()
    assert await states(site, "image/given-back") == []
    calls = {name for name in vars(Tracker) if not name.startswith("_")}
    assert calls == {name for name in vars(tracking_sync.Tracker) if not name.startswith("_")}
    assert tracking.__all__ == tracking_sync.__all__


async def test_what_a_row_requires_is_said_at_the_start(site: Site) -> None:
    async with site.catalog() as catalog:
        with pytest.raises(ConfigError, match=r'"MediaRecords" has no column Nothing'):
            await catalog.reservations.require_columns({"Nothing": "1"}, "SETTING")
        await site.script('ALTER TABLE "MediaRecords" ADD "Tenant" text NOT NULL DEFAULT \'a\'')
        await catalog.reservations.require_columns({}, "SETTING")
        await site.script('ALTER TABLE "MediaRecords" ALTER "Tenant" DROP DEFAULT')
        with pytest.raises(ConfigError, match=r"no value for Tenant, .* or a value in SETTING$"):
            await catalog.reservations.require_columns({}, "SETTING")
        await catalog.reservations.require_columns({"Tenant": "a"}, "SETTING")
    await site.script('ALTER TABLE "MediaRecords" DROP "Tenant"')
