"""Rows that the database does not let go, or not alone: nothing of them goes, and the others do."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import asyncpg
import pytest

from reconciler.catalog.db.config import CatalogConfig
from reconciler.catalog.media_tables import rehearsal
from reconciler.errors import Halt
from reconciler.model import DeleteMode, MarkFilter, MarkState, Verdict
from tests.attacks.scene import Scene, open_scene
from tests.contract.catalog import LONG_AGO, claimed

pytestmark = pytest.mark.anyio

A, B, C = "image/a", "image/b", "image/c"
MEDIA = 'public."MediaRecords"'

CHILD = f'ALTER TABLE {MEDIA} ADD "ParentId" uuid REFERENCES {MEDIA}'
FUNCTION = "CREATE FUNCTION public.act() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} END $$;"
AFTER = f"CREATE TRIGGER act AFTER DELETE ON {MEDIA} FOR EACH ROW EXECUTE FUNCTION act()"

TAKES_ALONG = {
    "itself": f"{CHILD} ON DELETE CASCADE",
    "deferred": f"{CHILD} ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED",
    "another table": f"""
        CREATE TABLE public.albums (id uuid PRIMARY KEY, cover uuid REFERENCES {MEDIA} ON DELETE CASCADE);
        ALTER TABLE {MEDIA} ADD "ParentId" uuid;
        CREATE FUNCTION public.album() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN INSERT INTO albums VALUES (NEW."ParentId", NEW."ParentId"); RETURN NULL; END $$;
        CREATE TRIGGER album AFTER UPDATE OF "ParentId" ON {MEDIA} FOR EACH ROW EXECUTE FUNCTION album();
        ALTER TABLE {MEDIA} ADD FOREIGN KEY ("ParentId") REFERENCES public.albums ON DELETE CASCADE
            DEFERRABLE INITIALLY DEFERRED""",
    "a trigger": f"""
        ALTER TABLE {MEDIA} ADD "ParentId" uuid;
        {FUNCTION.format(f'DELETE FROM {MEDIA} WHERE "ParentId" = OLD."Id"; RETURN NULL;')}
        {AFTER}""",
    "a soft delete": f"""
        ALTER TABLE {MEDIA} ADD "ParentId" uuid, ADD IF NOT EXISTS "DeletedAt" timestamptz;
        {FUNCTION.format(f'UPDATE {MEDIA} SET "ExpiresAt" = now() WHERE "ParentId" = OLD."Id"; RETURN NULL;')}
        {AFTER}""",
    "its owner set to null": f"""
        ALTER TABLE {MEDIA} ALTER "VirtualKeyId" DROP NOT NULL;
        ALTER TABLE {MEDIA} ADD "ParentId" uuid, ADD UNIQUE ("Id", "VirtualKeyId");
        ALTER TABLE {MEDIA} ADD FOREIGN KEY ("ParentId", "VirtualKeyId")
            REFERENCES {MEDIA} ("Id", "VirtualKeyId") ON DELETE SET NULL""",
}


@pytest.fixture(params=["database", "icu_database"], ids=["18", "15"])
def server(request: pytest.FixtureRequest) -> str:
    """Both ends of what is supported."""
    url: str = request.getfixturevalue(request.param)
    return url


@pytest.fixture
async def scene(server: str) -> AsyncIterator[Scene]:
    async with open_scene(server) as opened:
        yield opened


async def _expired(scene: Scene, *keys: str) -> None:
    for key in keys:
        await scene.tracked(key, ExpiresAt=LONG_AGO)
    await scene.mark(*keys, verdict=Verdict.EXPIRED)


async def _refused(scene: Scene) -> list[str]:
    marks = await scene.stage.catalog.mark_list.page(MarkFilter(state=MarkState.REFUSED))
    return [each.mark.storage_key for each in marks]


async def _retry(scene: Scene) -> None:
    await scene.sql.execute("UPDATE reconciler.marks SET not_before = clock_timestamp()")


@pytest.mark.debian("postgresql-15")
@pytest.mark.attack(52)
@pytest.mark.parametrize("by", TAKES_ALONG)
async def test_a_live_row_does_not_go_with_an_expired_one(scene: Scene, by: str) -> None:
    await scene.sql.execute(TAKES_ALONG[by])
    await _expired(scene, A, C)
    child = await scene.tracked(B)
    parent = await scene.sql.fetchval(f'SELECT "Id" FROM {MEDIA} WHERE "StorageKey" = $1', A)
    await scene.sql.execute(f'UPDATE {MEDIA} SET "ParentId" = $1 WHERE "Id" = $2', parent, child)
    before = await scene.sql.fetchval(f'SELECT md5(m::text) FROM {MEDIA} m WHERE "Id" = $1', child)
    removed = await scene.collect()
    assert (removed.objects, removed.records, removed.failed) == (1, 1, 0), "what stands beside it goes"
    assert (await scene.rows(), scene.objects) == ([A, B], {A, B})
    assert await _refused(scene) == [A]
    after = await scene.sql.fetchval(f'SELECT md5(m::text) FROM {MEDIA} m WHERE "Id" = $1', child)
    assert after == before
    mark = await scene.stage.catalog.mark_list.look(A)
    assert mark is not None
    assert mark.last_error is not None
    assert mark.last_error.startswith("1 other row of")


@pytest.mark.debian("postgresql-15")
@pytest.mark.attack(52)
async def test_rows_that_all_have_to_go_go_together(scene: Scene) -> None:
    await scene.sql.execute(TAKES_ALONG["itself"])
    await _expired(scene, A, B)
    await scene.sql.execute(
        f'UPDATE {MEDIA} SET "ParentId" = (SELECT "Id" FROM {MEDIA} WHERE "StorageKey" = $1)'
        ' WHERE "StorageKey" = $2',
        A,
        B,
    )
    removed = await scene.collect()
    assert (removed.objects, removed.records) == (2, 2)
    assert (await scene.rows(), scene.objects) == ([], set())


@pytest.mark.attack(52)
async def test_a_row_that_became_live_after_the_claim_does_not_go_with_another(database: str) -> None:
    """Both were claimed; the child is spared, and its parent's row would take it along."""
    async with open_scene(database) as scene:
        await scene.sql.execute(TAKES_ALONG["itself"])
        scene.policy = replace(scene.policy, delete_mode=DeleteMode.QUARANTINE)
        await _expired(scene, A, B)
        await scene.sql.execute(
            f'UPDATE {MEDIA} SET "ParentId" = (SELECT "Id" FROM {MEDIA} WHERE "StorageKey" = $1)'
            ' WHERE "StorageKey" = $2',
            A,
            B,
        )
        claim = await scene.claim()
        assert claimed(claim) == [A, B]
        answers = await scene.delete(claim, {B: "it became live"})
        removed = await scene.confirm(claim, answers)
        assert (removed.objects, removed.records) == (1, 0)
        assert await scene.rows() == [A, B]
        assert await scene.losses() == [], "the parent's object is on its way back"


KEPT = {
    "no action": f"CREATE TABLE public.posts (media uuid REFERENCES {MEDIA})",
    "restrict": f"CREATE TABLE public.posts (media uuid REFERENCES {MEDIA} ON DELETE RESTRICT)",
    "deferred": f"CREATE TABLE public.posts (media uuid REFERENCES {MEDIA} INITIALLY DEFERRED)",
    "set null": f"CREATE TABLE public.posts (media uuid NOT NULL REFERENCES {MEDIA} ON DELETE SET NULL)",
    "raises": "CREATE TABLE public.posts (media uuid);"
    + FUNCTION.format(
        'IF EXISTS (SELECT FROM posts WHERE media = OLD."Id") THEN RAISE EXCEPTION $x$posts: no$x$; END IF;'
        " RETURN OLD;"
    )
    + AFTER.replace("AFTER", "BEFORE"),
    "keeps": "CREATE TABLE public.posts (media uuid);"
    + FUNCTION.format(
        'RETURN CASE WHEN EXISTS (SELECT FROM posts WHERE media = OLD."Id") THEN NULL ELSE OLD END;'
    )
    + AFTER.replace("AFTER", "BEFORE"),
    "collides": "CREATE TABLE public.posts (media uuid);"
    + FUNCTION.format(
        'IF EXISTS (SELECT FROM posts WHERE media = OLD."Id") THEN'
        " RAISE EXCEPTION SQLSTATE $x$23P01$x$; END IF; RETURN OLD;"
    )
    + f"CREATE CONSTRAINT TRIGGER act AFTER DELETE ON {MEDIA} INITIALLY DEFERRED"
    + " FOR EACH ROW EXECUTE FUNCTION act()",
}


@pytest.mark.debian("postgresql-15")
@pytest.mark.attack(53)
@pytest.mark.parametrize("by", KEPT)
async def test_a_row_that_cannot_go_keeps_its_object(scene: Scene, by: str) -> None:
    await scene.sql.execute(KEPT[by])
    await _expired(scene, A, B, C)
    await scene.sql.execute(f'INSERT INTO public.posts SELECT "Id" FROM {MEDIA} WHERE "StorageKey" = $1', B)
    removed = await scene.collect()
    assert (removed.objects, removed.records, removed.failed) == (2, 2, 0), "the others go"
    assert (await scene.rows(), scene.objects) == ([B], {B})
    assert await _refused(scene) == [B]
    again = await scene.collect()
    assert (again.objects, again.records) == (0, 0)
    await scene.sql.execute("DELETE FROM public.posts")
    await _retry(scene)
    done = await scene.collect()
    assert (done.objects, done.records) == (1, 1)
    assert (await scene.rows(), scene.objects) == ([], set())


WHOLESALE = {
    "a rule": f"CREATE RULE keep AS ON DELETE TO {MEDIA} DO INSTEAD NOTHING",
    "a rule that updates": f"CREATE RULE keep AS ON DELETE TO {MEDIA} DO INSTEAD"
    f' UPDATE {MEDIA} SET "Prompt" = \'x\' WHERE "Id" = OLD."Id"',
    "a statement": FUNCTION.format("RAISE EXCEPTION $x$Direct deletion is not allowed$x$;")
    + f"CREATE TRIGGER act BEFORE DELETE ON {MEDIA} EXECUTE FUNCTION act()",
    "a publication": f"ALTER TABLE {MEDIA} REPLICA IDENTITY NOTHING; CREATE PUBLICATION p FOR TABLE {MEDIA}",
}


@pytest.mark.debian("postgresql-15")
@pytest.mark.attack(53)
@pytest.mark.parametrize("by", WHOLESALE)
async def test_a_table_that_lets_no_row_go_keeps_every_object(scene: Scene, by: str) -> None:
    await scene.sql.execute(WHOLESALE[by])
    await _expired(scene, A, B)
    removed = await scene.collect()
    assert (removed.objects, removed.records, removed.failed) == (0, 0, 0)
    assert (await scene.rows(), scene.objects) == ([A, B], {A, B})
    assert await _refused(scene) == [A, B]
    assert scene.observer.rows_refused == (2, 0)


@pytest.mark.attack(53)
async def test_a_refused_row_is_tried_again_later_and_later(database: str) -> None:
    async with open_scene(database) as scene:
        await scene.sql.execute(KEPT["no action"])
        await _expired(scene, A)
        await scene.sql.execute(f'INSERT INTO public.posts SELECT "Id" FROM {MEDIA}')
        waits = []
        for _ in range(12):
            await _retry(scene)
            claim = await scene.claim()
            assert [each.storage_key for each in claim.refused] == [A]
            waits.append(
                await scene.sql.fetchval("SELECT not_before - clock_timestamp() FROM reconciler.marks")
            )
        assert all(later > earlier for earlier, later in pairwise(waits[:8]))
        assert timedelta(minutes=4) < waits[0] <= timedelta(minutes=5)
        assert waits[-1] <= timedelta(days=1)


@pytest.mark.attack(53)
async def test_a_row_that_is_refused_after_its_object_went_gets_it_back(database: str) -> None:
    """What refuses it came between the claim and the confirmation."""
    async with open_scene(database) as scene:
        scene.policy = replace(scene.policy, delete_mode=DeleteMode.QUARANTINE)
        await _expired(scene, A)
        claim = await scene.claim()
        await scene.sql.execute(KEPT["no action"])
        await scene.sql.execute(f'INSERT INTO public.posts SELECT "Id" FROM {MEDIA}')
        removed = await scene.finish(claim)
        assert (removed.objects, removed.records, removed.failed) == (1, 0, 0)
        assert "posts" in removed.reasons[0].reason
        assert await scene.losses() == []
        assert await scene.restores() == [A]
        assert await scene.stage.marks() == {}


@pytest.mark.attack(53)
async def test_a_claim_whose_object_is_gone_for_good_says_what_keeps_its_row(database: str) -> None:
    """As an older version left it: the object went, and the row is refused at every repetition."""
    async with open_scene(database) as scene:
        await _expired(scene, A)
        claim = await scene.claim()
        await scene.sql.execute(KEPT["no action"])
        await scene.sql.execute(f'INSERT INTO public.posts SELECT "Id" FROM {MEDIA}')
        assert (await scene.finish(claim)).failed == 1
        found = await scene.stage.catalog.marks.refused()
        assert (found.kept, found.gone) == (0, 1)
        assert "posts" in found.examples[0].reason
        await scene.sql.execute("DROP TABLE public.posts")
        await _retry(scene)
        assert (await scene.collect()).records == 1


@pytest.mark.attack(53)
async def test_what_holds_a_trigger_up_puts_off_and_makes_no_writer_the_victim(database: str) -> None:
    """The trigger waits for a counter that a writer holds, and the writer for the row that is claimed."""
    async with open_scene(database) as scene:
        await scene.sql.execute(
            "CREATE TABLE public.counters (n int); INSERT INTO public.counters VALUES (0);"
            + FUNCTION.format("UPDATE counters SET n = n + 1; RETURN NULL;")
            + AFTER
        )
        await _expired(scene, A)
        writer = await scene.writer()
        await writer.begin()
        await writer.run("UPDATE public.counters SET n = 5")
        claim = await scene.claim()
        assert (claimed(claim), claim.refused, claim.postponed) == ([], (), 1)
        await writer.update(A, AccessCount=1)
        await writer.commit()
        await _retry(scene)
        assert (await scene.collect()).records == 1
        assert await scene.sql.fetchval("SELECT n FROM public.counters") == 6, "tried, and done once"


@pytest.mark.attack(53)
async def test_what_was_not_tried_in_time_is_left_to_the_next_claim(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsal, "BUDGET", 0.0)
    async with open_scene(database) as scene:
        await _expired(scene, A, B)
        first = await scene.claim()
        assert (claimed(first), first.taken) == ([], 2)
        monkeypatch.setattr(rehearsal, "BUDGET", 60.0)
        assert claimed(await scene.claim()) == [A, B]


@pytest.fixture
def limited() -> str:
    """The name of a role that may do what the daemon needs, and no more."""
    return f"limited_{secrets.token_hex(4)}"


@pytest.mark.attack(55)
async def test_a_right_that_goes_under_way_keeps_the_object(database: str, limited: str) -> None:
    owner = await asyncpg.connect(database)
    await owner.execute(
        f"CREATE ROLE {limited} LOGIN PASSWORD 'secret';"
        f" GRANT USAGE ON SCHEMA public TO {limited}; GRANT USAGE, CREATE ON SCHEMA reconciler TO {limited};"
        f" GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public, reconciler TO {limited}"
    )
    scheme, _, rest = database.partition("://")
    config = CatalogConfig(database_url=f"{scheme}://{limited}:secret@{rest.rpartition('@')[2]}")
    try:
        async with open_scene(database, guarded=False, config=config) as scene:
            await _expired(scene, A, B)
            claim = await scene.claim(limit=1)
            assert len(claimed(claim)) == 1
            await owner.execute(f"REVOKE DELETE ON {MEDIA} FROM {limited}")
            with pytest.raises(Halt, match=r"may no longer remove rows of .*GRANT DELETE ON"):
                await scene.look_again(claim)
            with pytest.raises(Halt, match="may no longer remove rows"):
                await scene.claim()
            assert (await scene.rows(), scene.objects) == ([A, B], {A, B})
            with pytest.raises(Halt, match=r'lacks DELETE on "public"\."MediaRecords"') as lacking:
                await scene.stage.catalog.marks.require_rights(undoable=True)
            await owner.execute(str(lacking.value).partition("; ")[2])
            await scene.stage.catalog.marks.require_rights(undoable=True)
    finally:
        await owner.execute(f"DROP OWNED BY {limited}; DROP ROLE {limited}")
        await owner.close()
