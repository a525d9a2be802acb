"""Tables that are not the gateway's: one alone, one that two buckets share, several that name objects."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from reconciler.catalog.db.config import CatalogConfig, MediaColumns, TableMapping
from reconciler.catalog.db.connections import by_index
from reconciler.catalog.marks.marks import PostgresMarks
from reconciler.catalog.media_tables import triggers
from reconciler.catalog.media_tables.triggers import Triggers
from reconciler.catalog.open import open_catalog
from reconciler.engine.collect import deletion
from reconciler.errors import ConfigError, Halt
from reconciler.model import Claim, KeepReason, Outcome, Term, Verdict
from reconciler.ports import ClaimRequest
from tests.contract.catalog import POLICY, TTL, all_go, no_cap, staged, unless_named
from tests.contract.sides import real_catalog
from tests.integration.site import CALM, Site, make_site
from tests.servers import Bucket
from tests.support.faulty_store import Answer, Request
from tests.support.quirky_store import Stored, quirky_store
from tests.support.relay import relay

pytestmark = pytest.mark.anyio

CATALOG = "RECONCILER_CATALOG__"


async def _site(database: str, bucket: Bucket, *statements: str, **catalog: str) -> Site:
    """A site over tables of its own, mapped by the names of settings."""
    site = make_site(database, bucket)
    for statement in statements:
        await site.sql(statement)
    settings = {CATALOG + name.upper(): value for name, value in catalog.items()}
    return replace(site, environment=site.environment | settings)


async def _objects(site: Site, keys: Iterable[str]) -> None:
    await site.put(*keys)


# --- one table alone --------------------------------------------------------------------------------

FILES = """
CREATE TABLE files (id bigint PRIMARY KEY, path text COLLATE "C" UNIQUE, made timestamptz, until timestamptz)
"""

ALONE = {
    "media_table": "files",
    "keys_table": "",
    "media_columns__id": "id",
    "media_columns__storage_key": "path",
    "media_columns__virtual_key_id": "",
    "media_columns__size_bytes": "",
    "media_columns__created_at": "made",
    "media_columns__expires_at": "until",
    "media_columns__last_accessed_at": "",
}


COLUMNS = MediaColumns(
    id="id",
    storage_key="path",
    virtual_key_id="",
    size_bytes="",
    created_at="made",
    expires_at="until",
    last_accessed_at="",
)


@pytest.mark.incident(48)
@pytest.mark.parametrize("owned", [False, True])
async def test_a_table_without_owners_is_served(database: str, seaweed_bucket: Bucket, owned: bool) -> None:
    """I-48: nothing is ownerless or revoked, whatever an owner's column says."""
    columns = {**ALONE, "media_columns__virtual_key_id": "owner"} if owned else ALONE
    site = await _site(
        database,
        seaweed_bucket,
        FILES,
        "ALTER TABLE files ADD COLUMN owner text DEFAULT 'nobody of this name exists'",
        "INSERT INTO files VALUES (1, 'image/kept', now() - interval '400 days', NULL),"
        " (2, 'image/expired', now(), now() - interval '1 day'),"
        " (3, 'image/lost', now() - interval '1 day', NULL)",
        **columns,
    )
    await _objects(site, ["image/kept", "image/expired", "image/orphan"])
    report = await site.once()
    assert {verdict: count for verdict, count in report.found.items() if count} == {
        Verdict.ORPHAN: 1,
        Verdict.EXPIRED: 1,
        Verdict.DANGLING: 1,
    }
    report = await site.once()
    assert report.outcome is Outcome.CONVERGED
    assert await site.keys() == {"image/kept"}
    assert [tuple(row) for row in await site.sql("SELECT id FROM files")] == [(1,)]


@pytest.mark.attack(52)
@pytest.mark.debian("postgresql-15")
async def test_a_row_whose_id_the_database_takes_for_anothers_stays(
    icu_database: str, seaweed_bucket: Bucket
) -> None:
    """The index that makes ids unique tells more of them apart than the column does."""
    site = await _site(
        icu_database,
        seaweed_bucket,
        "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
        FILES.replace("bigint PRIMARY KEY", "text COLLATE ci NOT NULL"),
        'CREATE UNIQUE INDEX ON files (id COLLATE "C")',
        "INSERT INTO files VALUES ('A', 'image/expired', now(), now() - interval '1 day'),"
        " ('a', 'image/live', now(), NULL), ('b', 'image/gone', now(), now() - interval '1 day')",
        **ALONE,
    )
    await _objects(site, ["image/expired", "image/live", "image/gone"])
    assert (await site.once()).removed.objects == 1
    assert await site.keys() == {"image/expired", "image/live"}
    assert [row["id"] for row in await site.sql('SELECT id FROM files ORDER BY id COLLATE "C"')] == ["A", "a"]
    (mark,) = await site.sql("SELECT last_error FROM reconciler.marks")
    assert "its id is another row's too" in mark["last_error"]


# --- a table that two buckets share -----------------------------------------------------------------


@pytest.mark.incident(49)
@pytest.mark.parametrize("column", ["text", "integer"])
async def test_rows_of_another_bucket_are_neither_read_nor_missing(
    database: str, seaweed_bucket: Bucket, column: str
) -> None:
    """I-49: they name what lies elsewhere, so they neither go nor protect anything here."""
    ours, other = ("'it''s \\ours'", "'other'") if column == "text" else ("7", "8")
    site = await _site(
        database,
        seaweed_bucket,
        FILES.replace("UNIQUE", ""),
        f'ALTER TABLE files ADD COLUMN "Bucket" {column}',
        "INSERT INTO files VALUES"
        f" (1, 'image/kept', now() - interval '1 day', NULL, {ours}),"
        f" (2, 'image/elsewhere', now() - interval '1 day', NULL, {other}),"
        f" (3, 'image/both', now() - interval '1 day', now() - interval '1 day', {ours}),"
        f" (4, 'image/both', now() - interval '1 day', NULL, {other}),"
        f" (5, 'image/theirs', now() - interval '1 day', now() - interval '1 day', {other}),"
        f" (6, 'image/unclaimed', now() - interval '1 day', NULL, NULL)",
        "ALTER TABLE files ADD COLUMN thumb text",
        "UPDATE files SET thumb = CASE id WHEN 1 THEN 'image/thumb' ELSE 'image/theirs.thumb' END",
        **ALONE,
        variant_columns='["thumb"]',
        media_where=json.dumps({"Bucket": "it's \\ours" if column == "text" else 7}),
    )
    await _objects(site, ["image/kept", "image/thumb", "image/both", "image/theirs", "image/theirs.thumb"])
    for _ in range(3):
        report = await site.once()
    assert (report.outcome, report.records) == (Outcome.CONVERGED, 1)
    assert await site.keys() == {"image/kept", "image/thumb"}
    left = await site.sql("SELECT id FROM files ORDER BY id")
    assert [row["id"] for row in left] == [1, 2, 4, 5, 6]


@pytest.mark.incident(49)
async def test_a_row_that_goes_to_another_bucket_is_not_removed(
    database: str, seaweed_bucket: Bucket
) -> None:
    """I-49: it counted when it was marked, and does not any more."""
    site = await _site(
        database,
        seaweed_bucket,
        FILES,
        "ALTER TABLE files ADD COLUMN bucket text DEFAULT 'ours'",
        "INSERT INTO files VALUES (1, 'image/moved', now(), now() - interval '1 day')",
        **ALONE,
        media_where='{"bucket": "ours"}',
    )
    await site.once(delete_delay="1h")
    await site.sql("UPDATE files SET bucket = 'other'")
    await site.sql("UPDATE reconciler.marks SET due_at = now() - interval '1 hour'")
    report = await site.once()
    assert (report.outcome, report.removed.records) == (Outcome.CONVERGED, 0)
    assert len(await site.sql("SELECT FROM files")) == 1


TOMBSTONE = """
INSERT INTO reconciler.tombstones (storage_key, verdict, operation_id, gone_at, ends_at)
VALUES ('image/a', 'orphan', gen_random_uuid(), now(), now() + interval '1 hour')
"""


@pytest.mark.incident(49)
async def test_a_row_of_another_bucket_that_spells_an_orphan_otherwise_keeps_nothing(database: str) -> None:
    """Nor does one that came since the sweep."""
    tables = TableMapping(
        media_table="files", keys_table="", media=COLUMNS, media_where=(("bucket", "ours"),)
    )
    connection = await asyncpg.connect(database)
    await connection.execute(f"{FILES}; ALTER TABLE files ADD COLUMN bucket text")
    try:
        async with staged(database, CatalogConfig(database_url=database, tables=tables)) as stage:
            side = real_catalog(stage)
            await side.sweep(("image/a", Verdict.ORPHAN), ("image/b", Verdict.ORPHAN))
            await connection.execute(
                "INSERT INTO files (id, path, bucket) VALUES (1, 'image/A', 'ours'), (2, 'image/B', 'theirs')"
            )
            claim = await side.claim()
    finally:
        await connection.close()
    assert ([key.mark.storage_key for key in claim.keys], claim.cancelled) == (["image/b"], 1)


@pytest.mark.incident(49)
@pytest.mark.parametrize("generated", [False, True])
async def test_the_triggers_leave_rows_of_another_bucket_alone(database: str, generated: bool) -> None:
    """I-49: their keys may be the same. What a trigger cannot see yet, it guards."""
    connection = await asyncpg.connect(database)
    try:
        column = "text GENERATED ALWAYS AS (lower(tenant)) STORED" if generated else "text"
        for statement in (FILES, f"ALTER TABLE files ADD COLUMN tenant text, ADD COLUMN bucket {column}"):
            await connection.execute(statement)
        tables = TableMapping(
            media_table="files",
            keys_table="",
            media=COLUMNS,
            media_where=(("bucket", "it's \\ours"),),
        )
        await triggers.install(connection, tables)
        assert await triggers.state(connection, tables) is Triggers.INSTALLED
        assert await triggers.state(connection, replace(tables, media_where=())) is Triggers.OUTDATED
        await connection.execute(TOMBSTONE)
        written = "tenant" if generated else "bucket"
        insert = f"INSERT INTO files (id, path, {written}) VALUES ($1, 'image/a', $2)"
        with pytest.raises(asyncpg.PostgresError, match="upload again"):
            await connection.execute(insert, 1, "it's \\ours")
        if generated:
            with pytest.raises(asyncpg.PostgresError, match="upload again"):
                await connection.execute(insert, 2, "other")
            return
        await connection.execute(insert, 2, "other")
        with pytest.raises(asyncpg.PostgresError, match="upload again"):
            await connection.execute("UPDATE files SET bucket = $1", "it's \\ours")
    finally:
        await connection.close()


@pytest.mark.debian("postgresql-15")
@pytest.mark.incident(49)
async def test_a_bucket_that_differs_by_case_alone_is_another_one(icu_database: str) -> None:
    """I-49: by the bytes, though the column's own collation calls the two equal."""
    blind = "CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
    tables = TableMapping(
        media_table="files", keys_table="", media=COLUMNS, media_where=(("bucket", "ours"),)
    )
    insert = "INSERT INTO files (id, path, bucket) VALUES ($1, $2, $3)"
    connection = await asyncpg.connect(icu_database)
    try:
        for statement in (
            blind,
            FILES.replace("UNIQUE", ""),
            "ALTER TABLE files ADD COLUMN bucket text COLLATE blind",
        ):
            await connection.execute(statement)
        await connection.execute(insert, 1, "image/ours", "ours")
        await connection.execute(insert, 2, "image/theirs", "OURS")
        async with open_catalog(CatalogConfig(database_url=icu_database, tables=tables)) as catalog:
            assert await catalog.records.count(["image/"]) == 1
        await triggers.install(connection, tables)
        await connection.execute(TOMBSTONE)
        await connection.execute(insert, 3, "image/a", "OURS")
        with pytest.raises(asyncpg.PostgresError, match="upload again"):
            await connection.execute(insert, 4, "image/a", "ours")
    finally:
        await connection.close()


SPELT = {
    "boolean": ("t", "true"),
    "integer": (" 007", "7"),
    "numeric(9,0)": ("7.0", "7"),
    "uuid": ("A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    "text": ("t", "t"),
    '"char"': ("t", "t"),
}


@pytest.mark.attack(89)
@pytest.mark.parametrize("kind", SPELT)
async def test_a_row_counts_by_the_value_and_not_by_how_it_is_written(
    database: str, seaweed_bucket: Bucket, kind: str
) -> None:
    """R-89: else no row counts, and every object is an orphan. The triggers, and a script of them, alike."""
    written, value = SPELT[kind]
    site = await _site(
        database,
        seaweed_bucket,
        FILES,
        f"ALTER TABLE files ADD COLUMN mine {kind}",
        f"INSERT INTO files VALUES (1, 'image/kept', now() - interval '1 day', NULL, '{value}')",
        **ALONE,
        media_where=json.dumps({"mine": written}),
    )
    await _objects(site, ["image/kept"])
    report = await site.once()
    assert (report.outcome, report.records, await site.keys()) == (Outcome.CONVERGED, 1, {"image/kept"})
    tables = TableMapping(media_table="files", keys_table="", media=COLUMNS, media_where=(("mine", written),))
    await site.script(triggers.script(tables))
    async with open_catalog(CatalogConfig(database_url=database, tables=tables)) as catalog:
        assert catalog.report.triggers is Triggers.INSTALLED
    await site.sql(TOMBSTONE)
    with pytest.raises(asyncpg.PostgresError, match="upload again"):
        await site.sql(f"INSERT INTO files VALUES (2, 'image/a', now(), NULL, '{value}')")


@pytest.mark.attack(89)
@pytest.mark.parametrize(
    ("kind", "value", "told"),
    [
        ("uuid", "ours", "MEDIA_WHERE__mine: 'ours' is no value of its type, uuid: invalid input"),
        ("boolean", "ours", "'ours' is no value of its type, boolean"),
        ("smallint", "70000", "'70000' is no value of its type, smallint"),
        ("timestamptz", "2026-01-01", "its type is timestamptz, in which one value is written in several"),
        ("numeric", "7", "its type is numeric, in which one value is written in several ways"),
    ],
)
async def test_what_is_no_value_of_the_columns_type_is_refused(
    database: str, kind: str, value: str, told: str
) -> None:
    connection = await asyncpg.connect(database)
    try:
        await connection.execute(f"{FILES}; ALTER TABLE files ADD COLUMN mine {kind}")
    finally:
        await connection.close()
    tables = TableMapping(media_table="files", keys_table="", media=COLUMNS, media_where=(("mine", value),))
    with pytest.raises(ConfigError) as refused:
        async with open_catalog(CatalogConfig(database_url=database, tables=tables)):
            pass
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.attack(89)
@pytest.mark.parametrize("kind", ["varchar(4)", "char(4)", '"char"', "name"])
async def test_a_value_that_is_too_long_for_its_column_is_not_cut(database: str, kind: str) -> None:
    """Cut, it would be another bucket's name, or the beginning of many."""
    long, cut = ("o" * 70, "o" * 63) if kind == "name" else ("oursoever", "o" if kind == '"char"' else "ours")
    connection = await asyncpg.connect(database)
    try:
        await connection.execute(f"{FILES}; ALTER TABLE files ADD COLUMN mine {kind}")
        await connection.execute(f"INSERT INTO files VALUES (1, 'image/a', now(), NULL, '{cut}')")
    finally:
        await connection.close()
    for value, rows in ((cut, 1), (long, 0)):
        where = (("mine", value),)
        tables = TableMapping(media_table="files", keys_table="", media=COLUMNS, media_where=where)
        async with open_catalog(CatalogConfig(database_url=database, tables=tables)) as catalog:
            assert await catalog.records.count(["image/"]) == rows


# --- several columns and tables that name objects ---------------------------------------------------

ROWS = """
INSERT INTO files VALUES
    (1, 'image/kept', now(), NULL, 'image/kept.thumb', 'image/kept.poster'),
    (2, 'image/expired', now(), now() - interval '1 day', 'image/expired.thumb', 'image/shared.poster'),
    (3, 'image/cover', now(), now() - interval '1 day', NULL, 'image/shared.poster'),
    (4, 'image/also', now(), NULL, NULL, 'image/shared.poster')
"""

GALLERY = (
    FILES,
    "ALTER TABLE files ADD COLUMN thumb text, ADD COLUMN poster varchar(200)",
    "CREATE TABLE users (id int, avatar char(40))",
    "CREATE SCHEMA app",
    'CREATE TABLE app."Posts" (id int, "Cover" text)',
    "CREATE VIEW gallery AS SELECT unnest(ARRAY['image/in-a-list', NULL]) AS key",
    ROWS,
    "INSERT INTO users VALUES (1, 'image/avatar'), (2, NULL)",
    "INSERT INTO app.\"Posts\" VALUES (1, 'image/cover')",
)

NAMED = ["files.thumb", "files.poster", "users.avatar", "app.Posts.Cover", "gallery.key"]


@pytest.mark.incident(54)
async def test_what_another_column_names_is_kept(database: str, bucket: Bucket) -> None:
    """I-54, on both joins: thumbnails, avatars and covers are no orphans. A row goes, and its object stays
    for the table that names it besides.
    """
    site = await _site(database, bucket, *GALLERY, **ALONE, also_referenced=json.dumps(NAMED))
    kept = {
        *("image/kept", "image/kept.thumb", "image/kept.poster", "image/shared.poster"),
        *("image/avatar", "image/cover", "image/in-a-list", "image/also"),
    }
    await _objects(site, [*kept, "image/expired", "image/expired.thumb", "image/orphan"])
    report = await site.once()
    assert report.found[Verdict.ORPHAN] == 1
    # What only the row that went had named is an orphan by now.
    report = await site.once()
    assert (report.outcome, report.found[Verdict.ORPHAN]) == (Outcome.CONVERGED, 1)
    assert await site.keys() == kept
    left = await site.sql("SELECT id FROM files ORDER BY id")
    assert [row["id"] for row in left] == [1, 4]


@pytest.mark.incident(54)
@pytest.mark.parametrize("before", ["claim", "look_again"])
async def test_what_comes_to_be_named_after_its_mark_is_kept(
    database: str, seaweed_bucket: Bucket, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    """I-54: the claim asks again, and so does the second look."""
    site = await _site(
        database,
        seaweed_bucket,
        FILES,
        "CREATE TABLE users (id int, avatar char(40))",
        "INSERT INTO files VALUES (1, 'image/kept', now(), NULL)",
        **ALONE,
        also_referenced='["users.avatar"]',
    )
    await _objects(site, ["image/kept", "image/new-avatar", "image/orphan"])
    step = getattr(PostgresMarks, before)

    async def late(*given: Any, **named: Any) -> Any:
        marked = "SELECT 1, storage_key FROM reconciler.marks WHERE storage_key = 'image/new-avatar'"
        await site.sql(f"INSERT INTO users {marked}")
        return await step(*given, **named)

    monkeypatch.setattr(PostgresMarks, before, late)
    report = await site.once()
    assert (report.found[Verdict.ORPHAN], report.removed.objects) == (2, 1)
    assert await site.keys() == {"image/kept", "image/new-avatar"}


@pytest.mark.attack(83)
async def test_a_column_without_an_index_is_read_once_for_all_keys(database: str) -> None:
    """R-83: a claim plans no hash join. For each of its thousand keys it would go through the whole table."""
    keys, rows = 100, 2_000
    connection = await asyncpg.connect(database, server_settings={"plan_cache_mode": "force_custom_plan"})
    try:
        await connection.execute(";".join(GALLERY))
        await connection.execute(
            f"INSERT INTO users SELECT n, 'image/' || n FROM generate_series(1, {rows}) n; ANALYZE users"
        )
        tables = TableMapping(
            media_table="files", keys_table="", media=COLUMNS, also_referenced=("users.avatar",)
        )
        async with open_catalog(CatalogConfig(database_url=database, tables=tables)) as catalog:
            media = catalog.marks._media
            query = media.names_by(media.references[0])
        asked = [f"image/{rows - 1 + number}" for number in range(keys)]
        async with connection.transaction():
            await by_index(connection)
            assert [row["key"] for row in await connection.fetch(query, asked)] == asked[:2]
            explained = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", asked)
        ((plan,),) = (json.loads(explained),)
        assert max(_went_through(plan["Plan"])) <= rows + 2
    finally:
        await connection.close()


def _went_through(node: dict[str, Any]) -> Iterator[float]:
    """How many rows each node of a plan gave, or threw away."""
    given = node["Actual Rows"] + sum(
        value for name, value in node.items() if name.startswith("Rows Removed")
    )
    yield given * node["Actual Loops"]
    for each in node.get("Plans", ()):
        yield from _went_through(each)


ADDRESSES = "https://cdn.example.org/{bucket}/image/cdn.png?v=2", "/image/slash.png", "image/a%20blank.png"
SPELLED = {"image/cdn.png", "image/slash.png", "image/a blank.png"}


@pytest.mark.attack(85)
async def test_what_another_column_spells_otherwise_is_kept(database: str, bucket: Bucket) -> None:
    """R-85: avatars are written as addresses more often than as keys. A picture in the column is none."""
    site = await _site(
        database,
        bucket,
        *GALLERY,
        'ALTER TABLE users ADD COLUMN picture text COLLATE "C"',
        "UPDATE users SET picture = 'data:image/png;base64,' || repeat('AAAA', 5000)",
        **ALONE,
        also_referenced='["users.picture"]',
    )
    for address in ADDRESSES:
        await site.sql("INSERT INTO users VALUES (3, NULL, $1)", address.format(bucket=bucket.name))
    await _objects(site, [*SPELLED, "image/kept", "image/also", "image/orphan"])
    planned, _ = await site.plan()
    assert planned.kept[KeepReason.NEAR_MISS] == len(SPELLED)
    for _ in range(2):
        report = await site.once()
    assert (report.outcome, report.kept[KeepReason.NEAR_MISS]) == (Outcome.CONVERGED, len(SPELLED))
    assert await site.keys() == {*SPELLED, "image/kept", "image/also"}


CASED = {
    "image/thumb.png": "image/THUMB.png",
    "image/Poster.PNG": "image/poster.png",
    "image/a%2Eb.png": "image/A.B.png",
    "image/Two.png": "image//TWO.png",
    "image/Host.png": "HTTPS://CDN.example.org/{bucket}/IMAGE/host.PNG?v=2",
    "image/A Blank.png": "image/a%20BLANK.png",
    "image/Twice.png": "Image/image/TWICE.png",
    "image/cut.png": "CUT.PNG",
}
"""Orphans, and how a further column spells them: by case, and by case with another difference."""


@pytest.mark.attack(92)
@pytest.mark.parametrize("setting", ["variant_columns", "also_referenced"])
async def test_what_another_column_spells_in_another_case_is_kept(
    database: str, seaweed_bucket: Bucket, setting: str
) -> None:
    """R-92: each of the columns is read once, and compared by the folded form."""
    thumbs = setting == "variant_columns"
    named = {setting: '["thumb"]' if thumbs else '["users.avatar"]'}
    site = await _site(
        database,
        seaweed_bucket,
        FILES,
        "ALTER TABLE files ADD COLUMN thumb varchar(200)",
        "CREATE TABLE users (avatar text)",
        "INSERT INTO files VALUES (1, 'image/kept', now())",
        **ALONE,
        **named,
    )
    insert = (
        "INSERT INTO users SELECT $1"
        if not thumbs
        else ("INSERT INTO files SELECT count(*) + 1, 'elsewhere/' || count(*), now(), NULL, $1 FROM files")
    )
    for other in CASED.values():
        await site.sql(insert, other.format(bucket=seaweed_bucket.name))
    orphans = {f"image/Orphan{number}" for number in range(3)}
    await _objects(site, {*CASED, *orphans, "image/kept"})
    planned, findings = await site.plan()
    near = {each.storage_key for each in findings if each.kept is KeepReason.NEAR_MISS}
    assert (near, planned.kept[KeepReason.NEAR_MISS]) == (set(CASED), len(CASED))
    assert (await site.once()).outcome is Outcome.TRIPPED
    await site.approve(await site.tripped())
    for _ in range(2):
        report = await site.once()
    assert (report.outcome, report.kept[KeepReason.NEAR_MISS]) == (Outcome.CONVERGED, len(CASED))
    assert await site.keys() == {*CASED, "image/kept"}


@pytest.mark.attack(85)
async def test_what_is_spelled_otherwise_after_its_mark_is_kept(
    database: str, seaweed_bucket: Bucket
) -> None:
    site = await _site(database, seaweed_bucket, *GALLERY, **ALONE, also_referenced='["users.avatar"]')
    await _objects(site, ["image/kept", "image/also", "image/me.png", "image/you.png"])
    await site.once(delete_delay="1h")
    await site.sql("UPDATE reconciler.marks SET due_at = now() - interval '1 hour'")
    await site.sql("INSERT INTO users VALUES (3, '/image/me.png')")
    tables = TableMapping(
        media_table="files", keys_table="", media=COLUMNS, also_referenced=("users.avatar",)
    )
    async with open_catalog(CatalogConfig(database_url=database, tables=tables)) as catalog:
        term = await catalog.lease.acquire("test", TTL)
        assert isinstance(term, Term)
        claim = await catalog.marks.claim(
            term, ClaimRequest(POLICY, [Verdict.ORPHAN], 10, unless_named, no_cap)
        )
    assert [each.mark.storage_key for each in claim.keys] == ["image/you.png"]


@pytest.mark.attack(86)
async def test_what_another_column_comes_to_name_after_its_deletion_comes_back(
    database: str, seaweed_bucket: Bucket
) -> None:
    """R-86: in the next sweep, and not when its copy is about to be purged."""
    site = await _site(
        database, seaweed_bucket, *GALLERY, **ALONE, also_referenced='["users.avatar", "gallery.key"]'
    )
    await _objects(site, ["image/kept", "image/also", "image/me.png", "image/orphan"])
    assert (await site.once(delete_mode="quarantine")).removed.objects == 4
    await site.sql("INSERT INTO users VALUES (3, 'image/me.png')")
    report = await site.once(delete_mode="quarantine", dangling_cleanup_enabled="false")
    assert (report.outcome, await site.keys()) == (
        Outcome.CONVERGED,
        {"image/kept", "image/also", "image/me.png"},
    )
    assert await site.sql("SELECT FROM reconciler.restores") == []


@pytest.mark.incident(54)
@pytest.mark.parametrize(
    ("named", "told"),
    [
        ('["users.avatars"]', "users.avatars: no such column; there is avatar"),
        ('["members.avatar"]', "members.avatar: there is no table members"),
        ('["users.id"]', "users.id: its type is integer; allowed are"),
    ],
)
async def test_a_column_that_cannot_be_asked_is_told_at_the_start(
    database: str, seaweed_bucket: Bucket, named: str, told: str
) -> None:
    site = await _site(database, seaweed_bucket, *GALLERY, **ALONE, also_referenced=named)
    with pytest.raises(ConfigError, match=re.escape(told)):
        await site.once()


@pytest.mark.incident(54)
async def test_a_table_that_is_replaced_under_way_stops_everything(
    database: str, seaweed_bucket: Bucket
) -> None:
    site = await _site(database, seaweed_bucket, *GALLERY)
    tables = TableMapping(
        media_table="files", keys_table="", media=COLUMNS, also_referenced=("users.avatar",)
    )
    async with open_catalog(CatalogConfig(database_url=database, tables=tables)) as catalog:
        assert await catalog.records.referenced(["image/avatar", "image/x"]) == {"image/avatar"}
        await site.sql("ALTER TABLE users RENAME TO people")
        await site.sql("CREATE TABLE users (avatar text)")
        with pytest.raises(Halt, match="was replaced while this program ran"):
            await catalog.records.referenced(["image/avatar"])


FAR = (
    "CREATE EXTENSION postgres_fdw",
    "CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw",
    "CREATE TABLE pictures (key text, year int) PARTITION BY LIST (year)",
    "CREATE TABLE pictures_25 PARTITION OF pictures FOR VALUES IN (25)",
    "CREATE VIEW pictured AS SELECT * FROM (SELECT key FROM pictures) p",
    "CREATE MATERIALIZED VIEW seen AS SELECT avatar::text AS key FROM users",
    "CREATE VIEW as_seen AS SELECT key FROM seen",
)
"""Tables of which one gets a partition on another server, and a view that is never of now."""

MOVED = "CREATE FOREIGN TABLE old PARTITION OF pictures FOR VALUES IN (20) SERVER far"


@pytest.mark.attack(96)
@pytest.mark.debian("postgresql-15")
async def test_rows_on_another_server_are_refused_before_and_under_way(
    icu_database: str, seaweed_bucket: Bucket
) -> None:
    """R-96: no claim waits for a transaction over there, nor does a foreign row say when it was written."""
    site = await _site(icu_database, seaweed_bucket, *GALLERY, *FAR, **ALONE)
    tables = TableMapping(
        media_table="files", keys_table="", media=COLUMNS, also_referenced=("pictured.key", "users.avatar")
    )
    async with open_catalog(CatalogConfig(database_url=icu_database, tables=tables)) as catalog:
        assert await catalog.records.referenced(["image/avatar", "image/x"]) == {"image/avatar"}
        await site.sql(MOVED)
        with pytest.raises(Halt, match=r"public\.old is a materialized view or lies on another server"):
            await catalog.records.referenced(["image/avatar"])
    named = {f"{CATALOG}ALSO_REFERENCED": '["pictures.key", "pictured.key", "as_seen.key"]'}
    site = replace(site, environment=site.environment | named)
    with pytest.raises(ConfigError) as refused:
        await site.once()
    for column, behind in (("pictures", "old"), ("pictured", "old"), ("as_seen", "seen")):
        assert f"{column}.key: public.{behind} is a materialized view or lies on another" in str(
            refused.value
        )


# --- variants ---------------------------------------------------------------------------------------

VARIANTS = {**ALONE, "variant_columns": '["thumb", "poster"]', "also_referenced": '["app.Posts.Cover"]'}


@pytest.mark.incident(54)
async def test_variants_go_with_their_row_and_come_back_with_it(database: str, bucket: Bucket) -> None:
    """I-54: in one run, and not as orphans of a later sweep. What another row, or table, names stays."""
    site = await _site(
        database,
        bucket,
        *GALLERY,
        "INSERT INTO app.\"Posts\" VALUES (2, 'image/posted.thumb')",
        "INSERT INTO files VALUES (5, 'image/posted', now(), now() - interval '1 day', 'image/posted.thumb',"
        " 'elsewhere/posted.poster')",
        **VARIANTS,
    )
    kept = {
        *("image/kept", "image/kept.thumb", "image/kept.poster", "image/shared.poster"),
        *("image/cover", "image/also", "image/posted.thumb", "elsewhere/posted.poster"),
    }
    gone = {"image/expired", "image/expired.thumb", "image/posted"}
    await _objects(site, [*kept, *gone])
    report = await site.once(delete_mode="quarantine", breaker__max_fraction="0.8", breaker__min_count="0")
    assert (report.outcome, report.found.get(Verdict.ORPHAN)) == (Outcome.CONVERGED, None)
    assert report.removed.objects == len(gone)
    assert await site.keys() == kept
    undone = await site.undo(keys=("image/expired",))
    assert undone.objects == 2
    assert await site.keys() == kept | {"image/expired", "image/expired.thumb"}


@pytest.mark.incident(54)
async def test_a_variant_stays_with_a_row_that_is_put_off(database: str, seaweed_bucket: Bucket) -> None:
    """I-54: its mark waits for the record's, which a crash left claimed."""
    site = await _site(database, seaweed_bucket, *GALLERY, **VARIANTS)
    await _objects(site, ["image/expired", "image/expired.thumb"])
    await site.sql("UPDATE files SET until = NULL WHERE id <> 2")
    await site.once(delete_delay="1h")
    await site.sql("UPDATE reconciler.marks SET due_at = now() - interval '1 hour'")
    await site.sql(
        "INSERT INTO reconciler.marks (storage_key, verdict, reason, bytes, pass_id, first_seen_at,"
        " last_seen_at, last_pass_id, sightings, due_at, variant_of)"
        " SELECT 'image/expired.thumb', verdict, reason, 0, pass_id, first_seen_at, last_seen_at,"
        " last_pass_id, 1, due_at, storage_key FROM reconciler.marks WHERE storage_key = 'image/expired'"
    )
    await site.sql("UPDATE files SET until = now() + interval '1 day' WHERE id = 2")
    report = await site.once()
    assert report.removed.objects == 0
    assert await site.sql("SELECT FROM reconciler.marks") == []
    assert await site.keys() == {"image/expired", "image/expired.thumb"}


EXPIRED = "UPDATE files SET until = NULL WHERE id <> 2"


@pytest.mark.attack(91)
async def test_a_variant_that_is_put_again_while_it_is_deleted_stays(
    database: str, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-91: no listing has seen it. Whoever puts another object there, after the look, has not lost it."""
    site = await _site(database, bucket, *GALLERY, **VARIANTS)
    site.environment.update(CALM)
    await _objects(site, ["image/expired", "image/expired.thumb"])
    await site.sql(EXPIRED)
    verify = deletion._verify_absence

    async def late(ports: Any, keys: Any, answers: Any) -> None:
        if await site.sql("SELECT FROM reconciler.marks WHERE variant_of IS NOT NULL AND state = 'claimed'"):
            bucket.put("image/expired.thumb", b"another")
        await verify(ports, keys, answers)

    monkeypatch.setattr(deletion, "_verify_absence", late)
    assert (await site.once()).removed.objects == 1
    assert await site.keys() == {"image/expired.thumb"}


@pytest.mark.attack(91)
async def test_a_variant_that_is_put_again_after_its_records_claim_is_the_sweeps(
    database: str, seaweed_bucket: Bucket
) -> None:
    """By its time: as far as the clocks of store and database may be apart."""
    site = await _site(database, seaweed_bucket, *GALLERY, **VARIANTS)
    await _objects(site, ["image/expired", "image/expired.thumb"])
    await site.sql(EXPIRED)
    report = await site.once(grace_period="1h")
    assert (report.removed.objects, await site.keys()) == (1, {"image/expired.thumb"})
    assert (await site.once(grace_period="0s")).found[Verdict.ORPHAN] == 1


@pytest.mark.attack(91)
async def test_the_ledger_has_a_variants_size_and_etag(database: str, bucket: Bucket) -> None:
    site = await _site(database, bucket, *GALLERY, **VARIANTS)
    await _objects(site, ["image/expired", "image/expired.thumb"])
    await site.sql(EXPIRED)
    assert (await site.once()).removed.bytes == 1
    (line,) = await site.sql(
        "SELECT bytes, etag FROM reconciler.ledger"
        " WHERE event = 'result' AND storage_key = 'image/expired.thumb'"
    )
    assert (line["bytes"], len(line["etag"])) == (1, 32)


@pytest.mark.attack(91)
async def test_a_variant_that_is_not_there_counts_as_no_deletion(
    database: str, seaweed_bucket: Bucket
) -> None:
    site = await _site(database, seaweed_bucket, *GALLERY, **VARIANTS)
    await _objects(site, ["image/expired"])
    await site.sql(EXPIRED)
    report = await site.once()
    assert (report.removed.objects, report.removed.records) == (1, 1)


@pytest.mark.attack(91)
async def test_a_variant_that_went_unconfirmed_can_still_be_brought_back(
    database: str, seaweed_bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The repeated attempt finds nothing at its key, because the first one has deleted it."""
    site = await _site(database, seaweed_bucket, *GALLERY, **VARIANTS)
    site.environment["RECONCILER_DELETE_MODE"] = "quarantine"
    await _objects(site, ["image/expired", "image/expired.thumb"])
    await site.sql(EXPIRED)
    confirm = PostgresMarks.confirm

    async def cut_off(marks: PostgresMarks, term: Term, claim: Claim, *given: Any, **named: Any) -> Any:
        if any(key.mark.variant_of for key in claim.keys):
            raise RuntimeError("the program ends here")
        return await confirm(marks, term, claim, *given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(PostgresMarks, "confirm", cut_off)
        with pytest.raises(RuntimeError):
            await site.once()
    assert await site.keys() == set()
    await site.outlive_the_dead()
    assert (await site.once()).outcome is Outcome.CONVERGED
    assert (await site.undo(since=datetime.now(UTC) - timedelta(hours=2))).objects == 2
    assert await site.keys() == {"image/expired", "image/expired.thumb"}


@pytest.mark.attack(91)
async def test_variants_of_no_use_are_not_marked(database: str) -> None:
    """Those outside the prefixes, or too long for a key; and a dangling record's, which the sweep judges."""
    tables = TableMapping(media_table="files", keys_table="", media=COLUMNS, variants=("thumb", "poster"))
    long = f"image/{'b' * 3000}"
    connection = await asyncpg.connect(database)
    try:
        await connection.execute(f"{FILES}; ALTER TABLE files ADD COLUMN thumb text, ADD COLUMN poster text")
        await connection.executemany(
            "INSERT INTO files (id, path, thumb, poster) VALUES ($1, $2, $3, $4)",
            [
                (1, "image/a", "image/a.thumb", "elsewhere/a.poster"),
                (2, "image/b", long, None),
                (3, "image/c", "image/c.thumb", ""),
            ],
        )
        async with staged(database, CatalogConfig(database_url=database, tables=tables)) as stage:
            side = real_catalog(stage)
            found = {"image/a": Verdict.EXPIRED, "image/b": Verdict.EXPIRED, "image/c": Verdict.DANGLING}
            for _ in range(2):
                await side.sweep(*found.items())
            claim = await side.claim(all_go)
            assert {key.mark.storage_key for key in claim.keys} == found.keys()
            marks = await connection.fetch("SELECT storage_key FROM reconciler.marks WHERE variant_of <> ''")
    finally:
        await connection.close()
    assert [mark["storage_key"] for mark in marks] == ["image/a.thumb"]


@pytest.mark.attack(91)
async def test_a_variant_without_a_date_is_the_sweeps(database: str) -> None:
    """It may be seconds old."""
    async with quirky_store() as store:
        site = await _site(database, store.bucket(), *GALLERY, **VARIANTS)
        store.put("image/expired")
        store.objects["image/expired.thumb"] = Stored(b"fresh", datetime(1970, 1, 1, tzinfo=UTC))
        await site.sql(EXPIRED)
        assert (await site.once()).removed.objects == 1
        assert store.keys() == {"image/expired.thumb"}


@pytest.mark.attack(91)
async def test_plan_and_dry_run_count_the_variants_that_go_with_their_rows(
    database: str, bucket: Bucket
) -> None:
    """As many objects and bytes as go then: one that two rows share with the last, if both of them go."""
    gone = "now(), now() - interval '1 day'"
    site = await _site(
        database,
        bucket,
        *GALLERY,
        "INSERT INTO app.\"Posts\" VALUES (2, 'image/posted.thumb')",
        f"INSERT INTO files VALUES (5, 'image/posted', {gone}, 'image/posted.thumb', 'image/two.poster'),"
        f" (6, 'image/other', {gone}, 'image/lost.thumb', 'image/two.poster')",
        **VARIANTS,
    )
    kept = {"image/kept", "image/kept.thumb", "image/kept.poster", "image/shared.poster", "image/cover"}
    kept |= {"image/also", "image/posted.thumb"}
    gone_keys = {"image/expired", "image/expired.thumb", "image/posted", "image/other", "image/two.poster"}
    await _objects(site, [*kept, *gone_keys])
    settings = {"breaker__max_fraction": "1", "breaker__min_count": "100"}
    _, findings = await site.plan(**settings)
    assert {each.storage_key for each in findings if each.kept is None} == {*gone_keys, "image/cover"}
    besides = [each for each in findings if each.reason.startswith("a further object of ")]
    assert {each.storage_key: each.bytes for each in besides} == {
        "image/expired.thumb": 1,
        "image/two.poster": 1,
    }
    dry = await site.once(dry_run="true", **settings)
    live = await site.once(**settings)
    assert (dry.removed.objects, live.removed.objects) == (len(gone_keys), len(gone_keys))
    assert dry.removed.bytes == live.removed.bytes
    assert await site.keys() == kept


@pytest.mark.attack(91)
async def test_plan_and_dry_run_count_no_variant_that_would_stay(
    database: str, seaweed_bucket: Bucket
) -> None:
    """On hold, or with a key that protects it, as a folder's."""
    gone = "now(), now() - interval '1 day', 'image/held.thumb', 'image/folder/'"
    rows = ("DELETE FROM files", f"INSERT INTO files VALUES (5, 'image/third', {gone})")
    site = await _site(database, seaweed_bucket, *GALLERY, *rows, **VARIANTS)
    await _objects(site, ["image/third", "image/held.thumb", "image/folder/"])
    await site.sql(
        "INSERT INTO reconciler.holds (kind, target, author, reason)"
        " VALUES ('key', 'image/held.thumb', 'legal', 'a case')"
    )
    _, findings = await site.plan()
    assert [each.storage_key for each in findings if each.kept is None] == ["image/third"]
    assert (await site.once(dry_run="true")).removed.objects == 1
    assert (await site.once()).removed.objects == 1
    assert await site.keys() == {"image/held.thumb", "image/folder/"}


@pytest.mark.attack(73)
@pytest.mark.attack(91)
async def test_a_variant_whose_head_is_refused_ends_no_plan(database: str, seaweed_bucket: Bucket) -> None:
    """It stays, with its reason, when its turn comes."""
    site = await _site(database, seaweed_bucket, *GALLERY, **VARIANTS)
    await _objects(site, ["image/expired", "image/expired.thumb"])
    await site.sql("DELETE FROM files WHERE id <> 2")
    await site.once(delete_delay="1h")

    def refuse(request: Request) -> Answer | None:
        asked = request.method == "HEAD" and request.target.endswith("/image/expired.thumb")
        return Answer("", 400) if asked else None

    async with relay(seaweed_bucket.server.endpoint_url, refuse) as address:
        site.environment["RECONCILER_BUCKET__ENDPOINT_URL"] = address
        report, findings = await site.plan()
        assert report.outcome is not Outcome.FAILED, report.detail
        assert [each.storage_key for each in findings if each.kept is None] == ["image/expired"]
        await site.sql("UPDATE reconciler.marks SET due_at = now() - interval '1 hour'")
        removed = (await site.once()).removed
        assert (removed.objects, removed.failed) == (1, 1)
    assert await site.keys() == {"image/expired.thumb"}
