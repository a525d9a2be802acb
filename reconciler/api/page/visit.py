"""Who visits the page: a token in a cookie, a form that is the page's own, and how each failure is shown."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeAlias
from urllib.parse import parse_qsl, urlsplit

import anyio
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from reconciler.api import auditing, problems
from reconciler.api.gate import address_of
from reconciler.api.limits import LARGEST_BODY
from reconciler.api.page import rendering
from reconciler.api.page.rendering import quoted
from reconciler.api.problems import Problem
from reconciler.api.routing import REQUEST_SECONDS
from reconciler.api.site import Admin, Site
from reconciler.asgi.bodies import read_body
from reconciler.asgi.problems import MEDIA_TYPE
from reconciler.asgi.problems import Problem as AnyProblem
from reconciler.errors import ReconcilerError
from reconciler.model import Caller, Role

COOKIE = "reconciler-token"
FORM_TOKEN = "form_token"  # noqa: S105 - a field's name
FIELDS = 50

HINTS: Mapping[str, str | None] = {
    "not_authenticated": "Log in with a token that is known.",
    "not_allowed": "Somebody whose token has the role can do it.",
    "too_many_failures": "Wait a minute, then log in with a token that is known.",
    "unavailable": "Nothing was done. Load the page again in a few seconds.",
    "no_such_path": "The navigation above has all there is.",
    "no_such_pass": "Passes lists them.",
    "both_sides": "Mend the cause and discard the pass; or confirm that both sides are to go.",
    "later_pass_first": "Passes lists what waits for a decision.",
    "paused": "Resume first: the button is at the top of the page.",
    "pass_not_tripped": "Passes lists what waits for a decision.",
    "no_such_hold": "Holds lists those in force.",
    "claimed": "The ledger will say how it ends; an undo may bring it back.",
    "invalid": None,
    "internal": problems.HINTS["internal"],
    "halted": problems.HINTS["halted"],
}
"""What to do about a problem, for whoever has the page before them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A request of somebody who is known. `fields` are those of a form."""

    request: Request
    admin: Admin
    caller: Caller
    token: str
    fields: Mapping[str, str]

    @property
    def site(self) -> Site:
        """Raises Retryable or ConfigError while the database is away."""
        return self.admin.site()

    @property
    def form_token(self) -> str:
        """Proves that a form was made for whoever has this cookie; of it, the cookie cannot be found out."""
        return hmac.new(self.token.encode(), b"a form of the page", hashlib.sha256).hexdigest()

    def asked(self, name: str) -> str:
        """A parameter of the query; "" without it."""
        return self.request.query_params.get(name, "")

    def answer(self, template: str, status: int = 200, /, **values: object) -> HTMLResponse:
        """A page for this visitor."""
        return rendering.answer(template, self.common() | values, status)

    def common(self) -> dict[str, object]:
        """What every template reads."""
        return {
            "caller": self.caller,
            "may": {role.value: self.caller.role.may(role) for role in Role},
            "form_token": self.form_token,
            "path": self.request.scope["path"],
            "done": self.asked("done"),
            "events": None,
            "price": self.admin.loaded().settings.price_per_gib_month,
        }


View: TypeAlias = Callable[[Visit], Awaitable[Response]]
Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


def looking(view: View) -> Handler:
    """What only looks, for whoever is known."""

    async def handle(request: Request) -> Response:
        visit = await _visit(request)
        if isinstance(visit, Response):
            return visit
        try:
            return await _in_time(view, visit)
        except Exception as error:  # noqa: BLE001 - shown, and the unforeseen logged
            return told(problems.of(error), visit)

    return handle


def changing(view: View, action: str, needed: Role) -> Handler:
    """What changes something: for whoever may, by a form of the page's own, and written down in the audit as
    the action of that name.
    """

    async def handle(request: Request) -> Response:
        visit = await _visit(request)
        if isinstance(visit, Response):
            return visit
        try:
            require_same_origin(request)
            await _require_role(visit, action, needed)
            visit = replace(visit, fields=await _form(visit))
            request.state.caller = visit.caller
            answer = await auditing.recorded(request, action, lambda _: _in_time(view, visit))
        except Exception as error:  # noqa: BLE001 - as above
            return told(problems.of(error), visit)
        if answer.media_type == MEDIA_TYPE:
            return told(_read(answer), visit)
        return answer

    return handle


def told(problem: AnyProblem, visit: Visit) -> Response:
    """What went wrong, as a page, with a way back to where the form was."""
    referrer = urlsplit(visit.request.headers.get("referer", ""))
    back = f"{referrer.path}?{referrer.query}" if referrer.query else referrer.path
    return visit.answer("problem.html", problem.status, problem=problem, hint=hint(problem), back=local(back))


def hint(problem: AnyProblem) -> str | None:
    return HINTS.get(problem.code)


def local(path: str) -> str:
    """A path of this page, or the first one: never a link to elsewhere."""
    return path if path.startswith("/") and not path.startswith("//") and "\\" not in path else "/"


def require_same_origin(request: Request) -> None:
    """Raises Problem for a form of another site's. Its scheme is left out: TLS may end before us."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    own = urlsplit(origin).netloc == request.headers.get("host") if origin is not None else bool(site)
    if not own or site not in (None, "same-origin"):
        raise Problem(403, "not_same_origin", "the form is not this page's; nothing was done")


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form; of one that is given twice, the last. Raises Problem."""
    await read_body(request, LARGEST_BODY)
    try:
        pairs = parse_qsl(
            (await request.body()).decode(),
            keep_blank_values=True,
            strict_parsing=bool(await request.body()),
            errors="strict",
            max_num_fields=FIELDS,
        )
    except ValueError:
        raise Problem(422, "invalid", "the form cannot be read") from None
    if any("\0" in value for _, value in pairs):
        raise Problem(422, "invalid", "the form has a character that nothing can hold")
    return dict(pairs)


async def _visit(request: Request) -> Visit | Response:
    """Who visits, or what is shown to somebody who is not known."""
    admin: Admin = request.app.state.admin
    token = request.cookies.get(COOKIE, "")
    if not token:
        return _without_token(request)
    try:
        caller = await admin.gate.admit(token, address_of(request))
    except Exception as error:  # noqa: BLE001 - shown, and the unforeseen logged
        return login(request, problems.of(error))
    return Visit(request=request, admin=admin, caller=caller, token=token, fields={})


def _without_token(request: Request) -> Response:
    """A link of another site's comes without the cookie, which this page's own request then has."""
    path = request.scope["path"]
    here = f"{path}?{request.url.query}" if request.url.query else path
    if request.method != "GET":
        return login(request, problems.not_authenticated("you are not logged in; nothing was done"))
    if request.headers.get("sec-fetch-site") == "cross-site":
        return rendering.answer("again.html", {"here": here})
    return RedirectResponse(f"/login?next={quoted(here)}", 303)


def login(request: Request, problem: AnyProblem | None = None, to: str | None = None) -> Response:
    """The form that asks for a token."""
    wanted = local(request.query_params.get("next", "/") if to is None else to)
    values = {"problem": problem, "hint": problem and hint(problem), "next": wanted}
    answer = rendering.answer("login.html", values, problem.status if problem else 200)
    if problem and "Retry-After" in problem.headers:
        answer.headers["Retry-After"] = problem.headers["Retry-After"]
    return answer


async def _require_role(visit: Visit, action: str, needed: Role) -> None:
    try:
        visit.admin.gate.require(visit.caller, needed)
    except Problem as problem:
        with suppress(ReconcilerError):
            await auditing.refused(visit.request, action, visit.caller, problem)
        raise


async def _form(visit: Visit) -> Mapping[str, str]:
    """The fields, without the form token, which is not for the audit to show. Raises Problem."""
    fields = await read_form(visit.request)
    given = fields.pop(FORM_TOKEN, "")
    if not hmac.compare_digest(given.encode(), visit.form_token.encode()):
        raise Problem(403, "no_form_token", "the form is not this page's, or is of an earlier log-in")
    visit.request._body = json.dumps(fields, ensure_ascii=False).encode()  # noqa: SLF001 - as `read_body`
    return fields


async def _in_time(view: View, visit: Visit) -> Response:
    with anyio.move_on_after(REQUEST_SECONDS):
        return await view(visit)
    raise Problem(503, "unavailable", f"this took longer than {REQUEST_SECONDS:g} s, and was given up")


def _read(answer: Response) -> Problem:
    found = json.loads(bytes(answer.body))
    return Problem(found["status"], found["code"], found["detail"])
