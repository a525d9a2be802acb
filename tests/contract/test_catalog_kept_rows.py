"""Rows that were removed come back to the byte, whatever their columns hold and the session says."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from reconciler.catalog.db.config import CatalogConfig
from reconciler.catalog.open import open_catalog
from reconciler.model import Return, Returned, UndoScope, Verdict
from tests.contract.catalog import DAY, LONG_AGO, Stage, all_go, finding, staged

pytestmark = pytest.mark.anyio

KEY = "image/a"

EXTENSIONS = ("hstore", "citext", "ltree", "cube", "isn", "seg")
"""Where the server has them."""

TYPES = """
CREATE SCHEMA app;
CREATE TYPE app.mood AS ENUM ('fine', 'it''s "so", so', ' ');
CREATE TYPE app.inner AS (a text, b int[], c timestamptz);
CREATE TYPE app.outer AS (head app.inner, tail app.inner[], f char(4), j json);
CREATE DOMAIN app.short AS varchar(20) CHECK (VALUE <> 'no');
CREATE DOMAIN app.shorter AS app.short NOT NULL;
CREATE DOMAIN app.document AS json;
CREATE DOMAIN app.class AS regclass;
CREATE DOMAIN app.letters AS char(3)[];
CREATE TYPE app.spans AS RANGE (subtype = float8);
CREATE FUNCTION public.twice(int) RETURNS int LANGUAGE sql AS 'SELECT 2 * $1';
CREATE FUNCTION public.twice(text) RETURNS text LANGUAGE sql AS 'SELECT $1 || $1';
CREATE FUNCTION app.shouted(app.mood) RETURNS text LANGUAGE sql AS $$ SELECT 'not what it is' $$;
CREATE CAST (app.mood AS text) WITH FUNCTION app.shouted(app.mood) AS ASSIGNMENT;
CREATE FUNCTION app.guessed(text) RETURNS app.mood LANGUAGE sql AS $$ SELECT 'fine'::app.mood $$;
CREATE CAST (text AS app.mood) WITH FUNCTION app.guessed(text) AS ASSIGNMENT;
"""

# Type and value, of every kind; what one reports as lost is here in another form.
SAMPLES: Sequence[tuple[str, str]] = (
    ("json", r"""'{"b":1, "a":2,  "a":3, "z":"\u0000", "cut":"\ud83d"}'"""),
    ("json", "'null'"),
    ("json", "' [1,  2.50]'"),
    ("app.document", r"""'"\u0000\udead"'"""),
    ("json[]", r"""ARRAY['{"a":1,"a":2}', 'null', '"\u0000"']::json[]"""),
    ("jsonb", "'null'"),
    ("jsonb", """'{"n": 1.500, "s": "null", "deep": [null, "\\"", "\U0001f600"]}'"""),
    ("jsonb", "'\"a string\"'"),
    ("jsonb[]", "ARRAY['null', NULL, '{}']::jsonb[]"),
    ("jsonpath", "'$.a[*] ? (@ > 1)'"),
    ("text", r"""E'\t{"no":\\N} \u2028 \x01'"""),
    ("text", "''"),
    ("text[]", """ARRAY['NULL', NULL, '', ' a ', '{x,"y"}', E'\\\\']"""),
    ("text[]", "'[2:3][-1:0]={{a,b},{c,d}}'"),
    ("varchar(5)", "'ab  '"),
    ("char(5)", "'ab'"),
    ("char(5)[]", "ARRAY['a', 'b  ']::char(5)[]"),
    ("app.letters", "ARRAY['x', 'yz']::char(3)[]"),
    ('"char"', "'x'"),
    ('"char"', "''"),
    ('"char"[]', """ARRAY['"', ',', ' ']::"char"[]"""),
    ("name", "'A \"name\"'"),
    ("app.mood", """'it''s "so", so'"""),
    ("app.mood[]", """ARRAY[' ', 'it''s "so", so', NULL]::app.mood[]"""),
    ("app.short", "'ab'"),
    ("app.shorter", "''"),
    ("app.shorter[]", "ARRAY['a,b', '\"']::app.shorter[]"),
    ("app.inner", "ROW('x \"y\"', ARRAY[1,NULL], '2024-02-29 12:00:00.000001+02')::app.inner"),
    ("app.inner", "ROW(NULL, NULL, NULL)::app.inner"),
    (
        "app.outer",
        """ROW(ROW('a,(b)', '{}', '-infinity')::app.inner, ARRAY[ROW('', NULL, NULL)::app.inner, NULL],
            'f', '{"a":1,"a":2}')::app.outer""",
    ),
    ("smallint", "-32768"),
    ("bigint", "9223372036854775807"),
    ("numeric", "'NaN'"),
    ("numeric", "'-Infinity'"),
    ("numeric", "123456789012345678901234567890.00100"),
    ("numeric(8,3)", "1.500"),
    ("real", "0.1"),
    ("double precision", "0.1::float8 + 0.2::float8"),
    ("double precision", "'-0'"),
    ("double precision[]", "ARRAY['NaN', '-Infinity', 1e-300, 1.0/3]::float8[]"),
    ("money", "'-1234567.89'::numeric::money"),
    ("money[]", "ARRAY[0.05::numeric::money, NULL]"),
    ("boolean", "false"),
    ("bytea", r"'\x00ff5c27'"),
    ("bytea[]", r"ARRAY['\x00', '']::bytea[]"),
    ("uuid", "'00000000-0000-0000-0000-000000000001'"),
    ("date", "'0044-03-15 BC'"),
    ("date", "'infinity'"),
    ("time", "'24:00'"),
    ("time(2)", "'12:34:56.78'"),
    ("timetz", "'23:59:59.999999-15:59'"),
    ("timestamp", "'294276-12-31 23:59:59.999999'"),
    ("timestamptz", "'4714-11-24 00:00:00+00 BC'"),
    ("timestamptz(3)", "'2024-10-27 02:30:00.123+02'"),
    ("timestamptz[]", "ARRAY['infinity', '01-02-2024 03:04:05.6+07']::timestamptz[]"),
    ("interval", "'-1 year -2 mons +3 days -04:05:06.789'"),
    ("interval", "'1 mon -1 day'"),
    ("interval", "'-1 day -02:03:04'"),  # of the two signs the SQL standard writes one
    ("interval day to second(3)", "'3 days 00:00:01.5'"),
    ("interval[]", "ARRAY['-1 mons', '1 day -1 second']::interval[]"),
    ("bit(5)", "B'00101'"),
    ("bit varying", "B'0'"),
    ("inet", "'10.0.0.1'"),
    ("inet", "'::1/64'"),
    ("cidr", "'10.0.0.0/8'"),
    ("macaddr8", "'08:00:2b:01:02:03:04:05'"),
    ("point", "'(NaN,Infinity)'"),
    ("box[]", "ARRAY[box '(1,1),(0,0)', box '(0.1,3),(2,2)']"),
    ("path", "'[(0,0),(1,1),(2,0.1)]'"),
    ("circle", "'<(0.1,0.2),3>'"),
    ("line", "'{1,-1,0.3}'"),
    ("int4range", "'[1,10)'"),
    ("tstzrange", "'[2024-01-01 00:00:00+01,)'"),
    ("app.spans", "'(0.1,0.30000000000000004]'"),
    ("datemultirange", "'{[2024-01-01,2024-02-01),[2025-01-01,)}'"),
    ("tsvector", "$$'a b':1A,2 'it''s':3$$"),
    ("tsquery", "$$'a' & !'b c' <2> 'd':*$$"),
    ("xml", """'<?xml version="1.0" encoding="utf-8"?><a b="c">  &lt;</a>'"""),
    ("xml", "'just <b>content</b>'"),
    ("regclass", "'pg_catalog.pg_class'"),
    ("regclass", "0"),
    ("regclass", "424242"),
    ("app.class", "'public.\"MediaRecords\"'::regclass"),
    ("regclass[]", "ARRAY['pg_class'::regclass, 424242::regclass, NULL]"),
    ("regproc", "'public.twice(text)'::regprocedure::oid"),
    ("regprocedure", "'public.twice(int)'"),
    ("regtype", "'app.mood'"),
    ("regrole", "'pg_monitor'"),
    ("regnamespace", "'app'"),
    ("oid", "4294967295"),
    ("oidvector", "'1 2 3'"),
    ("int2vector", "'-1 2'"),
    ("xid8", "'18446744073709551615'"),
    ("pg_lsn", "'16/B374D848'"),
    ("pg_snapshot", "'10:20:10,14,15'"),
    ("aclitem", "NULL"),
    ("refcursor", "'a cursor'"),
    ("hstore", """'"a b"=>"1", c=>NULL, "q\\"" => ""'"""),
    ("hstore[]", """ARRAY['a=>1', NULL, '"x,y"=>"{}"']::hstore[]"""),
    ("citext", "'MixED '"),
    ("citext[]", "ARRAY['A', 'b']::citext[]"),
    ("ltree", "'Top.Science'"),
    ("cube", "'(0.1, 2),(3, 0.30000000000000004)'"),
    ("isbn13", "'978-0-11-000533-1'"),
    ("seg", "'1.50 .. 2'"),
)

MEDDLING = """
CREATE FUNCTION app.meddles() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('DateStyle', 'SQL, DMY', true), set_config('TimeZone', 'Asia/Kathmandu', true),
            set_config('IntervalStyle', 'sql_standard', true), set_config('extra_float_digits', '-15', true),
            set_config('bytea_output', 'escape', true), set_config('xmloption', 'document', true),
            set_config('search_path', 'app, public', true), set_config('lc_monetary', '{money}', true);
    RETURN coalesce(NEW, OLD);
END $$;
CREATE TRIGGER a_meddles BEFORE INSERT OR DELETE ON public."MediaRecords"
    FOR EACH ROW EXECUTE FUNCTION app.meddles();
"""
"""A trigger that sets what roles, too, may be set to."""


@pytest.fixture(params=["database", pytest.param("icu_database", marks=pytest.mark.debian("postgresql-15"))])
def address(request: pytest.FixtureRequest) -> str:
    """Of a database on Postgres 18, and one on 15."""
    url: str = request.getfixturevalue(request.param)
    return url


@pytest.fixture
async def stage(address: str) -> AsyncIterator[Stage]:
    """A catalog with types of one's own."""
    async with staged(address) as opened:
        await opened.sql.execute(TYPES)
        for each in EXTENSIONS:
            if await opened.sql.fetchval("SELECT true FROM pg_available_extensions WHERE name = $1", each):
                await opened.sql.execute(f"CREATE EXTENSION {each}")
        yield opened


async def there(stage: Stage, kind: str) -> bool:
    """Whether the server has the type: the wheel's knows no XML, and not every extension."""
    try:
        await stage.sql.execute(f"SELECT '{{}}'::{kind}[], '<a/>'::{kind if kind == 'xml' else 'text'}")
    except (asyncpg.UndefinedObjectError, asyncpg.FeatureNotSupportedError):
        return False
    return True


async def whole(stage: Stage) -> list[Any]:
    """Every row to the byte: as its types send it, where they do, and as they write it."""
    columns = await stage.sql.fetch(
        "SELECT quote_ident(attname) AS name, typsend <> 0 AND typname <> 'money' AS sent"
        " FROM pg_attribute a JOIN pg_type t ON t.oid = atttypid"
        " WHERE attrelid = 'public.\"MediaRecords\"'::regclass AND attnum > 0 AND NOT attisdropped"
        " ORDER BY attnum"
    )
    read = [f"record_send(ROW({c['name']}))" if c["sent"] else f"format('%s', {c['name']})" for c in columns]
    read += [f"num_nulls({c['name']})" for c in columns]
    # In rows of a hundred: a record cannot have as many columns as there are samples.
    rows = await stage.sql.fetch(f'SELECT {", ".join(read)} FROM public."MediaRecords" ORDER BY "StorageKey"')
    return [tuple(row) for row in rows]


async def removed(stage: Stage, *keys: str) -> None:
    await stage.mark(*(finding(key, Verdict.EXPIRED) for key in keys))
    await stage.confirm(await stage.claim(all_go), decide=all_go)
    assert await stage.keys_left() == []


async def back(stage: Stage, key: str = KEY) -> list[Returned]:
    found = await stage.catalog.recovery.removals(UndoScope(keys=(key,)))
    returned: list[Returned] = []
    for each in found:
        returned += await stage.catalog.recovery.put_back([each], "test")
    return returned


async def sampled(stage: Stage) -> int:
    """One row, with every sample that the server knows in a column of its own; returns how many."""
    await stage.add_row(KEY, ExpiresAt=LONG_AGO)
    found = 0
    for number, (kind, value) in enumerate(SAMPLES):
        if not await there(stage, kind):
            continue
        found += 1
        name = f'"c {number} ""{kind[:12].replace(chr(34), "")}"""'
        # A domain may want a value at once: another one, or what is lost would come back by default.
        default = "DEFAULT 'other'" if kind == "app.shorter" else ""
        await stage.sql.execute(f'ALTER TABLE public."MediaRecords" ADD COLUMN {name} {kind} {default}')
        await stage.sql.execute(f'UPDATE public."MediaRecords" SET {name} = {value}')
    return found


@pytest.mark.attack(56)
@pytest.mark.attack(57)
@pytest.mark.incident(41)
@pytest.mark.incident(42)
async def test_every_type_comes_back_to_the_byte(stage: Stage) -> None:
    assert await sampled(stage) >= 90
    before = await whole(stage)
    await removed(stage, KEY)
    assert [each.outcome for each in await back(stage)] == [Return.RESTORED]
    after = await whole(stage)
    assert [pair for pair in zip(before[0], after[0], strict=True) if pair[0] != pair[1]] == []


@pytest.mark.attack(56)
async def test_no_setting_of_a_trigger_changes_what_is_kept(stage: Stage) -> None:
    """As of a role, once its own settings hold while its triggers run."""
    await sampled(stage)
    await stage.add_row("image/b", ExpiresAt=LONG_AGO)
    before = await whole(stage)
    await stage.sql.execute(MEDDLING.format(money="C"))
    await removed(stage, KEY, "image/b")
    for key in (KEY, "image/b"):
        assert [each.outcome for each in await back(stage, key)] == [Return.RESTORED]
    assert await whole(stage) == before


@pytest.mark.attack(56)
async def test_no_setting_of_the_database_changes_what_is_kept(stage: Stage, address: str) -> None:
    """Sessions have it from their start, and whoever undoes the removal may have others."""
    await sampled(stage)
    before = await whole(stage)
    name = urlsplit(address).path.removeprefix("/")
    for each in ("\"IntervalStyle\" = 'sql_standard'", "bytea_output = 'escape'", "xmloption = 'document'"):
        await stage.sql.execute(f'ALTER DATABASE "{name}" SET {each}')
    async with open_catalog(CatalogConfig(database_url=address)) as catalog:
        await removed(replace(stage, catalog=catalog), KEY)
    await stage.sql.execute(f'ALTER DATABASE "{name}" RESET ALL')
    assert [each.outcome for each in await back(stage)] == [Return.RESTORED]
    assert await whole(stage) == before


@pytest.mark.attack(56)
async def test_nothing_of_a_row_depends_on_how_money_is_written_here(stage: Stage) -> None:
    """Where a comma separates the decimals, $12.34 reads as another amount."""
    await stage.sql.execute(
        'ALTER TABLE public."MediaRecords" ADD COLUMN "Price" money, ADD COLUMN "Prices" money[]'
    )
    await stage.add_row(KEY, ExpiresAt=LONG_AGO)
    await stage.sql.execute(
        """UPDATE public."MediaRecords" SET "Price" = 12.34::numeric::money, "Prices" = '{"$1.50",NULL}'"""
    )
    before = await whole(stage)
    for each in ("de_DE.UTF-8", "C.UTF-8", "POSIX"):
        try:
            await stage.sql.execute(f"SET lc_monetary = '{each}'; RESET lc_monetary")
        except asyncpg.InvalidParameterValueError:
            continue
        await stage.sql.execute(MEDDLING.format(money=each))
        break
    await removed(stage, KEY)
    assert [each.outcome for each in await back(stage)] == [Return.RESTORED]
    assert await whole(stage) == before


@pytest.mark.incident(42)
async def test_identities_defaults_and_computed_columns(stage: Stage) -> None:
    await stage.sql.execute(
        """
        ALTER TABLE public."MediaRecords"
            ADD COLUMN "Serial" bigint GENERATED ALWAYS AS IDENTITY (START 7),
            ADD COLUMN "Twice" bigint GENERATED ALWAYS AS (2 * coalesce("SizeBytes", 1)) STORED,
            ADD COLUMN "State" text DEFAULT 'new', ADD COLUMN "Meta" jsonb NOT NULL DEFAULT '{}'
        """
    )
    if stage.sql.get_server_version().major >= 18:
        await stage.sql.execute(
            'ALTER TABLE public."MediaRecords"'
            ' ADD COLUMN "Shown" text GENERATED ALWAYS AS (upper("State")) VIRTUAL'
        )
    await stage.add_row(KEY, ExpiresAt=LONG_AGO, State=None, Meta="null", SizeBytes=4)
    before = await stage.sql.fetch('SELECT * FROM public."MediaRecords"')
    assert before[0]["Meta"] == "null"
    await removed(stage, KEY)
    await stage.sql.execute("""ALTER TABLE public."MediaRecords" ADD COLUMN "Later" text DEFAULT 'since'""")
    assert [each.outcome for each in await back(stage)] == [Return.RESTORED]
    (after,) = await stage.sql.fetch('SELECT * FROM public."MediaRecords"')
    assert dict(after) == {**dict(before[0]), "Later": "since"}


async def changed(stage: Stage, *statements: str) -> None:
    for each in statements:
        await stage.sql.execute(f'ALTER TABLE public."MediaRecords" {each}')


@pytest.mark.attack(58)
async def test_columns_that_are_gone_or_changed_are_named_until_nothing_is_lost(stage: Stage) -> None:
    await changed(
        stage,
        *('ADD COLUMN "A" text', 'ADD COLUMN "B" text', 'ADD COLUMN "C" text', 'ADD COLUMN "D" numeric(6,2)'),
        *('ADD COLUMN "E" text', 'ADD COLUMN "F" app.mood', 'ADD COLUMN "G" text', 'ADD COLUMN "H" text'),
    )
    values = {"A": "a", "B": "7", "C": "no number", "E": None, "F": "fine", "G": "g", "H": "007"}
    await stage.add_row(KEY, ExpiresAt=LONG_AGO, **values)
    await stage.sql.execute('UPDATE public."MediaRecords" SET "D" = 1.5')
    await removed(stage, KEY)
    await changed(
        stage,
        'RENAME COLUMN "A" TO "Alpha"',
        *(f'ALTER COLUMN "{name}" TYPE integer USING 0' for name in ("B", "C", "H")),
        *('ALTER COLUMN "D" TYPE numeric(10,4)', 'DROP COLUMN "E"', 'DROP COLUMN "G"'),
        "ADD COLUMN \"G\" text GENERATED ALWAYS AS ('computed') STORED",
    )
    await stage.sql.execute("ALTER TYPE app.mood RENAME VALUE 'fine' TO 'well'")
    (first,) = await back(stage)
    assert first.outcome is Return.PARTIAL
    lacking = {word.split(" (")[0] for word in first.reason.removeprefix("without ").split("), ")}
    assert lacking == {"A", "C", "F", "G", "H"}
    (row,) = await stage.sql.fetch(
        """SELECT "Alpha", "B", "C", "D"::text, format('%s', "F"), "G", "H" FROM public."MediaRecords" m"""
    )
    assert tuple(row) == (None, 7, None, "1.5000", "", "computed", 7)
    (again,) = await back(stage)
    assert again.outcome is Return.REFUSED
    assert "it came back without A, C, F, G, H" in again.reason
    await stage.sql.execute('DELETE FROM public."MediaRecords"')
    await stage.sql.execute("ALTER TYPE app.mood RENAME VALUE 'well' TO 'fine'")
    await changed(
        stage,
        *('RENAME COLUMN "Alpha" TO "A"', 'DROP COLUMN "G"', 'ADD COLUMN "G" text'),
        *(f'ALTER COLUMN "{name}" TYPE text' for name in ("C", "H")),
    )
    assert [each.outcome for each in await back(stage)] == [Return.RESTORED]
    (row,) = await stage.sql.fetch(
        """SELECT "A", "C", format('%s', "F"), "G", "H" FROM public."MediaRecords" m"""
    )
    assert tuple(row) == ("a", "no number", "fine", "g", "007")
    assert await back(stage) == []


@pytest.mark.attack(58)
async def test_a_row_that_cannot_come_back_says_what_it_would_lack_besides(stage: Stage) -> None:
    await changed(stage, 'ADD COLUMN "A" text')
    await stage.add_row(KEY, ExpiresAt=LONG_AGO, A="a")
    await removed(stage, KEY)
    await changed(stage, 'RENAME COLUMN "A" TO "B"', 'ALTER COLUMN "B" SET NOT NULL')
    for _ in range(2):
        (told,) = await back(stage)
        assert told.outcome is Return.REFUSED
        assert "null value in column" in told.reason
        assert "it would come without A (which the table lacks)" in told.reason
    await changed(stage, 'RENAME COLUMN "B" TO "A"')
    assert [each.outcome for each in await back(stage)] == [Return.RESTORED]


@pytest.mark.incident(42)
async def test_rows_that_an_older_version_kept_as_json_still_come_back(stage: Stage) -> None:
    await changed(stage, 'ADD COLUMN "A" text', 'ADD COLUMN "Twice" bigint GENERATED ALWAYS AS (2) STORED')
    await stage.add_row(KEY, ExpiresAt=LONG_AGO, A="a", Prompt='a "cat"')
    before = await whole(stage)
    kept = await stage.sql.fetchval('SELECT to_jsonb(m)::text FROM public."MediaRecords" m')
    await removed(stage, KEY)
    await stage.sql.execute(
        "UPDATE reconciler.ledger"
        " SET row_columns = NULL, row_types = NULL, row_values = NULL, removed = $1::jsonb"
        " WHERE row_values IS NOT NULL",
        json.dumps(json.loads(kept)),
    )
    await changed(stage, 'RENAME COLUMN "A" TO "B"')
    (told,) = await back(stage)
    assert (told.outcome, told.reason.split(";")[0]) == (Return.PARTIAL, "without A (which the table lacks)")
    await stage.sql.execute('DELETE FROM public."MediaRecords"')
    await changed(stage, 'RENAME COLUMN "B" TO "A"')
    assert [each.outcome for each in await back(stage)] == [Return.RESTORED]
    assert await whole(stage) == before


async def test_what_is_erased_or_too_old_is_in_the_ledger_in_no_form(stage: Stage) -> None:
    await stage.add_row(KEY, ExpiresAt=LONG_AGO, Prompt="a secret")
    await stage.add_row("image/b", ExpiresAt=LONG_AGO, Prompt="a secret")
    await removed(stage, KEY, "image/b")
    assert (await stage.catalog.erasure.erase([KEY], "test")).rows == 1
    assert await back(stage) == []
    secret = "SELECT count(*) FROM reconciler.ledger l WHERE l::text LIKE '%secret%'"
    assert await stage.sql.fetchval(secret) == 1
    await stage.catalog.purges.forget(stage.term, LONG_AGO - LONG_AGO, DAY)
    assert await stage.sql.fetchval(secret) == 0
    assert await back(stage, "image/b") == []


async def test_a_row_that_one_trigger_keeps_leaves_nothing_in_the_ledger(stage: Stage) -> None:
    await stage.sql.execute(
        """
        CREATE FUNCTION app.keeps() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF OLD."StorageKey" = 'image/a' THEN RETURN NULL; END IF;
            RETURN OLD;
        END $$;
        CREATE TRIGGER a_keeps BEFORE DELETE ON public."MediaRecords"
            FOR EACH ROW EXECUTE FUNCTION app.keeps();
        """
    )
    await stage.add_row(KEY, ExpiresAt=LONG_AGO)
    await stage.add_row("image/b", ExpiresAt=LONG_AGO)
    await stage.mark(*(finding(key, Verdict.EXPIRED) for key in (KEY, "image/b")))
    removed = await stage.confirm(await stage.claim(all_go), decide=all_go)
    assert removed.records == 1
    kept = await stage.sql.fetch("SELECT storage_key FROM reconciler.ledger WHERE row_values IS NOT NULL")
    assert [row["storage_key"] for row in kept] == ["image/b"]


@pytest.mark.incident(42)
async def test_a_right_that_is_wanting_refuses_the_row_whole(stage: Stage, address: str) -> None:
    """To name a type of another schema takes USAGE on it: without, no column may stay behind."""
    await changed(stage, 'ADD COLUMN "A" app.mood')
    await stage.add_row(KEY, ExpiresAt=LONG_AGO, A="fine")
    before = await whole(stage)
    role = f"undoes_{stage.owner.hex}"
    await stage.sql.execute(
        f"""
        CREATE ROLE {role} LOGIN PASSWORD 'p';
        GRANT USAGE ON SCHEMA public, reconciler TO {role};
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public, reconciler TO {role};
        """
    )
    try:
        await removed(stage, KEY)
        theirs = urlsplit(address)
        url = theirs._replace(netloc=f"{role}:p@{theirs.netloc.rpartition('@')[2]}").geturl()
        async with open_catalog(CatalogConfig(database_url=url)) as catalog:
            (found,) = await catalog.recovery.removals(UndoScope(keys=(KEY,)))
            (told,) = await catalog.recovery.put_back([found], "test")
            assert told.outcome is Return.REFUSED
            assert "permission denied for schema app; GRANT USAGE on it" in told.reason
            await stage.sql.execute(f"GRANT USAGE ON SCHEMA app TO {role}")
            (told,) = await catalog.recovery.put_back([found], "test")
            assert told.outcome is Return.RESTORED
    finally:
        await stage.sql.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    assert await whole(stage) == before
