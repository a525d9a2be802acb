"""The triggers themselves: installed on any schema, removed, and recognised whatever becomes of them."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import anyio.to_thread
import asyncpg
import pytest

from reconciler.catalog import migrate
from reconciler.catalog.db.config import CatalogConfig, KeyColumns, MediaColumns, TableMapping
from reconciler.catalog.media_tables import triggers
from reconciler.catalog.media_tables.guard import REFUSED, TRIGGER
from reconciler.catalog.media_tables.inspection import inspect
from reconciler.catalog.media_tables.triggers import Triggers
from reconciler.errors import CatalogUnavailable, ConfigError
from reconciler.model.spelling import fingerprints

pytestmark = pytest.mark.anyio

MEDIA = 'public."MediaRecords"'

CLAIM = """
WITH pass AS (
    INSERT INTO reconciler.passes (kind, cutoff, config_hash, mode, state, epoch, tally)
    VALUES ('sweep', now(), '', 'live', 'released', 1, '{}') RETURNING id
)
INSERT INTO reconciler.marks (storage_key, verdict, reason, bytes, pass_id, first_seen_at, last_seen_at,
                              last_pass_id, sightings, due_at, state)
SELECT $1, 'orphan', '', 0, id, now(), now(), id, 1, now(), 'claimed' FROM pass
"""
"""A claimed mark, as a writer meets it."""


@asynccontextmanager
async def connected(url: str, **options: Any) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(url, **options)
    try:
        yield connection
    finally:
        await connection.close()


async def migrated(config: CatalogConfig | str, **options: Any) -> list[str]:
    """What `migrate` says, or with `sql` writes."""
    out = io.StringIO()
    await anyio.to_thread.run_sync(lambda: migrate.upgrade(config, out=out, **options))
    return out.getvalue().splitlines()


async def found(url: str, tables: TableMapping | None = None) -> Triggers:
    report = await inspect(CatalogConfig(database_url=url, tables=tables or TableMapping()))
    assert report.faults == ()
    return report.triggers


async def insert(sql: Any, key: str, owner: Any) -> None:
    await sql.execute(
        f'INSERT INTO {MEDIA} ("Id", "StorageKey", "VirtualKeyId", "MediaType") VALUES ($1, $2, $3, $4)',
        uuid4(),
        key,
        owner,
        "image",
    )


async def add_owner(sql: Any) -> Any:
    return await sql.fetchval(
        'INSERT INTO public."VirtualKeys" ("KeyName", "KeyHash") VALUES (\'k\', \'k\') RETURNING "Id"'
    )


@asynccontextmanager
async def refused() -> AsyncIterator[None]:
    """The statement is refused by the triggers."""
    with pytest.raises(asyncpg.PostgresError) as caught:
        yield
    assert caught.value.sqlstate == REFUSED


# --- installing and removing ---------------------------------------------------------------------------


async def test_they_are_installed_and_removed_when_asked_for(database: str) -> None:
    assert await found(database) is Triggers.ABSENT
    assert (await migrated(database, with_triggers=True))[1:] == [
        "installed the triggers on public.MediaRecords"
    ]
    assert await found(database) is Triggers.INSTALLED
    told = await migrated(database, with_triggers=True)
    assert told[1:] == ["the triggers on public.MediaRecords are installed already"]
    assert (await migrated(database))[1:] == [], "a plain migrate leaves them"
    assert await found(database) is Triggers.INSTALLED
    assert (await migrated(database, with_triggers=False))[1:] == [
        "removed the triggers on public.MediaRecords"
    ]
    assert await found(database) is Triggers.ABSENT
    assert (await migrated(database, with_triggers=False))[1:] == [
        "there are no triggers on public.MediaRecords"
    ]


async def test_the_way_down_takes_them_along(database: str) -> None:
    await migrated(database, with_triggers=True)
    await anyio.to_thread.run_sync(lambda: migrate.downgrade(database, "0001"))
    async with connected(database) as sql:
        assert await sql.fetchval("SELECT count(*) FROM pg_trigger WHERE tgname = $1", TRIGGER) == 0
        functions = "SELECT count(*) FROM pg_proc WHERE pronamespace = 'reconciler'::regnamespace"
        assert await sql.fetchval(functions) == 0
        await insert(sql, "image/a", await add_owner(sql))


async def test_the_script_does_the_same(empty_database: str) -> None:
    config = CatalogConfig(database_url=empty_database)
    async with connected(empty_database) as sql:
        await sql.execute("\n".join(await migrated(config, sql=True, create_tables=True, with_triggers=True)))
        assert await found(empty_database) is Triggers.INSTALLED
        await sql.execute(triggers.removal())
        assert await found(empty_database) is Triggers.ABSENT
    assert "guard_record" in "\n".join(await migrated(config, sql=True, with_triggers=False))


async def test_an_open_transaction_on_the_table_is_named_and_not_waited_for(database: str) -> None:
    async with connected(database) as sql:
        await sql.execute(f"BEGIN; LOCK TABLE {MEDIA} IN ROW EXCLUSIVE MODE")
        with pytest.raises(CatalogUnavailable, match="open transaction keeps"):
            async with connected(database, server_settings={"lock_timeout": "50"}) as other:
                await triggers.install(other, TableMapping())


async def test_only_the_owner_can_install_them_and_is_told(database: str) -> None:
    role = f"guest_{uuid4().hex[:8]}"
    async with connected(database) as sql:
        await sql.execute(f"CREATE ROLE {role}; GRANT ALL ON SCHEMA reconciler TO {role}; SET ROLE {role}")
        try:
            with pytest.raises(ConfigError, match="as the owner of"):
                await triggers.install(sql, TableMapping())
        finally:
            await sql.execute(f"ROLLBACK; RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}")


# --- other schemas -------------------------------------------------------------------------------------


SCHEMAS = {
    "integer": ("integer", "1", "2"),
    "uuid": ("uuid", f"'{uuid4()}'", f"'{uuid4()}'"),
    "text": ("text", "'one'", "'two'"),
}

ODD = TableMapping(
    media_table='gate.The "me"dia',
    keys_table="gate.keys",
    media=MediaColumns(
        id="row id",
        storage_key='the "pa"th',
        virtual_key_id="owner's",
        size_bytes="",
        created_at="made",
        expires_at="expires",
        last_accessed_at="",
        deleted_at="",
    ),
    keys=KeyColumns(id="id", is_enabled="active", expires_at=""),
)


@pytest.mark.parametrize("kind", SCHEMAS)
@pytest.mark.parametrize("offline", [False, True])
async def test_a_mapped_schema_is_guarded_too(empty_database: str, kind: str, offline: bool) -> None:
    id_type, one, two = SCHEMAS[kind]
    config = CatalogConfig(database_url=empty_database, tables=ODD)
    async with connected(empty_database) as sql:
        await sql.execute(
            f"""
            CREATE SCHEMA gate;
            CREATE TABLE gate.keys (id {id_type} PRIMARY KEY, active boolean NOT NULL);
            CREATE TABLE gate."The ""me""dia" (
                "row id" {id_type} PRIMARY KEY, "the ""pa""th" text, "owner's" {id_type},
                made timestamp, expires timestamptz, note text);
            INSERT INTO gate.keys VALUES ({one}, true);
            """
        )
        if offline:
            with pytest.raises(ConfigError, match="map other tables or columns"):
                await migrated(config, sql=True, create_tables=True, with_triggers=True)
            await sql.execute("\n".join(await migrated(config, sql=True, with_triggers=True)))
        else:
            await migrated(config, with_triggers=True)
        assert await found(empty_database, ODD) is Triggers.INSTALLED
        table = 'gate."The ""me""dia"'
        await sql.execute(f"INSERT INTO {table} VALUES ({one}, 'image/a', {one}, now(), NULL, '')")
        await sql.execute(f"INSERT INTO {table} VALUES ({two}, NULL, {one}, now(), NULL, '')")
        await sql.execute(CLAIM, "image/a")
        await sql.execute(f"UPDATE {table} SET note = 'counted'")
        async with refused():
            await sql.execute(f"UPDATE {table} SET expires = now()")
        await sql.execute(f"DELETE FROM {table}")
        async with refused():
            await sql.execute(f"INSERT INTO {table} VALUES ({one}, 'image/a', {one}, now(), NULL, '')")


async def test_every_partition_is_guarded_also_one_that_comes_later(empty_database: str) -> None:
    tables = TableMapping(
        media_table="public.media",
        media=MediaColumns(last_accessed_at="", deleted_at="", size_bytes="", expires_at=""),
    )
    config = CatalogConfig(database_url=empty_database, tables=tables)
    async with connected(empty_database) as sql:
        await sql.execute(
            """
            CREATE TABLE public."VirtualKeys"
                ("Id" uuid PRIMARY KEY, "IsEnabled" boolean, "ExpiresAt" timestamptz);
            CREATE TABLE public.media ("Id" int UNIQUE, "StorageKey" text, "VirtualKeyId" uuid,
                "CreatedAt" timestamptz) PARTITION BY RANGE ("Id");
            CREATE TABLE public.one PARTITION OF public.media FOR VALUES FROM (0) TO (10);
            """
        )
        await migrated(config, with_triggers=True)
        assert await found(empty_database, tables) is Triggers.INSTALLED
        await sql.execute("CREATE TABLE public.two PARTITION OF public.media FOR VALUES FROM (10) TO (20)")
        assert await found(empty_database, tables) is Triggers.INSTALLED
        await sql.execute(CLAIM, "image/a")
        for table, row in (("media", 1), ("one", 2), ("media", 11), ("two", 12)):
            async with refused():
                await sql.execute(f"INSERT INTO public.{table} VALUES ({row}, 'image/a')")
        await sql.execute(f"ALTER TABLE public.one DISABLE TRIGGER {TRIGGER}")
        assert await found(empty_database, tables) is Triggers.DISABLED


@pytest.mark.attack(34)
async def test_a_partition_that_the_role_may_not_lock_is_looked_at_instead(database: str) -> None:
    """Rights to the table are enough to read and remove the rows of all its partitions."""
    tables = TableMapping(media_table="public.media")
    async with connected(database) as sql, connected(database) as role:
        name = f"looker_{role.get_server_pid()}"
        await sql.execute(
            f'CREATE TABLE public.media (LIKE {MEDIA}) PARTITION BY LIST ("StorageKey");'
            ' CREATE TABLE public.part PARTITION OF public.media DEFAULT PARTITION BY LIST ("StorageKey");'
            f" CREATE TABLE public.late (LIKE {MEDIA});"
            f" CREATE ROLE {name}; GRANT ALL ON public.media TO {name}; "
            f"GRANT USAGE ON SCHEMA reconciler TO {name}"
        )
        try:
            await triggers.install(sql, tables)
            await role.execute(f"SET ROLE {name}")
            async with role.transaction():
                assert await triggers.hold(role, tables)
            await sql.execute(
                "BEGIN; ALTER TABLE public.part ATTACH PARTITION public.late FOR VALUES IN ('image/a')"
            )
            async with role.transaction():
                assert not await triggers.hold(role, tables)
            await sql.execute("ROLLBACK")
        finally:
            await role.execute("RESET ROLE")
            await sql.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


async def test_a_table_that_inherits_is_guarded_or_else_it_is_said(database: str) -> None:
    """What merely inherits has rows that a claim reads, and no trigger of its parent's."""
    async with connected(database) as sql:
        await sql.execute(f"CREATE TABLE public.one () INHERITS ({MEDIA})")
        await migrated(database, with_triggers=True)
        assert await triggers.state(sql, TableMapping()) is Triggers.INSTALLED
        await sql.execute(f"CREATE TABLE public.two () INHERITS ({MEDIA})")
        assert await triggers.state(sql, TableMapping()) is Triggers.OUTDATED


async def test_a_generated_key_cannot_be_guarded(empty_database: str) -> None:
    async with connected(empty_database) as sql:
        await sql.execute(
            """
            CREATE TABLE public."VirtualKeys"
                ("Id" uuid PRIMARY KEY, "IsEnabled" boolean, "ExpiresAt" timestamptz);
            CREATE TABLE public."MediaRecords" ("Id" int PRIMARY KEY, "VirtualKeyId" uuid, name text,
                "StorageKey" text GENERATED ALWAYS AS ('image/' || name) STORED);
            """
        )
    with pytest.raises(ConfigError, match="generated column"):
        await migrated(empty_database, with_triggers=True)


# --- rows that spell an orphan otherwise --------------------------------------------------------------

NOTED = """
INSERT INTO reconciler.spellings (folded, pass_id, is_row, storage_key)
SELECT $2, pass_id, false, storage_key FROM reconciler.marks WHERE storage_key = $1
"""
FREE = "SELECT storage_key FROM reconciler.marks FOR UPDATE SKIP LOCKED"


@pytest.mark.attack(94)
@pytest.mark.parametrize(
    "other",
    [
        "image/NOTE A.PNG",
        "IMAGE/note%20a%2epn%67",
        "image/note%2520A.png",
        "https://cdn.example.org/media/IMAGE/Note+A.png?v=2#top",
        "/srv/App/image/note a.png",
        "Media/Image/note A.png",
        "image/Image//NOTE a.png ",
        "image\\Note a.png",
    ],
)
async def test_a_row_that_spells_an_orphan_otherwise_holds_its_claim_off(database: str, other: str) -> None:
    """R-94: by a lock while its transaction is open, and then by a note. A claimed one refuses no row."""
    await migrated(database, with_triggers=True)
    key = "image/Note A.png"
    async with connected(database) as sql, connected(database) as collector:
        owner = await add_owner(sql)
        await sql.execute(CLAIM, key)
        await sql.execute(NOTED, key, *fingerprints(key, "media", ("image/",)))
        await insert(sql, other, owner)
        assert await sql.fetch("SELECT FROM reconciler.spellings WHERE is_row") == []
        await sql.execute(f"DELETE FROM {MEDIA}; UPDATE reconciler.marks SET state = 'found'")
        async with sql.transaction():
            await insert(sql, other, owner)
            assert await collector.fetch(FREE) == []
        rows = await collector.fetch("SELECT storage_key FROM reconciler.spellings WHERE is_row")
        assert {row["storage_key"] for row in rows} >= {other}


@pytest.mark.attack(94)
@pytest.mark.parametrize("odd", ["%", "image/%c3%28", "image/%00", "+", "?", "http:///", "//", "image/%2"])
async def test_a_row_of_any_key_is_let_in(database: str, odd: str) -> None:
    await migrated(database, with_triggers=True)
    async with connected(database) as sql:
        await insert(sql, odd, await add_owner(sql))


@pytest.mark.attack(94)
async def test_a_key_that_no_object_can_have_is_not_taken_apart(database: str) -> None:
    """Each of its folders was hashed, which would take minutes for a long one."""
    async with connected(database) as sql:
        await sql.execute(f'ALTER TABLE {MEDIA} ALTER COLUMN "StorageKey" TYPE text')
        await migrated(database, with_triggers=True)
        owner = await add_owner(sql)
        await sql.execute("SET statement_timeout = '10s'")
        await insert(sql, "/" + "a/" * 100_000, owner)


# --- what becomes of them ------------------------------------------------------------------------------

SPOILED = {
    "a bulk load": (f"ALTER TABLE {MEDIA} DISABLE TRIGGER ALL", Triggers.DISABLED),
    "the end of a bulk load": (
        f"ALTER TABLE {MEDIA} DISABLE TRIGGER ALL; ALTER TABLE {MEDIA} ENABLE TRIGGER ALL",
        Triggers.DEMOTED,
    ),
    "replicas alone": (f"ALTER TABLE {MEDIA} ENABLE REPLICA TRIGGER {TRIGGER}", Triggers.DISABLED),
    "a column that a verdict reads by now": (
        f'ALTER TABLE {MEDIA} ADD COLUMN "DeletedAt" timestamptz',
        Triggers.OUTDATED,
    ),
    "another body": (
        (
            "CREATE OR REPLACE FUNCTION reconciler.guard_key(key text) RETURNS void LANGUAGE plpgsql"
            " AS 'BEGIN END'"
        ),
        Triggers.OUTDATED,
    ),
    "the caller's rights": ("ALTER FUNCTION reconciler.guard_record() SECURITY INVOKER", Triggers.OUTDATED),
    "the caller's path": ("ALTER FUNCTION reconciler.guard_record() RESET search_path", Triggers.OUTDATED),
    "insertions alone": (
        (
            f"DROP TRIGGER {TRIGGER} ON {MEDIA}; CREATE TRIGGER {TRIGGER} BEFORE INSERT ON"
            f" {MEDIA} FOR EACH ROW EXECUTE FUNCTION reconciler.guard_record(); ALTER TABLE {MEDIA}"
            f" ENABLE ALWAYS TRIGGER {TRIGGER}"
        ),
        Triggers.OUTDATED,
    ),
    "a later trigger": (
        (
            "CREATE FUNCTION public.late() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
            f" CREATE TRIGGER zzz BEFORE UPDATE ON {MEDIA} FOR EACH ROW EXECUTE FUNCTION public.late()"
        ),
        Triggers.OVERTAKEN,
    ),
    "nothing": ("DROP FUNCTION reconciler.guard_record() CASCADE", Triggers.ABSENT),
}


@pytest.mark.attack(30)
@pytest.mark.parametrize("how", SPOILED)
async def test_whatever_spoils_them_is_noticed_and_mended(database: str, how: str) -> None:
    statements, expected = SPOILED[how]
    await migrated(database, with_triggers=True)
    async with connected(database) as sql:
        await sql.execute(statements)
        assert await found(database) is expected
        await migrated(database, with_triggers=True)
        await sql.execute('DROP TRIGGER IF EXISTS zzz ON public."MediaRecords"')
        assert await found(database) is Triggers.INSTALLED


@pytest.mark.attack(12)
@pytest.mark.parametrize("how", ["insert", "copy"])
async def test_no_session_setting_and_no_bulk_load_skips_them(database: str, how: str) -> None:
    await migrated(database, with_triggers=True)
    async with connected(database) as sql:
        owner = await add_owner(sql)
        await sql.execute(CLAIM, "image/a")
        await sql.execute("SET session_replication_role = replica")
        rows = [(uuid4(), "image/a", owner, "image")]
        columns = ("Id", "StorageKey", "VirtualKeyId", "MediaType")
        load: dict[str, Callable[[], Any]] = {
            "insert": lambda: insert(sql, "image/a", owner),
            "copy": lambda: sql.copy_records_to_table(
                "MediaRecords", schema_name="public", records=rows, columns=columns
            ),
        }
        async with refused():
            await load[how]()


@pytest.mark.attack(4)
async def test_a_row_changed_by_the_gateways_own_trigger_is_seen_as_it_ends(database: str) -> None:
    """The statement names no column that a verdict reads; the gateway's trigger sets one."""
    await migrated(database, with_triggers=True)
    async with connected(database) as sql:
        await insert(sql, "image/a", await add_owner(sql))
        await sql.execute(
            "CREATE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql AS"
            """ 'BEGIN NEW."LastAccessedAt" := now(); RETURN NEW; END';"""
            f" CREATE TRIGGER touch BEFORE UPDATE ON {MEDIA} FOR EACH ROW EXECUTE FUNCTION public.touch()"
        )
        await sql.execute(CLAIM, "image/a")
        async with refused():
            await sql.execute(f'UPDATE {MEDIA} SET "AccessCount" = 1')


# --- rights --------------------------------------------------------------------------------------------


async def test_the_gateways_role_needs_no_right_on_our_schema(database: str) -> None:
    """And no name of its own can come between: the path is fixed, temporary tables are last."""
    role = f"gateway_{uuid4().hex[:8]}"
    await migrated(database, with_triggers=True)
    async with connected(database) as sql:
        owner = await add_owner(sql)
        await sql.execute(CLAIM, "image/claimed")
        await sql.execute(
            "INSERT INTO reconciler.tombstones VALUES"
            " ('image/gone', 'orphan', gen_random_uuid(), now(), now() + interval '1 hour', true)"
        )
        await sql.execute(
            f"CREATE ROLE {role}; GRANT SELECT, INSERT, UPDATE ON {MEDIA} TO {role};"
            f' GRANT SELECT, REFERENCES ON public."VirtualKeys" TO {role}'
        )
        try:
            async with connected(database) as media:
                await media.execute(
                    f"SET ROLE {role}; CREATE TEMPORARY TABLE marks (storage_key text, state text);"
                    " CREATE TEMPORARY TABLE tombstones (LIKE marks); SET search_path = pg_temp, public"
                )
                for isolation in ("read committed", "repeatable read"):
                    await media.execute(f"SET default_transaction_isolation = '{isolation}'")
                    await insert(media, f"image/{isolation}", owner)
                    async with refused():
                        await insert(media, "image/claimed", owner)
                await insert(media, "image/gone", owner)
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await media.execute("SELECT reconciler.guard_key('image/a')")
            assert await sql.fetchval("SELECT storage_key FROM reconciler.restores") == "image/gone"
        finally:
            await sql.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.mark.attack(66)
async def test_a_plain_migrate_says_that_the_triggers_are_of_another_version(database: str) -> None:
    await migrated(database, with_triggers=True)
    async with connected(database) as sql:
        await sql.execute(SPOILED["another body"][0])
    (_, told) = await migrated(database)
    assert told.endswith("not those of this version: run `reconciler migrate --install-triggers` again")
    assert await found(database) is Triggers.OUTDATED
    assert (await migrated(database, with_triggers=True))[1:] == [
        "installed the triggers on public.MediaRecords, which were outdated"
    ]
