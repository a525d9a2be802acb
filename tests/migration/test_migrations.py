"""Up, down, up again; what is the gateway's stays as it is."""

from __future__ import annotations

import asyncio
import io
import threading
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from reconciler.catalog import migrate
from reconciler.catalog.db.config import CatalogConfig, KeyColumns, TableMapping
from reconciler.catalog.db.schema import HEAD_REVISION, declaration
from reconciler.catalog.media_tables.inspection import inspect
from reconciler.errors import CatalogUnavailable, ConfigError
from tests.migration import tables

GATEWAY = """
CREATE TABLE public."VirtualKeys" ("Id" integer PRIMARY KEY, "IsEnabled" boolean, "ExpiresAt" timestamptz);
CREATE TABLE public."MediaRecords" (
    "Id" uuid PRIMARY KEY, "StorageKey" varchar(500) COLLATE "und-x-icu" NOT NULL UNIQUE,
    "VirtualKeyId" integer REFERENCES public."VirtualKeys" ON DELETE CASCADE, "SizeBytes" bigint,
    "ExpiresAt" timestamptz, "CreatedAt" timestamptz, "LastAccessedAt" timestamptz);
"""
BOTH = 'public."MediaRecords" and public."VirtualKeys"'
PLAIN_GATEWAY = GATEWAY.replace(' COLLATE "und-x-icu"', ' COLLATE "POSIX"')

# Everything that a schema consists of, as text.
SHAPE = """
SELECT c.oid::regclass::text || ' ' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod) AS part
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = $1::regnamespace AND a.attnum > 0
UNION ALL
SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
WHERE c.relnamespace = $1::regnamespace
UNION ALL
SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = $1::regnamespace
ORDER BY 1
"""


def _ask(url: str, query: str, *arguments: Any) -> list[Any]:
    async def ask() -> list[Any]:
        connection = await asyncpg.connect(url)
        try:
            return list(await connection.fetch(query, *arguments))
        finally:
            await connection.close()

    return asyncio.run(ask())


def _run(url: str, script: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(script)
        finally:
            await connection.close()

    asyncio.run(run())


def _shape(url: str, schema: str) -> list[str]:
    return [row["part"] for row in _ask(url, SHAPE, schema)]


def _tables(url: str) -> set[str]:
    query = "SELECT schemaname || '.' || tablename AS name FROM pg_tables WHERE schemaname = ANY($1)"
    return {row["name"] for row in _ask(url, query, ["public", "reconciler"])}


def _described(action: Any, *arguments: Any, **options: Any) -> list[str]:
    out = io.StringIO()
    action(*arguments, out=out, **options)
    return out.getvalue().splitlines()


def test_up_down_and_up_again(empty_database: str) -> None:
    assert _described(migrate.upgrade, empty_database, create_tables=True) == [
        f"schema reconciler is at {HEAD_REVISION}, was at nothing",
        f"created {BOTH}",
    ]
    before = _shape(empty_database, "public"), _shape(empty_database, "reconciler")
    assert migrate.current(empty_database) == HEAD_REVISION
    assert _described(migrate.upgrade, empty_database) == [f"schema reconciler is at {HEAD_REVISION} already"]
    assert _described(migrate.downgrade, empty_database) == [
        f"schema reconciler is at nothing, was at {HEAD_REVISION}"
    ]
    assert _tables(empty_database) == set()
    assert _ask(empty_database, "SELECT to_regnamespace('reconciler') AS schema")[0]["schema"] is None
    assert migrate.current(empty_database) is None
    migrate.upgrade(empty_database, create_tables=True)
    assert (_shape(empty_database, "public"), _shape(empty_database, "reconciler")) == before


def test_the_head_that_readiness_knows_is_the_newest_migration() -> None:
    script = ScriptDirectory.from_config(migrate.alembic_config())
    assert script.get_heads() == [HEAD_REVISION]


@pytest.mark.parametrize(("metadata", "schema"), [(tables.OWN, "reconciler"), (tables.GATEWAY, "public")])
def test_models_and_migrations_agree(database: str, metadata: MetaData, schema: str) -> None:
    """Alembic sees no difference, and a database made from the models alone has the same shape."""

    def compare(connection: Connection) -> Any:
        options = {
            "include_schemas": True,
            "include_name": lambda name, kind, _: kind != "schema" or name == schema,
            "compare_type": True,
            "version_table_schema": "reconciler",
        }
        return compare_metadata(MigrationContext.configure(connection, opts=options), metadata)

    async def differences() -> Any:
        engine = create_async_engine(
            database.replace("postgresql", "postgresql+asyncpg", 1),
            poolclass=NullPool,
            # No schema is the default one, so that each is named.
            connect_args={"server_settings": {"search_path": "pg_catalog"}},
        )
        async with engine.connect() as connection:
            return await connection.run_sync(compare)

    assert asyncio.run(differences()) == []


@pytest.mark.parametrize(("metadata", "schema"), [(tables.OWN, "reconciler"), (tables.GATEWAY, "public")])
def test_a_database_made_from_the_models_has_the_migrations_shape(
    database: str, empty_database: str, metadata: MetaData, schema: str
) -> None:
    async def make() -> None:
        url = empty_database.replace("postgresql", "postgresql+asyncpg", 1)
        engine = create_async_engine(url, poolclass=NullPool)
        async with engine.begin() as connection:
            await connection.run_sync(metadata.create_all)

    _run(empty_database, "CREATE SCHEMA IF NOT EXISTS reconciler")
    asyncio.run(make())
    migrated = [part for part in _shape(database, schema) if "alembic_version" not in part]
    assert [part for part in migrated if "version_num" not in part] == _shape(empty_database, schema)


@pytest.mark.parametrize(("asked", "told"), [(False, []), (True, [f"{BOTH} are there already"])])
def test_a_gateways_existing_schema_is_left_alone(empty_database: str, asked: bool, told: list[str]) -> None:
    _run(empty_database, PLAIN_GATEWAY)
    before = _shape(empty_database, "public")
    assert _described(migrate.upgrade, empty_database, create_tables=asked) == [
        f"schema reconciler is at {HEAD_REVISION}, was at nothing",
        *told,
    ]
    assert _shape(empty_database, "public") == before
    migrate.downgrade(empty_database)
    assert _shape(empty_database, "public") == before


@pytest.mark.parametrize(
    ("kept", "missing"), [("MediaRecords", "VirtualKeys"), ("VirtualKeys", "MediaRecords")]
)
def test_one_gateway_table_without_the_other_is_an_error(
    empty_database: str, kept: str, missing: str
) -> None:
    _run(empty_database, f'CREATE TABLE public."{kept}" (a int)')
    message = f'public."{kept}" exists and public."{missing}" does not'
    with pytest.raises(ConfigError, match=message) as caught:
        migrate.upgrade(empty_database, create_tables=True)
    assert "\n" not in str(caught.value)
    assert _tables(empty_database) == {f"public.{kept}"}, "all or nothing"


@pytest.mark.attack(68)
def test_no_gateway_table_is_made_unasked_and_it_says_how(empty_database: str) -> None:
    _, told = _described(migrate.upgrade, empty_database)
    assert not any(name.startswith("public.") for name in _tables(empty_database))
    for part in (
        "CATALOG__MEDIA_TABLE=public.MediaRecords",
        "CATALOG__KEYS_TABLE",
        "migrate --create-tables",
    ):
        assert part in told
    name = _ask(empty_database, "SELECT current_database()::text AS name")[0]["name"]
    assert f"the database {name}:" in told, "it may be the wrong one"
    assert _described(migrate.upgrade, empty_database)[1:] == [told]
    assert _described(migrate.upgrade, empty_database, create_tables=True)[1:] == [f"created {BOTH}"]


@pytest.mark.parametrize(
    "mapped",
    [
        TableMapping(keys=KeyColumns(id="key_id")),
        TableMapping(media_table="media.files", keys_table="auth.api_keys"),
    ],
)
def test_no_gateway_table_is_made_under_a_mapping(empty_database: str, mapped: TableMapping) -> None:
    config = CatalogConfig(database_url=empty_database, tables=mapped)
    with pytest.raises(ConfigError, match="the settings map other tables or columns"):
        migrate.upgrade(config, create_tables=True)
    assert _tables(empty_database) == set()
    told = _described(migrate.upgrade, config)[1]
    assert f"CATALOG__MEDIA_TABLE={mapped.media_table}" in told
    assert ("--create-tables" in told) == mapped.is_default
    assert not any(name.startswith("public.") for name in _tables(empty_database))


@pytest.mark.attack(68)
@pytest.mark.parametrize(
    ("schema", "media", "keys"),
    [
        ("app", "MediaRecords", "VirtualKeys"),
        ("public", "mediarecords", "virtualkeys"),
        ("public", "MEDIA_RECORDS", "ApiKeys"),
        ("Shop", "media_records", "virtual_keys"),
    ],
)
def test_a_table_of_that_name_elsewhere_is_named_and_stops_the_creation(
    empty_database: str, schema: str, media: str, keys: str
) -> None:
    tables = f'CREATE TABLE "{schema}"."{media}" (a int); CREATE TABLE "{schema}"."{keys}" (a int)'
    _run(empty_database, f'CREATE SCHEMA IF NOT EXISTS "{schema}"; {tables}')
    before = _tables(empty_database)
    with pytest.raises(ConfigError, match="nothing was created") as caught:
        migrate.upgrade(empty_database, create_tables=True)
    quoted = [name if name.islower() else f'"{name}"' for name in (schema, media)]
    assert ".".join(quoted) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "reconciler.created" not in _tables(empty_database), "not even our own schema"
    assert _tables(empty_database) == before
    out = io.StringIO()
    migrate.upgrade(empty_database, sql=True, create_tables=True, out=out)
    with pytest.raises(asyncpg.RaiseError, match="nothing was created"):
        _run(empty_database, out.getvalue())


def test_the_sql_alone_does_the_same(database: str, empty_database: str) -> None:
    out = io.StringIO()
    nowhere = CatalogConfig(database_url="postgresql://nobody@nowhere/none")
    migrate.upgrade(nowhere, sql=True, create_tables=True, out=out)
    _run(empty_database, out.getvalue())
    for schema in ("public", "reconciler"):
        assert _shape(empty_database, schema) == _shape(database, schema)
    assert migrate.current(empty_database) == HEAD_REVISION
    migrate.downgrade(empty_database)
    assert _tables(empty_database) == set()


def test_the_sql_with_an_index_builds_it_outside_a_transaction(empty_database: str) -> None:
    out = io.StringIO()
    _run(empty_database, PLAIN_GATEWAY)
    migrate.upgrade(empty_database, sql=True, create_index=True, out=out)
    script = out.getvalue()
    last = script.index("COMMIT;") + len("COMMIT;")
    _run(empty_database, script[:last])
    _run(empty_database, script[last:].strip())
    assert "MediaRecords_StorageKey_bytes" in str(_shape(empty_database, "public"))


@pytest.mark.debian("postgresql-15")
def test_the_index_is_built_when_asked_for_and_goes_with_us(icu_empty_database: str) -> None:
    url = icu_empty_database
    _run(url, GATEWAY)
    before = _shape(url, "public")
    migrate.upgrade(url)
    assert any("--create-index" in warning for warning in asyncio.run(_inspected(url)).warnings)
    assert _described(migrate.upgrade, url, create_index=True) == [
        f"schema reconciler is at {HEAD_REVISION} already",
        'created index "public"."MediaRecords_StorageKey_bytes"',
    ]
    added = set(_shape(url, "public")) - set(before)
    (definition,) = [part for part in added if part.startswith("CREATE INDEX")]
    assert definition.endswith('("StorageKey" COLLATE "C")')
    assert _described(migrate.upgrade, url, create_index=True)[-1].endswith("is in byte order already")
    assert not any("--create-index" in warning for warning in asyncio.run(_inspected(url)).warnings)
    migrate.downgrade(url)
    assert _shape(url, "public") == before


async def _inspected(url: str) -> Any:
    return await inspect(CatalogConfig(database_url=url))


@pytest.mark.debian("postgresql-15")
def test_an_index_that_an_interrupted_build_left_is_built_again(icu_empty_database: str) -> None:
    url = icu_empty_database
    _run(url, GATEWAY)
    _run(
        url,
        'CREATE INDEX "MediaRecords_StorageKey_bytes" ON public."MediaRecords" ("StorageKey" COLLATE "C");'
        "UPDATE pg_index SET indisvalid = false"
        " WHERE indexrelid = 'public.\"MediaRecords_StorageKey_bytes\"'::regclass",
    )
    assert _described(migrate.upgrade, url, create_index=True)[-1].startswith("created index")
    valid = _ask(url, "SELECT bool_and(indisvalid) AS valid FROM pg_index")
    assert valid[0]["valid"] is True


def test_an_index_for_a_missing_table_is_an_error(empty_database: str) -> None:
    config = CatalogConfig(database_url=empty_database, tables=TableMapping(media_table="gate.media"))
    with pytest.raises(ConfigError, match=r"RECONCILER_CATALOG__MEDIA_TABLE gate\.media: no such table"):
        migrate.upgrade(config, create_index=True)


def test_runs_at_the_same_time_do_not_disturb_one_another(empty_database: str) -> None:
    told: list[list[str]] = []

    def run() -> None:
        told.append(_described(migrate.upgrade, empty_database, create_tables=True))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    firsts = sorted(lines[0] for lines in told)
    assert firsts == [f"schema reconciler is at {HEAD_REVISION} already"] * 2 + [
        f"schema reconciler is at {HEAD_REVISION}, was at nothing"
    ]


def test_errors_are_one_line_without_the_password() -> None:
    with pytest.raises(CatalogUnavailable) as caught:
        migrate.upgrade("postgresql://u:hidden@127.0.0.1:1/db")
    assert "hidden" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_revision_is_an_error(database: str) -> None:
    with pytest.raises(ConfigError, match="0815"):
        migrate.upgrade(database, "0815")


def _migrated_later(url: str, oldest: str | None) -> None:
    """As a newer version of the program leaves it."""
    _run(url, f"UPDATE reconciler.alembic_version SET version_num = '9001'; {declaration(oldest)}")


def test_what_a_newer_version_made_is_left_alone_where_it_lets_this_one_work(database: str) -> None:
    _migrated_later(database, HEAD_REVISION)
    left_alone = "which a newer version made and this one may use; it was left alone"
    assert _described(migrate.upgrade, database) == [f"schema reconciler is at 9001, {left_alone}"]
    assert migrate.current(database) == "9001"


@pytest.mark.parametrize("oldest", [None, "9001"])
def test_what_a_newer_version_made_for_itself_is_an_error(database: str, oldest: str | None) -> None:
    _migrated_later(database, oldest)
    with pytest.raises(ConfigError, match=r"at revision 9001.*run a newer version of the program"):
        migrate.upgrade(database)


def test_a_migration_tries_again_where_a_replica_is_in_its_way(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that reads a table for longer than the migration lets everybody wait behind it."""
    migrate.upgrade(empty_database, "0001")
    monkeypatch.setattr(migrate, "LOCK_TIMEOUT", "100ms")
    monkeypatch.setattr(migrate, "AGAIN_AFTER", (0, 0))
    attempt, failed = migrate._attempt, 0
    reading: Any = None

    async def noted(*arguments: Any) -> Any:
        nonlocal failed
        try:
            return await attempt(*arguments)
        except DBAPIError:
            failed += 1
            reading.terminate()
            raise

    async def beside() -> None:
        nonlocal reading
        reading = await asyncpg.connect(empty_database)
        await reading.execute("BEGIN; SELECT count(*) FROM reconciler.tombstones")
        await asyncio.to_thread(migrate.upgrade, empty_database)

    monkeypatch.setattr(migrate, "_attempt", noted)
    asyncio.run(beside())
    assert migrate.current(empty_database) == HEAD_REVISION
    assert failed >= 1


def test_at_head_migrate_asks_for_no_right_that_it_has_no_use_for(database: str) -> None:
    """The hook of an upgrade may log in as the daemon's role, which owns nothing."""
    role = "reader_of_" + database.rsplit("/", 1)[1].split("?", maxsplit=1)[0].replace("-", "_")
    _run(
        database,
        f"CREATE ROLE {role} LOGIN PASSWORD 'x';"
        f"GRANT USAGE ON SCHEMA reconciler, public TO {role};"
        f"GRANT SELECT ON ALL TABLES IN SCHEMA reconciler TO {role}",
    )
    try:
        parts = urlsplit(database)
        login = parts._replace(netloc=f"{role}:x@{parts.netloc.rpartition('@')[2]}").geturl()
        said = _described(migrate.upgrade, login)
    finally:
        _run(database, f"DROP OWNED BY {role}; DROP ROLE {role}")
    assert said == [f"schema reconciler is at {HEAD_REVISION} already"]
