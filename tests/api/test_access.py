"""Who may: every operation of the document without a token, with a wrong one, or with too low a role."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from reconciler.api import routing
from reconciler.api.app import application, document
from reconciler.api.endpoints import ALIASES, ENDPOINTS
from reconciler.api.gate import FAILURES, WINDOW_SECONDS, Gate
from reconciler.api.limits import LARGEST_BODY
from reconciler.api.site import Admin, RecentStats
from reconciler.asgi import bodies
from reconciler.model import Role
from tests.api.serving import REPLICA, Api, serving
from tests.integration.site import Site

pytestmark = pytest.mark.anyio


def described() -> Mapping[str, Any]:
    """The OpenAPI document, as it is served."""

    def nothing() -> Any:
        raise AssertionError("nobody asks it")

    admin = Admin(
        gate=Gate(None, lambda _: None, lambda: 0.0),
        site=nothing,
        replica=nothing,
        loaded=nothing,
        recent=RecentStats(lambda: 0.0),
    )
    return document(application(admin))


def operations() -> list[tuple[str, str, Role]]:
    """Method, a path without parameters left in it, and the role that the document says is needed."""
    return [
        (method.upper(), path.replace("{", "").replace("}", ""), Role(operation["x-required-role"]))
        for path, methods in described()["paths"].items()
        for method, operation in methods.items()
    ]


OPERATIONS = operations()


def test_the_document_has_every_endpoint_with_the_role_of_the_table() -> None:
    assert len(OPERATIONS) == len(ENDPOINTS) + len(ALIASES)
    told = {
        operation["operationId"]: operation["x-required-role"]
        for methods in described()["paths"].values()
        for operation in methods.values()
    }
    assert told == {endpoint.name: endpoint.role.value for endpoint in (*ENDPOINTS, *ALIASES)}


async def state_of(site: Site) -> list[Any]:
    """Everything that an endpoint could change, but for the audit of what was tried."""
    tables = "pause", "holds", "passes", "marks", "ledger", "hidden", "restores", "jobs"
    return [await site.sql(f"SELECT * FROM reconciler.{table} ORDER BY 1") for table in tables]


async def test_no_operation_answers_whoever_may_not(api: Api, site: Site) -> None:
    """Bodies are not even looked at: they are no JSON."""
    before = await state_of(site)
    others = {"none": None, "wrong": "Bearer mrt_wrong", "basic": "Basic dTpw"}
    revoked = {role: api.tokens.by_role[role] for role in Role}
    for method, path, needed in OPERATIONS:
        for what, header in others.items():
            headers = {"Authorization": header} if header else {}
            api.clock[0] += WINDOW_SECONDS
            answer = await api.client.request(method, path, headers=headers, content=b"{")
            assert answer.status_code == 401, (method, path, what)
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.json()["code"] == "not_authenticated"
        for role in Role:
            if not role.may(needed):
                answer = await api.ask(method, path, role, content=b"{")
                assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed"), (
                    method,
                    path,
                    role,
                )
                assert answer.json()["fields"] == {"role": role, "needed": needed}
    for role in Role:
        api.tokens.revoke(role)
    for method, path, _ in OPERATIONS:
        for role, token in revoked.items():
            api.clock[0] += WINDOW_SECONDS
            headers = {"Authorization": f"Bearer {token}"}
            answer = await api.client.request(method, path, headers=headers, content=b"{")
            assert answer.status_code == 401, (method, path, role)
    assert await state_of(site) == before


async def test_a_token_counts_from_the_moment_its_line_is_there(api: Api) -> None:
    line = next(line for line in api.tokens.file.read_text().splitlines() if line.startswith("viewer "))
    api.tokens.revoke(Role.VIEWER)
    assert (await api.get("/api/v1/status")).status_code == 401
    with api.tokens.file.open("a") as file:
        file.write(f"{line}\n")
    assert (await api.get("/api/v1/status")).status_code == 200
    api.tokens.file.unlink()
    assert (await api.get("/api/v1/status")).status_code == 401


async def test_who_fails_often_is_not_listened_to_and_whoever_is_known_is(api: Api) -> None:
    wrong = {"Authorization": "Bearer mrt_wrong"}
    for _ in range(FAILURES):
        assert (await api.client.get("/api/v1/status", headers=wrong)).status_code == 401
    answer = await api.client.get("/api/v1/status", headers=wrong)
    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_failures")
    assert 0 < int(answer.headers["retry-after"]) <= WINDOW_SECONDS + 1
    assert (await api.get("/api/v1/status")).status_code == 200
    assert api.refusals == ["wrong"] * FAILURES + ["throttled"]
    api.clock[0] += WINDOW_SECONDS
    assert (await api.client.get("/api/v1/status", headers=wrong)).status_code == 401


async def test_a_parameter_that_is_not_known_is_refused_and_not_overlooked(api: Api) -> None:
    answer = await api.get("/api/v1/status?dryrun=true")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert "'dryrun'" in answer.json()["detail"]


async def test_problems_are_told_as_the_standard_wants(api: Api) -> None:
    answer = await api.get("/api/v1/nothing")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert answer.json() == {
        "type": "urn:media-reconciler:problem:no_such_path",
        "title": "Not Found",
        "status": 404,
        "code": "no_such_path",
        "detail": "there is no such path",
        "hint": "/api/v1/docs lists every path.",
        "fields": {},
    }
    refused = await api.ask("PATCH", "/api/v1/status")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET")
    assert refused.json()["code"] == "no_such_method"


async def test_a_body_that_is_too_large_is_not_read(api: Api) -> None:
    answer = await api.get("/api/v1/status", content=b"x" * (LARGEST_BODY + 1))
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


async def test_every_answer_has_the_headers_that_keep_browsers_safe(api: Api) -> None:
    for path in ("/api/v1/status", "/api/v1/docs", "/api/v1/openapi.json", "/api/v1/nothing"):
        headers = (await api.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers


async def test_the_status_says_how_site_and_replica_stand(api: Api, site: Site) -> None:
    await site.put("image/orphan")
    await site.once(dry_run="true")
    api.replica = replace(REPLICA, halted="the bucket belongs to another database")
    told = (await api.get("/api/v1/status")).json()
    assert told["marks"]["orphan"]["keys"] == 1
    assert [(each["kind"], each["state"]) for each in told["passes"]] == [
        ("sweep", "released"),
        ("retention", "released"),
    ]
    assert told["mode"]["mode"] == "dry_run"
    assert told["answered_by"]["halted"] == "the bucket belongs to another database"


async def test_a_body_that_does_not_come_is_given_up(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.0)
    port, token = api.client.base_url.port, api.tokens.by_role[Role.OPERATOR]
    assert port is not None
    head = (
        f"POST /api/v1/pause HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
        "Content-Type: application/json\r\nContent-Length: 9\r\n\r\n"
    )
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(head.encode())
        answer = b""
        with anyio.fail_after(30):
            async for part in stream:  # until the server closes it
                answer += part
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"too_slow"' in answer


async def test_what_takes_too_long_is_given_up(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "REQUEST_SECONDS", 0.0)
    answer = await api.get("/api/v1/status")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer.headers["retry-after"]


async def test_a_parameter_is_given_once(api: Api) -> None:
    answer = await api.get("/api/v1/marks?limit=1&limit=2")
    assert (answer.status_code, answer.json()["detail"]) == (422, "query: limit is given more than once")


async def test_who_asks_is_who_is_connected_whatever_a_header_says(api: Api) -> None:
    claimed = {"X-Forwarded-For": "10.9.8.7", "X-Forwarded-Proto": "https"}
    await api.ask("POST", "/api/v1/pause", json={"reason": "why"}, headers=claimed)
    (line,) = (await api.get("/api/v1/audit")).json()["data"]
    assert line["address"] == "127.0.0.1"


async def test_no_page_of_another_site_may_read_it_unless_its_origin_is_named(
    site: Site, tmp_path: Path
) -> None:
    named, other = "https://console.example.org:8443", "https://example.org"
    before = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    allow = "access-control-allow-origin"
    for origins, let_in in (("[]", {}), (json.dumps([named]), {named: named})):
        async with serving(site, tmp_path, admin__cors_origins=origins) as api:
            for origin in (named, other):
                asked = await api.client.options("/api/v1/pause", headers={**before, "Origin": origin})
                assert asked.headers.get(allow) == let_in.get(origin)
                status = await api.get("/api/v1/status", headers={"Origin": origin})
                assert (status.status_code, status.headers.get(allow)) == (200, let_in.get(origin))
                assert "access-control-allow-credentials" not in status.headers
                refused = await api.get("/api/v1/status", None, headers={"Origin": origin})
                assert refused.status_code == 401


async def test_the_docs_load_nothing_from_anywhere(api: Api) -> None:
    page = (await api.client.get("/api/v1/docs")).text
    assert "GET /api/v1/status" in page
    for loader in ("<script", "<link", "<img", "@import", "url(", "http://", "https://"):
        assert loader not in page


async def test_a_body_whose_bytes_are_no_text_is_a_problem_like_any_other(api: Api) -> None:
    """FastAPI 0.165 answers 400 to it, which no operation describes, and 422 to text that is not JSON."""
    for body in (b" \xff\xfe*@G", b"{"):
        answer = await api.ask(
            "POST",
            "/api/v1/erasures",
            Role.APPROVER,
            content=body,
            headers={"Content-Type": "application/json"},
        )
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid"), body


async def test_a_misspelt_word_is_refused_and_finds_not_nothing(api: Api) -> None:
    for path in (
        "passes?state=triped",
        "passes?kind=sweap",
        "marks?state=do",
        "marks?verdict=x",
        "holds?kind=x",
    ):
        answer = await api.get(f"/api/v1/{path}")
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid"), path
