"""Objects without a row become one, where their owner is known; and never what is to go, or went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import anyio
import pytest

from reconciler import app
from reconciler.catalog.db.config import TableMapping
from reconciler.catalog.media_tables import triggers
from reconciler.engine.lead import ownership
from reconciler.engine.recover import adopting
from reconciler.errors import ConfigError, NotDone
from reconciler.model import Adopted, Adoption, Verdict
from reconciler.operations import adopt as operations
from reconciler.settings import SettingsSource, load
from tests.integration.site import Site, _environment

pytestmark = [pytest.mark.anyio, pytest.mark.calm]

BY_FIELD = "metadata:created-by"


class Killed(Exception):
    """As the process would end."""


async def adopt(site: Site, *, dry_run: bool = False, owner: str | None = None, **changes: Any) -> Adoption:
    settled = changes.pop("settled", lambda _: None)
    changes = {"adoption__owner_from": BY_FIELD, **changes}
    with _environment(site.settings(**changes)):
        return await app.adopt(
            SettingsSource(),
            prefix=changes.get("prefix", ""),
            owner=owner,
            author="test",
            dry_run=dry_run,
            listed=lambda _: None,
            settled=settled,
        )


async def put(site: Site, key: str, owner: object = None, **more: Any) -> None:
    metadata = {**({"created-by": str(owner)} if owner else {}), **more.pop("metadata", {})}
    store = site.bucket
    await anyio.to_thread.run_sync(
        lambda: store.client.put_object(Bucket=store.name, Key=key, Body=b"12", Metadata=metadata, **more)
    )


async def reasons(site: Site, done: Adoption) -> Mapping[str, str]:
    """Why each object was left, by its key."""
    async with site.catalog() as catalog:
        pages = [page async for page in catalog.adoptions.objects(done.id)]
    return {each.storage_key: each.why for page in pages for each in page if each.reason}


async def waits_for_a_lock(site: Site) -> None:
    async with site.connected() as connection:
        with anyio.fail_after(30):
            while not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):
                await anyio.lowlevel.checkpoint()


async def install(site: Site) -> None:
    async with site.connected() as connection:
        await triggers.install(connection, TableMapping())


@pytest.fixture
async def site(ordered_site: Site) -> Site:
    """Tied to its bucket: no pass has found anything yet."""
    with _environment(ordered_site.environment):
        settings = load()
        async with app.open_ports(settings) as ports:
            await ownership.first_contact(ports, settings.bucket.name, settings.bucket.prefixes)
    return ordered_site


async def test_an_object_becomes_a_row_that_says_what_the_object_does_and_can_be_undone(site: Site) -> None:
    async with site.catalog() as catalog:
        owner = await site.virtual_key()
        said = {"custom-provider": "acme", "expires-at": "2099-01-02T03:04:05Z", "prompt": "=?UTF-8?B?w6k=?="}
        await put(site, "image/a.png", owner, metadata=said, ContentType="image/png")
        await put(site, "image/b.bin", owner, ContentType="application/zip")
        columns = '{"Prompt": "metadata:prompt", "PublicUrl": "constant:none"}'
        tried = await adopt(site, dry_run=True, adoption__columns=columns)
        assert (tried.adopted, await site.rows()) == (2, set())
        done = await adopt(site, adoption__columns=columns)
        assert (done.adopted, done.left, done.adopted_bytes) == (2, {}, 4)
        first, second = await site.sql('SELECT * FROM "MediaRecords" ORDER BY "StorageKey"')
        assert (first["VirtualKeyId"], first["SizeBytes"], first["ContentType"]) == (owner, 2, "image/png")
        assert (first["MediaType"], second["MediaType"]) == ("image", "other")
        assert (first["Provider"], first["Prompt"], first["PublicUrl"]) == ("acme", "é", "none")
        assert first["ExpiresAt"].year == 2099
        assert first["CreatedAt"] < first["LastAccessedAt"], "an adoption counts as an access"
        assert (await adopt(site)).candidates == 0
        noted = await site.sql("SELECT event, record_id, owners, pass_id FROM reconciler.ledger ORDER BY id")
        assert [row["event"] for row in noted] == ["adopted"] * 2
        assert (noted[0]["record_id"], noted[0]["owners"]) == (str(first["Id"]), [str(owner)])
        changed = 'UPDATE "MediaRecords" SET "Model" = $2 WHERE "StorageKey" = $1'
        await site.sql(changed, "image/b.bin", "m")
        assert await operations.undo(catalog, done.id, author="test", live=False) == (0, 2)
        assert await operations.undo(catalog, done.id, author="test", live=True) == (1, 1)
        assert await site.state() == ({"image/a.png", "image/b.bin"}, {"image/b.bin"})
        again = await adopt(site)
        assert await reasons(site, again) == {"image/a.png": "undone"}, "or the next one would make it again"


@pytest.mark.parametrize("source", ["tag:owner", "key:image/([^/]+)/.*"])
async def test_an_owner_is_also_known_by_a_tag_or_a_part_of_the_key(site: Site, source: str) -> None:
    owner = await site.virtual_key()
    await put(site, f"image/{owner}/a", Tagging=f"owner={owner}")
    await put(site, "image/nobody/a", Tagging="other=x")
    done = await adopt(site, adoption__owner_from=source)
    assert await site.rows() == {f"image/{owner}/a"}
    assert list(done.left) == ["no_owner" if source.startswith("tag") else "unknown_owner"]
    assert (await adopt(site, owner=str(owner))).adopted == 1, "one is named for all"
    with pytest.raises(NotDone, match="there is no virtual key nobody"):
        await adopt(site, owner="nobody")


async def test_nothing_is_adopted_that_is_to_go_or_went(site: Site) -> None:
    owner = await site.virtual_key()
    keys = (
        "marked",
        "claimed",
        "departed",
        "noted",
        "erased",
        "deleted",
        "tombstone",
        "hidden",
        "stranger",
        "reserved",
    )
    for key in keys:
        await put(site, f"image/{key}", "stranger" if key == "stranger" else owner)
    await put(site, "image/nobody")
    await put(site, "image/Spelled", owner)
    await site.row("/image/Spelled", owner)
    await site.script(
        """
        INSERT INTO reconciler.marks (storage_key, verdict, reason, bytes, pass_id, first_seen_at,
            last_seen_at, last_pass_id, sightings, due_at, state, records)
        SELECT 'image/' || key, verdict, '', 1, 1, now(), now(), 1, 1, 'infinity', state,
            CASE WHEN state = 'claimed' THEN '[]'::jsonb END
        FROM (VALUES ('marked', 'orphan', 'found'), ('claimed', 'orphan', 'claimed'),
            ('departed', 'stale', 'found')) AS m (key, verdict, state);
        UPDATE reconciler.marks SET verdict = 'departed' WHERE storage_key = 'image/departed';
        INSERT INTO reconciler.departures (storage_key, left_at) VALUES ('image/noted', now());
        INSERT INTO reconciler.ledger (epoch, event, mode, what, storage_key, verdict, reason, result)
        VALUES (0, 'erased', 'live', 'object', 'image/erased', '', '', NULL),
            (0, 'result', 'live', 'object', 'image/deleted', 'orphan', '', 'deleted');
        INSERT INTO reconciler.reservations (id, storage_key, owner, content_type, expires_at)
        VALUES (gen_random_uuid(), 'image/reserved', '', '', now() + interval '1 hour');
        INSERT INTO reconciler.tombstones (storage_key, verdict, operation_id, gone_at, ends_at)
        VALUES ('image/tombstone', 'orphan', gen_random_uuid(), now(), now() + interval '1 hour');
        INSERT INTO reconciler.hidden (storage_key, operation_id, verdict, mode, version_ids, marker_ids,
            bytes, hidden_at, state)
        VALUES ('image/hidden', gen_random_uuid(), 'orphan', 'versioned', '{}', '{}', 1, now(), 'hidden');
        """
    )
    done = await adopt(site)
    assert await reasons(site, done) == {
        "image/marked": "marked",
        "image/claimed": "claimed",
        "image/noted": "departed",
        "image/erased": "erased",
        "image/deleted": "deleted",
        "image/tombstone": "deleted",
        "image/hidden": "deleted",
        "image/stranger": "unknown_owner",
        "image/nobody": "no_owner",
        "image/Spelled": "near_miss",
    }, "what is departed or reserved is no candidate at all"
    assert await site.rows() == {"/image/Spelled"}
    assert done.adopted == 0
    young = await adopt(site, grace_period="1h")
    assert (young.candidates, young.passed_over["pending"]) == (0, 10)


async def test_a_row_that_retention_would_take_is_not_made(site: Site) -> None:
    disabled = await site.virtual_key(enabled=False)
    await put(site, "image/revoked", disabled)
    await put(site, "image/over", disabled, metadata={"expires-at": "2020-01-01T00:00:00Z"})
    await site.sql("INSERT INTO reconciler.revoked_keys VALUES ($1, now() - interval '1 day')", str(disabled))
    done = await adopt(site)
    assert await reasons(site, done) == {"image/revoked": "retention", "image/over": "retention"}
    done = await adopt(site, revoked_key_policy="keep")
    assert await reasons(site, done) == {"image/over": "retention"}
    assert await site.rows() == {"image/revoked"}, "a key that may be enabled again"


async def test_the_table_decides_what_it_takes(site: Site) -> None:
    owner = await site.virtual_key()
    await put(site, "image/a", owner)
    await put(site, "image/refused", owner)
    await site.script(
        """
        ALTER TABLE "MediaRecords" ADD COLUMN "Tenant" text NOT NULL, ALTER COLUMN "Id" DROP DEFAULT,
            ALTER COLUMN "CreatedAt" TYPE timestamp, ADD CHECK ("StorageKey" <> 'image/refused');
        """
    )
    with pytest.raises(ConfigError, match="no value for Tenant, which the table requires"):
        await adopt(site)
    with pytest.raises(ConfigError, match=r"has no column tenant that can be written"):
        await adopt(site, adoption__columns='{"tenant": "constant:7"}')
    done = await adopt(site, adoption__columns='{"Tenant": "constant:7"}')
    assert await reasons(site, done) == {"image/refused": "refused"}
    assert [tuple(row) for row in await site.sql('SELECT "StorageKey", "Tenant" FROM "MediaRecords"')] == [
        ("image/a", "7")
    ]


@pytest.mark.parametrize("unique", [True, False])
async def test_a_writer_of_the_same_key_and_an_adoption_make_one_row(site: Site, unique: bool) -> None:
    owner = await site.virtual_key()
    await put(site, "image/a", owner)
    if not unique:
        await site.script(
            'ALTER TABLE "MediaRecords" DROP CONSTRAINT "MediaRecords_StorageKey_key";'
            ' CREATE INDEX ON "MediaRecords" ("StorageKey")'
        )
    async with site.connected() as writer, anyio.create_task_group() as group:
        transaction = writer.transaction()
        await transaction.start()
        await site.row("image/a", owner, on=writer)
        found: list[Adoption] = []

        async def carry_out() -> None:
            found.append(await adopt(site))

        group.start_soon(carry_out)
        await waits_for_a_lock(site)
        await transaction.commit()
    assert await reasons(site, found[0]) == {"image/a": "has_row"}
    assert len(await site.sql('SELECT FROM "MediaRecords"')) == 1


async def test_what_was_settled_before_a_kill_stays_settled(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adopting, "PAGE", 2)
    monkeypatch.setattr(adopting, "PAGES", 1)
    owner = await site.virtual_key()
    keys = [f"image/{number}" for number in range(6)]
    for key in keys:
        await put(site, key, owner)
    pages: list[Sequence[Adopted]] = []

    def killed(page: Sequence[Adopted]) -> None:
        pages.append(page)
        if len(pages) == 2:
            raise Killed

    with pytest.raises(Killed):
        await adopt(site, settled=killed)
    assert await site.rows() == set(keys[:4])
    monkeypatch.setattr(operations, "TAKEN", timedelta(milliseconds=1))
    with pytest.raises(NotDone, match="is under way, by"):
        await adopt(site)
    await site.sql("UPDATE reconciler.adoptions SET taken_until = now()")
    monkeypatch.undo()
    left: list[Adopted] = []
    done = await adopt(site, settled=left.extend)
    assert [each.storage_key for each in left] == keys[4:]
    assert (done.adopted, done.candidates) == (6, 6)
    assert await site.sql("SELECT FROM reconciler.spellings") == []


async def test_an_adopted_row_whose_object_goes_is_dangling(site: Site) -> None:
    owner = await site.virtual_key()
    for key in ("image/a", "image/b"):
        await put(site, key, owner)
    await adopt(site)
    await anyio.to_thread.run_sync(
        lambda: site.bucket.client.delete_object(Bucket=site.bucket.name, Key="image/a")
    )
    await site.once()
    await site.once()
    assert await site.state() == ({"image/b"}, {"image/b"})


async def test_a_sweep_adopts_what_it_knows_the_owner_of_and_marks_the_rest(site: Site) -> None:
    owner = await site.virtual_key()
    await put(site, "image/a", owner)
    await put(site, "image/nobody")
    await put(site, "image/stranger", "stranger")
    on = {"adoption__enabled": "true", "adoption__owner_from": BY_FIELD}
    report = await site.once(**on)
    assert (report.found[Verdict.ADOPT], report.found[Verdict.ORPHAN], report.removed.objects) == (1, 2, 2)
    assert await site.state() == ({"image/a"}, set()), "kept, and without the triggers not adopted"
    await install(site)
    dry = await site.once(**on, dry_run="true")
    assert (dry.found[Verdict.ADOPT], await site.rows()) == (1, set())
    live = await site.once(**on)
    assert (live.found[Verdict.ADOPT], live.removed.objects) == (1, 0)
    assert await site.state() == ({"image/a"}, {"image/a"})
    settled = await site.once(**on)
    assert settled.found.get(Verdict.ADOPT, 0) == 0
    await site.sql('DELETE FROM "MediaRecords"')
    gone = await site.once(**on, departure_delay="1h")
    assert gone.found.get(Verdict.ADOPT, 0) == 0, "what its user has deleted does not come back"
    assert await site.rows() == set()


async def test_an_undone_adoption_is_an_orphan_again_and_no_departure(site: Site) -> None:
    await install(site)
    owner = await site.virtual_key()
    await put(site, "image/a", owner)
    on = {"adoption__enabled": "true", "adoption__owner_from": BY_FIELD}
    await site.once(**on)
    async with site.catalog() as catalog:
        made = (await site.sql("SELECT max(id) FROM reconciler.adoptions"))[0][0]
        assert await operations.undo(catalog, made, author="test", live=True) == (1, 0)
    assert await site.sql("SELECT FROM reconciler.departures") == []
    report = await site.once(**on, delete_delay="1d")
    assert (report.found.get(Verdict.ADOPT, 0), report.found[Verdict.ORPHAN]) == (0, 1)
