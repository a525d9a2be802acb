"""The outbox on a real Postgres: what fills it, its order, and that nothing leaves it unsent."""

from __future__ import annotations

import json

import anyio
import asyncpg
import pytest

from reconciler.catalog import outbox
from reconciler.errors import LeaseLost
from reconciler.model import Delivered, ObjectResult, Subscription, Verdict
from tests.contract.catalog import DAY, TTL, Stage, all_go, finding

pytestmark = pytest.mark.anyio

CDN = Subscription(
    channel="cdn",
    kinds=("object deleted", "object missing", "record deleted", "key revoked"),
    url_column="PublicUrl",
)
EVENTS = Subscription(channel="events", kinds=("object deleted", "object restored"))


async def _open(stage: Stage, *channels: Subscription) -> None:
    await stage.catalog.outbox.open(stage.term, channels, DAY)


async def _deleted(stage: Stage, *keys: str, result: ObjectResult = ObjectResult.DELETED) -> None:
    await stage.mark(*[finding(key) for key in keys])
    await stage.confirm(await stage.claim(all_go), result, all_go)


async def _kinds(stage: Stage, channel: str = "cdn") -> list[tuple[str | None, str]]:
    return [(each.storage_key, each.kind) for each in await stage.catalog.outbox.due(channel, 100)]


async def test_nothing_is_queued_where_no_channel_is_open(stage: Stage) -> None:
    await _deleted(stage, "image/a")
    assert await stage.sql.fetchval("SELECT count(*) FROM reconciler.outbox") == 0
    assert await stage.catalog.outbox.backlog() == {}


async def test_a_confirmation_queues_what_each_channel_is_told_of(stage: Stage) -> None:
    await _open(stage, CDN, EVENTS)
    await stage.add_row("image/a", PublicUrl="https://cdn.example/x/a")
    await _deleted(stage, "image/a", "image/b")
    await stage.mark(finding("image/kept"))
    await stage.confirm(await stage.claim(all_go), ObjectResult.CHANGED, all_go)
    assert await _kinds(stage) == [
        ("image/a", "object deleted"),
        ("image/b", "object deleted"),
        ("image/a", "record deleted"),
    ], "and nothing of what the store kept"
    assert await _kinds(stage, "events") == [("image/a", "object deleted"), ("image/b", "object deleted")]
    row = (await stage.catalog.outbox.due("cdn", 100))[-1]
    assert row.payload["url"] == "https://cdn.example/x/a"
    assert row.payload["owners"] == [str(stage.owner)]
    assert row.payload["verdict"] == Verdict.ORPHAN
    written = await stage.sql.fetchval("SELECT what FROM reconciler.ledger WHERE id = $1", row.ledger_id)
    assert written == "record"


async def test_a_confirmation_that_is_rolled_back_queues_nothing(stage: Stage) -> None:
    await _open(stage, CDN)
    await stage.mark(finding("image/a"))
    claim = await stage.claim(all_go)
    await stage.sql.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN RAISE 'no' USING ERRCODE = '23514'; END$$;"
        "CREATE TRIGGER z BEFORE DELETE ON reconciler.marks EXECUTE FUNCTION refuse()"
    )
    with pytest.raises(Exception, match="no"):
        await stage.confirm(claim, ObjectResult.DELETED, all_go)
    assert await _kinds(stage) == []


async def test_a_key_is_told_of_when_it_is_first_seen_disabled(stage: Stage) -> None:
    await _open(stage, CDN)
    owner = str(await stage.add_owner(IsEnabled=False))
    now = await stage.catalog.records.now()
    for _ in range(2):
        await stage.catalog.records.observe_keys(now)
    (row,) = await stage.catalog.outbox.due("cdn", 100)
    assert (row.kind, row.storage_key, row.payload["owners"]) == ("key revoked", None, [owner])


async def test_nobody_is_told_of_a_disabled_key_in_dry_run(stage: Stage) -> None:
    await _open(stage, CDN)
    await stage.sql.execute("UPDATE reconciler.term SET mode = 'dry_run'")
    await stage.add_owner(IsEnabled=False)
    await stage.catalog.records.observe_keys(await stage.catalog.records.now())
    assert await _kinds(stage) == []


async def test_what_arrived_goes_and_its_answer_is_in_the_ledger_once(stage: Stage) -> None:
    await _open(stage, CDN)
    await stage.add_row("image/a", PublicUrl="https://cdn.example/x/a")
    await _deleted(stage, "image/a")
    due = await stage.catalog.outbox.due("cdn", 100)
    answered = dict.fromkeys([each.id for each in due], "cloudflare 42")
    await stage.catalog.outbox.settle(stage.term, "cdn", Delivered(arrived=answered))
    assert await _kinds(stage) == []
    (line,) = await stage.sql.fetch("SELECT * FROM reconciler.ledger WHERE event = 'uncached'")
    assert (line["storage_key"], line["detail"]) == ("image/a", "cloudflare 42")
    assert line["owners"] == [str(stage.owner)]


async def test_later_messages_of_a_key_wait_for_one_that_was_refused(stage: Stage) -> None:
    await _open(stage, EVENTS)
    for _ in range(2):
        await _deleted(stage, "image/a", "image/b")
        await stage.sql.execute("DELETE FROM reconciler.tombstones")
    first, second, *_ = await stage.catalog.outbox.due("events", 100)
    assert (first.storage_key, second.storage_key) == ("image/a", "image/b")
    await stage.catalog.outbox.settle(stage.term, "events", Delivered(refused={first.id: "400"}))
    assert await _kinds(stage, "events") == [("image/b", "object deleted")] * 2
    await stage.sql.execute("UPDATE reconciler.outbox SET due_at = clock_timestamp()")
    again, *rest = await stage.catalog.outbox.due("events", 100)
    assert (again.id, again.attempts, len(rest)) == (first.id, 1, 3)


async def test_a_channel_rests_while_its_receiver_is_away_and_keeps_all(stage: Stage) -> None:
    await _open(stage, CDN, EVENTS)
    await _deleted(stage, "image/a")
    await stage.catalog.outbox.settle(stage.term, "cdn", Delivered(away="503", after=DAY))
    assert await _kinds(stage) == []
    assert await _kinds(stage, "events"), "the other one does not rest"
    backlog = (await stage.catalog.outbox.backlog())["cdn"]
    assert (backlog.pending, backlog.failures, backlog.last_error) == (1, 1, "503")
    await _open(stage, CDN, EVENTS)
    assert await _kinds(stage), "a new term, or new settings, tries at once"
    await stage.catalog.outbox.settle(stage.term, "cdn", Delivered(refused={1: "no"}))
    assert (await stage.catalog.outbox.backlog())["cdn"].failures == 0


async def test_what_waits_for_a_closed_channel_stays_for_a_while(stage: Stage) -> None:
    await _open(stage, CDN)
    await _deleted(stage, "image/a")
    await _open(stage)
    assert await _kinds(stage) == []
    assert (await stage.catalog.outbox.backlog())["cdn"].pending == 1
    await _open(stage, CDN)
    assert await _kinds(stage) == [("image/a", "object deleted")]
    await stage.sql.execute("UPDATE reconciler.outbox SET created_at = created_at - interval '2 days'")
    await _open(stage, CDN)
    assert await _kinds(stage), "an open channel loses nothing, however old"
    await _open(stage)
    assert await stage.catalog.outbox.backlog() == {}


async def test_a_former_leader_settles_nothing(stage: Stage) -> None:
    await _open(stage, CDN)
    await _deleted(stage, "image/a")
    (message,) = await stage.catalog.outbox.due("cdn", 100)
    await stage.catalog.lease.release(stage.term)
    await stage.catalog.lease.acquire("next", TTL)
    with pytest.raises(LeaseLost):
        await stage.catalog.outbox.settle(stage.term, "cdn", Delivered(arrived={message.id: None}))
    assert await _kinds(stage) == [("image/a", "object deleted")]


async def test_a_message_that_is_committed_late_is_read_all_the_same(stage: Stage, database: str) -> None:
    """A reader that kept its place by the id would have passed it."""
    await _open(stage, CDN)
    insert = (
        "INSERT INTO reconciler.ledger (event, mode, what, storage_key, verdict, reason, result, epoch)"
        " VALUES ('result', 'live', 'object', $1, 'orphan', '', 'deleted', 1)"
    )
    late = await asyncpg.connect(database)
    with anyio.CancelScope(shield=True):
        transaction = late.transaction()
        await transaction.start()
        await late.execute(insert, "image/late")
        await stage.sql.execute(insert, "image/early")
        (early,) = await stage.catalog.outbox.due("cdn", 100)
        await stage.catalog.outbox.settle(stage.term, "cdn", Delivered(arrived={early.id: None}))
        await transaction.commit()
        await late.close()
    (message,) = await stage.catalog.outbox.due("cdn", 100)
    assert (message.storage_key, message.id < early.id) == ("image/late", True)


# --- virtual keys ---------------------------------------------------------------------------------------


async def test_a_disabled_key_is_spread_over_its_media_in_parts(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "SPREAD_AT_ONCE", 2)
    await _open(stage, CDN)
    owner = await stage.add_owner(IsEnabled=False)
    for key in ("image/c", "image/a", "image/é"):
        await stage.add_row(key, VirtualKeyId=owner, PublicUrl=f"https://x/{key}")
    await stage.add_row("image/another")
    await stage.catalog.records.observe_keys(await stage.catalog.records.now())
    (revoked,) = await stage.catalog.outbox.due("cdn", 100)
    for waiting in (3, 4, 3):
        await stage.catalog.outbox.settle(stage.term, "cdn", Delivered(spread=[revoked.id]))
        assert len(await stage.catalog.outbox.due("cdn", 100)) == waiting
    due = await stage.catalog.outbox.due("cdn", 100)
    assert [(each.storage_key, each.kind) for each in due] == [
        ("image/a", "object revoked"),
        ("image/c", "object revoked"),
        ("image/é", "object revoked"),
    ]
    assert (due[2].payload["url"], due[2].payload["owners"]) == ("https://x/image/é", [str(owner)])
    await stage.catalog.outbox.settle(stage.term, "cdn", Delivered(spread=[revoked.id]))
    assert len(await stage.catalog.outbox.due("cdn", 100)) == 3, "done already, and not written twice"


async def test_keys_that_are_disabled_expired_or_gone_have_ended(stage: Stage) -> None:
    now = await stage.catalog.records.now()
    disabled = await stage.add_owner(IsEnabled=False)
    expired = await stage.add_owner(ExpiresAt=now - DAY)
    later = await stage.add_owner(ExpiresAt=now + DAY)
    asked = [str(each) for each in (stage.owner, disabled, expired, later)]
    ended, at = await stage.catalog.outbox.ended([*asked, "gone"])
    assert ended == {str(disabled), str(expired), "gone"}
    assert at >= now


async def test_what_is_about_ended_keys_alone_arrives_with_their_tag(stage: Stage) -> None:
    await _open(stage, CDN)
    ended, live = await stage.add_owner(), await stage.add_owner()
    for key, owner in (("image/1", ended), ("image/2", ended), ("image/live", live), ("image/both", live)):
        await stage.add_row(key, VirtualKeyId=owner)
    await _deleted(stage, "image/1", "image/2", "image/live", "image/both", "image/nobody")
    _, at = await stage.catalog.outbox.ended([str(ended)])
    delivered = Delivered(ended={str(ended): "bunny 7 by tag"}, ended_at=at)
    later = (
        "UPDATE reconciler.outbox SET created_at = created_at + interval '1 minute' WHERE storage_key = $1"
    )
    await stage.sql.execute(later, "image/2")
    both = "UPDATE reconciler.outbox SET payload = payload || $2 WHERE storage_key = $1"
    await stage.sql.execute(both, "image/both", json.dumps({"owners": [str(ended), str(live)]}))
    assert await stage.catalog.outbox.settle(stage.term, "cdn", delivered) == 2, "its object and its row"
    left = {key for key, _ in await _kinds(stage)}
    assert left == {"image/2", "image/live", "image/both", "image/nobody"}, "what is newer waits for the next"
    (line,) = await stage.sql.fetch("SELECT * FROM reconciler.ledger WHERE event = 'uncached'")
    assert (line["storage_key"], line["detail"]) == ("image/1", "bunny 7 by tag")
