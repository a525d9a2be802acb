"""The table of the page: its views, and its forms with the endpoint whose role and name each has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Router

from reconciler.api import steering
from reconciler.api.endpoints import ENDPOINTS, Call, Endpoint
from reconciler.api.page import forms, live, rendering, views
from reconciler.api.page.looks import Looks
from reconciler.api.page.visit import View, changing, hint, looking
from reconciler.api.problems import Problem
from reconciler.api.site import Admin
from reconciler.asgi.problems import Problem as AnyProblem
from reconciler.model import Role

VIEWS: Sequence[tuple[str, View]] = (
    ("/", views.overview),
    ("/passes", views.list_passes),
    ("/passes/{pass_id}", views.show_pass),
    ("/marks", views.list_marks),
    ("/holds", views.list_holds),
    ("/ledger", views.list_ledger),
    ("/explain", views.explain),
    ("/settings", views.settings),
    ("/audit", views.list_audit),
    ("/events", live.events),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A form: what it does, and the endpoint that does the same."""

    path: str
    view: View
    like: Call

    @property
    def endpoint(self) -> Endpoint:
        return next(each for each in ENDPOINTS if each.call is self.like)

    @property
    def needed(self) -> Role:
        return self.endpoint.role


FORMS: Sequence[Form] = (
    Form(path="/pause", view=forms.pause_deletions, like=steering.pause_deletions),
    Form(path="/resume", view=forms.resume_deletions, like=steering.resume_deletions),
    Form(path="/passes", view=forms.run_pass, like=steering.run_pass),
    Form(path="/passes/{pass_id}/approve", view=forms.approve_pass, like=steering.approve_pass),
    Form(path="/passes/{pass_id}/discard", view=forms.discard_pass, like=steering.discard_pass),
    Form(path="/marks/withdraw", view=forms.withdraw_mark, like=steering.cancel_mark),
    Form(path="/holds", view=forms.add_hold, like=steering.add_hold),
    Form(path="/holds/lift", view=forms.remove_hold, like=steering.remove_holds),
)


def add(router: Router, admin: Admin) -> Looks:
    """Serve the page beside the API. What it has looked at lately is to be kept as `app.state.looks`."""
    for path, view in VIEWS:
        router.add_route(path, looking(view), methods=["GET"], include_in_schema=False)
    for form in FORMS:
        handle = changing(form.view, form.endpoint.name, form.needed)
        router.add_route(form.path, handle, methods=["POST"], include_in_schema=False)
    router.add_route("/login", forms.ask_for_token, methods=["GET"], include_in_schema=False)
    router.add_route("/login", forms.log_in, methods=["POST"], include_in_schema=False)
    router.add_route("/logout", forms.log_out, methods=["POST"], include_in_schema=False)
    router.add_route("/assets/{name}", _asset, methods=["GET"], include_in_schema=False)
    return Looks(admin)


async def _asset(request: Request) -> Response:
    found = rendering.ASSETS.get(request.path_params["name"])
    if found is None:
        return Problem(404, "no_such_path", "there is no such path").answer()
    body, kind = found
    return Response(body, media_type=kind, headers={"Cache-Control": "public, max-age=31536000, immutable"})


def refused(request: Request, problem: AnyProblem) -> Response | None:
    """A problem with a path that is not the API's, for a browser; None for whoever else asks."""
    if request.scope["path"].startswith("/api/") or "text/html" not in request.headers.get("accept", ""):
        return None
    values = {"problem": problem, "hint": hint(problem), "back": "/", "caller": None}
    return rendering.answer("problem.html", values, problem.status)
