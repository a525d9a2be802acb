"""What surrounds every request: how its path is read, how long and large it may be, which headers it gets."""

from __future__ import annotations

from collections.abc import Mapping

import anyio
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reconciler.api.problems import Problem

LARGEST_BODY = 1 << 20
"""Bytes of a request's body."""

BODY_SECONDS = 10.0
"""How long a body may take to come."""

SEND_SECONDS = 60.0
"""How long a client may leave a part of an answer unread."""

HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Of every answer that does not say otherwise."""


class Surroundings:
    """ASGI middleware around the whole application.

    A request is routed by its path as it was sent, still encoded: decoded, a storage key's slashes, `%` or
    newlines could not be told from the path's own. Whoever takes a part of the path decodes it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def patiently(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            # TimeoutError ends the request, and the server the connection.
            with anyio.fail_after(SEND_SECONDS):
                await send(message)

        raw: bytes = scope.get("raw_path") or b"/"
        await self._app({**scope, "path": raw.decode("latin-1")}, receive, patiently)


async def read_body(request: Request) -> None:
    """Read the request's body, which then waits for whoever wants it. Raises Problem: 408 or 413."""
    parts, size = [], 0
    try:
        with anyio.fail_after(BODY_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size > LARGEST_BODY:
                    close, limit = {"Connection": "close"}, {"limit": LARGEST_BODY}
                    raise Problem(413, "too_large", f"a body may have {LARGEST_BODY:,} bytes", close, limit)
                parts.append(part)
    except TimeoutError:
        detail = f"the body did not come within {BODY_SECONDS:g} s"
        raise Problem(408, "too_slow", detail, {"Connection": "close"}) from None
    request._body = b"".join(parts)  # noqa: SLF001 - where Starlette itself keeps it
