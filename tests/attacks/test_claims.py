"""What a claim may take, what it reads, and what it leaves alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import anyio
import anyio.to_thread
import asyncpg
import pytest

from reconciler.catalog import migrate
from reconciler.catalog.db.config import CatalogConfig, MediaColumns, TableMapping
from reconciler.catalog.db.connections import open_database
from reconciler.catalog.media_tables.guard import TRIGGER
from reconciler.errors import CatalogUnavailable, Halt
from reconciler.model import Verdict
from tests.attacks.scene import FOR_EVER, Scene, open_scene
from tests.contract.catalog import LONG_AGO, NOTHING, claimed, finding

pytestmark = pytest.mark.anyio

KEY = "image/a"


@pytest.fixture(params=[True, False], ids=["triggers", "bare"])
async def either(database: str, request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    """With the triggers, and without: the claim's rules hold in both."""
    async with open_scene(database, guarded=request.param) as opened:
        yield opened


# --- rows that are there and not to be seen ------------------------------------------------------------


@pytest.mark.attack(5)
async def test_rows_that_a_policy_hides_stop_the_claim(database: str) -> None:
    """Hidden, the row would look like none, and its object like an orphan."""
    admin = await asyncpg.connect(database)
    role = f"reader_{admin.get_server_pid()}"
    await admin.execute(
        f"CREATE ROLE {role} LOGIN PASSWORD 'secret'; GRANT USAGE ON SCHEMA public, reconciler TO {role};"
        f" GRANT ALL ON ALL TABLES IN SCHEMA public, reconciler TO {role}"
    )
    host = database.partition("@")[2]
    config = CatalogConfig(database_url=f"postgresql://{role}:secret@{host}")
    try:
        async with open_scene(database, guarded=False, config=config) as scene:
            await scene.tracked(KEY)
            await scene.mark(KEY)
            await admin.execute('ALTER TABLE public."MediaRecords" ENABLE ROW LEVEL SECURITY')
            with pytest.raises(Halt, match="look orphaned"):
                await scene.claim()
    finally:
        await admin.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
        await admin.close()


@pytest.mark.attack(27)
async def test_a_locked_row_is_not_taken_for_none(either: Scene) -> None:
    """The mark says orphan, the row came later, and its writer has it locked for something else."""
    await either.tracked(KEY)
    await either.mark(KEY)
    writer = await either.writer()
    await writer.begin()
    await writer.update(KEY, AccessCount=1)
    assert not (await either.claim()).keys
    await writer.rollback()
    assert either.objects == {KEY}


@pytest.mark.attack(27)
async def test_marks_behind_a_locked_key_do_not_starve_the_rest(either: Scene) -> None:
    key = await either.stage.add_owner(IsEnabled=False)
    for name in ("image/1", "image/2"):
        await either.tracked(name, VirtualKeyId=key)
    await either.tracked("image/3", ExpiresAt=LONG_AGO)
    await either.stage.catalog.records.observe_keys(LONG_AGO)
    await either.mark("image/1", "image/2", verdict=Verdict.REVOKED)
    await either.mark("image/1", "image/2", "image/3", verdict=Verdict.EXPIRED)
    operator = await either.writer()
    await operator.begin()
    await operator.run('UPDATE public."VirtualKeys" SET "KeyName" = \'new\' WHERE "Id" = $1', key)
    first, second = await either.claim(limit=2), await either.claim(limit=2)
    assert (first.postponed, claimed(second)) == (2, ["image/3"])
    await operator.rollback()


@pytest.mark.attack(32)
async def test_a_key_is_locked_wherever_the_verdict_could_read_it(either: Scene) -> None:
    """Marked as expired, extended since, and revoked by now: the decision reads the key all the same."""
    key = await either.stage.add_owner(IsEnabled=False)
    await either.tracked(KEY, VirtualKeyId=key, ExpiresAt=LONG_AGO)
    await either.stage.catalog.records.observe_keys(LONG_AGO)
    await either.mark(KEY, verdict=Verdict.EXPIRED)
    await (await either.writer()).update(KEY, ExpiresAt=None)
    operator = await either.writer()
    await operator.begin()
    await operator.run('UPDATE public."VirtualKeys" SET "IsEnabled" = true')
    claim = await either.claim()
    assert (claim.keys, claim.postponed) == ((), 1)
    await operator.commit()
    await either.sql.execute("UPDATE reconciler.marks SET not_before = NULL")
    assert (await either.claim()).cancelled == 1


# --- whom the object belongs to ------------------------------------------------------------------------


@pytest.mark.attack(19)
async def test_a_live_row_keeps_the_object_from_an_expired_one(either: Scene) -> None:
    await either.sql.execute(
        'ALTER TABLE public."MediaRecords" DROP CONSTRAINT "MediaRecords_StorageKey_key"'
    )
    await either.tracked(KEY, ExpiresAt=LONG_AGO)
    live = await either.tracked(KEY)
    await either.mark(KEY, verdict=Verdict.EXPIRED)
    removed = await either.collect()
    assert (removed.objects, removed.records) == (0, 1)
    assert await either.sql.fetchval('SELECT "Id" FROM public."MediaRecords"') == live
    assert await either.losses() == []


@pytest.mark.attack(15)
async def test_a_row_protects_what_the_store_made_of_its_key(either: Scene) -> None:
    either.policy = replace(FOR_EVER, rewrites_keys=True)
    either.put("image/b")
    await either.stage.add_row("image//b")
    await either.mark("image/b")
    assert (await either.claim()).cancelled == 1


@pytest.mark.attack(25)
async def test_a_row_of_another_spelling_locks_the_mark_and_is_refused_once_claimed(scene: Scene) -> None:
    scene.policy = replace(FOR_EVER, rewrites_keys=True)
    scene.put("image/b")
    await scene.mark("image/b")
    writer = await scene.writer()
    await writer.begin()
    await writer.insert("image//b")
    assert (await scene.claim()).taken == 0
    await writer.rollback()
    assert claimed(await scene.claim()) == ["image/b"]
    for spelling in ("image//b", "image\\b", "/image/b"):
        with pytest.raises(Exception, match="upload again"):
            await writer.insert(spelling)


@pytest.mark.attack(25)
async def test_without_triggers_the_second_look_sees_the_other_spelling_too(bare: Scene) -> None:
    bare.policy = replace(FOR_EVER, rewrites_keys=True)
    bare.put("image/b")
    await bare.mark("image/b")
    claim = await bare.claim()
    await (await bare.writer()).insert("image//b")
    assert list(await bare.look_again(claim)) == ["image/b"]


@pytest.mark.attack(99)
@pytest.mark.parametrize("other", [f"/{KEY}", f"s3://media/{KEY}"])
async def test_without_triggers_the_second_look_sees_who_spells_the_key_otherwise(
    bare: Scene, other: str
) -> None:
    """R-99: the writer was open at the claim, which could not see the row."""
    bare.put(KEY, "image/b")
    await bare.mark(KEY, "image/b")
    writer = await bare.writer()
    await writer.begin()
    await writer.insert(other)
    claim = await bare.claim()
    await writer.commit()
    assert await bare.ready(claim)
    assert (await bare.finish(claim)).objects == 1
    assert bare.objects == {KEY}


@pytest.mark.attack(16)
async def test_a_key_that_postgres_cannot_store_takes_no_other_mark_with_it(either: Scene) -> None:
    either.put(KEY)
    current = await either.stage.begin()
    found = [finding("image/\0"), finding("image/\ud800"), either.finding(KEY)]
    await either.stage.catalog.passes.record(either.term, current, found, NOTHING)
    await either.arm(current)
    assert claimed(await either.claim()) == [KEY]


@pytest.mark.attack(18)
async def test_a_prefix_taken_out_of_the_settings_keeps_its_armed_marks(either: Scene) -> None:
    either.put(KEY, "video/a")
    await either.mark(KEY, "video/a")
    claim = await either.claim()
    assert (claimed(claim), claim.taken) == ([KEY], 1)


# --- time ----------------------------------------------------------------------------------------------


@pytest.mark.attack(14)
async def test_a_stamp_of_another_cluster_is_renewed_by_the_next_leader(either: Scene) -> None:
    either.put(KEY)
    await either.mark(KEY)
    await either.sql.execute("UPDATE reconciler.passes SET released_xid = '900000000000000'")
    assert (await either.claim()).taken == 0
    await either.next_term()
    assert claimed(await either.claim()) == [KEY]


@pytest.mark.attack(14)
async def test_marking_again_neither_moves_the_due_time_nor_disarms(either: Scene) -> None:
    either.put(KEY)
    first = await either.mark(KEY)
    due = (await either.stage.marks())[KEY]["due_at"]
    await either.mark(KEY, arm=False)
    mark = (await either.stage.marks())[KEY]
    assert (mark["pass_id"], mark["due_at"]) == (first.id, due)
    assert claimed(await either.claim()) == [KEY]


@pytest.mark.attack(28)
async def test_without_triggers_a_deletion_waits_for_who_could_not_see_the_claim(bare: Scene) -> None:
    """The writer begins after the stamp, before the claim, and writes around it."""
    bare.put(KEY)
    await bare.mark(KEY)
    writer = await bare.writer()
    await writer.begin()
    await writer.run("SELECT pg_current_xact_id()")
    claim = await bare.claim()
    assert claimed(claim) == [KEY]
    await writer.insert(KEY)
    assert not await bare.ready(claim)
    await writer.commit()
    assert await bare.ready(claim)
    assert (await bare.finish(claim)).objects == 0
    assert await bare.losses() == []


@pytest.mark.attack(28)
async def test_with_triggers_an_open_transaction_holds_nothing_up(scene: Scene) -> None:
    """Whoever is open now was refused, or keeps its mark from being claimed."""
    scene.put(KEY)
    await scene.mark(KEY)
    report = await scene.writer()
    await report.begin()
    await report.run("SELECT pg_current_xact_id()")
    claim = await scene.claim()
    assert await scene.ready(claim)
    assert (await scene.finish(claim)).objects == 1


SPOILT = {
    "dropped": "DROP FUNCTION reconciler.guard_record() CASCADE",
    "disabled": 'ALTER TABLE public."MediaRecords" DISABLE TRIGGER ALL',
    "demoted": 'ALTER TABLE public."MediaRecords" DISABLE TRIGGER ALL;'
    ' ALTER TABLE public."MediaRecords" ENABLE TRIGGER ALL',
}


@pytest.mark.attack(12)
@pytest.mark.attack(30)
@pytest.mark.parametrize("how", SPOILT)
async def test_triggers_that_are_gone_or_demoted_are_not_relied_upon(scene: Scene, how: str) -> None:
    """Also where that happens between a claim and its deletion."""
    scene.put(KEY)
    await scene.mark(KEY)
    writer = await scene.writer()
    await writer.begin()
    await writer.run("SELECT pg_current_xact_id()")
    await writer.run("SET LOCAL session_replication_role = replica")
    claim = await scene.claim()
    await scene.sql.execute(SPOILT[how])
    await writer.insert(KEY)
    assert not await scene.ready(claim)
    await writer.commit()
    assert await scene.ready(claim)
    await scene.finish(claim)
    assert await scene.losses() == []


@pytest.mark.attack(33)
async def test_who_switches_the_triggers_off_and_on_in_one_transaction_is_waited_for(database: str) -> None:
    """As a restore in a single transaction does: what the catalogue says is still what it was before."""
    config = CatalogConfig(database_url=database, lock_timeout=timedelta(milliseconds=200))
    async with open_scene(database, config=config) as scene:
        scene.put(KEY)
        await scene.mark(KEY)
        claim = await scene.claim()
        loader = await scene.writer()
        await loader.begin()
        await loader.run('ALTER TABLE public."MediaRecords" DISABLE TRIGGER ALL')
        await loader.insert(KEY)
        await loader.run(f'ALTER TABLE public."MediaRecords" ENABLE ALWAYS TRIGGER {TRIGGER}')
        with pytest.raises(CatalogUnavailable, match="lock timeout"):
            await scene.ready(claim)
        await loader.commit()
        assert await scene.ready(claim)
        assert (await scene.finish(claim)).objects == 0
        assert await scene.losses() == []


@pytest.mark.attack(34)
@pytest.mark.parametrize("parent", ["media", "part"])
async def test_rows_that_come_with_a_partition_are_waited_for(empty_database: str, parent: str) -> None:
    """They were written before it was one, so that no trigger has seen them; it may be a partition's own."""
    tables = TableMapping(
        media_table="public.media",
        media=MediaColumns(last_accessed_at="", deleted_at="", size_bytes="", expires_at=""),
    )
    lock_timeout = timedelta(milliseconds=200)
    config = CatalogConfig(database_url=empty_database, tables=tables, lock_timeout=lock_timeout)
    admin = await asyncpg.connect(empty_database)
    await admin.execute(
        """
        CREATE TABLE public."VirtualKeys" ("Id" uuid PRIMARY KEY, "KeyName" text, "KeyHash" text,
            "IsEnabled" boolean, "ExpiresAt" timestamptz);
        CREATE TABLE public.media ("Id" int UNIQUE, "StorageKey" text, "VirtualKeyId" uuid,
            "CreatedAt" timestamptz) PARTITION BY RANGE ("Id");
        CREATE TABLE public.part PARTITION OF public.media FOR VALUES FROM (9) TO (99)
            PARTITION BY RANGE ("Id");
        CREATE TABLE public.late ("Id" int, "StorageKey" text, "VirtualKeyId" uuid, "CreatedAt" timestamptz);
        """
    )
    low, high = {"media": (0, 9), "part": (9, 19)}[parent]
    await admin.execute("INSERT INTO public.late VALUES ($1, 'image/a')", low)
    await anyio.to_thread.run_sync(lambda: migrate.upgrade(config))
    try:
        async with open_scene(empty_database, config=config) as scene:
            scene.put(KEY)
            await scene.mark(KEY)
            claim = await scene.claim()
            assert await scene.ready(claim)
            await admin.execute(
                f"BEGIN; ALTER TABLE public.{parent} ATTACH PARTITION public.late"
                f" FOR VALUES FROM ({low}) TO ({high})"
            )
            with pytest.raises(CatalogUnavailable, match="lock timeout"):
                await scene.ready(claim)
            await admin.execute("COMMIT")
            assert await scene.ready(claim)
            assert (await scene.finish(claim)).objects == 0
    finally:
        await admin.close()


@pytest.mark.attack(35)
async def test_a_claim_outlives_a_crash_of_a_server_that_commits_lazily(database: str) -> None:
    """It sends a delete; forgotten, the key would be found free, and take a row."""
    admin = await asyncpg.connect(database)
    name = await admin.fetchval("SELECT current_database()")
    await admin.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = off')
    await admin.close()
    async with (
        open_database(CatalogConfig(database_url=database)) as opened,
        opened.connection() as connection,
    ):
        assert await connection.fetchval("SHOW synchronous_commit") == "on"


# --- writers who only come by --------------------------------------------------------------------------


@pytest.mark.attack(29)
async def test_an_access_a_day_cancels_no_mark(either: Scene) -> None:
    await either.tracked(KEY, ExpiresAt=LONG_AGO)
    await either.mark(KEY, verdict=Verdict.EXPIRED)
    before = await either.stage.marks()
    await (await either.writer()).update(KEY, LastAccessedAt=datetime.now(UTC))
    assert await either.stage.marks() == before
    assert (await either.collect()).records == 1


@pytest.mark.attack(29)
async def test_marking_again_waits_for_no_writer(either: Scene) -> None:
    await either.tracked(KEY, ExpiresAt=LONG_AGO)
    await either.mark(KEY, verdict=Verdict.EXPIRED)
    writer = await either.writer()
    await writer.begin()
    await writer.update(KEY, LastAccessedAt=datetime.now(UTC))
    with anyio.fail_after(5):
        await either.mark(KEY, verdict=Verdict.EXPIRED)
    await writer.commit()


@pytest.mark.attack(36)
async def test_no_pass_waits_for_a_writer_whose_mark_it_withdraws_or_previews(either: Scene) -> None:
    """It would hold other marks meanwhile, for which the writer waits in its turn."""
    await either.stage.add_row(KEY)
    await either.stage.add_row("image/b")
    await either.mark(KEY, "image/b", verdict=Verdict.DANGLING)
    writer = await either.writer()
    await writer.begin()
    await writer.update(KEY, LastAccessedAt=datetime.now(UTC))
    with anyio.fail_after(4):
        await either.stage.catalog.marks.note_preview(either.term, [KEY, "image/b"])
        await either.mark()
    await writer.update("image/b", LastAccessedAt=datetime.now(UTC))
    await writer.commit()
    await either.mark()
    assert await either.stage.marks() == {}
