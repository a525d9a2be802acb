"""`explain` on real servers: what it says of the future is what a pass finds then, and it writes nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import anyio
import anyio.to_thread
import pytest

from reconciler import app
from reconciler.app import first_look
from reconciler.catalog import migrate
from reconciler.cli.explain import print_explained
from reconciler.cli.output import console
from reconciler.errors import KeyRefused
from reconciler.model import (
    VERDICTS,
    Blame,
    Explained,
    Finding,
    KeepReason,
    KeyState,
    NewReservation,
    Owner,
    Verdict,
)
from reconciler.model.moments import moment
from reconciler.operations import as_json
from reconciler.settings import load
from tests.cli.program import reconciler
from tests.integration.site import DAY, Site
from tests.servers import S3Server

pytestmark = [pytest.mark.anyio, pytest.mark.calm]

HOUR = timedelta(hours=1)
LIMITED = {"name": "films", "match": {"prefix": "video/"}, "max_objects": 1, "evict": "oldest"}
LIVE = {
    "grace_period": "48h",
    "key_grace": "3h",
    "dry_run": "true",
    "delete_mode": "quarantine",
    "retention__rules": json.dumps([LIMITED]),
}


@pytest.fixture
def s3_server(seaweed: S3Server) -> S3Server:
    """One store is enough: the rules are asked about what HEAD shows."""
    return seaweed


async def explain(site: Site, key: str, **changes: str) -> Explained:
    with pytest.MonkeyPatch.context() as patched:
        for name, value in site.settings(**changes).items():
            patched.setenv(name, value)
        return await app.explain(load(), key)


async def planned(site: Site, ahead: timedelta, **changes: str) -> Mapping[str, Finding]:
    findings: list[Finding] = []
    with pytest.MonkeyPatch.context() as patched:
        for name, value in site.settings(**changes).items():
            patched.setenv(name, value)
        await app.plan(load(), findings.extend, ahead=ahead)
    return {each.storage_key: each for each in findings}


async def test_what_else_names_a_key_is_told_by_name(site: Site) -> None:
    await site.put("image/avatar", "image/other")
    await site.script(
        "CREATE TABLE users (avatar text, cover text);"
        "INSERT INTO users VALUES ('image/avatar', 'image/avatar')"
    )
    named = {"catalog__also_referenced": '["users.avatar", "users.cover"]'}
    told = await explain(site, "image/avatar", **named)
    assert list(told.seen.named) == ["public.users.avatar", "public.users.cover"]
    assert told.outlook.now.reason == "named by public.users.avatar and by public.users.cover"
    assert as_json.explained(told)["named_by"] == list(told.seen.named)
    assert not (await explain(site, "image/other", **named)).seen.named


async def test_an_upload_under_way_is_kept_until_its_reservation_ends(site: Site) -> None:
    await site.put("image/uploaded")
    async with site.catalog() as catalog:
        new = NewReservation(key="image/uploaded", owner=Owner(id="42"), lasts=DAY)
        reserved = await catalog.reservations.reserve(new)
    told = (await explain(site, "image/uploaded", grace_period="1h")).outlook
    assert told.now.reason == "reserved for an upload, which has no row yet"
    assert not told.now.goes
    assert told.changes_at == reserved.expires_at
    assert told.then is not None
    assert told.then.verdict is Verdict.ORPHAN


async def test_a_key_that_the_store_refuses_is_not_said_to_have_no_object(site: Site) -> None:
    """SeaweedFS refuses `..`. By the bucket's identity it is seen that the store answers."""
    await site.once(dry_run="true")
    await site.row("image/../up", age=HOUR)
    env = site.settings()
    told = await anyio.to_thread.run_sync(lambda: reconciler("explain", "image/../up", env=env))
    assert (told.status, told.out) == (1, "")
    (line,) = told.told
    assert line.startswith("reconciler: HeadObject of this key was refused with ")
    assert line.endswith(
        "other keys are answered: whether it has an object is not known;"
        " `reconciler history image/../up` says what was done"
    )


class TakesNone:
    """A store in which the key can name nothing, as some say of `..` or of a part that is too long."""

    async def head(self, key: str) -> None:
        message = "the store takes no such key, so it has no object (InvalidURI)"
        raise KeyRefused(f"{message}: {key}", Blame.KEY, nameless=True)

    async def delete(self, *_: object) -> NoReturn:
        raise AssertionError("it only looks")


async def test_a_key_that_can_name_no_object_is_a_record_without_one(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.row("image/../up", age=HOUR)
    seen = first_look.sight
    monkeypatch.setattr(first_look, "sight", lambda *given: replace(seen(*given), store=TakesNone()))
    told = await explain(site, "image/../up", grace_period="0s")
    assert told.seen.object is None
    assert told.rows[0].outlook.now.verdict is Verdict.DANGLING
    assert told.unseen[0].startswith("its object: the store takes no such key")


LEADS = """
UPDATE reconciler.lease SET holder = 'pod-7', epoch = 12, acquired_at = now(), expires_at = '2999-01-01Z';
INSERT INTO reconciler.replicas (name, said_at, says) VALUES ('pod-7/1', '2999-01-01Z',
    '{"version": "1", "mode": "live", "mode_from": "the default", "mode_since": null, "config_hash": "h",
      "epoch": 12, "halted": null, "halted_since": null, "next_pass": {}, "phases": {}, "rate": 2,
      "blocked_by": ""}')
"""


async def test_the_mode_is_the_leaders_and_that_of_the_settings_without_one(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    await site.put("image/a")

    async def told(dry_run: str) -> str:
        print_explained(await explain(site, "image/a", dry_run=dry_run), console())
        return capsys.readouterr().out

    alone = "nothing is deleted: no replica says that it leads, and here it is in dry run"
    assert alone in await told("true")
    assert "nothing is deleted" not in await told("false")
    await site.script(LEADS)
    for here in ("true", "false"):
        assert "nothing is deleted" not in await told(here)
    await site.script('UPDATE reconciler.replicas SET says = says || \'{"mode": "dry_run"}\'')
    for here in ("true", "false"):
        assert "nothing is deleted: the leader, pod-7/1, is in dry run" in await told(here)


async def every_kind(site: Site) -> Mapping[str, Verdict]:
    """Media for which time alone brings each verdict, and what has one already."""
    now = datetime.now(UTC)
    ends = await site.virtual_key(expires_at=now - HOUR)
    disabled, gone = await site.virtual_key(enabled=False), await site.virtual_key()
    limited = await site.virtual_key()
    await anyio.to_thread.run_sync(lambda: migrate.upgrade(site.database, with_triggers=True))
    for key in ("image/left", "image/again"):
        await site.tracked(key)
    await site.sql('DELETE FROM "MediaRecords"')
    await site.sql(
        "UPDATE reconciler.departures SET left_at = left_at - interval '1 minute'"
        " WHERE storage_key = 'image/again'"
    )
    await site.put("image/orphan")
    await site.row("image/dangling", age=HOUR)
    columns: Mapping[str, Mapping[str, Any]] = {
        "image/expired": {"ExpiresAt": now + HOUR},
        "image/stale": {"age": 89 * DAY},
        "image/read": {"age": 400 * DAY, "LastAccessedAt": now - 25 * DAY},
        "image/ends": {"owner": ends},
        "image/disabled": {"owner": disabled},
        "image/ownerless": {"owner": gone},
        "video/first": {"owner": limited, "age": HOUR},
        "video/second": {"owner": limited, "age": HOUR / 2},
    }
    for key, changes in columns.items():
        await site.put(key)
        await site.row(key, **changes)
    (constraint,) = await site.sql(
        "SELECT conname FROM pg_constraint WHERE contype = 'f' AND conrelid = '\"MediaRecords\"'::regclass"
    )
    await site.sql(f'ALTER TABLE "MediaRecords" DROP CONSTRAINT "{constraint[0]}"')
    await site.sql('DELETE FROM "VirtualKeys" WHERE "Id" = $1', gone)
    return {
        "image/orphan": Verdict.ORPHAN,
        "image/dangling": Verdict.DANGLING,
        "image/expired": Verdict.EXPIRED,
        "image/stale": Verdict.STALE,
        "image/read": Verdict.STALE,
        "image/ends": Verdict.REVOKED,
        "image/disabled": Verdict.REVOKED,
        "image/ownerless": Verdict.OWNERLESS,
        "image/left": Verdict.DEPARTED,
        "image/again": Verdict.ORPHAN,  # its object was put after the row had left
        "video/first": Verdict.OVER_QUOTA,
    }


async def test_a_pass_at_the_date_that_is_said_agrees_for_every_verdict(site: Site) -> None:
    kinds = await every_kind(site)
    assert {*kinds.values()} == {*VERDICTS}
    await site.once(**LIVE)  # sees the disabled key
    before = await state(site)
    for key, verdict in kinds.items():
        told = await explain(site, key, **LIVE)
        if verdict in {Verdict.OWNERLESS, Verdict.DEPARTED}:  # time neither brings nor ends these
            assert (told.outlook.now.verdict, told.outlook.changes_at) == (verdict, None)
            for ahead in (timedelta(), 30 * DAY):
                found = (await planned(site, ahead, **LIVE))[key]
                assert (found.verdict, found.kept) == (verdict, None)
            continue
        assert told.outlook.now.verdict is None, key
        assert told.outlook.then is not None, key
        assert told.outlook.changes_at is not None
        assert (told.outlook.then.verdict, told.outlook.then.goes) == (verdict, True)
        ahead = told.outlook.changes_at - told.at
        early = await planned(site, ahead - timedelta(minutes=1), **LIVE)
        late = await planned(site, ahead, **LIVE)
        assert key not in early, "a minute before, the pass does not find it"
        assert (late[key].verdict, late[key].kept) == (verdict, None)
    assert await state(site) == before, "neither of them writes anything"


async def state(site: Site) -> object:
    """Both sides, and how often each of our tables was written to since the server began."""
    written = await site.sql(
        "SELECT relname, n_tup_ins, n_tup_upd, n_tup_del FROM pg_stat_user_tables"
        " WHERE relname <> 'lease' ORDER BY relname"
    )
    return site.bucket.keys(""), await site.state(), [tuple(row) for row in written]


async def test_the_story_of_a_key_from_its_mark_to_its_return(site: Site) -> None:
    """Paused and in dry run it says so, and what was deleted can be brought back until the window ends."""
    site.environment["RECONCILER_DELETE_MODE"] = "quarantine"
    owner = await site.virtual_key()
    await site.tracked("image/a", owner=owner)
    await site.sql('UPDATE "MediaRecords" SET "ExpiresAt" = now() - interval \'1 hour\'')
    await site.once(delete_delay="1h")
    async with site.catalog() as catalog:
        await catalog.pauses.pause("ada", "looking")
    told = await explain(site, "image/a", dry_run="true")
    assert (told.outlook.now.verdict, told.outlook.now.goes) == (Verdict.EXPIRED, True)
    assert (told.history.state, told.pause.by, told.mode) == (KeyState.MARKED, "ada", "dry_run")
    assert told.history.mark is not None
    assert told.seen.object is not None
    (row,) = told.rows
    assert row.record.virtual_key_id == str(owner)
    holding = [rule.verdict for rule in row.rules if rule.holds]
    assert holding == [Verdict.EXPIRED]
    async with site.catalog() as catalog:
        await catalog.pauses.resume("ada")
    await site.sql("UPDATE reconciler.marks SET due_at = now() - interval '1 hour'")
    await site.once()
    gone = await explain(site, "image/a", undo_window="7d")
    assert (gone.seen.object, gone.rows, gone.history.state) == (None, [], KeyState.DELETED)
    assert [each.until - each.since for each in gone.returnable] == [7 * DAY, 7 * DAY]
    assert [each.record_id for each in gone.returnable] == [None, row.record.id]
    assert json.loads(json.dumps(as_json.explained(gone)))["state"] == "deleted"


async def test_the_story_of_a_row_that_left_from_the_commit_to_the_undo(site: Site) -> None:
    """Its owner and the time are told although no row says them any more, and so is what can be undone."""
    site.environment["RECONCILER_DELETE_MODE"] = "quarantine"
    await anyio.to_thread.run_sync(lambda: migrate.upgrade(site.database, with_triggers=True))
    owner = await site.virtual_key()
    for key in ("image/a", "image/live"):
        await site.tracked(key, owner=owner)
    await site.once()
    await site.sql('DELETE FROM "MediaRecords" WHERE "StorageKey" = $1', "image/a")
    noted = await explain(site, "image/a")
    (left,) = noted.departures
    assert (left.virtual_key, left.row_kept) == (str(owner), True)
    at = moment(left.left_at)
    assert (noted.outlook.now.verdict, noted.outlook.now.goes) == (Verdict.DEPARTED, True)
    shown = reconciler("explain", "image/a", env=site.environment).out
    assert f"a row of virtual key {owner} left the table at {at}" in " ".join(shown.split())
    await site.once(departure_delay="1h")
    marked = await explain(site, "image/a")
    assert marked.departures == []
    assert marked.history.mark is not None
    assert marked.history.mark.mark.owners == (str(owner),)
    assert at in marked.outlook.now.reason
    assert f"of virtual key {owner}" in " ".join(
        reconciler("explain", "image/a", env=site.environment).out.split()
    )
    await site.sql("UPDATE reconciler.marks SET due_at = now()")
    await site.once()
    gone = await explain(site, "image/a", undo_window="7d")
    assert [each.until - each.since for each in gone.returnable] == [7 * DAY, 7 * DAY]
    assert len([each for each in gone.returnable if each.record_id is not None]) == 1
    told = " ".join(reconciler("explain", "image/a", env=site.environment).out.split())
    for part in (
        at,
        f"of virtual key {owner}",
        "left the table before",
        "the object can be brought back until",
    ):
        assert part in told


async def test_a_hold_on_the_virtual_key_of_a_row_that_left_is_told_before_any_pass(site: Site) -> None:
    site.environment["RECONCILER_DELETE_MODE"] = "quarantine"
    await anyio.to_thread.run_sync(lambda: migrate.upgrade(site.database, with_triggers=True))
    owner = await site.virtual_key()
    await site.tracked("image/a", owner=owner)
    await site.once()
    await site.sql('DELETE FROM "VirtualKeys"')
    env = {"RECONCILER_DATABASE_URL": site.database}
    held = reconciler("hold", "add", "--virtual-key", str(owner), "--reason", "case", env=env)
    assert held.status == 0
    told = await explain(site, "image/a")
    assert (told.outlook.now.verdict, told.outlook.now.kept) == (Verdict.DEPARTED, KeepReason.HOLD)
    assert (await site.once()).kept[KeepReason.HOLD] == 1, "and the pass agrees"
    assert await site.keys() == {"image/a"}


async def test_a_hold_and_its_end_are_told(site: Site) -> None:
    await site.put("image/orphan")
    alone = {"RECONCILER_DATABASE_URL": site.database}
    held = reconciler("hold", "add", "--key", "image/orphan", "--for", "9d", "--reason", "case", env=alone)
    assert held.status == 0
    told = await explain(site, "image/orphan")
    assert told.outlook.now.kept is KeepReason.HOLD
    assert told.seen.hold is not None
    assert told.outlook.changes_at == told.seen.hold.until
    assert told.outlook.then is not None
    assert told.outlook.then.goes


@pytest.mark.parametrize(
    "written",
    [
        "image/2026/Ein%20Bild.png",
        "2026/Ein Bild.png",
        "video/2026/Ein Bild.png",
        "https://cdn.example.org/{bucket}/image/2026/Ein%20Bild.png?width=3",
        "s3://{bucket}/image/2026/Ein Bild.png",
    ],
)
async def test_a_key_that_nobody_knows_is_answered_with_near_ones(site: Site, written: str) -> None:
    await site.tracked("image/2026/Ein Bild.png")
    told = await explain(site, written.format(bucket=site.bucket.name))
    assert not told.known
    (near,) = told.seen.near
    assert (near.storage_key, near.row, near.object is not None) == ("image/2026/Ein Bild.png", True, True)


async def test_a_near_miss_is_told_as_the_sweep_keeps_it(site: Site) -> None:
    await site.put("image/a b")
    await site.row("image/a%20b")
    told = await explain(site, "image/a b")
    assert told.outlook.now.kept is KeepReason.NEAR_MISS
    other = await explain(site, "image/a%20b")
    assert other.outlook.now.kept is KeepReason.NEAR_MISS
    found = await planned(site, timedelta())
    assert {key: each.kept for key, each in found.items()} == {
        "image/a b": KeepReason.NEAR_MISS,
        "image/a%20b": KeepReason.NEAR_MISS,
    }


async def test_it_is_printed_and_its_json_has_one_shape(site: Site) -> None:
    await site.put("image/orphan")
    await site.row("image/row", await site.virtual_key(enabled=False), age=400 * DAY)
    shown = reconciler("explain", "image/row", env=site.environment)
    assert (shown.status, shown.told) == (0, [])
    for part in (
        "bucket: no object",
        "disabled, seen since",
        "stale",
        "a pass now says: revoked, it goes",
        "not known: since",
    ):
        assert part in shown.out
    unknown = reconciler("explain", "image/never", env=site.environment)
    assert (unknown.status, unknown.told) == (1, [])
    assert unknown.out.startswith("Nothing has this key")
    odd = reconciler("explain", "image/\udcff", env=site.environment)
    assert (odd.status, odd.told) == (1, [])
    shapes: set[tuple[str, ...]] = set()
    for key in ("image/orphan", "image/row", "image/never"):
        told: dict[str, Any] = json.loads(reconciler("explain", "--json", key, env=site.environment).out)
        shapes.add(tuple(told))
    assert len(shapes) == 1
