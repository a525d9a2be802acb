"""The application: every endpoint of the table, behind the gate, with its document."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from reconciler import __version__
from reconciler.api import docs, problems, schemas
from reconciler.api.auditing import KEY_HEADER
from reconciler.api.endpoints import ALIASES, ALWAYS, BASE, ENDPOINTS, OF_BODIES, PROBLEMS, Endpoint
from reconciler.api.limits import HEADERS
from reconciler.api.listing import NDJSON, Streams
from reconciler.api.page import routes as page
from reconciler.api.routing import ROLE, Guarded
from reconciler.api.site import Admin
from reconciler.asgi.problems import MEDIA_TYPE
from reconciler.asgi.surroundings import Surroundings

DESCRIPTION = """\
Look at and steer a media reconciler over HTTP, from a script, a browser or another service. Every replica
answers. What an endpoint does, the command of the same name does too. Nothing here deletes what an answer
showed: what is released, undone or asked for is decided anew by the engine, and no parameter overrules a dry
run.

Send `Authorization: Bearer TOKEN`. Each operation says in `x-required-role` which role it needs; *approver*
may do what *operator* may, and *operator* what *viewer* may. Storage keys stand in paths percent-encoded, so
that any key works. Errors are `application/problem+json` (RFC 9457) with a `hint` of what to do.
"""


MEANT: Mapping[int, str] = {
    200: "As it stands, or was done.",
    202: "Written down, and done soon: ask where `Location` says.",
}
"""What a success means."""

STREAM_EXAMPLE = """\
{"event": "data", "data": {…}}
{"event": "ping"}
{"event": "end", "lines": 1}
"""


def build(admin: Admin) -> ASGIApp:
    """The application for one replica."""
    app: ASGIApp = application(admin)
    if origins := admin.loaded().settings.admin.cors_origins:
        app = CORSMiddleware(
            app,
            allow_origins=origins,
            allow_methods=("GET", "POST", "DELETE"),
            allow_headers=("Authorization", KEY_HEADER),
            expose_headers=("Location", "Retry-After", "Idempotency-Replayed"),
        )
    return Surroundings(app, HEADERS)


def application(admin: Admin) -> FastAPI:
    """The same without what surrounds it."""
    app = FastAPI(
        title="media-reconciler",
        version=__version__,
        description=DESCRIPTION,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},
        exception_handlers={HTTPException: _refused},
    )
    app.state.admin = admin
    app.state.streams = Streams()
    app.router.route_class = Guarded
    for endpoint in (*ENDPOINTS, *ALIASES):
        _add(app, endpoint)
    app.router.add_route(f"{BASE}/openapi.json", _document, include_in_schema=False)
    app.router.add_route(f"{BASE}/docs", _docs, include_in_schema=False)
    app.state.looks = page.add(app.router, admin)
    return app


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with how callers identify themselves."""
    made = app.openapi()
    parts = made.setdefault("components", {})
    parts["schemas"]["Problem"] = schemas.Problem.model_json_schema()
    bearer = {"type": "http", "scheme": "bearer", "description": "A token of `reconciler token new`."}
    parts["securitySchemes"] = {"bearer": bearer}
    made["security"] = [{"bearer": []}]
    return made


def _add(app: FastAPI, endpoint: Endpoint) -> None:
    failures = sorted({*ALWAYS, *endpoint.problems, *(OF_BODIES if endpoint.method == "POST" else ())})
    success: dict[str, Any] = {"model": endpoint.answer, "description": MEANT[endpoint.status]}
    if endpoint.streams:
        success["content"] = {NDJSON: {"schema": {"type": "string"}, "example": STREAM_EXAMPLE}}
    responses: dict[int | str, dict[str, Any]] = {endpoint.status: success}
    responses |= {
        status: {
            "description": PROBLEMS[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in failures
    }
    app.add_api_route(
        endpoint.path,
        endpoint.call,
        methods=[endpoint.method],
        status_code=endpoint.status,
        response_model=None,
        responses=responses,
        operation_id=endpoint.name,
        summary=inspect.cleandoc(endpoint.call.__doc__ or "").partition("\n")[0],
        tags=[endpoint.tag],
        openapi_extra={ROLE: endpoint.role.value, **_idempotency(endpoint)},
    )


def _idempotency(endpoint: Endpoint) -> dict[str, Any]:
    """The header of what is sent with POST: its handler is around every endpoint."""
    if endpoint.method != "POST":
        return {}
    text = "A name of the request: sent again within a day, it is answered as before and not done again."
    schema = {"type": "string", "pattern": r"^[!-~]{1,200}$"}
    header = {"name": KEY_HEADER, "in": "header", "required": False, "description": text, "schema": schema}
    return {"parameters": [header]}


async def _document(request: Request) -> Response:
    return JSONResponse(document(request.app))


async def _docs(request: Request) -> Response:
    page, policy = docs.page(document(request.app))
    return HTMLResponse(page, headers={"Content-Security-Policy": policy})


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    problem = problems.of(error)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        problem.headers = {"Allow": ", ".join(sorted(_methods(request)))}
    return page.refused(request, problem) or problem.answer()


def _methods(request: Request) -> set[str]:
    """Every method that the path takes: each of them is a route of its own."""
    path = request.scope["path"]
    return {
        method
        for route in request.app.router.routes
        if isinstance(route, Route) and route.path_regex.match(path)
        for method in route.methods or ()
    }
