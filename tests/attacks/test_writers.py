"""A writer puts an object and writes its row while the collector deletes that key."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import anyio
import asyncpg
import pytest

from reconciler.catalog.media_tables import locking
from reconciler.catalog.media_tables.guard import REFUSED
from reconciler.model import ObjectResult, Verdict
from tests.attacks.between import inserted_in_between
from tests.attacks.scene import REPEATABLE_READ, SERIALIZABLE, Again, Refused, Scene, open_scene
from tests.contract.catalog import LONG_AGO, claimed

pytestmark = pytest.mark.anyio

KEY = "image/a"
SNAPSHOTS = [REPEATABLE_READ, SERIALIZABLE]


# --- the mark is not committed yet, or not to be seen ------------------------------------------------


@pytest.mark.attack(1)
async def test_a_writer_that_could_not_see_the_mark_holds_off_its_pass(scene: Scene) -> None:
    """Its trigger ran before the mark was there, so nothing but its transaction's id speaks for it."""
    scene.put(KEY)
    writer = await scene.writer()
    await writer.begin()
    await writer.insert(KEY)
    await scene.mark(KEY)
    assert (await scene.claim()).taken == 0
    await writer.commit()
    claim = await scene.claim()
    assert (claim.taken, claim.cancelled) == (1, 1), "the row is seen now"
    assert await scene.losses() == []


@pytest.mark.attack(1)
async def test_a_writer_has_its_id_before_the_mark_is_looked_for(scene: Scene) -> None:
    """Its trigger has looked and its row is not written yet: that alone would give it an id."""
    scene.put(KEY)
    await scene.sql.execute(
        "CREATE FUNCTION public.late() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NEW; END';"
        ' CREATE TRIGGER zzz BEFORE INSERT ON public."MediaRecords"'
        " FOR EACH ROW EXECUTE FUNCTION public.late()"
    )
    writer = await scene.writer()
    await scene.sql.execute("SELECT pg_advisory_lock(1)")
    await writer.begin()
    async with anyio.create_task_group() as group:
        group.start_soon(writer.insert, KEY)
        await scene.waits(writer)
        await scene.mark(KEY)
        taken = (await scene.claim()).taken
        await scene.sql.execute("SELECT pg_advisory_unlock(1)")
    await writer.commit()
    assert taken == 0
    assert (await scene.claim()).cancelled == 1


@pytest.mark.attack(1)
async def test_a_pass_is_stamped_later_than_its_marks(scene: Scene) -> None:
    """The writer begins while marks are committed already and the pass is not released."""
    scene.put(KEY)
    current = await scene.mark(KEY, arm=False)
    writer = await scene.writer()
    await writer.begin()
    await writer.run("SELECT pg_current_xact_id()")
    await scene.arm(current)
    assert (await scene.claim()).taken == 0
    await writer.rollback()
    assert claimed(await scene.claim()) == [KEY]


@pytest.mark.attack(1)
@pytest.mark.parametrize("isolation", SNAPSHOTS)
async def test_a_snapshot_older_than_the_mark_is_told_to_try_again(scene: Scene, isolation: str) -> None:
    """It has no transaction id before its insert, so the horizon does not know of it."""
    scene.put(KEY)
    writer = await scene.writer()
    await writer.begin(isolation)
    await writer.look()
    await scene.mark(KEY)
    with pytest.raises(Again):
        await writer.insert(KEY)
    await writer.rollback()
    assert claimed(await scene.claim()) == [KEY]


@pytest.mark.attack(31)
@pytest.mark.parametrize("isolation", SNAPSHOTS)
async def test_a_snapshot_older_than_the_whole_deletion_is_told_to_try_again(
    scene: Scene, isolation: str
) -> None:
    """The mark came and went; its tombstone is all there is, and the snapshot sees neither."""
    scene.put(KEY)
    writer = await scene.writer()
    await writer.begin(isolation)
    await writer.look()
    await scene.mark(KEY)
    assert (await scene.collect()).objects == 1
    with pytest.raises(Again):
        await writer.insert(KEY)
    await writer.rollback()
    assert await scene.losses() == []


@pytest.mark.attack(1)
@pytest.mark.parametrize("isolation", SNAPSHOTS)
async def test_the_probe_of_a_snapshot_leaves_nothing_behind(scene: Scene, isolation: str) -> None:
    writer = await scene.writer()
    await writer.begin(isolation)
    await writer.insert("image/new")
    await writer.commit()
    assert await scene.stage.marks() == {}
    assert await scene.sql.fetchval("SELECT count(*) FROM reconciler.tombstones") == 0
    assert await scene.rows() == ["image/new"]


# --- the mark is there -------------------------------------------------------------------------------


@pytest.mark.attack(2)
async def test_an_open_writer_holds_off_the_claim(scene: Scene) -> None:
    scene.put(KEY)
    await scene.mark(KEY)
    writer = await scene.writer()
    await writer.begin()
    await writer.insert(KEY)
    assert (await scene.claim()).taken == 0
    await writer.commit()
    assert (await scene.claim()).cancelled == 1
    assert scene.objects == {KEY}


@pytest.mark.attack(2)
async def test_a_claimed_key_refuses_its_row_and_says_upload_again(scene: Scene) -> None:
    scene.put(KEY)
    await scene.mark(KEY)
    claim = await scene.claim()
    writer = await scene.writer()
    with pytest.raises(Refused, match="'image/a' is being deleted: upload again"):
        await writer.insert(KEY)
    assert (await scene.finish(claim)).objects == 1
    assert await scene.rows() == []


@pytest.mark.attack(2)
async def test_the_intent_is_committed_before_the_store_is_asked(scene: Scene) -> None:
    """The collector's connection dies while its delete is on the way: the claim stays, and is told."""
    scene.put(KEY)
    await scene.mark(KEY)
    await scene.claim()
    await scene.sql.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'media-reconciler' AND datname = current_database()"
    )
    scene.bucket.objects.pop(KEY)
    assert await scene.stage.ledger("intent") == [(KEY, "object", None)]
    assert (await scene.stage.marks())[KEY]["state"] == "claimed"
    writer = await scene.writer()
    with pytest.raises(Refused):
        await writer.insert(KEY)


@pytest.mark.attack(2)
async def test_no_row_lock_of_the_collector_outlives_its_claim(scene: Scene) -> None:
    """A partitioned collector hangs no writer: between claim and confirmation it holds no lock."""
    await scene.tracked(KEY, ExpiresAt=LONG_AGO)
    await scene.mark(KEY, verdict=Verdict.EXPIRED)
    claim = await scene.claim()
    writer = await scene.writer()
    with anyio.fail_after(5):
        await writer.update(KEY, AccessCount=1)
    assert (await scene.finish(claim)).records == 1


@pytest.mark.attack(4)
@pytest.mark.parametrize("column", ["ExpiresAt", "LastAccessedAt", "CreatedAt", "DeletedAt", "VirtualKeyId"])
async def test_a_change_of_what_a_verdict_reads_is_refused_once_claimed(scene: Scene, column: str) -> None:
    await scene.sql.execute('ALTER TABLE public."MediaRecords" ADD COLUMN "DeletedAt" timestamptz')
    await scene.install_triggers()
    await scene.tracked(KEY, ExpiresAt=LONG_AGO)
    other = await scene.stage.add_owner()
    await scene.mark(KEY, verdict=Verdict.EXPIRED)
    claim = await scene.claim()
    writer = await scene.writer()
    with pytest.raises(Refused):
        await writer.update(KEY, **{column: other if column == "VirtualKeyId" else datetime.now(UTC)})
    removed = await scene.finish(claim)
    assert (removed.objects, removed.records, removed.lost) == (1, 1, 0)


@pytest.mark.attack(4)
async def test_a_row_moved_to_a_claimed_key_is_refused(scene: Scene) -> None:
    scene.put(KEY)
    await scene.tracked("image/other")
    await scene.mark(KEY)
    claim = await scene.claim()
    writer = await scene.writer()
    with pytest.raises(Refused):
        await writer.update("image/other", StorageKey=KEY)
    assert (await scene.finish(claim)).objects == 1
    assert await scene.losses() == []


@pytest.mark.attack(4)
async def test_a_row_extended_in_an_open_transaction_is_put_off(scene: Scene) -> None:
    """Its lock says so, and so does the mark's: take one of them away and the other still does."""
    await scene.tracked(KEY, ExpiresAt=LONG_AGO)
    await scene.mark(KEY, verdict=Verdict.EXPIRED)
    writer = await scene.writer()
    await writer.begin()
    await writer.update(KEY, ExpiresAt=None)
    assert not (await scene.claim()).keys
    await writer.commit()
    assert (await scene.claim()).cancelled == 1
    assert scene.objects == {KEY}


@pytest.mark.attack(4)
async def test_without_triggers_an_open_extension_is_put_off(bare: Scene) -> None:
    await bare.tracked(KEY, ExpiresAt=LONG_AGO)
    await bare.mark(KEY, verdict=Verdict.EXPIRED)
    writer = await bare.writer()
    await writer.begin()
    await writer.update(KEY, ExpiresAt=None)
    claim = await bare.claim()
    assert (claim.taken, claim.postponed) == (1, 1)


@pytest.mark.attack(4)
async def test_a_row_that_became_live_after_its_object_went_is_told_as_lost(bare: Scene) -> None:
    """Without triggers nobody refuses it; it is kept, and counted."""
    await bare.tracked(KEY, ExpiresAt=LONG_AGO)
    await bare.mark(KEY, verdict=Verdict.EXPIRED)
    claim = await bare.claim()
    answers = await bare.delete(claim)
    await (await bare.writer()).update(KEY, ExpiresAt=None)
    removed = await bare.confirm(claim, answers)
    assert (removed.objects, removed.records, removed.lost) == (1, 0, 1)
    assert (KEY, "record", "lost") in await bare.stage.ledger()


@pytest.mark.attack(20)
async def test_the_trigger_locks_a_mark_that_is_not_claimable_yet(scene: Scene) -> None:
    """Put off, of an unreleased pass: whatever its state, it cannot be claimed while it is locked."""
    scene.put(KEY)
    current = await scene.mark(KEY, arm=False)
    await scene.sql.execute("UPDATE reconciler.marks SET not_before = 'infinity'")
    writer = await scene.writer()
    await writer.begin()
    await writer.insert(KEY)
    await scene.sql.execute(
        "UPDATE reconciler.passes SET state = 'released', released_xid = '1' WHERE id = $1", current.id
    )
    other = await scene.writer()
    await other.run("SET lock_timeout = '50ms'")
    with pytest.raises(asyncpg.LockNotAvailableError):
        await other.run("UPDATE reconciler.marks SET not_before = NULL")
    await writer.commit()
    await scene.sql.execute("UPDATE reconciler.marks SET not_before = NULL")
    assert (await scene.claim()).cancelled == 1


@pytest.mark.attack(20)
async def test_a_writer_that_meets_a_claim_in_the_making_waits_for_it_and_is_refused(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read without a lock the mark would be found, and claimed an instant later."""
    scene.put(KEY)
    await scene.mark(KEY)
    writer = await scene.writer()
    async with inserted_in_between(scene, writer, KEY, locking, monkeypatch) as refused:
        claim = await scene.claim()
        assert claimed(claim) == [KEY]
    assert refused == [True]


# --- the object has gone -----------------------------------------------------------------------------


@pytest.mark.attack(6)
async def test_a_row_that_comes_after_the_deletion_is_refused_where_nothing_comes_back(scene: Scene) -> None:
    scene.put(KEY)
    await scene.mark(KEY)
    assert (await scene.collect()).objects == 1
    writer = await scene.writer()
    with pytest.raises(Refused, match=r"was deleted at .*: upload again"):
        await writer.insert(KEY)
    assert await scene.losses() == []


@pytest.mark.attack(6)
async def test_a_row_that_comes_after_the_deletion_has_its_object_brought_back(scene: Scene) -> None:
    scene.put(KEY)
    await scene.mark(KEY)
    await scene.collect()
    await scene.sql.execute("UPDATE reconciler.tombstones SET recoverable = true")
    await (await scene.writer()).insert(KEY)
    assert await scene.restores() == [KEY]
    assert await scene.losses() == []


@pytest.mark.attack(6)
@pytest.mark.parametrize("compares", [True, False])
async def test_an_object_that_was_put_anew_is_not_the_one_that_was_marked(
    database: str, compares: bool
) -> None:
    """By the ETag in the call where the store compares it, by a HEAD before where it does not."""
    async with open_scene(database, compares=compares) as scene:
        scene.put(KEY)
        await scene.mark(KEY)
        claim = await scene.claim()
        scene.bucket.upload(KEY)
        answers = await scene.delete(claim, await scene.look_again(claim))
        assert answers.results[KEY][0] is ObjectResult.CHANGED
        await scene.confirm(claim, answers)
        assert scene.objects == {KEY}


@pytest.mark.attack(6)
async def test_identical_bytes_put_anew_are_told_by_their_time_where_the_call_cannot_compare(
    database: str,
) -> None:
    async with open_scene(database, compares=False) as scene:
        scene.put(KEY)
        await scene.mark(KEY)
        claim = await scene.claim()
        before = scene.bucket.objects[KEY]
        assert before.last_modified is not None
        later = before.last_modified + timedelta(seconds=2)
        scene.bucket.objects[KEY] = replace(before, last_modified=later)
        answers = await scene.delete(claim)
        assert answers.results[KEY][0] is ObjectResult.CHANGED


@pytest.mark.attack(23)
async def test_a_tombstone_refuses_nothing_after_its_end_though_nobody_purges_it(scene: Scene) -> None:
    scene.put(KEY)
    await scene.mark(KEY)
    await scene.collect()
    await scene.sql.execute("UPDATE reconciler.tombstones SET ends_at = clock_timestamp()")
    await (await scene.writer()).insert(KEY)
    assert await scene.rows() == [KEY]


@pytest.mark.attack(23)
async def test_content_put_again_is_taken_where_its_object_can_come_back(scene: Scene) -> None:
    """Twice, and by two writers: the second does not wait for the first one's row."""
    scene.put(KEY)
    await scene.mark(KEY)
    await scene.collect()
    await scene.sql.execute("UPDATE reconciler.tombstones SET recoverable = true")
    scene.put(KEY)
    writer = await scene.writer()
    await writer.insert(KEY)
    await writer.update(KEY, LastAccessedAt=datetime.now(UTC))
    assert await scene.restores() == [KEY]
    assert REFUSED not in str(await scene.stage.ledger())


# --- keys --------------------------------------------------------------------------------------------


@pytest.mark.attack(24)
async def test_enabling_a_key_is_never_refused_and_the_claim_decides_anew(scene: Scene) -> None:
    await scene.tracked(KEY)
    key = await scene.stage.add_owner(IsEnabled=False)
    await scene.sql.execute('UPDATE public."MediaRecords" SET "VirtualKeyId" = $1', key)
    await scene.stage.catalog.records.observe_keys(LONG_AGO)
    await scene.mark(KEY, verdict=Verdict.REVOKED)
    await scene.sql.execute('UPDATE public."VirtualKeys" SET "IsEnabled" = true')
    claim = await scene.claim()
    assert (claim.taken, claim.cancelled) == (1, 1)
    assert await scene.losses() == []


@pytest.mark.attack(24)
async def test_a_key_enabled_after_the_claim_spares_what_has_not_gone(scene: Scene) -> None:
    """It is waited for, with triggers too: they hold off no change of a key."""
    await scene.tracked(KEY)
    key = await scene.stage.add_owner(IsEnabled=False)
    await scene.sql.execute('UPDATE public."MediaRecords" SET "VirtualKeyId" = $1', key)
    await scene.stage.catalog.records.observe_keys(LONG_AGO)
    await scene.mark(KEY, verdict=Verdict.REVOKED)
    operator = await scene.writer()
    await operator.begin()
    await operator.run("SELECT pg_current_xact_id()")
    claim = await scene.claim()
    assert claimed(claim) == [KEY]
    await operator.run('UPDATE public."VirtualKeys" SET "IsEnabled" = true')
    assert not await scene.ready(claim)
    await operator.commit()
    assert await scene.ready(claim)
    await scene.finish(claim)
    assert await scene.losses() == []
    assert scene.objects == {KEY}
