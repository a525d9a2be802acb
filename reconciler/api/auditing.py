"""Every change is written down before it is made, and again when it is known what came of it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated

import anyio
from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from reconciler.api import listing, problems
from reconciler.api.gate import address_of
from reconciler.api.parameters import NO_NUL, Cursor, Limit, place_of
from reconciler.api.problems import Problem
from reconciler.api.site import Admin, TheSite
from reconciler.asgi import problems as told
from reconciler.catalog.admin.audit import Audit
from reconciler.model import AuditLine, Caller, Change, Repeat
from reconciler.operations import as_json, audit

KEY_HEADER = "Idempotency-Key"
KEY = re.compile(r"[!-~]{1,200}")

KEPT = 4_000
"""Characters of a request that are kept of it."""

SAVE_SECONDS = 5.0
"""How long the outcome may take to be written, though whoever asked may be gone."""

SUCCESS = 400
"""Statuses below are of what was done."""


async def recorded(request: Request, action: str, act: Callable[[Request], Awaitable[Response]]) -> Response:
    """Make the change and write down that, or answer as before where the request repeats one."""
    admin: Admin = request.app.state.admin
    found, body = admin.site().catalog.audit, await request.body()
    change, key = _change(request, action, body), _key(request)
    line = await found.begin(change, key, _digest(change, body) if key else None)
    if isinstance(line, Repeat):
        return _again(line)
    answer: Response | None = None
    problem: told.Problem | None = None
    try:
        answer = await act(request)
    except Exception as error:  # noqa: BLE001 - answered, and written down
        problem = problems.of(error)
        answer = problem.answer()
    finally:
        try:
            with anyio.move_on_after(SAVE_SECONDS, shield=True):
                await _end(found, line, answer, problem, keep=key is not None)
        finally:
            admin.answers.forget()
    return answer


async def refused(request: Request, action: str, caller: Caller, problem: Problem) -> None:
    """Write down that somebody tried what they may not."""
    admin: Admin = request.app.state.admin
    request.state.caller = caller
    found = admin.site().catalog.audit
    line = await found.begin(_change(request, action, b""))
    assert isinstance(line, int)
    await found.end(line, problem.status, problem.code, None, None)


def _change(request: Request, action: str, body: bytes) -> Change:
    caller: Caller = request.state.caller
    query = f"?{request.url.query}" if request.url.query else ""
    return Change(
        caller=caller.name,
        role=caller.role.value,
        address=address_of(request),
        action=action,
        target=f"{request.method} {request.scope['path']}{query}"[:KEPT],
        asked=body[:KEPT].decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}"),
    )


def _key(request: Request) -> str | None:
    given = request.headers.getlist(KEY_HEADER)
    if not given or request.method != "POST":
        return None
    if len(given) > 1 or not KEY.fullmatch(given[0]):
        raise Problem(422, "invalid", f"{KEY_HEADER}: must be up to 200 visible characters of ASCII, once")
    return given[0]


def _digest(change: Change, body: bytes) -> str:
    return hashlib.sha256(change.target.encode() + b"\0" + body).hexdigest()


def _again(earlier: Repeat) -> Response:
    headers = {"Idempotency-Replayed": "true"}
    if earlier.location is not None:
        headers["Location"] = earlier.location
    return Response(earlier.answer, earlier.status, headers=headers, media_type="application/json")


async def _end(
    found: Audit, line: int, answer: Response | None, problem: told.Problem | None, *, keep: bool
) -> None:
    """A request that was cut off has no answer: its line says so, and it may be sent again."""
    status = answer.status_code if answer else 499
    done = answer is not None and status < SUCCESS
    told = bytes(answer.body).decode() if answer is not None and done and keep else None
    location = answer.headers.get("location") if answer else None
    await found.end(line, status, problem.code if problem else None, location, told)


async def list_audit(
    request: Request,
    site: TheSite,
    limit: Limit = None,
    cursor: Cursor = None,
    caller: Annotated[
        str | None, Query(max_length=200, pattern=NO_NUL, description="Only this caller's.")
    ] = None,
) -> Response:
    """Who changed what over HTTP, from where, and what came of it, the newest first; refused attempts too."""
    begin = place_of(cursor, int)

    async def page(last: AuditLine | None, size: int) -> Sequence[AuditLine]:
        before = last.id if last else int(str(begin[0])) if begin else None
        return await audit.page(site.catalog, before, size, caller=caller)

    those: listing.Listing[AuditLine] = listing.Listing(
        page=page, told=as_json.audit_line, place=lambda one: (one.id,)
    )
    return await listing.answer(request, those, limit)
