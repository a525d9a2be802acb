"""What changes something: it is done by the commands' functions, written down, and never more than asked."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote
from uuid import UUID

import anyio
import pytest

from reconciler.api.endpoints import ALIASES, ENDPOINTS
from reconciler.model import Role, UndoScope
from reconciler.operations.jobs import undo_of
from tests.api.serving import Api
from tests.api.test_looking import every
from tests.integration.site import Site

pytestmark = pytest.mark.anyio

BASE = "/api/v1"


async def tripped(site: Site) -> int:
    """A sweep that found more orphans than may go, and waits. Returns its number."""
    await site.tracked("image/kept")
    await site.put(*(f"image/orphan-{number}" for number in range(3)))
    await site.once(breaker__max_count="1")
    return await site.tripped()


async def audited(api: Api) -> list[tuple[str, str, int | None, str | None]]:
    """Caller, action, status and code of each line, the oldest first."""
    lines = (await api.get(f"{BASE}/audit?limit=1000")).json()["data"]
    return [(line["caller"], line["action"], line["status"], line["outcome"]) for line in reversed(lines)]


def test_nothing_offers_to_overrule_anything() -> None:
    for endpoint in (*ENDPOINTS, *ALIASES):
        told = f"{endpoint.path} {endpoint.call.__annotations__}".lower()
        assert "force" not in told
        assert "despite" not in told


def test_whatever_decides_or_erases_needs_an_approver() -> None:
    needed = {f"{each.method} {each.path}": each.role for each in ENDPOINTS}
    for path in ("passes/{pass_id}/approve", "passes/{pass_id}/discard", "undo", "erasures"):
        assert needed[f"POST {BASE}/{path}"] is Role.APPROVER
    assert all(each.method == "GET" for each in (*ENDPOINTS, *ALIASES) if each.role is Role.VIEWER)


async def test_a_pause_stops_and_a_resume_lets_go_on(api: Api, site: Site) -> None:
    said = {"reason": "restoring the database"}
    paused = (await api.ask("POST", f"{BASE}/pause", Role.OPERATOR, json=said)).json()
    assert (paused["paused"], paused["by"], paused["reason"], paused["ours"]) == (
        True,
        "operator",
        said["reason"],
        True,
    )
    again = (await api.ask("POST", f"{BASE}/pause", json={"reason": "another"})).json()
    assert (again["reason"], again["ours"]) == (said["reason"], False)
    assert (await api.get(f"{BASE}/status")).json()["pause"]["paused"] is True
    assert (await api.ask("POST", f"{BASE}/resume", Role.OPERATOR)).json()["paused"] is True
    assert (await api.get(f"{BASE}/status")).json()["pause"]["paused"] is False
    for empty in ({}, {"reason": ""}, {"reason": " "}, {"reason": "a\0"}, {"reason": "x", "force": True}):
        assert (await api.ask("POST", f"{BASE}/pause", json=empty)).status_code == 422
    assert await audited(api) == [
        ("operator", "pause_deletions", 200, None),
        ("approver", "pause_deletions", 200, None),
        ("operator", "resume_deletions", 200, None),
        *[("approver", "pause_deletions", 422, "invalid")] * 5,
    ]


async def test_holds_keep_until_they_are_lifted(api: Api, site: Site) -> None:
    key = "image/a b?.png"
    body = {"kind": "key", "target": key, "reason": "case 7", "lasts": "30d"}
    added = (await api.ask("POST", f"{BASE}/holds", Role.OPERATOR, json=body)).json()
    (hold,) = added["holds"]
    assert (hold["target"], hold["author"], added["claimed"]) == (key, "operator", [])
    await site.put(key)
    await site.once()
    assert key in await site.keys()
    path = f"{BASE}/holds?kind=key&target={quote(key)}"
    would = await api.ask("DELETE", f"{path}&dry_run=true", Role.OPERATOR)
    assert would.json() == {"holds": 1, "dry_run": True}
    assert len((await api.get(f"{BASE}/holds")).json()["data"]) == 1
    assert (await api.ask("DELETE", path, Role.OPERATOR)).json() == {"holds": 1, "dry_run": False}
    assert (await api.ask("DELETE", path, Role.OPERATOR)).json()["code"] == "no_such_hold"
    ended = {name: value for name, value in body.items() if name != "lasts"}
    naive = await api.ask("POST", f"{BASE}/holds", json={**ended, "until": "2120-01-01T00:00:00"})
    assert naive.status_code == 422
    past = await api.ask("POST", f"{BASE}/holds", json={**ended, "until": "2020-01-01T00:00:00Z"})
    assert (past.status_code, past.json()["code"]) == (409, "end_is_past")
    both = await api.ask("POST", f"{BASE}/holds", json={**body, "until": "2120-01-01T00:00:00Z"})
    assert both.status_code == 422


async def test_a_hold_of_somebody_else_is_lifted_only_where_that_is_said(api: Api) -> None:
    body = {"kind": "prefix", "target": "image/", "reason": "case 7"}
    for role in (Role.OPERATOR, Role.APPROVER):
        assert (await api.ask("POST", f"{BASE}/holds", role, json=body)).status_code == 200
    path = f"{BASE}/holds?kind=prefix&target=image/"
    for dry_run in ("false", "true"):
        refused = await api.ask("DELETE", f"{path}&dry_run={dry_run}", Role.OPERATOR)
        problem = refused.json()
        assert (refused.status_code, problem["code"]) == (409, "holds_of_others")
        assert problem["fields"] == {"authors": ["approver"]}
        assert "all_authors=true" in problem["hint"]
    assert len((await api.get(f"{BASE}/holds")).json()["data"]) == 2
    both = await api.ask("DELETE", f"{path}&author=approver&all_authors=true", Role.OPERATOR)
    assert (both.status_code, both.json()["code"]) == (422, "author_and_all")
    theirs = await api.ask("DELETE", f"{path}&author=approver", Role.OPERATOR)
    assert theirs.json() == {"holds": 1, "dry_run": False}
    assert (await api.ask("POST", f"{BASE}/holds", json=body)).status_code == 200
    everybody = await api.ask("DELETE", f"{path}&all_authors=true", Role.OPERATOR)
    assert everybody.json() == {"holds": 2, "dry_run": False}


async def test_links_of_a_virtual_key_are_ended_and_by_whom_is_written_down(api: Api, site: Site) -> None:
    owner = str(await site.virtual_key())
    path, said = f"{BASE}/virtual-keys/{owner}/links/revoke", {"reason": "posted in a forum"}
    assert (await api.ask("POST", path, Role.VIEWER, json=said)).status_code == 403
    done = await api.ask("POST", path, Role.OPERATOR, json=said)
    assert (done.status_code, done.json()) == (200, {"virtual_key_ids": [owner]})
    unknown = await api.ask("POST", f"{BASE}/virtual-keys/nobody/links/revoke", json=said)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "no_such_virtual_key")
    (order,) = await site.sql("SELECT author, about FROM reconciler.orders WHERE what = 'links revoke'")
    assert tuple(order) == ("operator", f"{owner}: posted in a forum")


async def test_a_mark_is_withdrawn_with_a_reason(api: Api, site: Site) -> None:
    await site.put("image/orphan 1")
    await site.once(dry_run="true")
    path = f"{BASE}/marks/image%2Forphan%201"
    assert (await api.ask("DELETE", path, Role.OPERATOR)).status_code == 422
    done = await api.ask("DELETE", f"{path}?reason=still+needed", Role.OPERATOR)
    assert done.json()["cancelled"] == ["image/orphan 1"]
    (line,) = await site.sql("SELECT detail FROM reconciler.ledger WHERE event = 'cancelled'")
    assert line["detail"] == "cancelled by operator: still needed"
    gone = await api.ask("DELETE", f"{path}?reason=x", Role.OPERATOR)
    assert (gone.status_code, gone.json()["code"]) == (404, "no_mark")


async def test_a_dry_run_of_a_decision_decides_nothing(api: Api, site: Site) -> None:
    number = await tripped(site)
    for decision in ("approve", "discard"):
        path = f"{BASE}/passes/{number}/{decision}?dry_run=true"
        told = (await api.ask("POST", path)).json()
        assert (told["state"], told["marks"]) == ("tripped", 3)
    assert await site.tripped() == number
    assert await site.keys() == {"image/kept", *(f"image/orphan-{n}" for n in range(3))}


async def test_a_pass_is_approved_as_far_as_a_plan_lists_it(api: Api, site: Site) -> None:
    number = await tripped(site)
    path = f"{BASE}/passes/{number}/approve"
    plan = [
        {"storage_key": "image/orphan-1", "verdict": "orphan"},
        {"storage_key": "image/orphan-2", "verdict": "dangling"},
        {"storage_key": "image/other", "verdict": "orphan"},
    ]
    would = (await api.ask("POST", f"{path}?dry_run=true", json={"plan": plan})).json()
    assert (would["state"], would["marks"], would["withdrawn"]) == ("tripped", 1, 2)
    for wrong in (
        [],
        [{"storage_key": "a"}],
        [{"storage_key": "a", "verdict": "orphans"}],
        [plan[0] | {"x": 1}],
    ):
        assert (await api.ask("POST", path, json={"plan": wrong})).status_code == 422
    assert await site.tripped() == number
    done = (await api.ask("POST", path, json={"plan": plan})).json()
    assert (done["state"], done["marks"], done["withdrawn"]) == ("released", 1, 2)
    marks = (await api.get(f"{BASE}/marks")).json()["data"]
    assert [mark["storage_key"] for mark in marks] == ["image/orphan-1"]


async def test_a_tripped_pass_is_approved_once_and_not_while_paused(api: Api, site: Site) -> None:
    number = await tripped(site)
    path = f"{BASE}/passes/{number}/approve"
    await api.ask("POST", f"{BASE}/pause", json={"reason": "wait"})
    locked = await api.ask("POST", path)
    assert (locked.status_code, locked.json()["code"]) == (423, "paused")
    assert await site.tripped() == number
    await api.ask("POST", f"{BASE}/resume")
    approved = await api.ask("POST", path)
    assert approved.status_code == 200
    assert (approved.json()["state"], approved.json()["marks"]) == ("released", 3)
    assert approved.json()["decided_by"] == "approver"
    again = await api.ask("POST", path)
    assert (again.status_code, again.json()["code"]) == (409, "pass_not_tripped")
    assert (await api.ask("POST", f"{BASE}/passes/999/approve")).status_code == 404


async def test_a_pass_of_which_both_sides_tripped_needs_to_be_understood(api: Api, site: Site) -> None:
    number = await tripped(site)
    await site.sql("UPDATE reconciler.passes SET both_sides = true WHERE id = $1", number)
    path = f"{BASE}/passes/{number}/approve"
    refused = await api.ask("POST", path)
    assert (refused.status_code, refused.json()["code"]) == (409, "both_sides")
    assert (await api.ask("POST", path, json={"understood": True})).status_code == 200


async def test_a_tripped_pass_is_discarded(api: Api, site: Site) -> None:
    number = await tripped(site)
    told = (await api.ask("POST", f"{BASE}/passes/{number}/discard")).json()
    assert (told["state"], told["decided_by"]) == ("discarded", "approver")
    assert (await api.get(f"{BASE}/marks")).json()["data"] == []


async def test_whoever_may_not_is_written_down_and_changes_nothing(api: Api, site: Site) -> None:
    number = await tripped(site)
    refused = await api.ask("POST", f"{BASE}/passes/{number}/approve", Role.OPERATOR)
    assert refused.status_code == 403
    assert await site.tripped() == number
    assert await audited(api) == [("operator", "approve_pass", 403, "not_allowed")]


async def test_a_request_that_is_repeated_is_answered_and_not_done_again(api: Api, site: Site) -> None:
    key = {"Idempotency-Key": "a-request"}
    first = await api.ask("POST", f"{BASE}/passes", json={"kind": "sweep"}, headers=key)
    again = await api.ask("POST", f"{BASE}/passes", json={"kind": "sweep"}, headers=key)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    assert first.headers["location"] == again.headers["location"] == f"{BASE}/operations/{first.json()['id']}"
    assert (first.headers.get("idempotency-replayed"), again.headers["idempotency-replayed"]) == (
        None,
        "true",
    )
    assert len((await api.get(f"{BASE}/operations")).json()["data"]) == 1
    other = await api.ask("POST", f"{BASE}/passes", json={"kind": "retention"}, headers=key)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    whose = await api.ask("POST", f"{BASE}/passes", Role.OPERATOR, json={"kind": "sweep"}, headers=key)
    assert whose.json()["id"] != first.json()["id"]
    await site.sql("UPDATE reconciler.audit SET at = at - interval '25 hours'")
    later = await api.ask("POST", f"{BASE}/passes", json={"kind": "retention"}, headers=key)
    assert later.status_code == 202


async def test_what_failed_may_be_sent_again_under_the_same_name(api: Api, site: Site) -> None:
    number, key = await tripped(site), {"Idempotency-Key": "k"}
    await api.ask("POST", f"{BASE}/pause", json={"reason": "wait"})
    path = f"{BASE}/passes/{number}/approve"
    assert (await api.ask("POST", path, headers=key)).status_code == 423
    await api.ask("POST", f"{BASE}/resume")
    assert (await api.ask("POST", path, headers=key)).status_code == 200
    repeated = await api.ask("POST", path, headers=key)
    assert (repeated.status_code, repeated.headers["idempotency-replayed"]) == (200, "true")


async def test_the_same_request_twice_at_once_is_done_once(api: Api, site: Site) -> None:
    answers: list[int] = []

    async def ask() -> None:
        answer = await api.ask(
            "POST", f"{BASE}/passes", json={"kind": "sweep"}, headers={"Idempotency-Key": "twice"}
        )
        answers.append(answer.status_code)

    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(ask)
    assert set(answers) <= {202, 409}
    assert 202 in answers
    assert len(await site.sql("SELECT id FROM reconciler.jobs")) == 1


async def test_long_work_waits_until_somebody_takes_it_and_can_be_cancelled(api: Api, site: Site) -> None:
    asked: dict[str, Any] = {"keys": ["image/a"], "hold_for": "36h"}
    answer = await api.ask("POST", f"{BASE}/undo", json=asked)
    told = (await api.get(answer.headers["location"])).json()
    assert (told["kind"], told["state"], told["author"]) == ("undo", "waiting", "approver")
    assert (told["asked"]["keys"], told["asked"]["hold_for_seconds"]) == (["image/a"], 129_600)
    path = f"{BASE}/operations/{told['id']}/cancel"
    assert (await api.ask("POST", path)).json()["state"] == "cancelled"
    assert (await api.ask("POST", path)).json()["code"] == "not_cancellable"
    wrong_ones: list[dict[str, Any]] = [
        {},
        {"keys": []},
        {"keys": ["a"], "pass_id": 1},
        {"until": "2026-01-01T00:00:00Z"},
        {"keys": ["a"], "hold_for": "5m"},
        {"keys": ["a\0"]},
    ]
    for wrong in wrong_ones:
        assert (await api.ask("POST", f"{BASE}/undo", json=wrong)).status_code == 422, wrong
    unknown = await api.get(f"{BASE}/operations/00000000-0000-0000-0000-000000000000")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "no_such_operation")


async def test_what_is_to_come_back_is_named_by_a_pass_or_a_time(api: Api, site: Site) -> None:
    hour = {"since": "2026-01-01T00:00:00Z", "until": "2026-01-01T02:00:00+01:00"}
    since, until = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 1, tzinfo=UTC)
    bodies: dict[UndoScope, dict[str, Any]] = {
        UndoScope(pass_id=7): {"pass_id": 7},
        UndoScope(since=since): {"since": hour["since"]},
        UndoScope(since=since, until=until): hour,
    }
    asked: list[str] = []
    for scope, body in bodies.items():
        told = (await api.ask("POST", f"{BASE}/undo?dry_run=true", json=body)).json()
        async with site.catalog() as catalog:
            job = await catalog.jobs.look(UUID(told["id"]))
        assert (undo_of(job), job.dry_run) == ((scope, None), True)
        asked.insert(0, told["id"])
    assert [each["id"] for each in await every(api, f"{BASE}/operations", 1)] == asked
    cursor = base64.urlsafe_b64encode(b'["yesterday", "x"]').decode().rstrip("=")
    lost = await api.get(f"{BASE}/operations?cursor={cursor}")
    assert (lost.status_code, lost.json()["code"]) == (404, "no_such_cursor")


async def test_a_part_is_looked_at_only_where_it_is_managed(api: Api, site: Site) -> None:
    for prefix in ("image/2026/", "im", "video/"):
        asked = await api.ask("POST", f"{BASE}/passes", json={"kind": "sweep", "prefix": prefix})
        told = asked.json()
        assert (asked.status_code, told["kind"], told["dry_run"]) == (202, "look", True)
        assert told["asked"] == {"prefix": prefix}
    elsewhere = await api.ask("POST", f"{BASE}/passes", json={"kind": "sweep", "prefix": "imagery/"})
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (409, "not_managed")
    whole = await api.ask("POST", f"{BASE}/passes", json={"kind": "retention", "prefix": "image/"})
    assert whole.status_code == 422
    async with site.catalog() as catalog:
        assert await catalog.jobs.wanted("leader") == set(), "no pass was asked for"


async def test_nothing_is_erased_while_paused(api: Api, site: Site) -> None:
    await api.ask("POST", f"{BASE}/pause", json={"reason": "wait"})
    for method, path, body in (
        ("POST", f"{BASE}/erasures", {"keys": ["image/a"]}),
        ("DELETE", "/api/admin/media/cleanup", None),
    ):
        answer = await api.ask(method, path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (423, "paused")
    assert await site.sql("SELECT 1 FROM reconciler.jobs") == []


async def test_the_gateways_own_paths_are_kept(api: Api, site: Site) -> None:
    owner = await site.virtual_key()
    await site.row("image/a", owner)
    await site.put("image/orphan")
    await site.once(dry_run="true")
    assert (await api.get("/api/admin/media/stats")).json()["orphans"]["keys"] == 1
    listed = (await api.get(f"/api/admin/virtual-keys/{owner}/media")).json()
    assert [row["storage_key"] for row in listed["data"]] == ["image/a"]
    would = await api.ask("DELETE", "/api/admin/media/cleanup?dry_run=true", Role.OPERATOR)
    assert (would.status_code, would.json()["operations"]) == (202, [])
    done = (await api.ask("DELETE", "/api/admin/media/cleanup", Role.OPERATOR)).json()
    assert [each["kind"] for each in done["operations"]] == ["sweep", "retention"]
    assert done["drift"]["by_verdict"]["orphan"]["keys"] == 1
    assert "image/orphan" in await site.keys()
