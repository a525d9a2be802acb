"""The triggers on keys of every type and collation, on computed columns, and under any setting."""

from __future__ import annotations

import pytest

from reconciler.catalog.media_tables import triggers
from reconciler.catalog.media_tables.triggers import Triggers
from tests.contract.guarded import COLUMNS, MEDIA, TABLES, Gate, gate, refused

pytestmark = pytest.mark.anyio

# --- types and collations ------------------------------------------------------------------------------

ANYWHERE = {
    "text": (),
    "varchar(500)": (),
    "text COLLATE ucs_basic": (),
    'varchar(500) COLLATE "POSIX"': (),
    "char(64)": (),
    "gate.path": ("CREATE DOMAIN gate.path AS text CHECK (length(VALUE) > 3)",),
    "gate.inner": (
        "CREATE DOMAIN gate.outer AS varchar(200) COLLATE ucs_basic",
        "CREATE DOMAIN gate.inner AS gate.outer NOT NULL",
    ),
}
"""Types of a storage key, with what has to be made for them."""

ON_18 = {"text COLLATE pg_unicode_fast": (), "varchar(99) COLLATE pg_c_utf8": ()}

BLIND = "CREATE COLLATION gate.blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"

ON_ICU = {
    'text COLLATE "en-US-x-icu"': (),
    'varchar(500) COLLATE "C.utf8"': (),
    "text COLLATE gate.blind": (BLIND,),
    "char(64) COLLATE gate.blind": (BLIND,),
    "public.citext": ("CREATE EXTENSION citext",),
    'public.citext COLLATE "de-x-icu"': ("CREATE EXTENSION citext",),
    "gate.folded": (BLIND, "CREATE DOMAIN gate.folded AS text COLLATE gate.blind"),
    "gate.over": (
        BLIND,
        "CREATE EXTENSION citext",
        "CREATE DOMAIN gate.under AS public.citext",
        "CREATE DOMAIN gate.over AS gate.under COLLATE gate.blind",
    ),
}


async def guards(table: Gate) -> None:
    """What the triggers promise of a key, whatever its type."""
    free = await table.insert("image/free")
    held = await table.insert("image/held")
    await table.claim("image/held")
    await table.claim("image/claimed")
    await table.claim("image/double/slash")
    await table.entomb("image/gone")
    await table.entomb("image/back", recoverable=True)
    for isolation in ("read committed", "repeatable read"):
        await table.writer.execute(f"SET default_transaction_isolation = '{isolation}'")
        for key in ("image/claimed", "image/gone", "image//double/slash", "/image/double\\slash"):
            async with refused():
                await table.insert(key)
        async with refused():
            await table.update(free, path="'image/claimed'")
        async with refused():
            await table.update(held, expires="now()")
        async with refused():
            await table.update(held, owner="'another'")
        await table.update(held, note="'counted'")
        await table.update(free, expires="now()")
        await table.insert("image/new")
        await table.insert("image/CLAIMED")
        await table.insert("image/back")
    assert await table.restores() == {"image/back"}


@pytest.mark.attack(66)
@pytest.mark.parametrize("key", [*ANYWHERE, *ON_18])
async def test_a_key_of_any_type_and_collation_is_guarded(database: str, key: str) -> None:
    """Where its column has a collation of its own, a row that meets a mark is compared all the same."""
    async with gate(database, *(ANYWHERE | ON_18)[key], columns=COLUMNS.format(key=key)) as table:
        await guards(table)


@pytest.mark.attack(66)
@pytest.mark.debian("postgresql-15")
@pytest.mark.parametrize("key", [*ANYWHERE, *ON_ICU])
async def test_a_key_of_any_type_and_collation_is_guarded_on_15(icu_database: str, key: str) -> None:
    """And those of ICU, some of which call different keys equal and refuse to look into a string."""
    async with gate(icu_database, *(ANYWHERE | ON_ICU)[key], columns=COLUMNS.format(key=key)) as table:
        await guards(table)


@pytest.mark.attack(66)
@pytest.mark.debian("postgresql-15")
@pytest.mark.parametrize("key", ["text COLLATE gate.blind", "public.citext"])
async def test_a_key_that_differs_by_case_alone_is_another_one(icu_database: str, key: str) -> None:
    setup = (BLIND, "CREATE EXTENSION citext")
    async with gate(icu_database, *setup, columns=COLUMNS.format(key=key)) as table:
        row = await table.insert("image/A")
        await table.claim("image/a")
        async with refused():
            await table.update(row, path="'image/a'")


OWNERS = {
    "json": ("'{\"a\": 1}'", "'{\"a\": 2}'"),
    "text COLLATE gate.blind": ("'owner'", "'OWNER'"),
    "point": ("'(1,1)'", "'(1.0000000001,1)'"),
    "float8": ("0.1::float8", "0.10000000000000002::float8"),
}
"""Types that have no equality, or call different values equal."""


@pytest.mark.attack(66)
@pytest.mark.debian("postgresql-15")
@pytest.mark.parametrize("owner", OWNERS)
async def test_a_watched_column_of_any_type_is_compared_by_its_bytes(icu_database: str, owner: str) -> None:
    before, after = OWNERS[owner]
    columns = COLUMNS.format(key="text").replace("owner text", f"owner {owner}")
    async with gate(icu_database, BLIND, columns=columns) as table:
        row = await table.insert("image/a", owner=before)
        await table.claim("image/a")
        await table.writer.execute("SET extra_float_digits = -10")
        await table.update(row, owner=before, note="'counted'")
        async with refused():
            await table.update(row, owner=after)


# --- computed columns ----------------------------------------------------------------------------------

COMPUTED = (
    "id int, path text, owner text, made timestamp, ttl interval, note text,"
    " expires timestamp GENERATED ALWAYS AS (made + ttl) {kind}"
)


@pytest.mark.attack(65)
@pytest.mark.parametrize("kind", ["STORED", "VIRTUAL"])
@pytest.mark.parametrize("suffix", ["", "PARTITION BY LIST (id)"])
async def test_what_a_computed_column_is_computed_from_is_watched(
    database: str, kind: str, suffix: str
) -> None:
    """A trigger sees no generated column of the new row, and a virtual one of the old row neither."""
    async with gate(database, columns=COMPUTED.format(kind=kind), suffix=suffix) as table:
        if suffix:
            await table.sql.execute(f"CREATE TABLE gate.one PARTITION OF {MEDIA} DEFAULT")
        assert await triggers.state(table.sql, TABLES) is Triggers.INSTALLED
        for row, ttl in ((1, "NULL"), (2, "'1 day'")):
            await table.insert(f"image/{row}", made="now()", ttl=ttl)
            await table.claim(f"image/{row}")
            async with refused():
                await table.update(row, ttl="'90 days'")
            async with refused():
                await table.update(row, made="'2020-01-01'")
            await table.update(row, note="'counted'")
        async with refused():
            await table.insert("image/1", made="now()", ttl="'90 days'")


@pytest.mark.attack(65)
async def test_a_column_that_is_computed_otherwise_since_is_not_taken_for_watched(database: str) -> None:
    async with gate(database, columns=COMPUTED.format(kind="VIRTUAL") + ", more interval") as table:
        other = "ALTER COLUMN expires SET EXPRESSION AS (made + more)"
        await table.sql.execute(f"ALTER TABLE {MEDIA} {other}")
        assert await triggers.state(table.sql, TABLES) is Triggers.OUTDATED
        await triggers.install(table.sql, TABLES)
        row = await table.insert("image/a", made="now()")
        await table.claim("image/a")
        await table.update(row, ttl="'1 day'")
        async with refused():
            await table.update(row, more="'1 day'")


@pytest.mark.attack(65)
@pytest.mark.debian("postgresql-15")
async def test_what_a_stored_column_is_computed_from_is_watched_on_15(icu_database: str) -> None:
    async with gate(icu_database, columns=COMPUTED.format(kind="STORED")) as table:
        row = await table.insert("image/a", made="now()")
        await table.claim("image/a")
        await table.update(row, note="'counted'")
        async with refused():
            await table.update(row, ttl="'90 days'")


# --- the writer's session ------------------------------------------------------------------------------

SETTINGS = {
    "array_nulls": "off",
    "backslash_quote": "off",
    "bytea_output": "escape",
    "check_function_bodies": "off",
    "client_min_messages": "debug1",
    "constraint_exclusion": "on",
    "cursor_tuple_fraction": "1",
    "datestyle": "German, DMY",
    "debug_parallel_query": "on",
    "default_table_access_method": "heap",
    "default_text_search_config": "pg_catalog.german",
    "default_transaction_deferrable": "on",
    "default_transaction_isolation": "serializable",
    "enable_bitmapscan": "off",
    "enable_indexonlyscan": "off",
    "enable_indexscan": "off",
    "enable_seqscan": "on",
    "escape_string_warning": "on",
    "extra_float_digits": "-15",
    "gin_fuzzy_search_limit": "1",
    "intervalstyle": "sql_standard",
    "jit": "on",
    "lock_timeout": "1000",
    "log_statement": "all",
    "plan_cache_mode": "force_generic_plan",
    "plpgsql.check_asserts": "off",
    "plpgsql.extra_errors": "all",
    "plpgsql.extra_warnings": "all",
    "plpgsql.print_strict_params": "on",
    "plpgsql.variable_conflict": "use_column",
    "quote_all_identifiers": "on",
    "row_security": "off",
    "search_path": "pg_temp, gate, reconciler",
    "standard_conforming_strings": "off",
    "statement_timeout": "10000",
    "synchronous_commit": "off",
    "timezone": "Asia/Kathmandu",
    "track_functions": "all",
    "transform_null_equals": "on",
    "work_mem": "64",
    "xmlbinary": "hex",
    "xmloption": "document",
}
"""What a writer may have set, one at a time. Of `session_replication_role` see below."""


@pytest.mark.attack(66)
@pytest.mark.parametrize("name", SETTINGS)
async def test_no_setting_of_a_writers_session_changes_what_the_triggers_do(database: str, name: str) -> None:
    columns = COLUMNS.format(key="varchar(80) COLLATE ucs_basic")
    async with gate(database, columns=columns) as table:
        await table.writer.execute("SELECT set_config($1, $2, false)", name, SETTINGS[name])
        await guards(table)


@pytest.mark.attack(66)
@pytest.mark.debian("postgresql-15")
async def test_no_settings_of_a_writers_session_change_it_on_15(icu_database: str) -> None:
    """All of them at once."""
    columns = COLUMNS.format(key="text COLLATE gate.blind")
    async with gate(icu_database, BLIND, columns=columns) as table:
        for name, value in SETTINGS.items():
            await table.writer.execute(
                "SELECT set_config($1, $2, false) WHERE current_setting($1, true) IS NOT NULL"
                " OR $1 LIKE 'plpgsql.%'",
                name,
                value,
            )
        await guards(table)


@pytest.mark.attack(67)
@pytest.mark.attack(12)
async def test_a_session_of_the_replica_role_is_refused_while_it_can_be_told(database: str) -> None:
    """What it writes was committed elsewhere: once the object is gone, the row is let in and told of."""
    async with gate(database) as table:
        await table.claim("image/claimed")
        await table.entomb("image/gone")
        await table.entomb("image/back", recoverable=True)
        await table.writer.execute("SET session_replication_role = replica")
        async with refused():
            await table.insert("image/claimed")
        await table.insert("image/gone")
        await table.insert("image/back")
        assert await table.restores() == {"image/gone", "image/back"}


@pytest.mark.attack(66)
@pytest.mark.parametrize("name", ["standard_conforming_strings", "quote_all_identifiers", "datestyle"])
async def test_the_script_is_the_same_under_any_setting(database: str, name: str) -> None:
    async with gate(database) as table:
        await table.sql.execute(triggers.removal())
        await table.sql.execute("SELECT set_config($1, $2, false)", name, SETTINGS[name])
        await table.sql.execute(triggers.script(TABLES))
        assert await triggers.state(table.sql, TABLES) is Triggers.INSTALLED
