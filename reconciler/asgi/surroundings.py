"""What surrounds every request: how its path is read, how long an answer may take, which headers it gets."""

from __future__ import annotations

from collections.abc import Mapping

import anyio
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SEND_SECONDS = 60.0
"""How long a client may leave a part of an answer unread."""


class Surroundings:
    """ASGI middleware around a whole application; `headers` are of every answer that does not say otherwise.

    A request is routed by its path as it was sent, still encoded: decoded, a storage key's slashes, `%` or
    newlines could not be told from the path's own. Whoever takes a part of the path decodes it.
    """

    def __init__(self, app: ASGIApp, headers: Mapping[str, str]) -> None:
        self._app = app
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def patiently(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            # TimeoutError ends the request, and the server the connection.
            with anyio.fail_after(SEND_SECONDS):
                await send(message)

        raw: bytes = scope.get("raw_path") or b"/"
        await self._app({**scope, "path": raw.decode("latin-1")}, receive, patiently)
