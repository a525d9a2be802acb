"""Who the page lets in, what it takes for a form of its own, and what a browser is told with each answer."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlencode

import httpx
import pytest

from reconciler.api.app import build
from reconciler.api.gate import FAILURES, Gate
from reconciler.api.page.rendering import ASSETS
from reconciler.api.page.routes import FORMS, VIEWS
from reconciler.api.page.visit import COOKIE
from reconciler.api.site import Admin, RecentStats
from reconciler.errors import CatalogUnavailable
from reconciler.model import Role
from reconciler.operations.tokens import TokensFile
from reconciler.settings import SettingsSource
from tests.api.serving import REPLICA, Api, Tokens, serving
from tests.integration.site import Site, make_site
from tests.servers import Bucket

pytestmark = pytest.mark.anyio

FORM = {"reason": "a case", "kind": "key", "target": "image/live", "confirm": "6"}
"""Enough of every form for it to be done, were it let through."""


@pytest.fixture(autouse=True)
def not_probed(known_abilities: None) -> None:
    """The shared servers: what they can do is known."""


@pytest.fixture
def site(database: str, seaweed_bucket: Bucket) -> Site:
    return make_site(database, seaweed_bucket, calm=True)


@pytest.fixture
async def api(site: Site, tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(site, tmp_path) as made:
        yield made


async def look(api: Api, path: str, role: Role | None = Role.APPROVER, **headers: str) -> httpx.Response:
    cookie = {"Cookie": f"{COOKIE}={api.tokens.by_role[role]}"} if role else {}
    return await api.client.get(path, headers={"Accept": "text/html", **cookie, **headers})


async def send(
    api: Api, path: str, fields: dict[str, str], role: Role = Role.APPROVER, /, **headers: str
) -> httpx.Response:
    own = {
        "Cookie": f"{COOKIE}={api.tokens.by_role[role]}",
        "Origin": str(api.client.base_url).rstrip("/"),
        "Sec-Fetch-Site": "same-origin",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    return await api.client.post(path, content=urlencode(fields), headers=own | headers)


async def form_token(api: Api, role: Role = Role.APPROVER) -> str:
    """The one in the forms of whoever has that role, whichever page has one; a viewer sees no form."""
    found = re.search(r'name="form_token" value="([0-9a-f]{64})"', (await look(api, "/holds", role)).text)
    return found[1] if found else ""


async def state_of(site: Site) -> list[Any]:
    """All that a form could change, but for the audit of what was tried."""
    tables = "pause", "holds", "passes", "marks", "ledger", "jobs"
    return [await site.sql(f"SELECT * FROM reconciler.{table} ORDER BY 1") for table in tables]


async def tripped(site: Site) -> int:
    """A sweep that waits for a decision about six marks."""
    await site.tracked("image/live")
    await site.put(*(f"image/orphan-{number}" for number in range(6)))
    await site.once(breaker__max_count="5")
    return await site.tripped()


def paths_of_forms(pass_id: int) -> list[str]:
    query = "?kind=key&target=image%2Flive&author=ada&key=image%2Forphan-1"
    return [form.path.format(pass_id=pass_id) + query for form in FORMS]


async def test_a_form_of_another_site_or_without_its_token_changes_nothing(api: Api, site: Site) -> None:
    pass_id = await tripped(site)
    await site.sql(
        "INSERT INTO reconciler.holds (kind, target, reason, author)"
        " VALUES ('key', 'image/live', 'kept', 'ada')"
    )
    before, good = await state_of(site), await form_token(api)
    of_another = await form_token(api, Role.OPERATOR)
    assert good
    assert of_another not in {"", good}
    for path in paths_of_forms(pass_id):
        for token, headers in (
            ("", {}),
            (of_another, {}),
            (good, {"Origin": "https://evil.example"}),
            (good, {"Origin": "null"}),
            (good, {"Sec-Fetch-Site": "cross-site"}),
            (good, {"Sec-Fetch-Site": "same-site"}),
        ):
            answer = await send(api, path, {**FORM, "form_token": token}, **headers)
            assert answer.status_code == 403, (path, headers)
            assert "the form is not this page&#39;s" in answer.text
        without = await api.client.post(path, data=FORM)
        assert without.status_code == 401, path
    assert await state_of(site) == before
    assert await site.sql("SELECT FROM reconciler.audit") == []


async def test_each_form_needs_the_role_of_the_endpoint_that_does_the_same(api: Api, site: Site) -> None:
    pass_id = await tripped(site)
    before, forms = await state_of(site), list(zip(FORMS, paths_of_forms(pass_id), strict=True))
    refused = 0
    for form, path in forms:
        for role in Role:
            if not role.may(form.needed):
                fields = {**FORM, "form_token": await form_token(api, role)}
                answer = await send(api, path, fields, role)
                assert answer.status_code == 403, (path, role)
                assert f"this needs the role {form.needed}" in answer.text
                refused += 1
    assert await state_of(site) == before
    lines = await site.sql("SELECT action, role, status, outcome FROM reconciler.audit ORDER BY id")
    assert len(lines) == refused
    assert {(line["status"], line["outcome"]) for line in lines} == {(403, "not_allowed")}
    assert {line["action"] for line in lines} == {form.endpoint.name for form in FORMS}


async def test_every_form_is_done_and_written_down_without_its_token(api: Api, site: Site) -> None:
    """As a browser sends it, for whoever may."""
    pass_id = await tripped(site)
    token = await form_token(api)
    for path, fields, to in (
        ("/pause", {"reason": "a case"}, "/?done=paused"),
        ("/pause", {"reason": "another"}, "/?done=paused_before"),
        ("/resume", {}, "/?done=resumed"),
        (
            "/holds",
            {"kind": "prefix", "target": "image/x", "reason": "r", "lasts": "30d"},
            "/holds?done=held",
        ),
        ("/holds/lift?kind=prefix&target=image%2Fx&author=approver", {}, "/holds?done=lifted"),
        ("/marks/withdraw?key=image%2Forphan-5", {"reason": "a case"}, "/marks?done=withdrawn"),
        ("/passes", {"kind": "sweep"}, "/passes?done=asked"),
        (f"/passes/{pass_id}/discard", {"confirm": "5"}, f"/passes/{pass_id}?done=discarded"),
    ):
        answer = await send(api, path, {**fields, "form_token": token})
        assert (answer.status_code, answer.headers.get("location")) == (303, to), answer.text
        assert (await look(api, to)).status_code == 200
    lines = await site.sql("SELECT asked, status FROM reconciler.audit ORDER BY id")
    assert [line["status"] for line in lines] == [303] * 8
    assert all(token not in line["asked"] for line in lines)
    assert lines[-1]["asked"] == '{"confirm": "5"}'


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        ("/pause", {"reason": "  "}, 422),
        ("/holds", {"kind": "all", "target": "x", "reason": "r"}, 422),
        ("/holds", {"kind": "key", "target": "", "reason": "r"}, 422),
        ("/holds", {"kind": "key", "target": "x", "reason": "r", "lasts": "forever"}, 422),
        ("/holds/lift?kind=key&target=x&author=ada", {}, 404),
        ("/holds/lift?kind=all&target=x&author=ada", {}, 422),
        ("/marks/withdraw?key=nothing", {"reason": "r"}, 404),
        ("/passes", {"kind": "departure"}, 422),
        ("/passes/1/approve", {"confirm": "1"}, 404),
        ("/passes/0/approve", {"confirm": "1"}, 404),
        (f"/passes/{'9' * 5_000}/discard", {"confirm": "1"}, 404),
    ],
)
async def test_what_cannot_be_done_is_told_on_a_page(
    api: Api, site: Site, path: str, fields: dict[str, str], status: int
) -> None:
    before = await state_of(site)
    answer = await send(api, path, {**fields, "form_token": await form_token(api)})
    assert answer.status_code == status, answer.text
    assert '<p class="notice bad" role="alert">' in answer.text
    assert await state_of(site) == before


async def test_each_answer_tells_the_browser_to_load_and_run_nothing_else(api: Api, site: Site) -> None:
    await tripped(site)
    paths = [path.format(pass_id=1) for path, _ in VIEWS if path != "/events"]
    for path in (*paths, "/login", "/nowhere"):
        answer = await look(api, path)
        assert answer.status_code == (404 if path == "/nowhere" else 200), path
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'self'; script-src 'self'"), path
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"
        assert " style=" not in answer.text
        assert " on" not in re.sub(r">[^<]*<", "><", answer.text).replace(" only", ""), path
    for name, (_, kind) in ASSETS.items():
        answer = await api.client.get(f"/assets/{name}")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(kind)
    assert (await api.client.get("/assets/..%2Frendering.py")).status_code == 404
    problem = await api.client.get("/nowhere")
    assert problem.json()["code"] == "no_such_path"


async def test_the_cookie_is_for_this_site_alone_and_no_script_reads_it(api: Api) -> None:
    fields = {"token": f" {api.tokens.by_role[Role.VIEWER]}\n", "next": "/marks?prefix=a%2F"}
    answer = await send(api, "/login", fields)
    assert (answer.status_code, answer.headers["location"]) == (303, "/marks?prefix=a%2F")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "secure" not in cookie
    answer = await send(api, "/login", fields, **{"X-Forwarded-Proto": "https"})
    assert "secure" in answer.headers["set-cookie"].lower()
    for to in ("https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)"):
        answer = await send(api, "/login", {**fields, "next": to})
        assert answer.headers["location"] == "/", to
    answer = await send(api, "/login", fields, Origin="https://evil.example")
    assert (answer.status_code, answer.headers.get("set-cookie")) == (403, None)
    answer = await send(api, "/logout", {})
    assert f'{COOKIE}=""' in answer.headers["set-cookie"]


async def test_who_guesses_tokens_is_not_listened_to_for_a_while(api: Api) -> None:
    for _ in range(FAILURES):
        answer = await send(api, "/login", {"token": "mrt_guessed"})
        assert (answer.status_code, answer.headers.get("set-cookie")) == (401, None)
    answer = await send(api, "/login", {"token": "mrt_guessed"})
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    assert api.refusals == ["wrong"] * FAILURES + ["throttled"]
    known = await send(api, "/login", {"token": api.tokens.by_role[Role.VIEWER]})
    assert known.status_code == 303


async def test_who_is_not_logged_in_is_asked_and_who_is_revoked_is_out(api: Api) -> None:
    answer = await look(api, "/ledger?key=a%2Fb", None)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=%2Fledger%3Fkey%3Da%252Fb")
    assert api.refusals == []
    again = await look(api, "/ledger?key=a%2Fb", None, **{"Sec-Fetch-Site": "cross-site"})
    assert again.status_code == 200
    assert '<meta http-equiv="refresh" content="0">' in again.text
    assert (await look(api, "/ledger", Role.VIEWER)).status_code == 200
    api.tokens.revoke(Role.VIEWER)
    out = await look(api, "/ledger", Role.VIEWER)
    assert (out.status_code, 'name="token"' in out.text) == (401, True)


async def test_live_updates_end_when_the_token_is_revoked(api: Api) -> None:
    headers = {"Cookie": f"{COOKIE}={api.tokens.by_role[Role.VIEWER]}"}
    async with api.client.stream("GET", "/events", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.aiter_lines()
        assert await anext(lines) == "event: parts"
        api.tokens.revoke(Role.VIEWER)
        async for _ in lines:
            """Until its end: a client that waits in vain gives up."""
    assert api.refusals[-1] == "wrong"


async def test_where_both_sides_tripped_that_has_to_be_said_as_well(api: Api, site: Site) -> None:
    pass_id = await tripped(site)
    await site.sql("UPDATE reconciler.passes SET both_sides = true WHERE id = $1", pass_id)
    shown = await look(api, f"/passes/{pass_id}")
    assert "Both sides were above their limits at once" in shown.text
    fields = {"confirm": "6", "form_token": await form_token(api)}
    answer = await send(api, f"/passes/{pass_id}/approve", fields)
    assert (answer.status_code, "above their limits at once" in answer.text) == (409, True)
    assert await site.tripped() == pass_id
    answer = await send(api, f"/passes/{pass_id}/approve", {**fields, "understood": "yes"})
    assert answer.status_code == 303
    assert (pass_id, "sweep", "released") in await site.passes()


async def test_a_database_that_is_away_is_told_on_each_page(site: Site, tmp_path: Path) -> None:
    def away() -> NoReturn:
        raise CatalogUnavailable("the database cannot be reached: no route")

    made, source = Tokens(tmp_path / "tokens").make(), SettingsSource(site.environment)
    admin = Admin(
        gate=Gate(TokensFile(str(made.file), lambda _: None), lambda _: None, time.monotonic),
        site=away,
        replica=lambda: REPLICA,
        loaded=lambda: source.loaded,
        recent=RecentStats(time.monotonic),
    )
    cookies = {COOKIE: made.by_role[Role.VIEWER]}
    transport = httpx.ASGITransport(build(admin))
    async with httpx.AsyncClient(transport=transport, base_url="http://page", cookies=cookies) as client:
        for path in ("/", "/passes", "/marks", "/explain?key=a"):
            answer = await client.get(path)
            assert answer.status_code == 503, path
            assert "the database cannot be reached: no route" in answer.text
        assert (await client.get("/settings")).status_code == 200


async def test_what_the_page_changed_is_answered_by_the_api_at_once(site: Site, tmp_path: Path) -> None:
    """Answers are given again for a second of a clock that stands still here."""
    async with serving(site, tmp_path, seconds=1.0) as api:
        bearer = {"Authorization": f"Bearer {api.tokens.by_role[Role.APPROVER]}"}

        async def paused() -> bool:
            answer = await api.client.get("/api/v1/status", headers=bearer)
            return bool(answer.json()["pause"]["paused"])

        assert not await paused()
        sent = await send(api, "/pause", {"reason": "a case", "form_token": await form_token(api)})
        assert sent.status_code == 303
        assert await paused()
