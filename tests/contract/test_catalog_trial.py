"""The triggers are tried on the gateway's own table before they are relied upon; nothing of it stays."""

from __future__ import annotations

from dataclasses import replace

import asyncpg
import pytest

from reconciler.catalog.media_tables import trial, triggers
from reconciler.catalog.media_tables.guard import GUARD_RECORD
from reconciler.catalog.media_tables.triggers import Triggers
from reconciler.errors import ConfigError
from tests.contract.guarded import COLUMNS, MEDIA, TABLES, Gate, gate

pytestmark = pytest.mark.anyio

REPLACE = (
    "CREATE OR REPLACE FUNCTION reconciler.guard_record() RETURNS trigger LANGUAGE plpgsql AS $body${}$body$"
)
FORMER = 'BEGIN PERFORM reconciler.guard_keys(NEW."path"::text); RETURN NEW; END'
"""As an older version wrote it: it fails where the key's column has a collation of its own."""

STATEMENTS = ["INSERT of a key that is claimed", "UPDATE of a key that is claimed"]
ALL = [*STATEMENTS, "INSERT of a key that is gone", "UPDATE of a key that is gone"]


async def tried(table: Gate) -> trial.Trial:
    """And nothing of it stays."""
    counts = (
        "SELECT (SELECT count(*) FROM gate.media), (SELECT count(*) FROM reconciler.marks),"
        " (SELECT count(*) FROM reconciler.passes), (SELECT count(*) FROM reconciler.tombstones)"
    )
    before = await table.sql.fetchrow(counts)
    found = await trial.attempt(table.sql, TABLES)
    assert await table.sql.fetchrow(counts) == before
    return found


SHAPES = {
    "as it is": COLUMNS.format(key="text"),
    "checked": COLUMNS.format(key="text UNIQUE NOT NULL CHECK (path LIKE 'image/%')"),
    "referring": COLUMNS.format(key="text") + ", parent int REFERENCES gate.media (id)",
    "identity": COLUMNS.format(key="varchar(8)") + ", number int GENERATED ALWAYS AS IDENTITY",
    "computed": COLUMNS.format(key="text") + ", twice int GENERATED ALWAYS AS (id * 2) STORED",
    "domain": COLUMNS.format(key="gate.path"),
    "collated": COLUMNS.format(key="text COLLATE ucs_basic"),
}


@pytest.mark.attack(66)
@pytest.mark.parametrize("shape", SHAPES)
async def test_a_row_that_is_there_is_written_once_more_and_refused(database: str, shape: str) -> None:
    domain = "CREATE DOMAIN gate.path AS text NOT NULL CHECK (VALUE LIKE 'image/%')"
    async with gate(database, domain, columns=SHAPES[shape]) as table:
        await table.insert("image/a", made="now()")
        found = await tried(table)
        assert (found.tried, found.broken, found.untried) == (ALL, [], [])


@pytest.mark.incident(49)
async def test_a_row_that_counts_is_tried(database: str) -> None:
    """The triggers leave the others alone, so that those would show nothing."""
    tables = replace(TABLES, media_where=(("note", "ours"),))
    async with gate(database) as table:
        for bucket in ("theirs", "ours"):
            await table.insert(f"image/{bucket}", made="now()", note=f"'{bucket}'")
        await triggers.install(table.sql, tables)
        found = await trial.attempt(table.sql, tables)
        assert (found.tried, found.broken) == (ALL, [])


@pytest.mark.attack(66)
@pytest.mark.parametrize("suffix", ["", "PARTITION BY RANGE (made)"])
async def test_a_partitioned_table_is_tried_too(database: str, suffix: str) -> None:
    columns = COLUMNS.format(key="text").replace("PRIMARY KEY", "")
    async with gate(database, columns=columns, suffix=suffix) as table:
        if suffix:
            await table.sql.execute(
                f"CREATE TABLE gate.old PARTITION OF {MEDIA} FOR VALUES FROM ('2000-01-01') TO ('2001-01-01')"
            )
        await table.insert("image/a", made="'2000-02-03'")
        assert (await tried(table)).tried == ALL


@pytest.mark.attack(66)
async def test_an_empty_table_is_tried_with_a_key_of_our_own(database: str) -> None:
    async with gate(database) as table:
        found = await tried(table)
        assert found.tried == [ALL[0], ALL[2]]
        assert found.broken == found.untried == []


@pytest.mark.attack(66)
@pytest.mark.parametrize("rows", [0, 1])
async def test_triggers_that_fail_the_gateway_are_found(database: str, rows: int) -> None:
    async with gate(database, columns=COLUMNS.format(key="text COLLATE ucs_basic")) as table:
        for _ in range(rows):
            await table.insert("image/a", made="now()")
        await table.sql.execute(REPLACE.format(FORMER))
        assert await triggers.state(table.sql, TABLES) is Triggers.OUTDATED
        found = await tried(table)
        assert len(found.broken) == (4 if rows else 2)
        assert all("42P22" in line for line in found.broken)
        told = await triggers.install(table.sql, TABLES)
        assert told == "installed the triggers on gate.media, which were outdated"
        assert (await tried(table)).broken == []


@pytest.mark.attack(66)
async def test_triggers_that_let_a_row_through_are_found(database: str) -> None:
    async with gate(database) as table:
        await table.insert("image/a", made="now()")
        await table.sql.execute(REPLACE.format("BEGIN RETURN NEW; END"))
        found = await tried(table)
        assert found.broken == [f"{name} is let through" for name in ALL]


@pytest.mark.attack(66)
async def test_what_the_tables_own_triggers_keep_out_is_said_and_the_function_tried(database: str) -> None:
    async with gate(database) as table:
        await table.insert("image/a", made="now()")
        await table.sql.execute(
            "CREATE FUNCTION gate.no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " IF TG_OP = 'UPDATE' THEN RETURN NULL; END IF; RAISE 'never today'; END $$;"
            f" CREATE TRIGGER own BEFORE INSERT OR UPDATE ON {MEDIA} FOR EACH ROW EXECUTE FUNCTION gate.no()"
        )
        found = await tried(table)
        assert found.broken == []
        assert found.tried == ["the triggers' function by itself"]
        assert f"{ALL[0]}: never today (P0001)" in found.untried
        assert (
            f"{ALL[1]}: nothing was written, a trigger or a rule of the table keeps it out" in found.untried
        )
        await table.sql.execute(triggers.removal())
        assert "; not tried: " in await triggers.install(table.sql, TABLES)


@pytest.mark.attack(66)
async def test_triggers_that_would_fail_the_gateway_are_not_installed(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gate(database, columns=COLUMNS.format(key="text COLLATE ucs_basic")) as table:
        await table.sql.execute(triggers.removal())
        monkeypatch.setattr(triggers, "GUARD_RECORD", GUARD_RECORD.replace(' COLLATE "C"', ""))
        with pytest.raises(ConfigError, match=r"no triggers were installed.*INSERT of a key"):
            await triggers.install(table.sql, TABLES)
        assert await triggers.state(table.sql, TABLES) is Triggers.ABSENT
        await table.claim("image/a")
        await table.insert("image/b")


async def test_a_role_without_rights_is_told_what_could_not_be_tried(database: str) -> None:
    async with gate(database) as table:
        name = f"reader_{table.sql.get_server_pid()}"
        await table.sql.execute(
            f"CREATE ROLE {name}; GRANT USAGE ON SCHEMA gate TO {name}; GRANT SELECT ON {MEDIA} TO {name}"
        )
        try:
            reader: asyncpg.Connection[asyncpg.Record] = table.writer
            await reader.execute(f"SET ROLE {name}")
            found = await trial.attempt(reader, TABLES)
            assert (found.tried, found.broken) == ([], [])
            assert "permission denied" in found.untried[0]
        finally:
            await table.writer.execute("RESET ROLE")
            await table.sql.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")
