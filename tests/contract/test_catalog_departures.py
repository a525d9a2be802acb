"""What the triggers note of rows that leave, on Postgres 18 and 15, and how notes become marks."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import anyio
import asyncpg
import pytest

from reconciler.catalog import migrate
from reconciler.catalog.db.config import CatalogConfig, KeyColumns, MediaColumns, TableMapping
from reconciler.catalog.db.connections import by_index
from reconciler.catalog.mark_rows import claimable_arguments
from reconciler.catalog.marks.claims import DEPARTED, TAKE
from reconciler.catalog.media_tables import departing, triggers
from reconciler.catalog.media_tables.user_code import REMOVING
from reconciler.catalog.passes import departures
from reconciler.catalog.passes.departures import PostgresDepartures
from reconciler.catalog.passes.mark_writer import REJOIN_MARKS
from reconciler.embedded.client import Supervisor
from reconciler.embedded.postgres import start_postgres
from reconciler.errors import ConfigError
from reconciler.model import Hold, HoldKind, KeepReason, Mode, PassKind, PassState, Tally, Verdict
from reconciler.model.spelling import Orphans
from reconciler.ports import ClaimRequest
from tests.contract.catalog import (
    ALL,
    DAY,
    NOTHING,
    POLICY,
    Stage,
    claimed,
    finding,
    no_cap,
    staged,
    unless_named,
)
from tests.servers import fresh_database
from tests.support.proxy import proxy_of

pytestmark = pytest.mark.anyio

GATE = TableMapping(
    media_table="gate.media",
    keys_table="gate.keys",
    media=MediaColumns(
        id="id",
        storage_key="path",
        virtual_key_id="owner",
        size_bytes="",
        created_at="made",
        expires_at="",
        last_accessed_at="",
        deleted_at="",
    ),
    keys=KeyColumns(id="id", is_enabled="active", expires_at=""),
    media_where=(("bucket", "media"),),
)

TABLES = """
CREATE SCHEMA gate;
CREATE TABLE gate.keys (id integer PRIMARY KEY, active boolean NOT NULL);
CREATE TABLE gate.media (id integer PRIMARY KEY, path text, bucket text DEFAULT 'media', made timestamptz,
    owner integer REFERENCES gate.keys ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED);
INSERT INTO gate.keys SELECT n, true FROM generate_series(1, 9) n;
INSERT INTO gate.media (id, path, owner) SELECT n, 'image/' || n, 1 + n / 10 FROM generate_series(1, 80) n;
"""

PARTITIONED = """
CREATE SCHEMA gate;
CREATE TABLE gate.keys (id integer PRIMARY KEY, active boolean NOT NULL);
CREATE TABLE gate.media (id integer, path text, bucket text DEFAULT 'media', made timestamptz,
    owner integer REFERENCES gate.keys ON DELETE CASCADE, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE gate.low PARTITION OF gate.media FOR VALUES FROM (0) TO (50);
CREATE TABLE gate.high PARTITION OF gate.media FOR VALUES FROM (50) TO (100);
INSERT INTO gate.keys SELECT n, true FROM generate_series(1, 9) n;
INSERT INTO gate.media (id, path, owner) SELECT n, 'image/' || n, 1 + n / 10 FROM generate_series(1, 80) n;
"""


@pytest.fixture(
    params=["empty_database", pytest.param("icu_empty_database", marks=pytest.mark.debian("postgresql-15"))]
)
def url(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(request.param)
    return found


@asynccontextmanager
async def gate(url: str, tables: str = TABLES) -> AsyncIterator[Any]:
    """The tables of some gateway with the triggers, and a connection of their owner's."""
    config = CatalogConfig(database_url=url, tables=GATE)
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(tables)
        await anyio.to_thread.run_sync(lambda: migrate.upgrade(config, with_triggers=True))
        yield connection
    finally:
        await connection.close()


async def noted(connection: Any) -> list[str | None]:
    """The keys of all notes, in order of their rows' numbers."""
    rows = await connection.fetch("SELECT storage_key FROM reconciler.departures ORDER BY id")
    return [row["storage_key"] for row in rows]


def images(numbers: Sequence[int]) -> list[str]:
    return [f"image/{number}" for number in numbers]


# --- what is noted ---------------------------------------------------------------------------------------


async def test_rows_are_noted_that_leave_alone_or_by_cascade(url: str) -> None:
    async with gate(url) as sql:
        await sql.execute("DELETE FROM gate.media WHERE id = 7")
        assert await noted(sql) == ["image/7"]
        await sql.execute("DELETE FROM gate.keys WHERE id = 2; DELETE FROM gate.keys WHERE id = 9")
        assert sorted(map(str, await noted(sql))) == sorted(images([7, 80, *range(10, 20)]))
        row = await sql.fetchrow("SELECT * FROM reconciler.departures WHERE storage_key = 'image/11'")
        assert (row["virtual_key"], row["kept"]) == ("2", "(11,image/11,media,,2)")
        assert await sql.fetchval("SELECT max(left_at) <= clock_timestamp() FROM reconciler.departures")


async def test_a_role_without_any_right_of_ours_deletes_by_cascade(url: str) -> None:
    """Postgres 15 runs the triggers of a cascade as the role that deletes, 18 as the table's owner."""
    role = f"app_{uuid4().hex[:8]}"
    async with gate(url) as sql:
        await sql.execute(
            f"CREATE ROLE {role}; GRANT USAGE ON SCHEMA gate TO {role};"
            f" GRANT ALL ON gate.keys, gate.media TO {role}; SET ROLE {role}"
        )
        try:
            # Its own operators and functions are none of the trigger's.
            await sql.execute("SET search_path = gate; DELETE FROM keys WHERE id = 2; DELETE FROM media")
        finally:
            await sql.execute(f"RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}")
        assert len(await noted(sql)) == 80


@pytest.mark.parametrize(
    ("statement", "numbers"),
    [
        ("DELETE FROM gate.media WHERE id > 45 AND id < 55", range(46, 55)),
        ("DELETE FROM gate.low WHERE id > 45", range(46, 50)),
        ("DELETE FROM gate.keys WHERE id = 6", range(50, 60)),
        ("UPDATE gate.media SET path = 'image/moved' WHERE id = 60", [60]),
        ("UPDATE gate.high SET path = NULL WHERE id = 60", [60]),
        ("UPDATE gate.media SET id = 49 + id - 49, made = now()", []),
        ("TRUNCATE gate.high", [None]),
    ],
)
async def test_a_row_of_a_partition_is_noted_once(url: str, statement: str, numbers: Sequence[Any]) -> None:
    async with gate(url, PARTITIONED) as sql:
        await sql.execute(statement)
        expected = [None] if list(numbers) == [None] else images(numbers)
        assert sorted(await noted(sql), key=str) == sorted(expected, key=str)


async def test_a_row_is_kept_in_the_order_of_the_table_whatever_that_of_its_partition(url: str) -> None:
    """Postgres 15 and 18: a trigger on a partition sees its rows in the partition's own order of columns."""
    async with gate(url, PARTITIONED) as sql:
        await sql.execute(
            "CREATE TABLE gate.attached (bucket text DEFAULT 'media', owner integer, path text,"
            "  made timestamptz, id integer NOT NULL);"
            "ALTER TABLE gate.media ATTACH PARTITION gate.attached FOR VALUES FROM (100) TO (200)"
        )
        config = CatalogConfig(database_url=url, tables=GATE)
        await anyio.to_thread.run_sync(lambda: migrate.upgrade(config, with_triggers=True))
        await sql.execute(
            "ALTER TABLE gate.media ADD COLUMN note text DEFAULT 'a, b';"
            "INSERT INTO gate.media (id, path, owner) VALUES (101, 'image/101', 1), (102, 'image/102', 2);"
            "DELETE FROM gate.media WHERE id = 101; DELETE FROM gate.attached;"
            "DELETE FROM gate.low WHERE id = 1"
        )
        kept = await sql.fetch("SELECT kept FROM reconciler.departures ORDER BY storage_key")
        assert [row["kept"] for row in kept] == [
            '(1,image/1,media,,1,"a, b")',
            '(101,image/101,media,,1,"a, b")',
            '(102,image/102,media,,2,"a, b")',
        ]


async def test_what_counts_for_another_bucket_or_names_nothing_is_not_noted(url: str) -> None:
    async with gate(url) as sql:
        await sql.execute(
            "UPDATE gate.media SET bucket = 'other' WHERE id = 1; DELETE FROM gate.media WHERE id <= 2"
        )
        await sql.execute("INSERT INTO gate.media (id) VALUES (100); DELETE FROM gate.media WHERE id = 100")
        assert await noted(sql) == ["image/2"]


async def test_what_is_rolled_back_has_not_left(url: str) -> None:
    async with gate(url) as sql:
        await sql.execute("BEGIN; DELETE FROM gate.media; ROLLBACK")
        await sql.execute(
            "BEGIN; SAVEPOINT one; DELETE FROM gate.media WHERE id = 1; ROLLBACK TO one;"
            " DELETE FROM gate.media WHERE id = 2; COMMIT"
        )
        assert await noted(sql) == ["image/2"]


async def test_a_transaction_that_deletes_can_be_prepared(url: str) -> None:
    """One that has notified cannot: so nothing is announced where transactions may be prepared."""
    async with gate(url) as sql:
        assert await sql.fetchval("SELECT current_setting('max_prepared_transactions')::int") > 0
        await sql.execute("BEGIN; DELETE FROM gate.media WHERE id = 1; PREPARE TRANSACTION 'departing'")
        assert await noted(sql) == []
        await sql.execute("COMMIT PREPARED 'departing'")
        assert await noted(sql) == ["image/1"]


async def test_a_row_whose_text_cannot_be_made_is_deleted_all_the_same(url: str) -> None:
    async with gate(url) as sql:
        # A text that is too long fails likewise, and takes a gigabyte of memory.
        await sql.execute(
            "ALTER TABLE reconciler.departures ADD CHECK (kept NOT LIKE '%image/1,%');"
            " DELETE FROM gate.media WHERE id <= 2"
        )
        rows = await sql.fetch("SELECT kept IS NULL AS bare FROM reconciler.departures")
        assert [row["bare"] for row in rows] == [True, True]


async def test_our_own_removals_are_not_noted(url: str) -> None:
    async with gate(url) as sql:
        await sql.execute(f"BEGIN; SET LOCAL {REMOVING} = on; DELETE FROM gate.media WHERE id = 1; COMMIT")
        await sql.execute("DELETE FROM gate.media WHERE id = 2")
        assert await noted(sql) == ["image/2"]


async def test_a_session_with_the_replica_role_notes_nothing(url: str) -> None:
    async with gate(url) as sql:
        await sql.execute("SET session_replication_role = replica; DELETE FROM gate.media; RESET ALL")
        assert await noted(sql) == []


# --- installed, recognised, removed ----------------------------------------------------------------------


async def test_they_are_recognised_whatever_becomes_of_them(url: str) -> None:
    async with gate(url, PARTITIONED) as sql:
        assert await departing.whole(sql, GATE) is True
        await sql.execute(f"ALTER TABLE gate.low DISABLE TRIGGER {departing.DELETED}")
        assert await departing.whole(sql, GATE) is False
        assert "were outdated" in await triggers.install(sql, GATE)
        assert await departing.whole(sql, GATE) is True
        await sql.execute("CREATE TABLE gate.more PARTITION OF gate.media FOR VALUES FROM (100) TO (200)")
        assert await departing.whole(sql, GATE) is False, "a DELETE that names it would not be noted"
        await triggers.remove(sql, GATE)
        assert await departing.whole(sql, GATE) is None
        await sql.execute("DELETE FROM gate.media")
        assert await noted(sql) == []


async def test_a_table_without_the_mapped_key_gets_none(url: str) -> None:
    async with gate(url) as sql:
        await sql.execute("CREATE TABLE gate.other (id integer, made timestamptz, bucket text)")
        with pytest.raises(ConfigError, match=r"gate\.other has no column path"):
            await triggers.install(sql, replace(GATE, media_table="gate.other"))
        await sql.execute("DELETE FROM gate.media WHERE id = 1")
        assert await noted(sql) == ["image/1"], "as before"


# --- from notes to marks ---------------------------------------------------------------------------------


@pytest.fixture
async def stage(database: str) -> AsyncIterator[Stage]:
    async with staged(database) as opened:
        await triggers.install(opened.sql, TableMapping())
        yield opened


async def swept(stage: Stage) -> None:
    """A complete sweep, after which departures are claimed."""
    current = await stage.catalog.passes.begin(stage.term, PassKind.SWEEP, "hash", Mode.LIVE, None, POLICY)
    await stage.catalog.passes.arm(stage.term, current, Tally())


async def depart(stage: Stage, *keys: str, arm: bool = True) -> None:
    """One departure pass over all that was noted, which marks these."""
    passes = stage.catalog.passes
    current = await passes.begin(stage.term, PassKind.DEPARTURE, "hash", Mode.LIVE, None, POLICY)
    ids = [each.id for each in await stage.catalog.departures.page(1000)]
    findings = [finding(key, Verdict.DEPARTED) for key in keys]
    await passes.record(stage.term, current, findings, NOTHING, departed=ids)
    if arm:
        await passes.arm(stage.term, current, Tally(found={Verdict.DEPARTED: len(keys)}))


async def remove(stage: Stage, key: str) -> None:
    await stage.sql.execute('DELETE FROM public."MediaRecords" WHERE "StorageKey" = $1', key)


async def test_a_note_becomes_a_mark_and_is_taken_away_with_it(stage: Stage) -> None:
    await swept(stage)
    await stage.add_row("image/a", SizeBytes=7)
    await stage.add_row("image/b")
    assert not await stage.catalog.departures.waiting()
    await remove(stage, "image/a")
    assert await stage.catalog.departures.waiting()
    (note,) = await stage.catalog.departures.page(10)
    assert (note.storage_key, note.virtual_key) == ("image/a", str(stage.owner))
    await depart(stage, "image/a")
    assert not await stage.catalog.departures.waiting()
    assert await stage.catalog.departures.marked(["image/a", "image/b"]) == {"image/a"}
    assert claimed(await stage.claim()) == ["image/a"]


async def test_a_pass_of_departures_withdraws_no_earlier_mark(stage: Stage) -> None:
    await swept(stage)
    for key in ("image/a", "image/b"):
        await stage.add_row(key)
        await remove(stage, key)
        await depart(stage, key)
    assert sorted(claimed(await stage.claim())) == ["image/a", "image/b"]


async def test_another_mark_of_the_key_makes_way(stage: Stage) -> None:
    await stage.add_row("image/a")
    await stage.mark(finding("image/a", Verdict.ORPHAN), delay=POLICY.media_retention)
    await swept(stage)
    await stage.mark(finding("image/a", Verdict.ORPHAN), delay=POLICY.media_retention)
    await remove(stage, "image/a")
    await depart(stage, "image/a")
    marks = await stage.marks()
    assert marks["image/a"]["verdict"] == "departed"


@pytest.mark.attack(100)
async def test_a_pass_that_dies_between_notes_and_release_loses_nothing(stage: Stage) -> None:
    """The notes went with its marks, and no later pass finds these keys again."""
    await swept(stage)
    await stage.add_row("image/a")
    await remove(stage, "image/a")
    await depart(stage, "image/a", arm=False)
    assert claimed(await stage.claim()) == []
    assert await stage.catalog.departures.waiting(), "its marks"
    await depart(stage)
    states = await stage.sql.fetch("SELECT state FROM reconciler.passes WHERE kind = 'departure' ORDER BY id")
    assert [row["state"] for row in states] == [PassState.FAILED, PassState.RELEASED]
    assert claimed(await stage.claim()) == ["image/a"]


@pytest.mark.attack(101)
async def test_no_departure_is_claimed_before_a_sweep_has_compared_all_rows(stage: Stage) -> None:
    await stage.add_row("image/a")
    await remove(stage, "image/a")
    await depart(stage, "image/a")
    assert claimed(await stage.claim()) == []
    assert [*await stage.marks()] == ["image/a"], "it waits"
    await swept(stage)
    # It was put off for a while.
    await stage.sql.execute("UPDATE reconciler.marks SET not_before = NULL")
    assert claimed(await stage.claim()) == ["image/a"]


@pytest.mark.attack(102)
@pytest.mark.parametrize("other", ["image/A", "/image/a", "https://cdn.example/media/image/a", "a"])
@pytest.mark.parametrize("when", ["before", "between", "after"])
async def test_a_row_that_spells_a_departed_key_otherwise_keeps_it(
    stage: Stage, other: str, when: str
) -> None:
    """It may have been there when the sweep saw the row that left, or come since."""
    await stage.add_row("image/a")
    if when == "before":
        await stage.add_row(other)
    near = stage.catalog.near_misses
    current = await stage.catalog.passes.begin(stage.term, PassKind.SWEEP, "hash", Mode.LIVE, None, POLICY)
    inside, outside = other.startswith("image/"), not other.startswith("image/")
    if when == "before" and inside:
        orphans = Orphans(pass_id=current.id, bucket="", prefixes=("image/",))
        await near.note(current.id, (), orphans.folded([other]))
    kept = {KeepReason.OUTSIDE_PREFIX: 1} if when == "before" and outside else {}
    await stage.catalog.passes.arm(stage.term, current, Tally(kept=kept))
    if when == "between":
        await stage.add_row(other)
    await remove(stage, "image/a")
    await depart(stage, "image/a")
    if when == "after":
        await stage.add_row(other)
    assert claimed(await stage.claim()) == []


async def test_a_row_that_names_the_key_again_cancels(stage: Stage) -> None:
    await swept(stage)
    await stage.add_row("image/a")
    await remove(stage, "image/a")
    await depart(stage, "image/a")
    await stage.add_row("image/a")
    claim = await stage.claim()
    assert (claimed(claim), claim.cancelled) == ([], 1)


async def test_a_hold_by_virtual_key_keeps_what_its_row_named(stage: Stage) -> None:
    await swept(stage)
    hold = Hold(kind=HoldKind.VIRTUAL_KEY, target=str(stage.owner), author="ada", reason="case 7", until=None)
    await stage.catalog.holds.add([hold])
    await stage.add_row("image/later")
    await remove(stage, "image/later")
    await depart(stage, "image/later")
    assert await stage.marks() == {}
    assert [*await stage.catalog.holds.held(["image/later"])] == ["image/later"]


async def test_a_hold_by_virtual_key_that_comes_after_the_row_left_keeps_it_too(stage: Stage) -> None:
    await swept(stage)
    other = await stage.add_owner()
    await stage.add_row("image/a")
    await stage.add_row("image/b", VirtualKeyId=other)
    await stage.sql.execute('DELETE FROM public."VirtualKeys"')
    await depart(stage, "image/a", "image/b")
    hold = Hold(kind=HoldKind.VIRTUAL_KEY, target=str(stage.owner), author="ada", reason="case 7", until=None)
    assert await stage.catalog.holds.add([hold]) == []
    claim = await stage.claim()
    assert claimed(claim) == ["image/b"]
    assert claim.keys[0].mark.owners == (str(other),), "the ledger names whose it was"
    late = replace(hold, target=str(other))
    assert await stage.catalog.holds.add([late]) == ["image/b"], "it may go all the same"
    spared = await stage.catalog.marks.look_again(claim, unless_named, POLICY, guarded=True)
    assert spared == {"image/b": "on hold: case 7"}
    await stage.catalog.holds.remove(HoldKind.VIRTUAL_KEY, [str(stage.owner)], by="ada")
    assert claimed(await stage.claim()) == ["image/a"]


async def test_what_departed_is_claimed_before_what_has_waited_longer(stage: Stage) -> None:
    orphans = [finding(f"image/{number}") for number in range(3)]
    current = await stage.catalog.passes.begin(stage.term, PassKind.SWEEP, "hash", Mode.LIVE, None, POLICY)
    await stage.catalog.passes.record(stage.term, current, orphans, NOTHING)
    await stage.catalog.passes.arm(stage.term, current, Tally())
    for key in ("image/left", "image/right"):
        await stage.add_row(key)
        await remove(stage, key)
    await depart(stage, "image/left", "image/right")

    async def claim(limit: int, *, departed_first: bool) -> list[str]:
        wanted = ClaimRequest(POLICY, ALL, limit, unless_named, no_cap, departed_first=departed_first)
        return claimed(await stage.catalog.marks.claim(stage.term, wanted))

    assert await claim(1, departed_first=True) == ["image/left"]
    assert await claim(1, departed_first=False) == ["image/0"], "the longest due"
    assert await claim(2, departed_first=True) == ["image/1", "image/right"]
    assert await claim(2, departed_first=True) == ["image/2"]


# --- their passes ----------------------------------------------------------------------------------------


async def left(stage: Stage) -> list[int]:
    rows = await stage.sql.fetch("SELECT id FROM reconciler.passes WHERE kind = 'departure' ORDER BY id")
    return [row["id"] for row in rows]


async def test_a_pass_that_found_nothing_goes_once_enough_others_came(stage: Stage) -> None:
    """But for one that has taken up the marks of a pass that died."""
    await swept(stage)
    await stage.add_row("image/a")
    await remove(stage, "image/a")
    await depart(stage, "image/a", arm=False)
    await depart(stage)
    died, heir = await left(stage)
    for _ in range(departures.NEWEST + 3):
        await depart(stage)
    first, second, *empty = await left(stage)
    assert (first, second, len(empty)) == (died, heir, departures.NEWEST - 1)
    assert claimed(await stage.claim()) == ["image/a"]


async def test_old_passes_go_with_the_ledger_once_none_of_their_marks_is_left(stage: Stage) -> None:
    """Without its pass a mark would never be claimed, and a person may yet decide about one that tripped."""
    await swept(stage)
    for key in ("image/gone", "image/waits", "image/tripped", "image/young"):
        await stage.add_row(key)
        await remove(stage, key)
        await depart(stage, key)
    gone, waits, tripped, young = await left(stage)
    await stage.sql.execute("DELETE FROM reconciler.marks WHERE storage_key <> 'image/waits'")
    await stage.sql.execute("UPDATE reconciler.passes SET state = 'tripped' WHERE id = $1", tripped)
    for _ in range(departures.NEWEST):
        await depart(stage)
    await stage.sql.execute("UPDATE reconciler.passes SET finished_at = finished_at - interval '90 days'")
    await stage.sql.execute("UPDATE reconciler.passes SET finished_at = now() WHERE id = $1", young)
    await stage.catalog.departures.forget(stage.term, 90 * DAY)
    found = await left(stage)
    assert set(found) & {gone, waits, tripped, young} == {waits, tripped, young}
    assert len(found) == departures.NEWEST + 2, "the newest stay for the next one, however old they are"
    assert claimed(await stage.claim()) == ["image/waits"]


MANY = """
ANALYZE reconciler.marks; ANALYZE reconciler.passes;
INSERT INTO reconciler.passes (kind, cutoff, config_hash, mode, state, epoch, tally, finished_at)
SELECT 'departure', now(), '', 'live', 'released', 1, '{}', now() - n * interval '1 day'
FROM generate_series(1, 3000) n;
INSERT INTO reconciler.marks (storage_key, verdict, reason, bytes, pass_id, first_seen_at, last_seen_at,
    last_pass_id, sightings, due_at)
SELECT p.id || '/' || n, 'departed', '', 0, p.id, now(), now(), p.id, 1, now()
FROM reconciler.passes p CROSS JOIN generate_series(1, 10) n WHERE p.kind = 'departure';
"""


async def test_the_marks_of_old_passes_are_looked_for_by_index(stage: Stage) -> None:
    """With statistics from before there were any: to read all marks for each pass would be their product."""
    await stage.sql.execute(MANY)
    async with stage.sql.transaction():
        await by_index(stage.sql)
        await stage.sql.execute("SET LOCAL statement_timeout = '20s'")
        plan = await stage.sql.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {departures.FORGET}", 90 * DAY)
    (marks,) = [each for each in nodes(json.loads(plan)[0]["Plan"]) if each.get("Relation Name") == "marks"]
    assert marks["Index Name"] == "marks_departed_pass_idx"
    assert marks["Actual Loops"] > 2_000, "it asks for each pass"
    assert marks["Actual Rows"] * marks["Actual Loops"] < 30_000
    assert not marks.get("Rows Removed by Filter")


@pytest.mark.parametrize("analyzed", [False, True])
async def test_a_claim_finds_no_departure_without_reading_the_backlog(stage: Stage, analyzed: bool) -> None:
    """Each claim asks for departures first, and a hundred thousand orphans may be due."""
    await stage.sql.execute(MANY.replace("'departed', ''", "'orphan', ''"))
    if analyzed:
        await stage.sql.execute("ANALYZE reconciler.marks; ANALYZE reconciler.passes")
    query = TAKE.format(columns="m.storage_key", held="false", those=DEPARTED)
    now = await stage.catalog.records.now()
    given = (*claimable_arguments(now, POLICY, ALL), 1000, str(2**62))
    async with stage.sql.transaction():
        await by_index(stage.sql)
        plan = await stage.sql.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", *given)
    read = [each for each in nodes(json.loads(plan)[0]["Plan"]) if each.get("Alias") == "m"]
    assert [each["Index Name"] for each in read] == ["marks_departed_due_idx"]


NOTED = """
INSERT INTO reconciler.departures (storage_key, left_at) SELECT '2/' || n, now() FROM generate_series(1, 9) n
RETURNING id
"""


@pytest.mark.parametrize("statement", ["take", "rejoin", "supersede"])
async def test_a_pass_finds_the_marks_of_its_keys_without_reading_all(stage: Stage, statement: str) -> None:
    """With statistics from before there were any, as when a key with ten thousand objects is deleted."""
    await stage.sql.execute(MANY)
    keys, ids = [f"2/{n}" for n in range(9)], [row["id"] for row in await stage.sql.fetch(NOTED)]
    query, given = {
        "take": (departures.TAKE, (ids,)),
        "rejoin": (REJOIN_MARKS, (keys, ["departed"] * 9, 2, False, "departure", [False] * 9, None)),
        "supersede": (departures.SUPERSEDE, (keys,)),
    }[statement]
    async with stage.sql.transaction():
        await by_index(stage.sql)
        plan = await stage.sql.fetchval(f"EXPLAIN (FORMAT JSON) {query}", *given)
    read = [each for each in nodes(json.loads(plan)[0]["Plan"]) if each.get("Relation Name") == "marks"]
    assert {each["Index Name"] for each in read if "Index Name" in each} == {"marks_pkey"}


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for each in plan.get("Plans", ()):
        yield from nodes(each)


async def test_the_row_that_left_is_kept_for_an_undo(stage: Stage) -> None:
    await swept(stage)
    row = await stage.add_row("image/a", SizeBytes=7, ExpiresAt=datetime(2040, 1, 1, tzinfo=UTC))
    await remove(stage, "image/a")
    await depart(stage, "image/a")
    claim = await stage.claim()
    await stage.confirm(claim)
    kept = await stage.sql.fetchrow("SELECT * FROM reconciler.ledger WHERE what = 'record'")
    assert (kept["record_id"], kept["result"], kept["verdict"]) == (row, "left", "departed")
    values = dict(zip(kept["row_columns"], kept["row_values"], strict=True))
    assert (values["StorageKey"], values["SizeBytes"]) == ("image/a", "7")
    assert values["ExpiresAt"].startswith("2040-01-01 00:00:00")


async def test_an_erasure_forgets_the_rows_that_left(stage: Stage) -> None:
    await swept(stage)
    for key in ("image/a", "image/b"):
        await stage.add_row(key)
    await remove(stage, "image/a")
    await depart(stage, "image/a")
    await remove(stage, "image/b")
    await stage.catalog.erasure.erase(["image/a", "image/b"], "ada")
    left = await stage.sql.fetchval(
        "SELECT count(left_rows) + (SELECT count(kept) FROM reconciler.departures) FROM reconciler.marks"
    )
    assert left == 0


async def test_what_is_found_in_dry_run_waits_for_the_delay_once_it_is_live(stage: Stage) -> None:
    await swept(stage)
    await stage.catalog.lease.observe_mode(stage.term, Mode.DRY_RUN)
    await stage.add_row("image/dry")
    await remove(stage, "image/dry")
    await depart(stage, "image/dry")
    await stage.catalog.lease.observe_mode(stage.term, Mode.LIVE)
    await stage.add_row("image/live")
    await remove(stage, "image/live")
    await depart(stage, "image/live")
    a_day = replace(POLICY, delete_delay=POLICY.grace_period)
    assert claimed(await stage.claim(policy=a_day)) == ["image/live"]


# --- the call --------------------------------------------------------------------------------------------


@pytest.fixture
def announcing(supervisor: Supervisor) -> Iterator[str]:
    """A database on which no transaction is prepared, as Postgres comes out of the box."""
    settings = {"max_prepared_transactions": "0"}
    with fresh_database(start_postgres(supervisor, name="announcing", settings=settings)) as url:
        yield url


async def test_rows_that_leave_are_announced_once_a_transaction(announcing: str) -> None:
    calls = list[str]()
    last = anyio.Event()

    def hear(_connection: object, _pid: int, channel: str, payload: object) -> None:
        calls.append(channel)
        if payload == "last":
            last.set()

    async with gate(announcing) as sql:
        listener = await asyncpg.connect(announcing)
        try:
            await listener.add_listener(departing.CHANNEL, hear)
            await sql.execute("BEGIN; DELETE FROM gate.media WHERE id < 40; DELETE FROM gate.media; COMMIT")
            await sql.execute("BEGIN; INSERT INTO gate.media VALUES (1, 'image/1'); COMMIT")
            await sql.execute("DELETE FROM gate.media WHERE id > 5; DELETE FROM gate.keys")
            await sql.execute("BEGIN; DELETE FROM gate.media; ROLLBACK")
            await sql.execute("UPDATE gate.media SET made = now()")
            await sql.execute(f"NOTIFY {departing.CHANNEL}, 'last'")
            with anyio.fail_after(20):
                await last.wait()
        finally:
            await listener.close()
    assert len(calls) == 2, "the deletion, and the end of the test"


async def test_a_listener_hears_a_call_and_comes_back_after_a_cut(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(departures, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(departures, "AGAIN_SECONDS", 0.05)
    monkeypatch.setattr(departures, "PATIENCE_SECONDS", 0.5)
    calls = anyio.Event(), anyio.Event(), anyio.Event()
    heard = iter(calls)

    def hear() -> None:
        if (event := next(heard, None)) is not None:
            event.set()

    sql = await asyncpg.connect(database)
    try:
        async with proxy_of(database) as proxy, anyio.create_task_group() as group:
            through = CatalogConfig(database_url=proxy.through(database))
            async with staged(database) as stage:
                listener = PostgresDepartures(stage.catalog.database, through)
                group.start_soon(listener.listen, hear)
                with anyio.fail_after(20):
                    await calls[0].wait()  # whoever begins to listen looks first
                    await sql.execute(f"NOTIFY {departing.CHANNEL}")
                    await calls[1].wait()
                    proxy.cut()
                    await calls[2].wait()
            group.cancel_scope.cancel()
    finally:
        await sql.close()
