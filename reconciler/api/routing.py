"""A route that lets nobody in before it has looked who asks, and answers every failure as a problem."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

import anyio
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from reconciler.api import problems
from reconciler.api.auditing import recorded, refused
from reconciler.api.limits import LARGEST_BODY
from reconciler.api.problems import Problem
from reconciler.api.site import Admin
from reconciler.asgi.bodies import read_body
from reconciler.asgi.problems import RETRY_SECONDS
from reconciler.errors import ReconcilerError
from reconciler.model import Caller, Role

REQUEST_SECONDS = 60.0
"""How long an endpoint may take before it answers; a stream may go on."""

ROLE = "x-required-role"
"""The role's name in the OpenAPI document."""


class Guarded(APIRoute):
    """Admits the caller before anything of the request is read; its role is in `openapi_extra`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        needed = Role((self.openapi_extra or {})[ROLE])

        async def guarded(request: Request) -> Response:
            try:
                admin: Admin = request.app.state.admin
                caller = await admin.gate.known(request)
                await self._require(request, caller, needed)
                request.state.caller = caller
                self._refuse_unknown(request)
                await read_body(request, LARGEST_BODY)
                if request.method == "GET":
                    return await self._in_time(partial(admin.answers.look, handle), request)
                return await recorded(request, self.unique_id, partial(self._in_time, handle))
            except Exception as error:  # noqa: BLE001 - each is answered, and the unforeseen logged
                return problems.of(error).answer()

        return guarded

    async def _require(self, request: Request, caller: Caller, needed: Role) -> None:
        admin: Admin = request.app.state.admin
        try:
            admin.gate.require(caller, needed)
        except Problem as problem:
            if request.method != "GET":
                with suppress(ReconcilerError):
                    await refused(request, self.unique_id, caller, problem)
            raise

    async def _in_time(self, handle: Callable[[Request], Awaitable[Response]], request: Request) -> Response:
        with anyio.move_on_after(REQUEST_SECONDS):
            return await handle(request)
        detail = f"this took longer than {REQUEST_SECONDS:g} s, and was given up"
        raise Problem(503, "unavailable", detail, {"Retry-After": str(RETRY_SECONDS)})

    def _refuse_unknown(self, request: Request) -> None:
        """A parameter that is misspelt must not be overlooked: it may be `dry_run`."""
        known = {each.alias for each in self.dependant.query_params}
        given = Counter(name for name, _ in request.query_params.multi_items())
        for name, times in given.items():
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                guess = f"; did you mean {near[0]}?" if near else ""
                raise Problem(422, "invalid", f"query: there is no parameter {name!r}{guess}")
            if times > 1:
                raise Problem(422, "invalid", f"query: {name} is given more than once")
