"""What others are told, by a real receiver that dies and comes back, and by Postgres."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import asyncpg
import pytest

from reconciler import app
from reconciler.embedded.postgres import EmbeddedPostgres
from reconciler.model import Outcome
from reconciler.settings import SettingsSource
from tests.cli.program import Ran, reconciler
from tests.integration.backups import backup
from tests.integration.site import Site, _environment
from tests.support.receiver import SECRET, Receiver, a_receiver

pytestmark = [pytest.mark.anyio, pytest.mark.calm]

DELETED, RESTORED = "media.object.deleted.v1", "media.object.restored.v1"


@pytest.fixture
def receiver() -> Receiver:
    return a_receiver()


@pytest.fixture
def told(ordered_site: Site, receiver: Receiver, tmp_path: Path) -> Site:
    """A site that tells the receiver of events, in a mode that can be undone."""
    secrets = tmp_path / "secrets"
    secrets.write_text(f"{SECRET}\n")
    settings = {
        "RECONCILER_EVENTS__WEBHOOK_URL": receiver.url,
        "RECONCILER_EVENTS__WEBHOOK_SECRET_FILE": str(secrets),
        "RECONCILER_DELETE_MODE": "auto",
    }
    ordered_site.environment.update(settings)
    return ordered_site


async def command(site: Site, *args: str) -> Ran:
    return await anyio.to_thread.run_sync(lambda: reconciler(*args, env=site.environment))


async def tries_again(site: Site) -> None:
    """As if its rest were over, and the waits of what was refused."""
    await site.sql("UPDATE reconciler.channels SET due_at = clock_timestamp()")
    await site.sql("UPDATE reconciler.outbox SET due_at = clock_timestamp()")


async def waiting(site: Site) -> int:
    ((number,),) = await site.sql("SELECT count(*) FROM reconciler.outbox")
    return int(number)


async def ids_of_ledger(site: Site) -> list[str]:
    lines = await site.sql(
        "SELECT id FROM reconciler.ledger WHERE what = 'object'"
        " AND (event = 'result' AND result = 'deleted' OR event = 'restored') ORDER BY id"
    )
    return [str(line[0]) for line in lines]


async def test_a_deletion_and_its_undo_are_told_in_their_order_by_the_ledgers_ids(
    told: Site, receiver: Receiver
) -> None:
    await told.put("image/a b+é.png")
    async with receiver.up():
        await told.once()
        await told.undo(keys=("image/a b+é.png",))
        await told.once(grace_period="48h")
    deleted, restored = receiver.events
    assert [each["id"] for each in receiver.events] == await ids_of_ledger(told)
    assert (deleted["type"], restored["type"]) == (DELETED, RESTORED)
    assert deleted["specversion"] == "1.0"
    assert deleted["source"] == f"/media-reconciler/{told.bucket.name}"
    assert deleted["subject"] == restored["subject"] == "image/a b+é.png"
    assert deleted["data"]["storage_key"] == "image/a b+é.png"
    assert (deleted["data"]["verdict"], deleted["data"]["bytes"]) == ("orphan", 1)
    assert await waiting(told) == 0


async def test_ids_are_never_given_twice_whatever_is_restored(
    told: Site, receiver: Receiver, postgres: EmbeddedPostgres
) -> None:
    """One backup is restored twice, and each of the three databases tells what it deleted since."""
    await told.once()
    async with backup(told, postgres) as once, backup(told, postgres) as twice, receiver.up():
        for number, site in enumerate((told, once, twice)):
            if number:
                assert (await site.once()).outcome is Outcome.HALTED
                await site.adopt()
            await site.put(f"image/{number}a", f"image/{number}b")
            await site.once()
    assert len({each["id"] for each in receiver.events}) == len(receiver.events) == 6


@pytest.mark.soak
async def test_a_receiver_that_was_down_gets_all_of_it(told: Site, receiver: Receiver) -> None:
    """And no deletion waits for it."""
    for day in range(3):
        await told.put(*[f"image/{day}-{number}" for number in range(30)])
        assert (await told.once()).outcome is Outcome.CONVERGED
        await tries_again(told)
    assert await told.keys() == set()
    assert await waiting(told) == 90
    flaky = iter([503, 204, 429, 500, 204])

    def answer(_: dict[str, Any]) -> tuple[int, dict[str, str]]:
        return next(flaky, 204), {"Retry-After": "1"}

    receiver.answer = answer
    async with receiver.up():
        for _ in range(5):
            await tries_again(told)
            await told.once()
    assert await waiting(told) == 0
    assert Counter(each["id"] for each in receiver.events) == Counter(await ids_of_ledger(told))


async def test_what_one_key_is_told_waits_for_what_was_refused_and_others_go_on(
    told: Site, receiver: Receiver
) -> None:
    await told.put("image/a", "image/b")
    await told.once(events__webhook_url=f"http://127.0.0.1:{receiver.port}/away")
    await told.undo(keys=("image/a",))
    refused = ("image/a", DELETED)
    receiver.answer = lambda event: (422 if (event["subject"], event["type"]) == refused else 204, {})
    async with receiver.up():
        await tries_again(told)
        await told.once(grace_period="48h")
        assert receiver.types("image/a") == []
        assert receiver.types("image/b") == [DELETED]
        receiver.answer = lambda _: (204, {})
        await tries_again(told)
        await told.once(grace_period="48h")
    assert receiver.types("image/a") == [DELETED, RESTORED]


async def test_a_receiver_that_wants_no_more_is_switched_off_until_a_person_or_another_address(
    told: Site, receiver: Receiver
) -> None:
    await told.put("image/a", "image/b")
    receiver.answer = lambda _: (410, {})
    async with receiver.up():
        await told.once()
        tried = len(receiver.tried)
        assert tried >= 1
        await told.put("image/c")
        await tries_again(told)
        await told.once()
        assert len(receiver.tried) == tried, "not once more"
        assert "image/c" not in await told.keys()
        ran = await command(told, "events", "resume", "webhook", "--by", "ada")
        assert ran.status == 0, ran.told
        assert (await command(told, "events", "resume", "webhook")).status == 1, "there is nothing to resume"
        receiver.answer = lambda _: (204, {})
        await told.once()
        assert receiver.types() == [DELETED] * 2, "what waited; nothing was written meanwhile"
        ran = await command(told, "events", "replay", "--since", "1h", "--json")
        assert json.loads(ran.out) == {"events": 3, "channels": ["webhook"], "dry_run": False}
        await told.once()
    assert {each["subject"] for each in receiver.events} == {"image/a", "image/b", "image/c"}


@pytest.mark.soak
async def test_another_address_is_another_receiver_and_the_doctor_knows(
    told: Site, receiver: Receiver
) -> None:
    await told.put("image/a")
    receiver.answer = lambda _: (410, {})
    async with receiver.up():
        assert await webhook_check(told) == (
            "ok",
            "the webhook answers (HTTP 405 where it was asked for its options)",
        )
        await told.once()
        status, says = await webhook_check(told)
        assert (status, "switched off since" in says, "410" in says) == ("fail", True, True)
    other = a_receiver()
    told.environment["RECONCILER_EVENTS__WEBHOOK_URL"] = other.url
    async with other.up():
        await told.once()
    assert other.types() == [DELETED]
    status, says = await webhook_check(told)
    assert (status, "cannot be reached" in says) == ("fail", True)


async def webhook_check(site: Site) -> tuple[str, str]:
    with _environment(site.environment):
        (check,) = [each for each in await app.doctor(SettingsSource()) if each.name == "webhook"]
    return check.status, check.detail


@pytest.mark.soak
async def test_an_adoption_is_told(told: Site, receiver: Receiver) -> None:
    owner = await told.virtual_key()
    async with receiver.up():
        await told.once()
        await told.put("image/a")
        assert (await command(told, "adopt", "--owner", str(owner))).status == 0
        await told.once()
    (adopted,) = receiver.events
    assert (adopted["type"], adopted["subject"]) == ("media.object.adopted.v1", "image/a")
    assert adopted["data"]["virtual_key_ids"] == [str(owner)]


async def test_an_erasure_is_told_with_what_it_deleted(told: Site, receiver: Receiver) -> None:
    owner = await told.virtual_key()
    await told.tracked("image/a", owner=owner)
    async with receiver.up():
        await told.once()
        await command(told, "erase", "--virtual-key", str(owner), "--yes", "--wait", "1s")
        await told.once()
    erased = [each for each in receiver.events if each["type"] == "virtual-key.erased.v1"]
    assert [each["subject"] for each in erased] == [str(owner)]
    assert DELETED in receiver.types("image/a")


@pytest.mark.soak
async def test_a_replay_says_the_very_same_and_not_what_waits(told: Site, receiver: Receiver) -> None:
    await told.put("image/a", "image/b")
    await told.once()
    dry = await command(told, "events", "replay", "--since", "1h", "--dry-run", "--json")
    assert json.loads(dry.out)["events"] == 2
    assert (await command(told, "events", "replay", "--since", "1h")).status == 0
    assert await waiting(told) == 2, "both wait already"
    async with receiver.up():
        await tries_again(told)
        await told.once()
        await command(told, "events", "replay", "--since", "1h")
        await command(told, "events", "replay", "--since", "1h", "--until", "59m")
        await told.once()
    by_id: dict[str, list[dict[str, Any]]] = {}
    for each in receiver.events:
        by_id.setdefault(each["id"], []).append(each)
    assert [len(each) for each in by_id.values()] == [2, 2]
    assert all(first == again for first, again in by_id.values())


async def test_a_pass_that_trips_is_told_once_until_it_is_decided(told: Site, receiver: Receiver) -> None:
    await told.put(*[f"image/{number}" for number in range(5)])
    careful = {"breaker__max_count": "3"}
    async with receiver.up():
        for _ in range(2):
            assert (await told.once(**careful)).outcome is Outcome.TRIPPED
        tripped = await told.tripped()
        await told.approve(tripped)
        await told.once(**careful)
    first, *rest = receiver.events
    assert first["type"] == "pass.tripped.v1"
    assert first["data"]["pass_kind"] == "sweep"
    assert "5 orphans" in first["data"]["reason"]
    assert {each["type"] for each in rest} == {DELETED}


async def test_who_listens_on_the_database_is_notified_of_the_same(told: Site, receiver: Receiver) -> None:
    heard: list[str] = []
    key = "image/" + "\x01é" * 300
    async with told.connected() as connection:
        listener: asyncpg.Connection = connection
        await listener.add_listener("media: events", lambda *told: heard.append(str(told[3])))
        await told.put("image/a", key)
        async with receiver.up():
            await told.once(events__notify="media: events")
        with anyio.fail_after(10):
            while len(heard) < 2:
                await connection.fetchval("SELECT 1")
                await anyio.sleep(0.05)
    assert [json.loads(each)["id"] for each in heard] == [each["id"] for each in receiver.events]
    odd = next(each for each in receiver.events if each["data"]["storage_key"] == key)
    assert "subject" not in odd, "no attribute of a CloudEvent has control characters"


@pytest.mark.soak
async def test_secrets_are_replaced_without_a_gap(told: Site, receiver: Receiver, tmp_path: Path) -> None:
    """The file is read for each batch, and each line of it signs."""
    new = "whsec_" + "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB"
    (tmp_path / "secrets").write_text(f"{new}\n{SECRET}\n")
    await told.put("image/a")
    async with receiver.up():
        await told.once()
        receiver.secret = new
        await told.put("image/b")
        await told.once()
    assert receiver.types() == [DELETED] * 2
    (tmp_path / "secrets").write_text("no secret: é\n")
    await told.put("image/c")
    assert (await told.once()).outcome is Outcome.CONVERGED
    ((error,),) = await told.sql("SELECT last_error FROM reconciler.channels")
    assert "EVENTS__WEBHOOK_SECRET_FILE cannot be used" in error
