"""The application: its few endpoints, and their document."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from reconciler import __version__
from reconciler.asgi.problems import MEDIA_TYPE
from reconciler.asgi.surroundings import Surroundings
from reconciler.media import describing, problems
from reconciler.media.making import make_link
from reconciler.media.presigning import begin_upload, take_completion
from reconciler.media.serving import get_medium
from reconciler.media.site import Media
from reconciler.media.uploading import upload_medium

DESCRIPTION = """\
Media for those to whom they belong. Present a virtual key in `Authorization: Bearer`, `X-API-Key`, `api-key`
or `X-Virtual-Key`, or follow a link of its owner's. Storage keys stand in paths percent-encoded, but for
their slashes. Errors are `application/problem+json` (RFC 9457).
"""

MEDIUM = "/v1/media/{storage_key:path}"
MEDIA = "/v1/media"
UNDER = f"{MEDIA}/"
UPLOADS = f"{UNDER}uploads"
UPLOAD_STATUSES = (201, 401, 408, 409, 413, 415, 422, 429, 503, 507)

MEANT: Mapping[int, str] = {
    200: "The medium.",
    201: "What was made: a link, a medium, or an upload.",
    206: "The bytes that were asked for.",
    302: "Where the store has it, for a moment.",
    304: "The client has it.",
    401: "There is no such virtual key, or it has ended.",
    404: "There is no such medium, or it is not the caller's.",
    408: "The body did not come in time.",
    409: "The service knows no links; or the upload is still under way, is not there, or has ended.",
    413: "The body is too large.",
    415: "Media of this type are not taken.",
    416: "The medium has no such bytes.",
    422: "The body says something else than it should.",
    429: "Too many media of this owner are being sent.",
    503: "The database or the store is away, or too much is being sent.",
    507: "The virtual key keeps as much as its quota allows.",
}

KEY = {"name": "storage_key", "in": "path", "required": True, "schema": {"type": "string"}}
LINK = [
    {"name": name, "in": "query", "required": False, "schema": {"type": "string"}}
    for name in ("ends", "by", "signature")
]

REPEATED = ({"name": "Idempotency-Key", "in": "header", "required": False, "schema": {"type": "string"}},)
TYPE = {"name": "Content-Type", "in": "header", "required": True, "schema": {"type": "string"}}
ID = {"name": "upload_id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}


def build(media: Media) -> ASGIApp:
    """The application for one service."""
    return Surroundings(_Short(application(media)), describing.ALWAYS)


def application(media: Media) -> FastAPI:
    """The same without what surrounds it."""
    app = FastAPI(
        title="media-reconciler media service",
        version=__version__,
        description=DESCRIPTION,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},
        exception_handlers={HTTPException: _refused},
    )
    app.state.media = media
    app.router.route_class = _Answered
    if media.terms.uploads is not None:
        _add(app, "POST", MEDIA, upload_medium, UPLOAD_STATUSES, (*REPEATED, TYPE))
        _add(app, "POST", UPLOADS, begin_upload, UPLOAD_STATUSES, REPEATED)
        complete = f"{UPLOADS}/{{upload_id}}/complete"
        _add(app, "POST", complete, take_completion, (201, 401, 404, 408, 409, 413, 422, 503, 507), (ID,))
    # Before the media, whose path would match it too.
    _add(app, "POST", f"{MEDIUM}/links", make_link, (201, 404, 408, 409, 413, 422, 503), ())
    for method in ("GET", "HEAD"):
        _add(app, method, MEDIUM, get_medium, (200, 206, 302, 304, 404, 416, 429, 503), LINK)
    app.router.add_route("/v1/openapi.json", _document, include_in_schema=False)
    return app


class _Short:
    """Answers requests for media, and leaves all else to the application, whose way to an endpoint takes as
    long as an endpoint.
    """

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if scope["method"] not in {"GET", "HEAD"} or not path.startswith(UNDER) or len(path) == len(UNDER):
            await self._app(scope, receive, send)
            return
        request = Request(
            {**scope, "app": self._app, "path_params": {"storage_key": path[len(UNDER) :]}}, receive
        )
        await (await _answer(get_medium, request))(scope, receive, send)


async def _answer(call: Callable[[Request], Awaitable[Response]], request: Request) -> Response:
    """The answer; every failure is one too."""
    try:
        return await call(request)
    except Exception as error:  # noqa: BLE001 - each is answered, and the unforeseen logged
        return problems.of(error).answer()


class _Answered(APIRoute):
    """Answers every failure as a problem."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answered(request: Request) -> Response:
            return await _answer(handle, request)

        return answered


def _add(
    app: FastAPI,
    method: str,
    path: str,
    call: Callable[[Request], Awaitable[Response]],
    statuses: Sequence[int],
    parameters: Sequence[Mapping[str, Any]],
) -> None:
    failed = 400
    body = {MEDIA_TYPE: {"schema": {"type": "object"}}}
    responses: dict[int | str, dict[str, Any]] = {
        status: {"description": MEANT[status], **({"content": body} if status >= failed else {})}
        for status in statuses
    }
    app.add_api_route(
        path,
        call,
        methods=[method],
        status_code=statuses[0],
        response_class=Response,
        response_model=None,
        responses=responses,
        operation_id=f"{method.lower()}_{call.__name__.partition('_')[2]}",
        summary=inspect.cleandoc(call.__doc__ or "").partition("\n")[0],
        openapi_extra={"parameters": [*([KEY] if path.startswith(MEDIUM) else ()), *parameters]},
    )


async def _document(request: Request) -> Response:
    return JSONResponse(request.app.openapi())


async def _refused(_: Request, error: Exception) -> Response:
    return problems.of(error).answer()
