"""The database's half of the deletion protocol, on a real Postgres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from reconciler.catalog.media_tables import locking
from reconciler.catalog.media_tables.records import lookup
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.errors import Halt, LeaseLost
from reconciler.model import (
    Cancel,
    Claim,
    Decision,
    DeleteMode,
    Hidden,
    KeepReason,
    Mark,
    Mode,
    ObjectResult,
    PassKind,
    Postpone,
    Record,
    Remove,
    Tally,
    Term,
    Trip,
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
    Stage,
    all_go,
    claimed,
    finding,
    no_cap,
    unless_named,
)

pytestmark = pytest.mark.anyio

# --- claiming --------------------------------------------------------------------------------------


async def test_an_orphan_is_claimed_deleted_and_confirmed(stage: Stage) -> None:
    await stage.mark(finding("image/b"), finding("image/a"))
    claim = await stage.claim()
    assert claimed(claim) == ["image/a", "image/b"]
    assert (claim.taken, claim.epoch) == (2, stage.term.epoch)
    assert await stage.ledger("intent") == [("image/a", "object", None), ("image/b", "object", None)]
    removed = await stage.confirm(claim)
    assert (removed.objects, removed.records, removed.bytes, removed.failed) == (2, 0, 20, 0)
    assert await stage.ledger() == [("image/a", "object", "deleted"), ("image/b", "object", "deleted")]
    assert await stage.marks() == {}
    tombs = await stage.sql.fetch("SELECT storage_key FROM reconciler.tombstones ORDER BY 1")
    assert [row["storage_key"] for row in tombs] == ["image/a", "image/b"]
    assert (await stage.claim()).taken == 0


async def test_nothing_is_claimed_before_its_pass_is_armed(stage: Stage) -> None:
    current = await stage.mark(finding("image/a"), arm=False)
    assert (await stage.claim()).taken == 0
    await stage.catalog.passes.arm(stage.term, current, Tally())
    assert claimed(await stage.claim()) == ["image/a"]


async def test_nothing_is_claimed_before_it_is_due(stage: Stage) -> None:
    await stage.mark(finding("image/a"), delay=DAY)
    assert (await stage.claim()).taken == 0
    assert (await stage.catalog.marks.waiting(POLICY, ALL)).marks == 1
    await stage.sql.execute("UPDATE reconciler.marks SET due_at = clock_timestamp()")
    assert claimed(await stage.claim()) == ["image/a"]


async def test_a_tripped_pass_releases_nothing_and_stops_no_other(stage: Stage) -> None:
    await stage.mark(finding("image/a"))
    current = await stage.mark(finding("image/a"), finding("image/b"), arm=False)
    await stage.catalog.passes.trip(stage.term, current, Tally(), Trip(reason="too many"))
    assert claimed(await stage.claim()) == ["image/a"]


@pytest.mark.incident(27)
async def test_a_trip_on_both_sides_stops_every_claim_until_a_person_decides(stage: Stage) -> None:
    await stage.mark(finding("image/a"))
    current = await stage.mark(finding("image/a"), arm=False)
    await stage.catalog.passes.trip(stage.term, current, Tally(), Trip(reason="both", both_sides=True))
    failed = await stage.begin()
    await stage.catalog.passes.fail(stage.term, failed, "the listing broke")
    assert (await stage.claim()).taken == 0
    await stage.mark(finding("image/a"), finding("image/b"))
    assert (await stage.claim()).taken == 0
    await stage.catalog.approvals.discard(current.id, "ada")
    assert claimed(await stage.claim()) == ["image/a", "image/b"]


async def test_delay_starts_anew_when_dry_run_is_switched_off(stage: Stage) -> None:
    lease = stage.catalog.lease
    await lease.observe_mode(stage.term, Mode.DRY_RUN)
    await stage.mark(finding("image/a"))
    assert (await stage.claim()).taken == 0, "nothing is claimed in dry run"
    await lease.observe_mode(stage.term, Mode.LIVE)
    later = replace(POLICY, delete_delay=DAY)
    assert (await stage.claim(policy=later)).taken == 0
    assert (await stage.catalog.marks.waiting(later, ALL)).marks == 1
    assert claimed(await stage.claim()) == ["image/a"]


async def test_a_dangling_mark_takes_two_complete_sweeps(stage: Stage) -> None:
    key = "image/gone"
    row = await stage.add_row(key)
    first = await stage.mark(finding(key, Verdict.DANGLING))
    await stage.catalog.passes.last(PassKind.SWEEP)
    assert (await stage.claim(all_go)).taken == 0
    assert (await stage.catalog.marks.waiting(POLICY, ALL)).marks == 1
    assert first.id == (await stage.marks())[key]["pass_id"]
    await stage.mark(finding(key, Verdict.DANGLING))
    claim = await stage.claim(all_go)
    assert [ref.id for ref in claim.keys[0].decision.records] == [row]
    removed = await stage.confirm(claim, ObjectResult.MISSING, all_go)
    assert (removed.objects, removed.records) == (0, 1)
    assert await stage.keys_left() == []
    assert await stage.sql.fetchval("SELECT count(*) FROM reconciler.tombstones") == 0


async def test_a_sighting_by_a_failed_pass_or_by_retention_does_not_count(stage: Stage) -> None:
    current = await stage.begin()
    found = [finding("image/gone", Verdict.DANGLING)]
    await stage.catalog.passes.record(stage.term, current, found, NOTHING)
    await stage.catalog.passes.record(stage.term, current, found, NOTHING)
    await stage.catalog.passes.fail(stage.term, current, "the listing broke")
    retention = await stage.begin(PassKind.RETENTION)
    await stage.catalog.passes.record(stage.term, retention, found, NOTHING)
    await stage.mark(*found)
    assert (await stage.marks())["image/gone"]["sightings"] == 1
    await stage.mark(*found)
    assert (await stage.marks())["image/gone"]["sightings"] == 2


@pytest.mark.incident(8)
@pytest.mark.attack(1)
async def test_a_writer_that_was_open_when_the_pass_was_armed_holds_off_the_claim(
    stage: Stage, database: str
) -> None:
    writer = await asyncpg.connect(database)
    try:
        async with writer.transaction():
            await writer.execute("SELECT pg_current_xact_id()")
            await stage.mark(finding("image/a"))
            assert (await stage.claim()).taken == 0
            assert (await stage.catalog.marks.waiting(POLICY, ALL)).marks == 1
            blocker = await stage.catalog.marks.blocked_by()
            assert blocker is not None
            assert f"pid {writer.get_server_pid()}" in blocker
    finally:
        await writer.close()
    assert claimed(await stage.claim()) == ["image/a"]
    assert await stage.catalog.marks.blocked_by() is None


@pytest.mark.attack(14)
async def test_a_forgotten_prepared_transaction_is_named(stage: Stage) -> None:
    if await stage.sql.fetchval("SELECT current_setting('max_prepared_transactions')") == "0":
        pytest.skip("this server allows no prepared transactions")
    await stage.sql.execute("BEGIN; CREATE TABLE public.t (a int); PREPARE TRANSACTION 'forgotten'")
    try:
        assert "prepared transaction forgotten" in (await stage.catalog.marks.blocked_by() or "")
    finally:
        await stage.sql.execute("ROLLBACK PREPARED 'forgotten'")


@pytest.mark.attack(14)
async def test_a_stamp_of_another_cluster_is_renewed_by_the_next_term(stage: Stage) -> None:
    await stage.mark(finding("image/a"))
    await stage.sql.execute("UPDATE reconciler.passes SET released_xid = '900000000000000'")
    assert (await stage.claim()).taken == 0
    await stage.catalog.lease.release(stage.term)
    term = await stage.catalog.lease.acquire("next", TTL)
    assert isinstance(term, Term)
    stage.term = term
    assert claimed(await stage.claim()) == ["image/a"]


@pytest.mark.attack(28)
async def test_the_horizon_waits_for_a_writer_that_could_not_see_the_claim(
    stage: Stage, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It opens after the stamp was compared and before the claim commits."""
    writer = await asyncpg.connect(database)

    async def open_first(connection: Any, media: MediaTables, keys: Sequence[str]) -> list[Record]:
        await writer.execute("BEGIN; SELECT pg_current_xact_id()")
        return await lookup(connection, media, keys)

    try:
        await stage.mark(finding("image/a"), finding("image/b"))
        before = await stage.claim(limit=1)
        assert await stage.catalog.marks.horizon_passed(before.xid)
        monkeypatch.setattr(locking, "lookup", open_first)
        claim = await stage.claim()
        assert claimed(claim) == ["image/b"]
        assert not await stage.catalog.marks.horizon_passed(claim.xid)
        await writer.execute("ROLLBACK")
        assert await stage.catalog.marks.horizon_passed(claim.xid)
    finally:
        await writer.close()


@pytest.mark.incident(10)
@pytest.mark.attack(28)
async def test_looking_again_spares_what_has_a_row_by_now(stage: Stage) -> None:
    await stage.mark(finding("image/a"), finding("image/b"))
    claim = await stage.claim()
    await stage.add_row("image/a")
    spared = await stage.catalog.marks.look_again(claim, unless_named, POLICY, guarded=False)
    assert spared == {"image/a": "a record names it now"}
    answers = {"image/a": (ObjectResult.SPARED, "named"), "image/b": (ObjectResult.DELETED, "")}
    removed = await stage.catalog.marks.confirm(stage.term, claim, answers, unless_named, DAY)
    assert (removed.objects, removed.lost) == (1, 0)
    assert await stage.keys_left() == ["image/a"]
    assert await stage.marks() == {}


@pytest.mark.attack(5)
@pytest.mark.parametrize("claimed_before", [False, True])
async def test_a_table_replaced_by_a_view_halts(stage: Stage, claimed_before: bool) -> None:
    """A daemon has looked at the table days ago; the view hides rows."""
    await stage.mark(finding("image/a"))
    claim = await stage.claim() if claimed_before else None
    await stage.sql.execute(
        'ALTER TABLE public."MediaRecords" RENAME TO media;'
        ' CREATE VIEW public."MediaRecords" AS SELECT * FROM public.media WHERE false'
    )
    look = (
        stage.catalog.marks.look_again(claim, unless_named, POLICY, guarded=False) if claim else stage.claim()
    )
    with pytest.raises(Halt, match="MediaRecords"):
        await look


@pytest.mark.attack(27)
async def test_a_row_locked_by_a_writer_postpones_its_mark_alone(stage: Stage, database: str) -> None:
    await stage.add_row("image/a", ExpiresAt=LONG_AGO)
    await stage.add_row("image/b", ExpiresAt=LONG_AGO)
    await stage.mark(finding("image/a", Verdict.EXPIRED), finding("image/b", Verdict.EXPIRED))
    writer = await asyncpg.connect(database)
    try:
        async with writer.transaction():
            await writer.execute(
                'SELECT FROM public."MediaRecords" WHERE "StorageKey" = $1 FOR UPDATE', "image/a"
            )
            claim = await stage.claim()
            assert claimed(claim) == ["image/b"]
            assert (claim.taken, claim.postponed) == (2, 1)
            assert (await stage.claim()).taken == 0, "what was put off has a not_before"
    finally:
        await writer.close()
    assert (await stage.catalog.marks.waiting(POLICY, ALL)).marks == 2
    await stage.sql.execute("UPDATE reconciler.marks SET not_before = NULL WHERE state = 'found'")
    assert claimed(await stage.claim()) == ["image/a"]


@pytest.mark.attack(27)
async def test_a_locked_key_postpones_only_where_the_verdict_reads_it(stage: Stage, database: str) -> None:
    await stage.add_row("image/a", ExpiresAt=LONG_AGO)
    await stage.add_row("image/b", ExpiresAt=LONG_AGO)
    await stage.mark(finding("image/a", Verdict.REVOKED), finding("image/b", Verdict.EXPIRED))
    writer = await asyncpg.connect(database)
    try:
        async with writer.transaction():
            await writer.execute('UPDATE public."VirtualKeys" SET "KeyName" = $1', "new")
            claim = await stage.claim()
    finally:
        await writer.close()
    assert (claimed(claim), claim.postponed) == (["image/b"], 1)


async def test_a_claim_locks_out_no_other_and_shares_no_mark(stage: Stage) -> None:
    await stage.mark(*(finding(f"image/{number}") for number in range(6)))
    first, second = await stage.claim(limit=4), await stage.claim(limit=4)
    assert claimed(first) == [f"image/{number}" for number in range(4)]
    assert claimed(second) == ["image/4", "image/5"]


@pytest.mark.attack(18)
async def test_marks_outside_the_prefixes_of_now_are_not_claimed(stage: Stage) -> None:
    await stage.mark(finding("image/a"), finding("image2/a"), finding("video/a"))
    assert claimed(await stage.claim()) == ["image/a"]
    assert (await stage.catalog.marks.waiting(POLICY, ALL)).marks == 1


async def test_marks_of_kinds_switched_off_are_not_claimed(stage: Stage) -> None:
    await stage.mark(finding("image/a"))
    claim = await stage.catalog.marks.claim(
        stage.term, ClaimRequest(POLICY, [Verdict.EXPIRED], 10, unless_named, no_cap)
    )
    assert claim.taken == 0


@pytest.mark.incident(12)
async def test_every_write_under_a_former_term_is_refused(stage: Stage) -> None:
    catalog, old = stage.catalog, stage.term
    current = await stage.mark(finding("image/a"), arm=False)
    await catalog.lease.release(old)
    assert isinstance(await catalog.lease.acquire("other", TTL), Term)
    claim = Claim(operation_id=old.nonce, epoch=old.epoch, xid=1, keys=())
    for write in (
        lambda: catalog.passes.begin(old, PassKind.SWEEP, "hash", Mode.LIVE, None),
        lambda: catalog.passes.plan_ranges(old, current.id, []),
        lambda: catalog.passes.record(old, current, [finding("image/b")], NOTHING),
        lambda: catalog.passes.arm(old, current, Tally()),
        lambda: catalog.passes.trip(old, current, Tally(), Trip(reason="x")),
        lambda: catalog.passes.fail(old, current, "x"),
        lambda: catalog.marks.claim(old, ClaimRequest(POLICY, ALL, 10, unless_named, no_cap)),
        lambda: catalog.marks.rescue(old, NOTHING, 10),
        lambda: catalog.marks.confirm(old, claim, {}, unless_named, DAY),
        lambda: catalog.marks.note_preview(old, ["image/a"]),
        lambda: catalog.lease.renew(old, TTL),
        lambda: catalog.lease.observe_mode(old, Mode.DRY_RUN),
    ):
        with pytest.raises(LeaseLost, match=f"epoch {old.epoch} "):
            await write()
    assert list(await stage.marks()) == ["image/a"]


async def test_what_is_decided_away_is_cancelled_in_the_ledger_or_put_off(stage: Stage) -> None:
    await stage.mark(finding("image/a"), finding("image/b"))

    def decide(mark: Mark, records: object, now: object) -> Decision:
        return Cancel(reason="no") if mark.storage_key == "image/a" else Postpone(reason="later")

    claim = await stage.claim(decide)
    assert (claim.keys, claim.taken, claim.cancelled, claim.postponed) == ((), 2, 1, 1)
    assert await stage.ledger("cancelled") == [("image/a", "object", None)]
    assert list(await stage.marks()) == ["image/b"]
    assert (await stage.claim()).taken == 0


@pytest.mark.attack(29)
async def test_marking_again_moves_no_due_time_and_waits_for_nobody(stage: Stage, database: str) -> None:
    first = await stage.mark(finding("image/a"), finding("image/b"), delay=DAY)
    before = await stage.marks()
    holder = await asyncpg.connect(database)
    try:
        async with holder.transaction():
            await holder.execute("SELECT FROM reconciler.marks WHERE storage_key = 'image/b' FOR SHARE")
            await stage.mark(finding("image/a"), finding("image/b"), delay=NOTHING)
    finally:
        await holder.close()
    after = await stage.marks()
    assert after["image/a"]["due_at"] == before["image/a"]["due_at"]
    assert after["image/a"]["pass_id"] == first.id, "an released pass keeps its marks"
    assert (after["image/a"]["sightings"], after["image/b"]["sightings"]) == (2, 1)


async def test_a_mark_joins_the_newest_pass_unless_its_own_is_armed_or_tripped(stage: Stage) -> None:
    current = await stage.mark(finding("image/a"), arm=False)
    await stage.catalog.passes.fail(stage.term, current, "the listing broke")
    second = await stage.mark(finding("image/a"))
    assert (await stage.marks())["image/a"]["pass_id"] == second.id
    assert claimed(await stage.claim()) == ["image/a"]


async def test_findings_kept_or_unstorable_leave_no_mark(stage: Stage) -> None:
    await stage.mark(
        finding("image/kept", kept=KeepReason.DISABLED),
        finding("image/\0"),
        finding("image/\ud800"),
        finding("image/\ufffd ok\n%'"),
    )
    assert list(await stage.marks()) == ["image/\ufffd ok\n%'"]


# --- confirming ------------------------------------------------------------------------------------


async def test_rows_go_with_their_object(stage: Stage) -> None:
    row = await stage.add_row("image/a", ExpiresAt=LONG_AGO)
    await stage.add_row("image/live")
    await stage.mark(finding("image/a", Verdict.EXPIRED))
    claim = await stage.claim()
    assert await stage.ledger("intent") == [("image/a", "object", None), ("image/a", "record", None)]
    removed = await stage.confirm(claim, ObjectResult.MISSING)
    assert (removed.objects, removed.records, removed.bytes) == (1, 1, 10)
    assert await stage.ledger() == [("image/a", "object", "missing"), ("image/a", "record", "deleted")]
    assert await stage.keys_left() == ["image/live"]
    assert row not in await stage.keys_left()


@pytest.mark.incident(38)
@pytest.mark.parametrize(
    "result", [ObjectResult.CHANGED, ObjectResult.PRESENT, ObjectResult.SPARED, ObjectResult.FAILED]
)
async def test_no_row_goes_unless_its_object_is_confirmed_gone(stage: Stage, result: ObjectResult) -> None:
    await stage.add_row("image/a", ExpiresAt=LONG_AGO)
    await stage.mark(finding("image/a", Verdict.EXPIRED))
    removed = await stage.confirm(await stage.claim(), result)
    assert await stage.keys_left() == ["image/a"]
    assert (removed.objects, removed.records) == (0, 0)
    failed = result is ObjectResult.FAILED
    assert removed.failed == int(failed)
    assert list(await stage.marks()) == (["image/a"] if failed else [])


async def test_a_failed_key_stays_claimed_with_a_growing_not_before(stage: Stage) -> None:
    await stage.mark(finding("image/a"))
    claim = await stage.claim()
    waits = []
    for _ in range(3):
        await stage.confirm(claim, ObjectResult.FAILED)
        mark = (await stage.marks())["image/a"]
        waits.append(mark["not_before"] - mark["attempted_at"])
        assert await stage.catalog.marks.rescue(stage.term, DAY, 10) is None
        await stage.sql.execute("UPDATE reconciler.marks SET not_before = clock_timestamp()")
        again = await stage.catalog.marks.rescue(stage.term, DAY, 10)
        assert again is not None
        assert again.keys[0].attempts > claim.keys[0].attempts
        claim = again
    assert waits == sorted(set(waits))
    assert (await stage.confirm(claim)).objects == 1


@pytest.mark.attack(26)
async def test_an_access_counter_does_not_keep_the_row(stage: Stage) -> None:
    await stage.add_row("image/a", ExpiresAt=LONG_AGO)
    await stage.mark(finding("image/a", Verdict.EXPIRED))
    claim = await stage.claim()
    await stage.sql.execute('UPDATE public."MediaRecords" SET "AccessCount" = 7, "SizeBytes" = 3')
    assert (await stage.confirm(claim)).records == 1


@pytest.mark.attack(26)
async def test_a_row_that_changed_but_still_has_to_go_goes(stage: Stage) -> None:
    await stage.add_row("image/a", ExpiresAt=LONG_AGO)
    await stage.mark(finding("image/a", Verdict.EXPIRED))
    claim = await stage.claim()
    await stage.sql.execute('UPDATE public."MediaRecords" SET "LastAccessedAt" = now()')
    removed = await stage.confirm(claim)
    assert (removed.records, removed.lost) == (1, 0)


@pytest.mark.attack(4)
async def test_a_row_that_became_live_after_its_object_went_is_kept_and_counted_lost(stage: Stage) -> None:
    await stage.add_row("image/a", ExpiresAt=LONG_AGO)
    await stage.mark(finding("image/a", Verdict.EXPIRED))
    claim = await stage.claim()
    await stage.sql.execute('UPDATE public."MediaRecords" SET "ExpiresAt" = NULL')
    removed = await stage.confirm(claim)
    assert (removed.objects, removed.records, removed.lost, removed.failed) == (1, 0, 1, 0)
    assert await stage.keys_left() == ["image/a"]
    assert await stage.ledger() == [("image/a", "object", "deleted"), ("image/a", "record", "lost")]
    assert await stage.marks() == {}


@pytest.mark.attack(6)
async def test_a_row_that_came_after_the_orphan_went_is_counted_lost(stage: Stage) -> None:
    await stage.mark(finding("image/a"))
    claim = await stage.claim()
    await stage.add_row("image/a")
    removed = await stage.confirm(claim)
    assert (removed.objects, removed.lost) == (1, 1)
    assert await stage.keys_left() == ["image/a"]


CHILD = 'CREATE TABLE public.child (media uuid REFERENCES public."MediaRecords" ("Id"))'
DEFERRED = f"{CHILD.removesuffix(')')} DEFERRABLE INITIALLY DEFERRED)"
KEEP = (
    "CREATE FUNCTION public.keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
    ' CREATE TRIGGER keep BEFORE DELETE ON public."MediaRecords" FOR EACH ROW'
    """ WHEN (OLD."StorageKey" = 'image/b') EXECUTE FUNCTION public.keep()"""
)
FILL = 'INSERT INTO public.child SELECT "Id" FROM public."MediaRecords" WHERE "StorageKey" = \'image/b\''
MEND_CHILD, MEND_KEEP = "DROP TABLE public.child", 'DROP TRIGGER keep ON public."MediaRecords"'
KEPT_ROW = [
    pytest.param(f"{CHILD}; {FILL}", 'on table "child"', MEND_CHILD, id="constraint"),
    # It would speak at the commit, and take the confirmation of the whole batch with it, every time.
    pytest.param(f"{DEFERRED}; {FILL}", 'on table "child"', MEND_CHILD, id="deferred constraint"),
    pytest.param(KEEP, "a trigger or a rule of the table keeps the row", MEND_KEEP, id="trigger"),
]
"""What keeps the row of image/b alone, a part of the reason that is told, and what lets it go again."""

THREE = ("image/a", "image/b", "image/c")


async def mark_expired(stage: Stage) -> None:
    for key in THREE:
        await stage.add_row(key, ExpiresAt=LONG_AGO)
    await stage.mark(*(finding(key, Verdict.EXPIRED) for key in THREE))


@pytest.mark.attack(30)
@pytest.mark.attack(53)
@pytest.mark.parametrize(("keep", "why", "mend"), KEPT_ROW)
async def test_a_row_that_cannot_be_deleted_is_put_off_alone_before_its_object_goes(
    stage: Stage, keep: str, why: str, mend: str
) -> None:
    await mark_expired(stage)
    await stage.sql.execute(keep)
    claim = await stage.claim()
    assert (claimed(claim), claim.taken) == (["image/a", "image/c"], 3)
    ((key, reason),) = [(each.storage_key, each.reason) for each in claim.refused]
    assert key == "image/b"
    assert why in reason
    assert {key for key, _, _ in await stage.ledger("intent")} == {"image/a", "image/c"}
    removed = await stage.confirm(claim)
    assert (removed.objects, removed.records, removed.failed) == (2, 2, 0)
    assert await stage.keys_left() == ["image/b"]
    ((key, mark),) = (await stage.marks()).items()
    assert (key, mark["state"]) == ("image/b", "found")
    assert (mark["operation_id"], mark["object_gone_at"]) == (None, None)
    assert (mark["refusals"], mark["last_error"]) == (1, reason)
    assert (await stage.claim()).taken == 0, "not before its time"
    await stage.sql.execute(mend)
    await stage.sql.execute("UPDATE reconciler.marks SET not_before = clock_timestamp()")
    removed = await stage.confirm(await stage.claim())
    assert (removed.objects, removed.records, removed.failed) == (1, 1, 0)
    assert (await stage.keys_left(), await stage.marks()) == ([], {})


@pytest.mark.attack(30)
@pytest.mark.parametrize(("keep", "why", "mend"), KEPT_ROW)
async def test_a_row_that_cannot_be_deleted_since_the_claim_fails_alone_and_is_tried_again(
    stage: Stage, keep: str, why: str, mend: str
) -> None:
    """Its object is gone for good, so the claim rolls forward."""
    await mark_expired(stage)
    claim = await stage.claim()
    assert claimed(claim) == list(THREE)
    await stage.sql.execute(keep)
    removed = await stage.confirm(claim)
    assert (removed.objects, removed.records, removed.failed) == (3, 2, 1)
    ((key, reason),) = [(each.storage_key, each.reason) for each in removed.reasons]
    assert key == "image/b"
    assert why in reason
    assert [entry for entry in await stage.ledger() if entry[0] == "image/b"] == [
        ("image/b", "object", "deleted"),
        ("image/b", "record", "failed"),
    ]
    assert await stage.keys_left() == ["image/b"]
    ((key, mark),) = (await stage.marks()).items()
    assert (key, mark["state"], mark["operation_id"]) == ("image/b", "claimed", claim.operation_id)
    assert (mark["attempts"], mark["last_error"]) == (1, reason)
    assert mark["object_gone_at"] is not None
    assert await stage.sql.fetchval("SELECT count(*) FROM reconciler.restores") == 0
    await stage.sql.execute(mend)
    await stage.sql.execute("UPDATE reconciler.marks SET not_before = clock_timestamp()")
    again = await stage.catalog.marks.rescue(stage.term, DAY, 10)
    assert again is not None
    removed = await stage.confirm(again, ObjectResult.MISSING)
    assert (removed.objects, removed.records) == (0, 1), "its object was counted when it went"
    assert (await stage.keys_left(), await stage.marks()) == ([], {})


@pytest.mark.attack(53)
@pytest.mark.parametrize(("keep", "why", "mend"), KEPT_ROW)
async def test_a_row_that_cannot_be_deleted_since_the_claim_gets_its_hidden_object_back(
    stage: Stage, keep: str, why: str, mend: str
) -> None:
    await mark_expired(stage)
    claim = await stage.claim()
    await stage.sql.execute(keep)
    answers = dict.fromkeys(THREE, (ObjectResult.DELETED, ""))
    hidden = {
        key: Hidden(mode=DeleteMode.QUARANTINE, size=10, etag="e1", quarantine_key=f"copy of {key}")
        for key in THREE
    }
    removed = await stage.catalog.marks.confirm(stage.term, claim, answers, unless_named, DAY, hidden)
    assert (removed.objects, removed.records, removed.failed) == (3, 2, 0)
    ((key, reason),) = [(each.storage_key, each.reason) for each in removed.reasons]
    assert key == "image/b"
    assert why in reason
    assert reason.endswith("its object comes back")
    queued = await stage.sql.fetch("SELECT storage_key FROM reconciler.restores")
    assert [row["storage_key"] for row in queued] == ["image/b"]
    assert (await stage.keys_left(), await stage.marks()) == (["image/b"], {})
    await stage.sql.execute(mend)
    await stage.sql.execute("UPDATE reconciler.marks SET not_before = clock_timestamp()")
    assert await stage.catalog.marks.rescue(stage.term, DAY, 10) is None, "its claim is settled"


@pytest.mark.attack(30)
async def test_a_row_locked_at_confirmation_is_left_for_the_next_attempt(stage: Stage, database: str) -> None:
    await stage.add_row("image/a", ExpiresAt=LONG_AGO)
    await stage.mark(finding("image/a", Verdict.EXPIRED))
    claim = await stage.claim()
    writer = await asyncpg.connect(database)
    try:
        async with writer.transaction():
            await writer.execute('SELECT FROM public."MediaRecords" FOR SHARE')
            removed = await stage.confirm(claim)
    finally:
        await writer.close()
    assert (removed.objects, removed.records, removed.failed) == (1, 0, 0)
    await stage.sql.execute("UPDATE reconciler.marks SET not_before = clock_timestamp()")
    again = await stage.catalog.marks.rescue(stage.term, DAY, 10)
    assert again is not None
    assert (await stage.confirm(again, ObjectResult.MISSING)).records == 1


@pytest.mark.attack(87)
async def test_a_dead_epochs_old_claim_is_waited_for_from_the_end_of_its_lease(stage: Stage) -> None:
    """Its leader may have waited for writers, or copied for minutes, and sent its delete at the very end."""
    await stage.mark(finding("image/a", Verdict.ORPHAN))
    await stage.claim()
    await stage.sql.execute("UPDATE reconciler.marks SET attempted_at = attempted_at - interval '2 days'")
    await stage.catalog.lease.release(stage.term)
    term = await stage.catalog.lease.acquire("next", TTL)
    assert isinstance(term, Term)
    assert await stage.catalog.marks.rescue(term, DAY, 10) is None
    await stage.sql.execute("UPDATE reconciler.lease SET acquired_at = acquired_at - interval '1 day'")
    assert await stage.catalog.marks.rescue(term, DAY, 10) is not None


@pytest.mark.attack(21)
async def test_a_dead_epochs_claim_rolls_forward_and_the_former_operation_is_refused(stage: Stage) -> None:
    row = await stage.add_row("image/a", ExpiresAt=LONG_AGO)
    await stage.mark(finding("image/a", Verdict.EXPIRED))
    before = await stage.claim()
    await stage.catalog.lease.release(stage.term)
    term = await stage.catalog.lease.acquire("next", TTL)
    assert isinstance(term, Term)
    assert await stage.catalog.marks.abandoned(term) == 1
    assert await stage.catalog.marks.rescue(term, DAY, 10) is None, "its requests may be on their way"
    after = await stage.catalog.marks.rescue(term, NOTHING, 10)
    assert after is not None
    assert after.operation_id != before.operation_id
    assert [ref.id for ref in after.keys[0].decision.records] == [row]
    assert await stage.catalog.marks.abandoned(term) == 0
    answers = {"image/a": (ObjectResult.DELETED, "")}
    stale = await stage.catalog.marks.confirm(term, before, answers, unless_named, DAY)
    assert (stale.objects, stale.records) == (0, 0)
    stage.term = term
    assert (await stage.confirm(after)).records == 1


async def test_rows_that_share_an_object_go_without_it(stage: Stage) -> None:
    """R-19 with a unique key cannot happen, so the decision is made up; see the mapped schemas."""
    await stage.add_row("image/a", ExpiresAt=LONG_AGO)
    await stage.mark(finding("image/a", Verdict.EXPIRED))

    def decide(mark: Mark, records: object, now: object) -> Decision:
        decision = all_go(mark, records, now)  # type: ignore[arg-type]  # passed on
        assert isinstance(decision, Remove)
        return Remove(records=decision.records, delete_object=False)

    claim = await stage.claim(decide)
    removed = await stage.confirm(claim, ObjectResult.UNTOUCHED, decide)
    assert (removed.objects, removed.records, removed.bytes) == (0, 1, 0)
    assert await stage.sql.fetchval("SELECT count(*) FROM reconciler.tombstones") == 0


# --- looking ---------------------------------------------------------------------------------------


async def test_a_preview_reports_each_due_mark_once_and_takes_nothing(stage: Stage) -> None:
    await stage.catalog.lease.observe_mode(stage.term, Mode.DRY_RUN)
    await stage.add_row("image/2")
    due = [*(finding(f"image/{number}") for number in range(5)), finding("image/9")]
    await stage.mark(*due, delay=NOTHING)
    await stage.mark(*due, finding("image/not-due"), delay=DAY)
    before = await stage.marks()
    marks = stage.catalog.marks
    pages = [page async for page in marks.due(POLICY, ALL, unless_named, page_size=2)]
    keys = [each.mark.storage_key for page in pages for each in page]
    assert keys == ["image/0", "image/1", "image/3", "image/4", "image/9"]
    assert await stage.marks() == before
    await marks.note_preview(stage.term, ["image/0", "image/1"])
    pages = [page async for page in marks.due(POLICY, ALL, unless_named)]
    seen = {each.mark.storage_key: each.seen for page in pages for each in page}
    assert [key for key, was_seen in seen.items() if was_seen] == ["image/0", "image/1"]


async def test_drift_and_backlog_count_what_is_left_and_what_went(stage: Stage) -> None:
    await stage.add_row("image/b", ExpiresAt=LONG_AGO)
    found = (finding("image/a"), finding("image/b", Verdict.EXPIRED), finding("image/c"))
    await stage.mark(*found)
    tripped = await stage.mark(*found, finding("image/t"), arm=False)
    await stage.catalog.passes.trip(stage.term, tripped, Tally(), Trip(reason="too many"))
    drift = await stage.catalog.marks.drift()
    assert drift[Verdict.ORPHAN][:2] == (3, 30)
    assert drift[Verdict.EXPIRED][2] is not None
    claim = await stage.claim(limit=2)
    await stage.confirm(claim)
    backlog = await stage.catalog.passes.backlog()
    assert backlog.pending == {Verdict.ORPHAN: 1}, "what was never released is no threat"
    assert backlog.gone == {Verdict.ORPHAN: 1, Verdict.EXPIRED: 1}
    await stage.sql.execute("UPDATE reconciler.ledger SET at = at - interval '25 hours'")
    assert (await stage.catalog.passes.backlog()).gone == {}


async def test_findings_that_a_released_pass_did_not_see_again_are_withdrawn(stage: Stage) -> None:
    tripped = await stage.mark(finding("image/a"), finding("image/b"), arm=False)
    await stage.catalog.passes.trip(stage.term, tripped, Tally(), Trip(reason="too many"))
    await stage.mark(finding("image/b"))
    assert list(await stage.marks()) == ["image/b"]


async def test_tombstones_end(stage: Stage) -> None:
    await stage.mark(finding("image/a"), finding("image/b"))
    claim = await stage.claim(limit=1)
    answers = {"image/a": (ObjectResult.DELETED, "")}
    await stage.catalog.marks.confirm(stage.term, claim, answers, unless_named, NOTHING)
    await stage.confirm(await stage.claim())
    await stage.catalog.marks.purge()
    left = await stage.sql.fetch("SELECT storage_key, ends_at - gone_at AS lasts FROM reconciler.tombstones")
    assert [(row["storage_key"], row["lasts"]) for row in left] == [("image/b", timedelta(hours=1))]
