"""What the page changes. Each form does what an endpoint of the API does, by the same function."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from reconciler.api import bodies
from reconciler.api.gate import address_of
from reconciler.api.page.rendering import quoted
from reconciler.api.page.views import looks_of, pass_of
from reconciler.api.page.visit import COOKIE, Visit, local, login, read_form, require_same_origin
from reconciler.api.problems import Problem
from reconciler.api.site import Admin
from reconciler.errors import ErrorKind, NotDone
from reconciler.model import HoldKind, PassKind
from reconciler.operations import holds, jobs, marks, passes, pause
from reconciler.planning.formatting import counted

M = TypeVar("M", bound=BaseModel)

LONGEST_COOKIE = 3_800
"""Characters of a token that a browser keeps in a cookie."""


async def ask_for_token(request: Request) -> Response:
    """The form that asks for one."""
    return login(request)


async def log_in(request: Request) -> Response:
    """Keep a token that is known in a cookie that no script can read, and no other site's page can send."""
    to = "/"
    try:
        require_same_origin(request)
        fields = await read_form(request)
        to, token = local(fields.get("next", "/")), fields.get("token", "").strip()
        if len(token) > LONGEST_COOKIE:
            raise Problem(422, "invalid", f"a token for the page has at most {LONGEST_COOKIE:,} characters")
        admin: Admin = request.app.state.admin
        await admin.gate.admit(token, address_of(request))
    except Problem as problem:
        return login(request, problem, to)
    answer = RedirectResponse(to, 303)
    encrypted = "https" in (request.url.scheme, request.headers.get("x-forwarded-proto"))
    answer.set_cookie(COOKIE, token, secure=encrypted, httponly=True, samesite="strict")
    return answer


async def log_out(request: Request) -> Response:
    """Forget the cookie. The token itself stays good."""
    try:
        require_same_origin(request)
    except Problem as problem:
        return login(request, problem)
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


async def pause_deletions(visit: Visit) -> Response:
    """Stop every deletion on every replica, within a second."""
    body = _valid(bodies.Reason, reason=visit.fields.get("reason", ""))
    done = await pause.pause(visit.site.catalog.pauses, by=visit.caller.name, reason=body.reason)
    return _done(visit, "/", "paused" if done.ours else "paused_before")


async def resume_deletions(visit: Visit) -> Response:
    """End the pause."""
    await pause.resume(visit.site.catalog.pauses, by=visit.caller.name)
    return _done(visit, "/", "resumed")


async def run_pass(visit: Visit) -> Response:
    """Ask for a pass."""
    kind = visit.fields.get("kind", "")
    if kind not in {each.value for each in jobs.KINDS}:
        raise Problem(422, "invalid", f"kind: must be one of {', '.join(jobs.KINDS)}")
    await jobs.ask_for_pass(visit.site.catalog, PassKind(kind), author=visit.caller.name)
    return _done(visit, "/passes", "asked")


async def approve_pass(visit: Visit) -> Response:
    """Release a tripped pass's marks, where their number was typed. Each is decided again before it goes."""
    pass_id, catalog = pass_of(visit), visit.site.catalog
    await pause.require_running(catalog.pauses)
    _confirm(visit, await passes.undecided(catalog, pass_id, "approve"))
    understood = visit.fields.get("understood") == "yes"
    await passes.approve(catalog, pass_id, by=visit.caller.name, understood=understood)
    return _done(visit, f"/passes/{pass_id}", "approved")


async def discard_pass(visit: Visit) -> Response:
    """Withdraw a tripped pass's marks, where their number was typed."""
    pass_id, catalog = pass_of(visit), visit.site.catalog
    _confirm(visit, await passes.undecided(catalog, pass_id, "discard"))
    await passes.discard(catalog, pass_id, by=visit.caller.name)
    return _done(visit, f"/passes/{pass_id}", "discarded")


async def withdraw_mark(visit: Visit) -> Response:
    """Withdraw a mark that is not claimed yet."""
    key = visit.asked("key")
    body = _valid(bodies.Reason, reason=visit.fields.get("reason", ""))
    done = await marks.cancel(visit.site.catalog, [key], author=visit.caller.name, reason=body.reason)
    if done.claimed:
        raise NotDone(ErrorKind.CONFLICT, "claimed", f"{key}: it is claimed, and is being deleted")
    if done.unmarked:
        raise NotDone(ErrorKind.NOT_FOUND, "no_mark", f"{key}: there is no mark on this key")
    return _done(visit, "/marks", "withdrawn")


async def add_hold(visit: Visit) -> Response:
    """Keep a key, a prefix, or the media of a virtual key."""
    fields = {name: visit.fields.get(name, "") for name in ("kind", "target", "reason")}
    # What a browser makes of a key's newlines or spaces is not left to it where the key is known.
    fields["target"] = visit.asked("key") or fields["target"]
    lasts = visit.fields.get("lasts", "").strip()
    body = _valid(bodies.NewHoldFor, **fields, lasts=lasts) if lasts else _valid(bodies.NewHold, **fields)
    await holds.add(
        visit.site.catalog,
        {body.kind: [body.target]},
        reason=body.reason,
        author=visit.caller.name,
        end=body.lasts if isinstance(body, bodies.NewHoldFor) else None,
    )
    return _done(visit, "/holds", "held")


async def remove_hold(visit: Visit) -> Response:
    """Lift one author's hold on a target."""
    kind, target = visit.asked("kind"), visit.asked("target")
    if kind not in {*HoldKind}:
        raise Problem(422, "invalid", f"kind: must be one of {', '.join(HoldKind)}")
    author = visit.asked("author")
    lifted = await holds.remove(
        visit.site.catalog, {HoldKind(kind): [target]}, author=author, by=visit.caller.name
    )
    if not lifted:
        raise NotDone(ErrorKind.NOT_FOUND, "no_such_hold", "no such hold is in force")
    return _done(visit, "/holds", "lifted")


def _confirm(visit: Visit, undecided: passes.Decided) -> None:
    """Raises Problem unless what was typed is the number of the marks that there are now."""
    typed = visit.fields.get("confirm", "").strip().replace(",", "")
    if typed != str(undecided.marks):
        said = f"you typed {typed!r}" if typed else "you typed no number"
        detail = f"{said}, and the decision is about {counted(undecided.marks, 'mark')}; nothing was done"
        raise Problem(409, "not_confirmed", detail)


def _valid(shape: type[M], **values: object) -> M:
    """The values as the API takes them. Raises Problem."""
    try:
        return shape.model_validate(values)
    except ValidationError as error:
        faults = [f"{each['loc'][0] if each['loc'] else 'form'}: {each['msg']}" for each in error.errors()]
        raise Problem(422, "invalid", "; ".join(faults)) from None


def _done(visit: Visit, to: str, what: str) -> Response:
    """Show what came of it, by a request of its own: to load that page again does not do it again."""
    looks_of(visit.request).forget()
    return RedirectResponse(f"{to}?done={quoted(what)}", 303)
