"""What the leader tells of the whole: marks and passes as they stand, and what is stored."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import anyio.to_thread
import asyncpg
import pytest

from reconciler.catalog import migrate
from reconciler.catalog.db import patient
from reconciler.catalog.db.config import CatalogConfig, MediaColumns, TableMapping
from reconciler.catalog.open import open_catalog
from reconciler.catalog.statistics import stored as stored_rows
from reconciler.errors import CatalogUnavailable, LeaseLost
from reconciler.model import (
    DAYS,
    Hold,
    HoldKind,
    Identity,
    KeyRange,
    Lately,
    ListingOrder,
    Mode,
    PassKind,
    PassState,
    Standing,
    Storage,
    StorageBy,
    Tally,
    Trip,
    Verdict,
)
from tests.contract.catalog import (
    ALL,
    DAY,
    NOTHING,
    POLICY,
    TTL,
    Stage,
    all_go,
    finding,
    staged,
)

pytestmark = pytest.mark.anyio

PAIR = (StorageBy.MEDIA_TYPE, StorageBy.PROVIDER)
ORPHANS = (Verdict.ORPHAN,)


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def standing(stage: Stage, verdicts: Sequence[Verdict] = ALL) -> Standing:
    return await stage.catalog.statistics.standing(POLICY, verdicts)


def parts(stored: Storage) -> dict[tuple[str, ...], tuple[int, int]]:
    return {part.names: (part.objects, part.bytes) for part in stored.largest}


# --- how marks and passes stand ------------------------------------------------------------------------


async def test_an_empty_database_has_nothing_due(stage: Stage) -> None:
    (prefix,) = POLICY.prefixes
    assert await standing(stage) == Standing(by_prefix={prefix: {}})
    assert await stage.catalog.statistics.lately() == Lately(
        freed=dict.fromkeys(DAYS, 0), restored=dict.fromkeys(DAYS, 0)
    )
    assert await stage.catalog.statistics.mode_since() is None


async def test_drift_is_every_mark_and_due_is_what_a_claim_may_take(stage: Stage) -> None:
    await stage.mark(
        finding("image/due", bytes=5),
        finding("image/held", bytes=7),
        finding("image/early"),
        finding("video/elsewhere"),
        finding("image/expired", Verdict.EXPIRED),
    )
    early = "UPDATE reconciler.marks SET due_at = due_at + interval '1 day' WHERE storage_key = 'image/early'"
    await stage.sql.execute(early)
    await stage.mark(finding("image/unreleased"), arm=False)
    hold = Hold(kind=HoldKind.KEY, target="image/held", reason="r", author="a", until=None)
    await stage.catalog.holds.add([hold])
    seen = await standing(stage, ORPHANS)
    assert seen.due == 1, "not what is held, early, unreleased, outside the prefixes or switched off"
    assert (seen.drift[Verdict.ORPHAN][:2], seen.drift[Verdict.EXPIRED][0]) == ((5, 42), 1)
    assert seen.by_prefix == {
        "image/": {Verdict.ORPHAN: (4, 32), Verdict.EXPIRED: (1, 10)},
        "(outside)": {Verdict.ORPHAN: (1, 10)},
    }
    assert seen.due_soon == {Verdict.ORPHAN: 1}, "what is early"
    assert (await standing(stage)).due == 2


async def test_the_whole_bucket_is_a_prefix_of_that_name(stage: Stage) -> None:
    await stage.mark(finding("image/a", bytes=5))
    whole = replace(POLICY, prefixes=("",))
    seen = await stage.catalog.statistics.standing(whole, ALL)
    assert seen.by_prefix == {"(all)": {Verdict.ORPHAN: (1, 5)}}


async def test_a_dangling_row_seen_once_is_not_due(stage: Stage) -> None:
    await stage.mark(finding("image/row", Verdict.DANGLING))
    seen = await standing(stage)
    assert (seen.due, seen.due_soon) == (0, {Verdict.DANGLING: 1}), "it goes when it is seen again"
    await stage.mark(finding("image/row", Verdict.DANGLING))
    seen = await standing(stage)
    assert (seen.due, seen.due_soon) == (1, {Verdict.DANGLING: 0})


async def test_due_soon_is_what_goes_within_a_day(stage: Stage) -> None:
    await stage.mark(finding("image/in-an-hour"), finding("image/in-two-days"), finding("image/now"))
    for key, hours in (("image/in-an-hour", 1), ("image/in-two-days", 48)):
        change = (
            "UPDATE reconciler.marks SET due_at = due_at + make_interval(hours => $2) WHERE storage_key = $1"
        )
        await stage.sql.execute(change, key, hours)
    seen = await standing(stage)
    assert (seen.due, seen.due_soon) == (1, {Verdict.ORPHAN: 1})
    later = await stage.catalog.statistics.standing(replace(POLICY, delete_delay=3 * DAY), ALL)
    assert later.due == 1, (
        "a longer delay holds back nothing that was released before, without a switch to live"
    )


async def test_what_was_put_off_or_claimed_and_has_not_gone_is_due_still(stage: Stage) -> None:
    await stage.mark(finding("image/a"), finding("image/b"))
    claim = await stage.claim(decide=all_go, limit=1)
    assert len(claim.keys) == 1
    await stage.sql.execute("UPDATE reconciler.marks SET not_before = clock_timestamp() + interval '1 hour'")
    assert (await standing(stage)).due == 2


async def test_the_oldest_is_as_old_as_it_has_been_due(stage: Stage) -> None:
    await stage.mark(finding("image/a"), finding("image/b"))
    await stage.sql.execute("UPDATE reconciler.marks SET due_at = due_at - interval '3 hours'")
    (row,) = await stage.sql.fetch("SELECT min(due_at) AS at FROM reconciler.marks")
    assert (await standing(stage)).oldest_due == row["at"]
    # Going live starts the clock of every mark anew, however old it is.
    term, lease = stage.term, stage.catalog.lease
    await lease.observe_mode(term, Mode.DRY_RUN)
    await lease.observe_mode(term, Mode.LIVE)
    (row,) = await stage.sql.fetch("SELECT live_since AS at FROM reconciler.term")
    assert (await standing(stage)).oldest_due == row["at"]
    later = replace(POLICY, delete_delay=DAY)
    assert (await stage.catalog.statistics.standing(later, ALL)).due == 0


async def test_passes_that_wait_for_a_person_are_those_that_the_list_begins_with(stage: Stage) -> None:
    passes, approvals = stage.catalog.passes, stage.catalog.approvals
    for number, kind in enumerate((PassKind.SWEEP, PassKind.SWEEP, PassKind.RETENTION)):
        begun = await stage.begin(kind)
        await passes.trip(stage.term, begun, Tally(), Trip(reason=f"too many: {number}"))
    await stage.begin()

    async def listed() -> dict[PassKind, tuple[int, str]]:
        waiting = [each.current for each in await approvals.listed(10, state=PassState.TRIPPED)]
        return {each.kind: (each.id, each.trip_reason or "") for each in waiting}

    async def told() -> dict[PassKind, tuple[int, str]]:
        tripped = (await standing(stage)).tripped
        return {kind: (each.pass_id, each.reason) for kind, each in tripped.items()}

    assert (
        await told()
        == await listed()
        == {
            PassKind.SWEEP: (1, "too many: 0"),
            PassKind.RETENTION: (3, "too many: 2"),
        }
    )
    first = await passes.last(PassKind.SWEEP, PassState.TRIPPED)
    since = (await standing(stage)).tripped[PassKind.SWEEP].since
    assert first is not None
    assert first.finished_at is not None
    assert since < first.finished_at, "of the first of both"
    await approvals.discard(3, "ada")
    assert await told() == await listed() == {PassKind.SWEEP: (1, "too many: 0")}, "the second adds nothing"
    adds = await stage.mark(finding("image/a"), arm=False)
    await passes.trip(stage.term, adds, Tally(), Trip(reason="and one more"))
    assert await told() == await listed() == {PassKind.SWEEP: (adds.id, "and one more")}
    await approvals.approve(adds.id, "ada")
    assert await told() == await listed() == {}


# --- what happened lately ------------------------------------------------------------------------------

LINE = """
INSERT INTO reconciler.ledger
    (at, epoch, event, mode, what, storage_key, verdict, reason, result, bytes, recovery)
VALUES (clock_timestamp() - $1::interval, 1, $2, $3, $4, 'image/a', 'orphan', '', $5, $6, $7::jsonb)
"""


async def test_what_went_for_good_and_what_came_back_is_added_up_by_days(stage: Stage) -> None:
    for days, event, mode, what, result, size, recovery in (
        (0, "purged", "live", "object", "deleted", 1, None),
        (2, "purged", "live", "object", "deleted", 10, None),
        (8, "result", "live", "object", "deleted", 100, None),  # at once, by the mode `direct`
        (31, "purged", "live", "object", "deleted", 1_000, None),
        (0, "result", "live", "object", "deleted", 10_000, '{"mode": "quarantine"}'),  # not freed yet
        (0, "result", "live", "object", "missing", 10_000, None),
        (0, "result", "dry_run", "object", "deleted", 10_000, None),
        (0, "intent", "live", "object", None, 10_000, None),
        (0, "result", "live", "record", "deleted", None, None),
        (0, "restored", "live", "object", "restored", 10_000, None),
        (3, "restored", "live", "object", "restored", 10_000, None),
        (0, "restored", "live", "object", "present", 10_000, None),  # another brought it back
        (0, "restored", "live", "record", "restored", None, None),
    ):
        await stage.sql.execute(LINE, days * DAY, event, mode, what, result, size, recovery)
    assert await stage.catalog.statistics.lately() == Lately(
        freed={1: 1, 7: 11, 30: 111}, restored={1: 1, 7: 2, 30: 2}
    )


async def test_what_waits_to_be_brought_back_is_counted(stage: Stage) -> None:
    await stage.catalog.recovery.queue(["image/a", "image/b"], "a row needs it")
    earlier = (
        "UPDATE reconciler.restores SET queued_at = queued_at - interval '1 hour' WHERE storage_key = $1"
    )
    await stage.sql.execute(earlier, "image/b")
    (row,) = await stage.sql.fetch("SELECT min(queued_at) AS at FROM reconciler.restores")
    seen = await standing(stage)
    assert (seen.restores, seen.oldest_restore) == (2, row["at"])


async def test_ranges_are_those_of_the_sweep_under_way(stage: Stage) -> None:
    passes = stage.catalog.passes
    begun = await passes.begin(stage.term, PassKind.SWEEP, "hash", Mode.LIVE, ListingOrder.BYTES)
    spans = [KeyRange(prefix="image/", upto="image/m"), KeyRange(prefix="image/", after="image/m")]
    await passes.plan_ranges(stage.term, begun.id, spans)
    first, _ = await passes.ranges(begun.id)
    await passes.record(stage.term, begun, [], NOTHING, replace(first, watermark="image/m", done=True))
    seen = await standing(stage)
    assert (seen.ranges_done, seen.ranges_open) == (1, 1)
    await passes.arm(stage.term, begun, Tally())
    seen = await standing(stage)
    assert (seen.ranges_done, seen.ranges_open) == (0, 0)


async def test_a_mode_is_as_old_as_the_first_pass_in_a_row_that_had_it(stage: Stage) -> None:
    passes = stage.catalog.passes

    async def begin(mode: Mode, kind: PassKind = PassKind.SWEEP) -> datetime:
        return (await passes.begin(stage.term, kind, "hash", mode, None)).cutoff

    first = await begin(Mode.DRY_RUN)
    await begin(Mode.DRY_RUN, PassKind.RETENTION)
    since = await stage.catalog.statistics.mode_since()
    assert since is not None
    assert (since.mode, since.since) == (Mode.DRY_RUN, first)
    live = await begin(Mode.LIVE)
    since = await stage.catalog.statistics.mode_since()
    assert since is not None
    assert (since.mode, since.since) == (Mode.LIVE, live)
    again = await begin(Mode.DRY_RUN)
    since = await stage.catalog.statistics.mode_since()
    assert since is not None
    assert (since.mode, since.since) == (Mode.DRY_RUN, again)


# --- what is stored ------------------------------------------------------------------------------------


async def test_an_empty_table_stores_nothing(stage: Stage) -> None:
    stored = await stage.catalog.statistics.storage(PAIR, 20)
    assert (stored.objects, stored.bytes, stored.largest, stored.other_parts) == (0, 0, [], 0)
    assert stored.other.names == ("other", "other")


async def test_types_and_providers_are_told_apart_whatever_their_casing(stage: Stage) -> None:
    await stage.add_row("image/1", MediaType="Image", Provider="OpenAI", SizeBytes=5)
    await stage.add_row("image/2", MediaType="image", Provider=" openai ", SizeBytes=7)
    await stage.add_row("image/3", MediaType="VIDEO", Provider="", SizeBytes=100)
    await stage.add_row("image/4", MediaType="video", Provider=None, SizeBytes=None)
    stored = await stage.catalog.statistics.storage(PAIR, 20)
    assert parts(stored) == {("video", "unknown"): (2, 100), ("image", "openai"): (2, 12)}
    assert list(parts(stored)) == [("video", "unknown"), ("image", "openai")], "the largest first"
    assert (stored.objects, stored.bytes) == (4, 112)


async def test_beyond_the_largest_the_rest_is_one_part(stage: Stage) -> None:
    for number in range(6):
        await stage.add_row(f"image/{number}", Provider=f"p{number}", SizeBytes=10**number)
    stored = await stage.catalog.statistics.storage((StorageBy.PROVIDER,), 2)
    assert parts(stored) == {("p5",): (1, 100_000), ("p4",): (1, 10_000)}
    assert (stored.other.names, stored.other.objects, stored.other.bytes) == (("other",), 4, 1_111)
    assert (stored.other_parts, stored.objects, stored.bytes) == (4, 6, 111_111)


async def test_virtual_keys_are_told_by_their_id(stage: Stage) -> None:
    other = await stage.add_owner()
    await stage.add_row("image/1", SizeBytes=1)
    await stage.add_row("image/2", SizeBytes=2, VirtualKeyId=other)
    stored = await stage.catalog.statistics.storage((StorageBy.VIRTUAL_KEY,), 1)
    assert parts(stored) == {(str(other),): (1, 2)}
    assert stored.other_parts == 1


async def test_only_managed_prefixes_count_once_they_are_known(stage: Stage) -> None:
    for key in ("image/1", "video/1", ".reconciler/x"):
        await stage.add_row(key, SizeBytes=1)
    everything = await stage.catalog.statistics.storage(PAIR, 20)
    assert (everything.objects, everything.prefixes) == (2, None), "but for our own corner"
    site = await stage.catalog.site.new_id()
    tied = Identity(site_id=site, bucket="b", prefixes=("image/",), created_at=datetime.now(UTC))
    await stage.catalog.site.bind(tied)
    only = await stage.catalog.statistics.storage(PAIR, 20)
    assert (only.objects, only.prefixes) == (1, ["image/"])


async def test_sizes_that_sum_up_beyond_a_bigint_are_right(stage: Stage) -> None:
    """Each of them is believable, and so is not what no object has."""
    await stage.add_row("image/most", SizeBytes=2**53)
    await stage.sql.execute(
        'INSERT INTO public."MediaRecords" ("Id", "StorageKey", "VirtualKeyId", "MediaType", "SizeBytes",'
        ' "CreatedAt") SELECT gen_random_uuid(), \'image/\' || n, "VirtualKeyId", "MediaType", "SizeBytes",'
        ' "CreatedAt" FROM public."MediaRecords", generate_series(1, 1999) AS n'
    )
    await stage.add_row("image/negative", SizeBytes=-5)
    await stage.add_row("image/absurd", SizeBytes=2**63 - 1)
    stored = (await stage.catalog.statistics.storage(PAIR, 20)).bytes
    assert stored == 2000 * 2**53 > 2**63


BARE = """
CREATE SCHEMA gate;
CREATE TABLE gate.api_keys (id text PRIMARY KEY, active boolean NOT NULL);
CREATE TYPE gate.kind AS ENUM ('STILL', 'MOVING');
CREATE TABLE gate.media (id bigint PRIMARY KEY, path text NOT NULL, owner text, kind gate.kind);
INSERT INTO gate.media VALUES (1, 'image/a', NULL, 'STILL'), (2, 'image/b', 'k', NULL);
"""


async def test_a_schema_without_such_columns_says_unknown(empty_database: str) -> None:
    connection = await asyncpg.connect(empty_database)
    await connection.execute(BARE)
    await connection.close()
    absent = dict.fromkeys(("size_bytes", "created_at", "expires_at", "last_accessed_at", "provider"), "")
    columns = MediaColumns(storage_key="path", id="id", virtual_key_id="owner", media_type="kind", **absent)
    tables = TableMapping(media_table="gate.media", keys_table="gate.api_keys", media=columns)
    tables = replace(tables, keys=replace(tables.keys, id="id", is_enabled="active", expires_at=""))
    config = CatalogConfig(database_url=empty_database, tables=tables)
    await anyio.to_thread.run_sync(migrate.upgrade, config)
    async with open_catalog(config) as catalog:
        stored = await catalog.statistics.storage(PAIR, 20)
        assert parts(stored) == {("still", "unknown"): (1, 0), ("unknown", "unknown"): (1, 0)}
        owners = await catalog.statistics.storage((StorageBy.VIRTUAL_KEY,), 20)
        assert parts(owners) == {("k",): (1, 0), ("unknown",): (1, 0)}


async def test_a_reading_that_takes_too_long_ends_and_says_so(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of one millisecond Postgres may forget, between two messages, whose request the end was.
    monkeypatch.setattr(patient, "PATIENCE", timedelta(milliseconds=100))
    monkeypatch.setattr(
        stored_rows,
        "STORAGE",
        "SELECT pg_catalog.pg_sleep(60), $1::text, $2::text -- {names}{size}{media}{within}{top}",
    )
    with pytest.raises(CatalogUnavailable, match="statement timeout"):
        await stage.catalog.statistics.storage(PAIR, 20)


async def test_a_reading_does_not_hold_back_deletions(stage: Stage) -> None:
    """A transaction that has written nothing has no id, and no claim waits for it."""
    reader = await asyncpg.connect(stage.catalog.database.config.database_url)
    try:
        transaction = reader.transaction()
        await transaction.start()
        await reader.fetch('SELECT count(*) FROM public."MediaRecords"')
        await stage.mark(finding("image/a"))
        assert len((await stage.claim(decide=all_go)).keys) == 1
        await transaction.rollback()
    finally:
        await reader.close()


# --- calls are counted ---------------------------------------------------------------------------------


async def test_calls_are_told_by_how_they_went(database: str) -> None:
    told: list[tuple[str, float | None]] = []

    def tell(outcome: str, seconds: float | None) -> None:
        told.append((outcome, seconds))

    config = CatalogConfig(database_url=database, on_call=tell)
    async with staged(database, config) as stage:

        def outcomes() -> list[str]:
            seen = [outcome for outcome, _ in told]
            told.clear()
            return seen

        outcomes()
        await stage.catalog.records.now()
        assert told[0][1] is not None
        assert outcomes() == ["ok"]
        await stage.catalog.lease.renew(stage.term, TTL)
        await stage.catalog.pauses.read()
        assert outcomes() == ["ok", "ok"], "those on connections of their own too"
        attempts = 0

        async def collide(_: object) -> None:
            nonlocal attempts
            attempts += 1
            if attempts == 1:
                raise asyncpg.SerializationError("could not serialize")

        await stage.catalog.database.transaction(collide)
        assert told[0] == ("retried", None)
        assert outcomes() == ["retried", "ok"]
        with pytest.raises(CatalogUnavailable):
            async with stage.catalog.database.connection() as connection:
                await connection.execute("SET statement_timeout = 1; SELECT pg_catalog.pg_sleep(5)")
        assert outcomes() == ["failed"]
        with pytest.raises(LeaseLost):
            await stage.catalog.lease.renew(replace(stage.term, epoch=99), TTL)
        assert outcomes() == ["ok"], "the database answered"


async def test_a_database_that_cannot_be_reached_counts_before_anything_is_open(closed_port: int) -> None:
    told: list[str] = []
    config = CatalogConfig(
        database_url=f"postgresql://u:p@127.0.0.1:{closed_port}/x",
        on_call=lambda outcome, _: told.append(outcome),
    )
    with pytest.raises(CatalogUnavailable):
        async with open_catalog(config):
            pass
    assert told == ["failed"]
