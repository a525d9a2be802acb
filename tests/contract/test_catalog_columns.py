"""Columns of every type that serves, read and compared alike; and what is refused, with the way out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio.to_thread
import asyncpg
import pytest

from reconciler.catalog import migrate
from reconciler.catalog.db.config import CatalogConfig, KeyColumns, MediaColumns, TableMapping
from reconciler.catalog.db.connections import connect
from reconciler.catalog.media_tables import indexes
from reconciler.catalog.media_tables.inspection import SchemaReport, inspect
from reconciler.catalog.open import Catalog, open_catalog
from reconciler.errors import ConfigError
from reconciler.model import (
    Finding,
    KeyRange,
    Mode,
    ObjectPage,
    ObjectResult,
    PassKind,
    Record,
    StorageBy,
    Tally,
    Term,
    Verdict,
    parse_timestamp,
)
from reconciler.planning.retention import judge_record
from reconciler.ports import ClaimRequest
from tests.contract.catalog import (
    ALL,
    DAY,
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

MEDIA = "RECONCILER_CATALOG__MEDIA_COLUMNS"
TABLES = TableMapping(
    media_table="gate.media",
    keys_table="gate.owners",
    media=MediaColumns(
        id="id",
        storage_key="path",
        virtual_key_id="owner",
        size_bytes="size",
        created_at="made",
        expires_at="expires",
        last_accessed_at="used",
        deleted_at="deleted",
    ),
    keys=KeyColumns(id="id", is_enabled="active", expires_at=""),
)
SCHEMA = {
    "id": "bigint PRIMARY KEY",
    "path": "text",
    "owner": "text",
    "size": "bigint",
    "made": "timestamptz",
    "expires": "timestamptz",
    "used": "timestamptz",
    "deleted": "timestamptz",
}


def _script(*, owners: str = "id text PRIMARY KEY, active boolean", **types: str) -> str:
    columns = ", ".join(f"{name} {kind}" for name, kind in {**SCHEMA, **types}.items())
    return f"CREATE SCHEMA gate; CREATE TABLE gate.owners ({owners}); CREATE TABLE gate.media ({columns});"


async def _execute(url: str, *statements: str) -> None:
    sql = await asyncpg.connect(url)
    for statement in statements:
        await sql.execute(statement)
    await sql.close()


async def _report(url: str, script: str = "SELECT 1", tables: TableMapping = TABLES) -> SchemaReport:
    await _execute(url, script)
    return await inspect(CatalogConfig(database_url=url, tables=tables))


@asynccontextmanager
async def _opened(url: str, script: str, tables: TableMapping = TABLES) -> AsyncIterator[Catalog]:
    config = CatalogConfig(database_url=url, tables=tables)
    await _execute(url, script)
    await anyio.to_thread.run_sync(lambda: migrate.upgrade(config))
    async with open_catalog(config) as catalog:
        yield catalog


# --- what is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("types", "tables", "told"),
    [
        (
            {"path": "name"},
            {},
            "STORAGE_KEY path: its type is name; allowed are text, varchar, char(n), citext; make",
        ),
        ({"path": "jsonb"}, {}, 'text COLLATE "C" GENERATED ALWAYS AS (…) STORED, and name that'),
        (
            {"path": "text[]"},
            {},
            "STORAGE_KEY path: its type is text[]; allowed are text, varchar, char(n), citext; map the table",
        ),
        ({"id": "real PRIMARY KEY"}, {}, "ID id: its type is real"),
        ({"id": "bigint"}, {}, "ID id: not unique in gate.media; name its primary key"),
        ({"made": "text"}, {}, "CREATED_AT made: its type is text"),
        ({"made": "time"}, {}, "make a column of it that is, timestamptz GENERATED ALWAYS AS (…) STORED"),
        ({"made": "bigint"}, {}, "CREATED_AT made: its type is bigint; set RECONCILER_CATALOG__EPOCH_UNIT"),
        ({"owner": "integer"}, {}, "VIRTUAL_KEY_ID owner: its type is integer, but"),
        ({"owner": "numeric"}, {}, "VIRTUAL_KEY_ID owner: its type is numeric with digits behind the point"),
        ({"owner": "uuid"}, {}, "name a generated column that has the other's type"),
        ({"owners": "id text PRIMARY KEY, active text"}, {}, "IS_ENABLED active: its type is text"),
        ({"owners": "id text, active boolean"}, {}, "not unique in gate.owners"),
        (
            {"owners": "id text, at date, active boolean, PRIMARY KEY (id, at)"},
            {},
            "not unique in gate.owners; name a column that is",
        ),
        ({}, {"time_zone": "Mars/Olympus"}, "TIME_ZONE Mars/Olympus: not known to Postgres; name one of"),
        ({}, {"media": replace(TABLES.media, id="id,nothing")}, "ID nothing: no such column in gate.media"),
    ],
)
async def test_what_does_not_serve_is_refused_with_the_way_out(
    empty_database: str, types: dict[str, str], tables: dict[str, Any], told: str
) -> None:
    report = await _report(empty_database, _script(**types), replace(TABLES, **tables))
    assert report.types is None
    (fault,) = report.faults
    assert told in fault
    assert "\n" not in fault


async def test_ids_that_are_unique_in_part_are_found_in_the_primary_key(empty_database: str) -> None:
    composite = (
        _script(id="bigint", tenant="uuid NOT NULL") + "ALTER TABLE gate.media ADD PRIMARY KEY (tenant, id);"
    )
    report = await _report(empty_database, composite)
    assert report.types is not None
    assert [name for name, _ in report.types.identity] == ["tenant", "id"]
    loose = "ALTER TABLE gate.media DROP CONSTRAINT media_pkey;"
    loose += "CREATE UNIQUE INDEX ON gate.media (tenant, id, used);"
    (fault,) = (await _report(empty_database, loose)).faults
    assert "not unique" in fault, "a column that may be NULL tells nothing apart"
    inexact = "ALTER TABLE gate.media ADD COLUMN weight real, ADD PRIMARY KEY (id, weight);"
    (fault,) = (await _report(empty_database, inexact)).faults
    assert "weight of its primary key is real" in fault


async def test_several_columns_may_be_named_and_none_too_many(empty_database: str) -> None:
    named = replace(TABLES, media=replace(TABLES.media, id="id, made"))
    report = await _report(empty_database, _script(), named)
    assert report.types is not None
    assert [name for name, _ in report.types.identity] == ["id", "made"]


# --- dates ------------------------------------------------------------------------------------------

NOW = datetime(2026, 6, 1, 12, 0, 0, 1, tzinfo=UTC)
INSTANTS = [
    "'-infinity'",
    "'infinity'",
    "'4713-01-01 BC'",
    "'0001-01-01'",
    "'0001-01-03'",
    "'1601-01-01'",
    "'1899-12-30'",
    "'1900-01-01'",
    "'1970-01-01'",
    "'1980-01-01'",
    "'2001-01-01'",
    "'2005-12-31 23:59:59.999999'",
    "'2006-01-01'",
    "'2006-01-02'",
    "'2020-02-29'",
    "'2026-05-29'",
    "'2026-05-30 12:00:00.000001'",
    "'2026-05-31'",
    "'2026-06-01 11:59:59.999999'",
    "'2026-06-01 12:00:00.000001'",
    "'2026-06-01 12:00:00.000002'",
    "'2026-06-02'",
    "'9999-12-31'",
    "'10000-01-01'",
    "'294276-12-31'",
]
NUMBERS = [
    "0",
    "-1",
    "1",
    "999999999",
    "1136073600",
    "1780315200",
    "1780315201",
    "1780401600",
    "253402300800",
]
KINDS: list[tuple[str, dict[str, Any], list[str]]] = [
    ("timestamptz", {}, INSTANTS),
    ("timestamp", {}, INSTANTS),
    ("timestamp", {"time_zone": "America/New_York"}, [*INSTANTS, "'2025-11-02 01:30'", "'2026-03-08 02:30'"]),
    ("timestamp", {"time_zone": "Pacific/Kiritimati"}, INSTANTS),
    ("date", {"time_zone": "Asia/Tokyo"}, [*INSTANTS, "'5874897-12-31'"]),
    ("integer", {"epoch_unit": "s"}, ["0", "-1", "1136073600", "1780315200", "1780315201", "2147483647"]),
    ("bigint", {"epoch_unit": "s"}, [*NUMBERS, "9223372036854775807"]),
    ("bigint", {"epoch_unit": "us"}, [f"{number}000000" for number in NUMBERS]),
    (
        "double precision",
        {"epoch_unit": "ms"},
        ["'NaN'", "'-Infinity'", "'Infinity'", *(f"{number}000.5" for number in NUMBERS)],
    ),
    ("numeric", {"epoch_unit": "ms"}, ["'NaN'", "1e300", *(f"{number}000.25" for number in NUMBERS)]),
]


def _judged(rows: list[Record], now: datetime) -> dict[Verdict, set[str]]:
    found: dict[Verdict, set[str]] = {Verdict.EXPIRED: set(), Verdict.STALE: set()}
    for row in rows:
        verdict = judge_record(row, POLICY, now)
        if isinstance(verdict, Finding):
            found[verdict.verdict].add(row.id)
    return found


async def _nominated(catalog: Catalog, verdict: Verdict, now: datetime) -> list[str]:
    pages = catalog.records.nominate(verdict, POLICY, now, page_size=7)
    return [row.id async for page in pages for row in page]


@pytest.mark.incident(45)
@pytest.mark.incident(51)
@pytest.mark.incident(55)
@pytest.mark.parametrize(("kind", "changes", "values"), KINDS)
async def test_the_nomination_and_the_rule_read_every_date_alike(
    empty_database: str, kind: str, changes: dict[str, Any], values: list[str]
) -> None:
    """Each pair of dates that could decide, in each field; the pure rule judges what the rows say."""
    tables = replace(TABLES, **changes)
    script = _script(**dict.fromkeys(("made", "expires", "used", "deleted"), kind))
    async with _opened(empty_database, script, tables) as catalog:
        typed = ", ".join(f"({value}::{kind})" for value in values)
        await _execute(
            empty_database,
            "INSERT INTO gate.media (id, path, made, used) SELECT row_number() OVER (),"
            " 'image/' || row_number() OVER (), a.v, b.v FROM"
            f" (VALUES {typed}, (NULL)) a (v), (VALUES {typed}, (NULL)) b (v)",
            "INSERT INTO gate.media (id, path, expires, deleted) SELECT 10000 + row_number() OVER (),"
            " 'image/x' || row_number() OVER (), a.v, b.v FROM"
            f" (VALUES {typed}, (NULL)) a (v), (VALUES {typed}, (NULL)) b (v)",
        )
        for now in (NOW, NOW + timedelta(hours=13), NOW - timedelta(days=6 * 365)):
            keys = await catalog.records.keys_in(KeyRange(prefix="image/"), 100_000)
            rows = list(await catalog.records.lookup(keys))
            due = _judged(rows, now)
            for verdict, wanted in due.items():
                nominated = await _nominated(catalog, verdict, now)
                assert len(nominated) == len(set(nominated)), "each once"
                assert wanted <= set(nominated)
            assert due[Verdict.EXPIRED] | due[Verdict.STALE], "some are due"
            # Nothing that cannot have been meant makes a row go, nor is it read in every pass.
            assert set(await _nominated(catalog, Verdict.EXPIRED, now)) == due[Verdict.EXPIRED]


@pytest.mark.incident(51)
async def test_a_time_without_a_zone_is_read_in_the_declared_one(empty_database: str) -> None:
    script = _script(expires="timestamp", made="date")
    row = "INSERT INTO gate.media (id, path, expires, made)"
    row += " VALUES (1, 'image/a', '2026-07-01 12:00', '2026-07-01')"
    tables = replace(TABLES, time_zone="America/New_York")
    async with _opened(empty_database, script + row, tables) as catalog:
        (record,) = await catalog.records.lookup(["image/a"])
    assert record.expires_at == datetime(2026, 7, 1, 16, tzinfo=UTC)
    assert record.created_at == datetime(2026, 7, 2, 4, tzinfo=UTC), "the end of that day"


@pytest.mark.incident(51)
async def test_a_database_elsewhere_is_told_of_where_no_zone_is_declared(
    empty_database: str,
) -> None:
    name = empty_database.rpartition("/")[2]
    await _execute(
        empty_database, _script(expires="timestamp"), f"ALTER DATABASE \"{name}\" SET timezone = 'Asia/Tokyo'"
    )
    (told,) = [line for line in (await _report(empty_database)).warnings if "TimeZone" in line]
    assert told.startswith(
        "gate.media.expires: times without a zone are read as UTC, but the database's TimeZone is Asia/Tokyo;"
    )
    for zone in ("UTC", "Asia/Tokyo"):
        declared = await _report(empty_database, tables=replace(TABLES, time_zone=zone))
        assert not any("TimeZone" in line for line in declared.warnings)
    await _execute(empty_database, f"ALTER DATABASE \"{name}\" SET timezone = 'Etc/UTC'")
    assert not any("TimeZone" in line for line in (await _report(empty_database)).warnings)


@pytest.mark.incident(55)
async def test_numbers_in_another_unit_are_refused_at_the_start(empty_database: str) -> None:
    script = _script(made="bigint", expires="double precision")
    rows = "INSERT INTO gate.media (id, path, made, expires)"
    rows += " VALUES (1, 'a', 1780315200000, 'NaN'), (2, 'b', 0, -1)"
    seconds = replace(TABLES, epoch_unit="s")
    (fault,) = (await _report(empty_database, script + rows, seconds)).faults
    assert fault == (
        f"{MEDIA}__CREATED_AT made: its numbers are no times in s; set RECONCILER_CATALOG__EPOCH_UNIT to ms,"
        " or map a timestamptz column generated from it"
    )
    assert (await _report(empty_database, tables=replace(TABLES, epoch_unit="ms"))).faults == ()


# --- keys -------------------------------------------------------------------------------------------

KEYS = ["image/A", "image/B", "image/_", "image/a", "image/a b", "image/b", "image/é", "image/\U0001f600"]
FOLDED = (
    "CREATE COLLATION gate.folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false);"
    " ALTER TABLE gate.media ALTER path TYPE text COLLATE gate.folded;"
)
ODD_KEYS = {
    "citext": "ALTER TABLE gate.media ALTER path TYPE public.citext;",
    "a domain": "CREATE DOMAIN gate.d AS public.citext; ALTER TABLE gate.media ALTER path TYPE gate.d;",
    "char": "ALTER TABLE gate.media ALTER path TYPE char(300);",
    "varchar": 'ALTER TABLE gate.media ALTER path TYPE varchar(300) COLLATE "en-x-icu";',
    "a folding collation": FOLDED,
}


@pytest.mark.attack(82)
@pytest.mark.debian("postgresql-15")
@pytest.mark.parametrize("indexed", [False, True], ids=["bare", "indexed"])
@pytest.mark.parametrize("kind", ODD_KEYS)
async def test_windows_of_keys_are_in_byte_order_whatever_the_type(
    icu_empty_database: str, kind: str, indexed: bool
) -> None:
    script = "CREATE EXTENSION citext;" + _script() + ODD_KEYS[kind]
    async with _opened(icu_empty_database, script) as catalog:
        await _execute(
            icu_empty_database,
            "INSERT INTO gate.media (id, path) VALUES "
            + ", ".join(f"({number}, '{key}')" for number, key in enumerate(KEYS)),
        )
        config = catalog.database.config
    if indexed:
        connection = await connect(config)
        assert (await indexes.ensure(connection, TABLES)).startswith("created index")
        assert "already" in await indexes.ensure(connection, TABLES)
        await connection.close()
    async with open_catalog(config) as catalog:
        assert (catalog.report.byte_order_index is not None) == indexed
        found: list[str] = []
        while page := await catalog.records.keys_in(
            KeyRange(prefix="image/", after=found[-1] if found else ""), 3
        ):
            found += page
        assert found == sorted(KEYS)
        named = {(row.id, row.storage_key) for row in await catalog.records.lookup(["image/a", "image/a "])}
        padded = {("3", "image/a ")} if kind == "char" else set()
        assert named == {("3", "image/a"), *padded}, "char(n) cannot say which of the two it means"
        async with catalog.staging.open(None) as staging:
            await staging.copy(
                ObjectPage([*KEYS[1:], "image/É"], [1] * 8, ["e"] * 8, ["2026-01-01T00:00:00Z"] * 8)
            )
            await staging.seal()
            orphans = [each.key async for page in staging.objects_without_record() for each in page]
            missing = [
                each.storage_key async for page in staging.records_without_object(["image/"]) for each in page
            ]
        assert (orphans, missing) == (["image/É"], ["image/A"])


@pytest.mark.attack(82)
@pytest.mark.debian("postgresql-15")
async def test_a_key_in_bytes_is_claimed_without_its_twin(icu_empty_database: str) -> None:
    script = "CREATE EXTENSION citext;" + _script() + ODD_KEYS["citext"]
    async with _opened(icu_empty_database, script) as catalog:
        await _execute(
            icu_empty_database,
            "INSERT INTO gate.media (id, path, expires)"
            " VALUES (1, 'image/A', '2020-01-01'), (2, 'image/a', NULL)",
        )
        term = await _live(catalog)
        current = await catalog.passes.begin(term, PassKind.SWEEP, "hash", Mode.LIVE, None)
        marks = [finding(key, Verdict.EXPIRED) for key in ("image/A", "image/a")]
        await catalog.passes.record(term, current, marks, NOTHING)
        await catalog.passes.arm(term, current, Tally())
        claim = await catalog.marks.claim(term, ClaimRequest(POLICY, ALL, 10, unless_named, no_cap))
        assert claimed(claim) == ["image/A"]
        assert [ref.id for ref in claim.keys[0].decision.records] == ["1"]


async def _live(catalog: Catalog) -> Term:
    term = await catalog.lease.acquire("test", TTL)
    assert isinstance(term, Term)
    await catalog.lease.observe_mode(term, Mode.LIVE)
    return term


async def test_no_index_is_promised_where_postgres_has_none(empty_database: str) -> None:
    script = _script(path="text GENERATED ALWAYS AS (ltrim(url, '/')) VIRTUAL", url="text")
    async with _opened(empty_database, script) as catalog:
        assert any("virtual" in line for line in catalog.report.warnings)
        connection = await connect(catalog.database.config)
        with pytest.raises(ConfigError, match="make the storage key's column a stored generated one"):
            await indexes.ensure(connection, TABLES)
        await connection.close()


async def test_an_index_for_partitions_is_built_by_hand(empty_database: str) -> None:
    script = _script(id="bigint", made="timestamptz NOT NULL").rstrip(";") + " PARTITION BY RANGE (made);"
    script += "ALTER TABLE gate.media ADD PRIMARY KEY (id, made);"
    async with _opened(empty_database, script) as catalog:
        connection = await connect(catalog.database.config)
        with pytest.raises(ConfigError, match=r'on each partition first: CREATE INDEX "media_path_bytes" ON'):
            await indexes.ensure(connection, TABLES)
        await connection.close()


# --- sizes ------------------------------------------------------------------------------------------


@pytest.mark.attack(74)
@pytest.mark.attack(75)
async def test_sizes_that_no_object_has_stop_nothing(empty_database: str) -> None:
    sizes = [
        "'NaN'",
        "1e300",
        "-1e300",
        "'Infinity'",
        "'-Infinity'",
        "9223372036854775807",
        "-1",
        "NULL",
        "7.4",
        "9007199254740992",
    ]
    values = ", ".join(f"({number}, 'image/{number}', 'o', {size})" for number, size in enumerate(sizes))
    script = _script(size="numeric") + f"INSERT INTO gate.media (id, path, owner, size) VALUES {values}"
    async with _opened(empty_database, script) as catalog:
        rows = await catalog.records.lookup([f"image/{number}" for number in range(len(sizes))])
        read = [row.size_bytes for row in sorted(rows, key=lambda row: int(row.id))]
        assert read == [*[None] * 8, 7, 2**53]
        stored = await catalog.statistics.storage([StorageBy.VIRTUAL_KEY], 5)
        (part,) = stored.largest
        assert (part.objects, part.bytes) == (10, 2**53 + 7)


@pytest.mark.attack(74)
@pytest.mark.attack(75)
async def test_marks_of_older_versions_with_such_sizes_and_dates_are_still_read(database: str) -> None:
    async with staged(database) as stage:
        await stage.mark(*(finding(f"image/{number}") for number in range(4)))
        await stage.sql.execute(
            "UPDATE reconciler.marks"
            " SET bytes = CASE storage_key WHEN 'image/2' THEN -5 ELSE 9223372036854775807 END,"
            " object_last_modified = CASE storage_key WHEN 'image/0' THEN '-infinity'::timestamptz END"
        )
        drift = await stage.catalog.marks.drift()
        keys, size, _ = drift[Verdict.ORPHAN]
        assert (keys, size) == (4, 3 * (2**63 - 1))
        claim = await stage.claim(all_go)
        assert claimed(claim) == [f"image/{number}" for number in range(4)]
        assert [key.mark.bytes for key in claim.keys] == [2**53, 2**53, 0, 2**53]
        assert {key.mark.object_last_modified for key in claim.keys} == {None}
        assert (await stage.confirm(claim)).bytes == 3 * 2**53


@pytest.mark.incident(45)
@pytest.mark.parametrize(
    "text",
    [
        "0001-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "1601-01-01T00:00:00.000Z",
        "1899-12-30T00:00:00Z",
        "1970-01-01T00:00:00.000Z",
        "1980-01-01T00:00:00Z",
        "2001-01-01T00:00:00Z",
        "9999-12-31T23:59:59-14:00",
        "",
    ],
)
def test_a_zero_time_of_a_store_is_no_time(text: str) -> None:
    assert parse_timestamp(text) is None


# --- rows that move ---------------------------------------------------------------------------------


PARTITIONED = (
    _script(id="bigint", made="timestamptz NOT NULL").rstrip(";")
    + " PARTITION BY RANGE (made);"
    + "ALTER TABLE gate.media ADD PRIMARY KEY (id, made);"
    " CREATE TABLE gate.p1 PARTITION OF gate.media FOR VALUES FROM (MINVALUE) TO ('2024-01-01');"
    " CREATE TABLE gate.p2 PARTITION OF gate.media FOR VALUES FROM ('2024-01-01') TO (MAXVALUE);"
    " INSERT INTO gate.media (id, path, made, expires) VALUES"
    " (1, 'image/a', '2020-01-01', '2020-02-01'), (1, 'image/b', '2025-01-01', NULL)"
)


async def _marked(catalog: Catalog) -> Term:
    term = await _live(catalog)
    current = await catalog.passes.begin(term, PassKind.RETENTION, "hash", Mode.LIVE, None)
    await catalog.passes.record(term, current, [finding("image/a", Verdict.EXPIRED)], NOTHING)
    await catalog.passes.arm(term, current, Tally())
    return term


@pytest.mark.attack(81)
async def test_a_row_goes_without_its_twin_in_another_partition(empty_database: str) -> None:
    """R-81: an id that only the partition's column makes unique."""
    async with _opened(empty_database, PARTITIONED) as catalog:
        term = await _marked(catalog)
        claim = await catalog.marks.claim(term, ClaimRequest(POLICY, ALL, 10, unless_named, no_cap))
        assert claimed(claim) == ["image/a"]
        answers = {"image/a": (ObjectResult.DELETED, "")}
        removed = await catalog.marks.confirm(term, claim, answers, unless_named, DAY)
        assert (removed.records, removed.failed) == (1, 0)
        assert list(await catalog.records.keys_in(KeyRange(prefix=""), 9)) == ["image/b"]


@pytest.mark.attack(81)
async def test_a_row_that_moves_between_partitions_is_never_taken_for_absent(empty_database: str) -> None:
    """R-81: the claim meets the move while it is open, and once it is committed."""
    move = "UPDATE gate.media SET made = '2025-02-01', expires = NULL WHERE path = 'image/a'"
    async with _opened(empty_database, PARTITIONED) as catalog:
        term = await _marked(catalog)
        sql = await asyncpg.connect(empty_database)
        moving = sql.transaction()
        await moving.start()
        await sql.execute(move)
        held = await catalog.marks.claim(term, ClaimRequest(POLICY, ALL, 10, unless_named, no_cap))
        assert (claimed(held), held.postponed, held.cancelled) == ([], 1, 0), "its row is on the move"
        await moving.commit()
        await sql.execute("UPDATE reconciler.marks SET not_before = NULL")
        after = await catalog.marks.claim(term, ClaimRequest(POLICY, ALL, 10, unless_named, no_cap))
        assert (claimed(after), after.cancelled) == ([], 1), "it is live where it went"
        assert await sql.fetchval("SELECT count(*) FROM gate.media") == 2
        await sql.close()
