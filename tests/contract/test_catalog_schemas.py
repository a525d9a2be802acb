"""What the inspection says of schemas that are not the default, and what goes wrong on the way to them."""

from __future__ import annotations

import socket
from datetime import timedelta
from typing import Any

import anyio.to_thread
import asyncpg
import pytest

from reconciler.catalog import migrate
from reconciler.catalog.db.config import CatalogConfig, KeyColumns, MediaColumns, TableMapping
from reconciler.catalog.db.errors import DRIVER_ERRORS
from reconciler.catalog.media_tables.inspection import SchemaReport, inspect
from reconciler.catalog.open import open_catalog
from reconciler.errors import CatalogUnavailable, ConfigError, Halt
from reconciler.model import (
    Hold,
    HoldKind,
    KeyRange,
    MarkFilter,
    MarkState,
    Mode,
    ObjectResult,
    PassKind,
    Tally,
    Term,
    Verdict,
)
from reconciler.ports import ClaimRequest
from tests.contract.catalog import (
    ALL,
    DAY,
    LONG_AGO,
    NOTHING,
    POLICY,
    TTL,
    all_go,
    claimed,
    finding,
    no_cap,
    staged,
    unless_named,
)

pytestmark = pytest.mark.anyio

CATALOG = "RECONCILER_CATALOG"
MEDIA = f"{CATALOG}__MEDIA_COLUMNS"

SNAKE = """
CREATE SCHEMA gate;
CREATE TABLE gate.api_keys (key_id text PRIMARY KEY, active boolean NOT NULL, valid_until timestamp);
CREATE TABLE gate.media (
    row_id bigint PRIMARY KEY, path text NOT NULL, api_key text, size integer,
    made timestamp, expires timestamp, used timestamp);
CREATE INDEX ON gate.media (path);
"""

MAPPED = TableMapping(
    media_table="gate.media",
    keys_table="gate.api_keys",
    media=MediaColumns(
        id="row_id",
        storage_key="path",
        virtual_key_id="api_key",
        size_bytes="size",
        created_at="made",
        expires_at="expires",
        last_accessed_at="used",
        deleted_at="",
    ),
    keys=KeyColumns(id="key_id", is_enabled="active", expires_at="valid_until"),
)


async def _prepared(url: str, script: str, tables: TableMapping) -> CatalogConfig:
    sql = await asyncpg.connect(url)
    await sql.execute(script)
    await sql.close()
    config = CatalogConfig(database_url=url, tables=tables)
    await anyio.to_thread.run_sync(lambda: migrate.upgrade(config))
    return config


async def _report(url: str, **tables: Any) -> SchemaReport:
    return await inspect(CatalogConfig(database_url=url, tables=TableMapping(**tables)))


# --- other schemas ---------------------------------------------------------------------------------


@pytest.mark.attack(19)
async def test_an_object_goes_only_if_every_row_that_names_it_says_so(empty_database: str) -> None:
    """Lower-case names, a schema, bigint and text ids, times without zone, keys that are not unique."""
    config = await _prepared(empty_database, SNAKE, MAPPED)
    sql = await asyncpg.connect(empty_database)
    await sql.execute("INSERT INTO gate.api_keys VALUES ('k', true, NULL)")
    await sql.execute(
        "INSERT INTO gate.media VALUES"
        " (1, 'image/a', 'k', 5, '2020-01-01', '2020-02-01 12:00', NULL),"
        " (2, 'image/a', 'k', 5, '2020-01-01', NULL, NULL),"
        " (3, 'image/b', 'k', 5, '2020-01-01', '2020-02-01', NULL),"
        " (4, 'image/b', 'k', 5, '2020-01-01', '2020-02-01', NULL)"
    )
    async with open_catalog(config) as catalog:
        keys = await catalog.records.keys_in(KeyRange(prefix="image/"), 10)
        assert list(keys) == ["image/a", "image/b"], "each once"
        rows = {row.id: row for row in await catalog.records.lookup(keys)}
        expires = rows["1"].expires_at
        assert expires is not None
        assert expires - LONG_AGO == timedelta(days=31, hours=12), "without zone it is UTC"
        term = await catalog.lease.acquire("test", TTL)
        assert isinstance(term, Term)
        await catalog.lease.observe_mode(term, Mode.LIVE)
        current = await catalog.passes.begin(term, PassKind.RETENTION, "hash", Mode.LIVE, None)
        pages = catalog.records.nominate(Verdict.EXPIRED, POLICY, await catalog.records.now())
        found = [finding(row.storage_key, Verdict.EXPIRED) async for page in pages for row in page]
        assert len(found) == 3
        await catalog.passes.record(term, current, found, NOTHING)
        await catalog.passes.arm(term, current, Tally())
        claim = await catalog.marks.claim(term, ClaimRequest(POLICY, ALL, 10, unless_named, no_cap))
        assert [key.decision.delete_object for key in claim.keys] == [False, True]
        answers = {"image/a": (ObjectResult.UNTOUCHED, ""), "image/b": (ObjectResult.DELETED, "")}
        removed = await catalog.marks.confirm(term, claim, answers, unless_named, DAY)
        assert (removed.objects, removed.records, removed.lost) == (1, 3, 0)
        async with catalog.staging.open(None) as staging:
            await staging.seal()
            missing = [page async for page in staging.records_without_object(["image/"])]
    assert [row.id for page in missing for row in page] == ["2"]
    assert await sql.fetchval("SELECT array_agg(row_id) FROM gate.media") == [2]
    await sql.close()


async def test_a_schema_that_does_not_say_when_media_was_used_has_nothing_stale(database: str) -> None:
    sql = await asyncpg.connect(database)
    await sql.execute('ALTER TABLE public."MediaRecords" DROP COLUMN "LastAccessedAt"')
    await sql.close()
    config = CatalogConfig(
        database_url=database, tables=TableMapping(media=MediaColumns(last_accessed_at=""))
    )
    async with staged(database, config) as stage:
        await stage.add_row("image/a")
        records = stage.catalog.records
        (row,) = await records.lookup(["image/a"])
        now = await records.now()
        assert row.last_accessed_at is not None
        assert row.last_accessed_at > now
        assert [page async for page in records.nominate(Verdict.STALE, POLICY, now)] == []
        assert any("none is ever stale" in warning for warning in stage.catalog.report.warnings)


@pytest.mark.parametrize("absent", ["size_bytes", "created_at", "expires_at", "deleted_at"])
async def test_columns_mapped_to_nothing_are_not_read(database: str, absent: str) -> None:
    config = CatalogConfig(
        database_url=database,
        tables=TableMapping(media=MediaColumns(**{absent: ""}), keys=KeyColumns(expires_at="")),
    )
    async with staged(database, config) as stage:
        await stage.add_row("image/a", SizeBytes=5, ExpiresAt=LONG_AGO)
        (row,) = await stage.catalog.records.lookup(["image/a"])
        assert getattr(row, absent) is None
        for verdict in (Verdict.EXPIRED, Verdict.STALE, Verdict.REVOKED, Verdict.OWNERLESS):
            _ = [page async for page in stage.catalog.records.nominate(verdict, POLICY, LONG_AGO)]


# --- faults ----------------------------------------------------------------------------------------


async def test_all_faults_of_a_mapping_are_told_at_once(empty_database: str) -> None:
    sql = await asyncpg.connect(empty_database)
    await sql.execute(SNAKE + "ALTER TABLE gate.media ALTER row_id TYPE real;")
    await sql.close()
    media = MediaColumns(
        id="row_id",
        storage_key="size",
        virtual_key_id="apikey",
        size_bytes="size",
        created_at="CreatedAt",
        expires_at="expires",
        last_accessed_at="path",
    )
    report = await _report(empty_database, media_table="gate.media", keys_table="gate.api_key", media=media)
    assert report.types is None
    assert report.faults == (
        (
            f"{MEDIA}__ID row_id: its type is real; allowed are smallint, integer, bigint, numeric, uuid,"
            " text, varchar, char(n); a generated column of such a type serves as well"
        ),
        (
            f"{MEDIA}__STORAGE_KEY size: its type is integer; allowed are text, varchar, char(n), citext;"
            ' make a column of it that is, text COLLATE "C" GENERATED ALWAYS AS (…) STORED, and name that'
        ),
        (
            f"{MEDIA}__VIRTUAL_KEY_ID apikey: no such column in gate.media; there is api_key"
            ' (set it to "" if the table has none)'
        ),
        (
            "RECONCILER_CATALOG__MEDIA_COLUMNS__CREATED_AT CreatedAt: no such column in gate.media;"
            ' there are api_key, expires, made, path, row_id, size, used (set it to "" if the table has none)'
        ),
        (
            f"{MEDIA}__LAST_ACCESSED_AT path: its type is text; allowed are timestamptz, timestamp, date,"
            " integer, bigint, numeric, double precision; make a column of it that is, timestamptz GENERATED"
            " ALWAYS AS (…) STORED, and name that"
        ),
        "RECONCILER_CATALOG__KEYS_TABLE gate.api_key: no such table; there is gate.api_keys",
    )
    with pytest.raises(ConfigError, match=r"(?s)row_id.*api_keys"):
        async with open_catalog(CatalogConfig(database_url=empty_database, tables=MAPPED_WRONG)):
            pytest.fail("opened")


MAPPED_WRONG = TableMapping(media_table="gate.media", keys_table="gate.api_key", media=MAPPED.media)


async def test_an_empty_database_is_told_to_migrate(empty_database: str) -> None:
    report = await _report(empty_database)
    assert not report.at_head
    assert [fault.partition(":")[0] for fault in report.faults] == [
        "RECONCILER_CATALOG__MEDIA_TABLE public.MediaRecords",
        "RECONCILER_CATALOG__KEYS_TABLE public.VirtualKeys",
    ]
    assert all("reconciler migrate" in fault for fault in report.faults)


async def test_a_view_and_ids_that_do_not_compare_are_refused(database: str) -> None:
    sql = await asyncpg.connect(database)
    await sql.execute(
        'CREATE VIEW public.shown AS SELECT * FROM public."MediaRecords";'
        "CREATE TABLE public.other (id integer PRIMARY KEY, active boolean, until timestamptz);"
        "CREATE TABLE public.loose (id integer, active boolean, until timestamptz)"
    )
    await sql.close()
    other = KeyColumns(id="id", is_enabled="active", expires_at="until")
    assert "not a table but a view" in (await _report(database, media_table="shown")).faults[0]
    (fault,) = (await _report(database, keys_table="other", keys=other)).faults
    assert "its type is uuid, but RECONCILER_CATALOG__KEY_COLUMNS__ID is integer" in fault
    (fault,) = (await _report(database, keys_table="loose", keys=other)).faults
    assert "not unique in loose; name a column that is" in fault


@pytest.mark.attack(41)
async def test_tables_from_which_others_inherit_are_refused(database: str) -> None:
    sql = await asyncpg.connect(database)
    await sql.execute('CREATE TABLE public.heir () INHERITS (public."VirtualKeys")')
    await sql.close()
    (fault,) = (await _report(database)).faults
    assert "KEYS_TABLE public.VirtualKeys: tables inherit from it (public.heir)" in fault


@pytest.mark.attack(5)
async def test_row_level_security_is_a_fault_and_never_a_filter(database: str) -> None:
    owner = await asyncpg.connect(database)
    role = f"reader_{owner.get_server_pid()}"
    await owner.execute(
        f"CREATE ROLE {role} LOGIN PASSWORD 'secret';"
        f" GRANT USAGE ON SCHEMA public, reconciler TO {role};"
        f' GRANT SELECT ON public."MediaRecords", public."VirtualKeys" TO {role};'
        f" GRANT SELECT ON ALL TABLES IN SCHEMA reconciler TO {role}"
    )
    url = _as(database, role)
    try:
        report = await _report(url)
        assert report.faults == ()
        assert report.rights is not None
        lacking = report.rights.lacking(undoable=False)
        assert lacking is not None
        assert lacking.grants.startswith(
            f'GRANT UPDATE, DELETE ON "public"."MediaRecords" TO "{role}";'
            f' GRANT UPDATE ON "public"."VirtualKeys" TO "{role}"; GRANT USAGE, CREATE ON SCHEMA reconciler'
        )
        async with open_catalog(CatalogConfig(database_url=url)) as catalog:
            await owner.execute('ALTER TABLE public."MediaRecords" ENABLE ROW LEVEL SECURITY')
            with pytest.raises(Halt, match="look orphaned; grant BYPASSRLS"):
                await catalog.records.keys_in(KeyRange(prefix="image/"), 10)
            with pytest.raises(Halt, match=r"permission denied for table .*; grant it"):
                await catalog.site.new_id()
        (fault,) = (await _report(url)).faults
        assert "grant the role BYPASSRLS" in fault
        await owner.execute(f'REVOKE SELECT ON public."VirtualKeys" FROM {role}')
        wanted = f'GRANT SELECT ON "public"."VirtualKeys" TO "{role}";'
        assert any(wanted in fault for fault in (await _report(url)).faults)
    finally:
        await owner.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
        await owner.close()


def _as(url: str, role: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{role}:secret@{rest.rpartition('@')[2]}"


async def _warned(url: str) -> list[str]:
    return [each for each in (await _report(url)).warnings if each.startswith("public.MediaRecords: ")]


REFERS = 'uuid REFERENCES public."MediaRecords"'

TOLD = {
    f'CREATE TABLE public."Thumbnails" ("MediaId" {REFERS} ON DELETE CASCADE)': (
        "rows of public.Thumbnails go with a removed row"
    ),
    f'ALTER TABLE public."MediaRecords" ADD "ParentId" {REFERS} ON DELETE CASCADE': (
        "by public.MediaRecords, rows of this very table would go with a removed row"
    ),
    f"""CREATE TABLE public.albums (id int PRIMARY KEY, cover {REFERS} ON DELETE CASCADE);
        ALTER TABLE public."MediaRecords" ADD album int REFERENCES public.albums ON DELETE CASCADE""": (
        "by public.MediaRecords, rows of this very table would go with a removed row"
    ),
    f"CREATE TABLE public.posts (cover {REFERS} ON DELETE SET NULL)": (
        "references of public.posts are emptied"
    ),
    f"CREATE TABLE public.posts (cover {REFERS} ON DELETE RESTRICT)": (
        "a row that public.posts refers to cannot be removed"
    ),
    f"CREATE TABLE public.posts (cover {REFERS})": "the foreign key of public.posts has no index",
    """CREATE FUNCTION public.act() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
       CREATE TRIGGER audited AFTER DELETE ON public."MediaRecords" EXECUTE FUNCTION public.act()""": (
        "a removal fires audited"
    ),
    'CREATE RULE soft AS ON DELETE TO public."MediaRecords" DO INSTEAD NOTHING': "the rule soft rewrites",
}


@pytest.fixture(params=["database", "icu_database"], ids=["18", "15"])
def either(request: pytest.FixtureRequest) -> str:
    """A database on each end of what is supported."""
    url: str = request.getfixturevalue(request.param)
    return url


@pytest.mark.debian("postgresql-15")
@pytest.mark.parametrize("statement", TOLD, ids=[line[:24] for line in TOLD.values()])
async def test_what_a_removal_does_besides_and_what_keeps_a_row_is_told(either: str, statement: str) -> None:
    assert not any("removed row" in each or "removal" in each for each in await _warned(either))
    sql = await asyncpg.connect(either)
    try:
        await sql.execute(statement)
    finally:
        await sql.close()
    assert any(TOLD[statement] in each for each in await _warned(either))


async def test_our_own_triggers_are_no_cause_to_warn(database: str) -> None:
    config = CatalogConfig(database_url=database)
    await anyio.to_thread.run_sync(lambda: migrate.upgrade(config, with_triggers=True))
    assert not any("removal" in each for each in await _warned(database))


async def test_a_cascade_that_is_not_enforced_is_none(database: str) -> None:
    sql = await asyncpg.connect(database)
    try:
        before = await _warned(database)
        await sql.execute(f"CREATE TABLE public.posts (cover {REFERS} ON DELETE CASCADE NOT ENFORCED)")
        assert await _warned(database) == before
        await sql.execute("ALTER TABLE public.posts ALTER CONSTRAINT posts_cover_fkey ENFORCED")
        assert any("rows of public.posts go" in each for each in await _warned(database))
    finally:
        await sql.close()


async def test_an_index_behind_a_foreign_key_is_seen(database: str) -> None:
    sql = await asyncpg.connect(database)
    try:
        await sql.execute(
            f"CREATE TABLE public.posts (n int, cover {REFERS}); CREATE INDEX ON public.posts (n)"
        )
        assert any("has no index" in each for each in await _warned(database))
        await sql.execute("CREATE INDEX ON public.posts (cover, n)")
        assert not any("has no index" in each for each in await _warned(database))
    finally:
        await sql.close()


async def test_a_locked_table_is_told_with_whoever_holds_it(database: str) -> None:
    config = CatalogConfig(database_url=database, lock_timeout=timedelta(milliseconds=100))
    assert (await inspect(config)).blockers == ()
    holder = await asyncpg.connect(database, server_settings={"application_name": "reindexer"})
    async with open_catalog(config) as catalog:
        try:
            async with holder.transaction():
                await holder.execute('LOCK TABLE public."VirtualKeys"')
                (blocker,) = (await inspect(config)).blockers
                told = (
                    f'"public"."VirtualKeys" is locked (ACCESS EXCLUSIVE) by pid {holder.get_server_pid()}'
                    " (reindexer), open since "
                )
                assert told in blocker
                with pytest.raises(CatalogUnavailable, match="lock timeout") as refused:
                    await catalog.records.lookup(["image/a"])
                assert told in str(refused.value)
        finally:
            await holder.close()
    assert (await inspect(config)).blockers == ()


@pytest.mark.debian("postgresql-15")
async def test_a_prepared_transaction_is_told_and_what_it_has_locked(either: str) -> None:
    sql = await asyncpg.connect(either)
    if await sql.fetchval("SELECT current_setting('max_prepared_transactions')") == "0":
        pytest.skip("this server takes no prepared transactions")
    try:
        await sql.execute("""BEGIN; LOCK TABLE public."MediaRecords"; PREPARE TRANSACTION 'left over'""")
        locked, forgotten = (await inspect(CatalogConfig(database_url=either))).blockers
    finally:
        await sql.execute("ROLLBACK PREPARED 'left over'")
        await sql.close()
    assert "is locked (ACCESS EXCLUSIVE) by prepared transaction left over, open since" in locked
    assert forgotten.startswith("prepared transaction left over of postgres in database test_")


async def test_a_wrong_password_is_a_configuration_error_without_the_password(database: str) -> None:
    with pytest.raises(ConfigError, match="check RECONCILER_DATABASE_URL") as caught:
        await _report(_as(database, "postgres"))
    assert "secret@" not in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_refused_schema_says_what_to_do_and_not_to_ask_doctor(database: str) -> None:
    owner = await asyncpg.connect(database)
    role = f"stranger_{owner.get_server_pid()}"
    await owner.execute(
        f"CREATE ROLE {role} LOGIN PASSWORD 'secret';"
        f' GRANT SELECT ON public."MediaRecords", public."VirtualKeys" TO {role}'
    )
    try:
        with pytest.raises(Halt, match="permission denied for schema reconciler") as caught:
            async with open_catalog(CatalogConfig(database_url=_as(database, role))) as catalog:
                await catalog.require_schema()
        report = await _report(_as(database, role))
        assert report.rights is not None
        assert not report.rights.own
    finally:
        await owner.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
        await owner.close()
    assert "make this role the owner" in str(caught.value)
    assert "doctor" not in str(caught.value)


async def test_a_missing_database_is_a_configuration_error(database: str) -> None:
    with pytest.raises(ConfigError, match='database "nowhere" does not exist'):
        await _report(database.rpartition("/")[0] + "/nowhere")


async def test_a_server_that_is_away_is_unavailable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(CatalogUnavailable, match=f"127.0.0.1:{port}/db is not reachable") as caught:
            await _report(f"postgresql://u:hidden@127.0.0.1:{port}/db")
    assert "hidden" not in str(caught.value)


async def test_a_connection_that_is_cut_is_unavailable_and_then_made_anew(database: str) -> None:
    async with staged(database) as stage:
        await stage.catalog.records.now()
        async with stage.catalog.database.connection() as connection:
            pid = connection.get_server_pid()
            await stage.sql.execute("SELECT pg_terminate_backend($1)", pid)
            with pytest.raises((*DRIVER_ERRORS, OSError)):
                await connection.fetchval("SELECT 1")
        await stage.catalog.records.now()


async def test_a_statement_that_takes_too_long_is_unavailable_and_never_an_end(database: str) -> None:
    config = CatalogConfig(database_url=database, statement_timeout=timedelta(milliseconds=50))
    async with open_catalog(config) as catalog:
        locker = await asyncpg.connect(database)
        try:
            async with locker.transaction():
                await locker.execute('LOCK TABLE public."MediaRecords"')
                with pytest.raises(CatalogUnavailable, match="timeout"):
                    await catalog.records.keys_in(KeyRange(prefix="image/"), 10)
        finally:
            await locker.close()


@pytest.mark.incident(7)
async def test_every_session_is_told_what_it_must_not_inherit(database: str) -> None:
    sql = await asyncpg.connect(database)
    name = database.rpartition("/")[2]
    for setting in (
        "row_security = on",
        "search_path = public",
        "timezone = 'Asia/Tokyo'",
        "datestyle = 'SQL, DMY'",
        "default_transaction_isolation = 'serializable'",
    ):
        await sql.execute(f'ALTER DATABASE "{name}" SET {setting}')
    await sql.close()
    config = CatalogConfig(database_url=database)
    async with open_catalog(config) as catalog, catalog.database.connection() as c:
        shown = [
            await c.fetchval(f"SHOW {setting}")
            for setting in ("row_security", "search_path", "timezone", "datestyle", "transaction_isolation")
        ]
        assert shown == ["off", "pg_catalog, pg_temp", "UTC", "ISO, YMD", "read committed"]
        assert await c.fetchval("SHOW application_name") == "media-reconciler"


async def test_a_lost_serialization_is_tried_again(database: str) -> None:
    async with staged(database) as stage:
        tries = []

        async def work(connection: Any) -> int:
            tries.append(1)
            if len(tries) < 3:
                raise asyncpg.DeadlockDetectedError("deadlock detected")
            return int(await connection.fetchval("SELECT 7"))

        assert await stage.catalog.database.transaction(work) == 7

        async def never(_: Any) -> None:
            raise asyncpg.SerializationError("could not serialize")

        with pytest.raises(CatalogUnavailable, match="could not serialize"):
            await stage.catalog.database.transaction(never)


async def test_no_prepared_statement_is_needed(database: str) -> None:
    """As behind a pooler that hands out another server connection for each transaction."""
    config = CatalogConfig(database_url=database, statement_cache_size=0)
    async with staged(database, config) as stage:
        await stage.add_row("image/a", ExpiresAt=LONG_AGO)
        await stage.mark(finding("image/a", Verdict.EXPIRED))
        claim = await stage.claim()
        assert claimed(claim) == ["image/a"]
        assert (await stage.confirm(claim)).records == 1


# --- holds -------------------------------------------------------------------------------------------

COLLATED = SNAKE.replace("path text", 'path text COLLATE "de-x-icu"').replace(
    "api_key text", 'api_key text COLLATE "de-x-icu"'
)
NOT_SEARCHABLE = "CREATE COLLATION folded (provider = icu, locale = 'und', deterministic = false);" + (
    SNAKE.replace("path text", "path text COLLATE public.folded")
)


@pytest.mark.debian("postgresql-15")
@pytest.mark.parametrize("script", [COLLATED, NOT_SEARCHABLE])
async def test_holds_are_found_whatever_the_collation_of_the_tables(
    icu_empty_database: str, script: str
) -> None:
    config = await _prepared(icu_empty_database, script, MAPPED)
    sql = await asyncpg.connect(icu_empty_database)
    await sql.execute("INSERT INTO gate.api_keys VALUES ('K', true, NULL)")
    await sql.execute("INSERT INTO gate.media VALUES (1, 'image/theirs', 'K'), (2, 'image/Theirs', NULL)")
    await sql.close()
    keys = ["image/theirs", "image/Theirs", "image/key", "image/a/b"]
    holds = [
        Hold(kind=HoldKind.KEY, target="image/key", reason="a case", author="alice"),
        Hold(kind=HoldKind.PREFIX, target="image/a/", reason="a case", author="alice"),
        Hold(kind=HoldKind.VIRTUAL_KEY, target="K", reason="a case", author="alice"),
    ]
    async with open_catalog(config) as catalog:
        term = await catalog.lease.acquire("test", TTL)
        assert isinstance(term, Term)
        await catalog.lease.observe_mode(term, Mode.LIVE)
        current = await catalog.passes.begin(term, PassKind.SWEEP, "hash", Mode.LIVE, None)
        # Not an orphan: a row of the other spelling, whose age is not known, would keep that.
        own = finding("image/Theirs", Verdict.EXPIRED)
        found = [own if key == own.storage_key else finding(key) for key in keys]
        await catalog.passes.record(term, current, found, NOTHING)
        await catalog.passes.arm(term, current, Tally())
        assert await catalog.holds.add(holds) == []
        listed = await catalog.mark_list.page(MarkFilter(state=MarkState.HELD))
        assert "image/Theirs" not in await catalog.holds.held(keys)
        assert [each.mark.storage_key for each in listed] == ["image/a/b", "image/key", "image/theirs"]
        assert claimed(await catalog.marks.claim(term, ClaimRequest(POLICY, ALL, 10, all_go, no_cap))) == [
            "image/Theirs"
        ]
        assert (await catalog.marks.waiting(POLICY, ALL)).marks == 1
