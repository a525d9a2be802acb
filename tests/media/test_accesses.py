"""What is accessed is written to its row, past whatever holds rows up."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from reconciler.catalog.db.config import TableMapping
from reconciler.catalog.media_tables import triggers
from reconciler.catalog.media_tables.accesses import RecordedAccesses
from reconciler.errors import CatalogUnavailable
from reconciler.media import recording
from reconciler.media.site import Media
from reconciler.model import Access
from tests.contract.guarded import CLAIM, INSERT_TOMBSTONE
from tests.media.scene import ADAS, BODY, Scene, path, service

pytestmark = pytest.mark.anyio


async def row(scene: Scene, key: str) -> tuple[Any, int]:
    (found,) = await scene.site.sql(
        'SELECT now() - "LastAccessedAt", "AccessCount" FROM "MediaRecords" WHERE "StorageKey" = $1', key
    )
    return found[0], found[1]


async def test_what_is_had_is_counted_and_what_is_refused_is_not(scene: Scene) -> None:
    ada, bob = scene.people["ada"].headers, scene.people["bob"].headers
    assert await row(scene, ADAS) == (None, 0)
    async with service(scene) as serving:
        etag = (await serving.ask(path(ADAS), ada)).headers["etag"]
        await serving.ask(path(ADAS), ada, method="HEAD")
        await serving.ask(path(ADAS), {**ada, "If-None-Match": etag})
        await serving.ask(path(ADAS), {**ada, "Range": "bytes=0-1"})
        await serving.ask(path(ADAS), {**ada, "Range": "bytes=9999-"})
        await serving.ask(path(ADAS), bob)
        await serving.media.recorder.write()
    ago, count = await row(scene, ADAS)
    assert count == 4
    assert 0 <= ago.total_seconds() < 600


def access(key: str, count: int = 1) -> Access:
    return Access(key=key, count=count, seconds_ago=0)


async def test_what_is_locked_claimed_or_refused_holds_nothing_up(scene: Scene) -> None:
    """With our own triggers too, which refuse a row whose object is being deleted, or is gone for good."""
    for name in ("locked", "free", "claimed", "gone", "refused", "marked", "full"):
        await scene.site.row(f"image/{name}", scene.people["ada"].id)
    async with scene.site.connected() as connection:
        await triggers.install(connection, TableMapping())
        await connection.execute(INSERT_TOMBSTONE, "image/gone", False)
    await scene.site.sql(CLAIM, "image/claimed")
    await scene.site.sql(CLAIM, "image/marked")
    await scene.site.sql("UPDATE reconciler.marks SET state = 'found' WHERE storage_key = 'image/marked'")
    await scene.site.sql(
        'UPDATE "MediaRecords" SET "AccessCount" = 2147483647 WHERE "StorageKey" = \'image/full\''
    )
    await scene.site.script(REFUSING)
    keys = [f"image/{name}" for name in ("claimed", "free", "full", "gone", "locked", "marked", "refused")]
    async with scene.site.catalog() as catalog, scene.site.connected() as holder, holder.transaction():
        await holder.execute('SELECT FROM "MediaRecords" WHERE "StorageKey" = \'image/locked\' FOR UPDATE')
        with anyio.fail_after(30):
            done = await catalog.accesses.record([access(key, 2) for key in [*keys, "image/none"]])
    assert set(done) == {"image/free", "image/full", "image/marked", "image/refused"}
    counts = {key: (await row(scene, key))[1] for key in keys}
    assert counts == {
        "image/claimed": 0,
        "image/free": 2,
        "image/full": 2147483647,
        "image/gone": 0,
        "image/locked": 0,
        "image/marked": 2,
        "image/refused": 0,
    }
    (found,) = await scene.site.sql("SELECT count(*) FROM noted")
    assert found[0] == 3


REFUSING = """
CREATE TABLE noted (key text);
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW."StorageKey" = 'image/refused' THEN RAISE EXCEPTION 'not this one'; END IF;
    INSERT INTO noted VALUES (NEW."StorageKey");
    RETURN NEW;
END
$$;
CREATE TRIGGER refusing BEFORE UPDATE ON "MediaRecords" FOR EACH ROW EXECUTE FUNCTION refuse();
"""
"""A trigger of the gateway's own, which finds its table by the search path of its role."""


async def test_accesses_are_not_written_where_they_are_not_wanted(scene: Scene) -> None:
    async with service(scene, media__record_accesses="false") as serving:
        answer = await serving.ask(path("image/ends.png"), scene.people["ada"].headers)
        assert answer.status_code == 200
        made: Media = serving.media
        assert made.accesses.due() == []


async def test_bots_and_what_is_asked_for_ahead_count_as_it_is_set(scene: Scene) -> None:
    await scene.medium("image/bots.png", "ada")
    asked = [
        {"User-Agent": "Mozilla/5.0 (compatible; GoogleBot/2.1)"},
        {"User-Agent": "Mozilla/5.0", "Sec-Purpose": "prefetch;prerender"},
        {"User-Agent": "Mozilla/5.0", "Purpose": "prefetch"},
        {"User-Agent": "Mozilla/5.0"},
    ]
    counts = list[int]()
    strict = {"media__uncounted_agents": '["googlebot"]', "media__count_prefetch": "false"}
    for settings in ({}, strict):
        async with service(scene, **settings) as serving:
            for headers in asked:
                answer = await serving.ask(path("image/bots.png"), {**scene.people["ada"].headers, **headers})
                assert answer.status_code == 200
            counts += [access.count for access in serving.media.accesses.due()]
    assert counts == [4, 1]


async def test_what_is_marked_is_written_before_it_is_sent(scene: Scene) -> None:
    """By nothing but the request: what is written now and then is not, here. Many at once write once."""
    key, ada = "image/stale.png", scene.people["ada"].headers
    await scene.medium(key, "ada")
    await scene.site.sql(CLAIM, key)
    await scene.site.sql("UPDATE reconciler.marks SET state = 'found' WHERE storage_key = $1", key)
    async with service(scene) as serving:
        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(serving.ask, path(key), ada)
        assert (await serving.ask(path(ADAS), ada)).status_code == 200
        ago, count = await row(scene, key)
        assert 0 <= ago.total_seconds() < 600
        left = {access.key: access.count for access in serving.media.accesses.due(all_of_them=True)}
        assert count + left.get(key, 0) == 8
        assert left[ADAS] == 1
        assert key not in {access.key for access in serving.media.accesses.due()}


async def test_a_medium_is_sent_also_where_its_access_cannot_be_written(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, ada = "image/stuck.png", scene.people["ada"].headers
    await scene.medium(key, "ada")
    await scene.site.sql(CLAIM, key)
    await scene.site.sql("UPDATE reconciler.marks SET state = 'found' WHERE storage_key = $1", key)

    async def away(*_: object) -> None:
        raise CatalogUnavailable("away")

    async def endless(*_: object) -> None:
        await anyio.sleep_forever()

    monkeypatch.setattr(recording, "PATIENCE_SECONDS", 0.05)
    async with service(scene) as serving:
        for failing in (away, endless):
            monkeypatch.setattr(RecordedAccesses, "record", failing)
            answer = await serving.ask(path(key), ada)
            assert (answer.status_code, answer.content) == (200, BODY)
        assert serving.media.places.taken == 0
        assert [access.count for access in serving.media.accesses.due()] == [2]
