"""A receiver of events on loopback, which checks signatures, and answers what a test says."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from standardwebhooks.webhooks import Webhook

from reconciler.embedded.client import HOST, free_ports

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass
class Receiver:
    """`events` are those that were taken, in order; `tried` the ids of all that came."""

    port: int
    events: list[dict[str, Any]] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    answer: Callable[[dict[str, Any]], tuple[int, dict[str, str]]] = lambda _: (204, {})
    secret: str = SECRET

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}/hooks/media"

    def types(self, key: str | None = None) -> list[str]:
        return [each["type"] for each in self.events if key is None or each.get("subject") == key]

    @asynccontextmanager
    async def up(self) -> AsyncIterator[None]:
        """It answers as long as the context lasts."""
        app = web.Application()
        app.router.add_post("/hooks/media", self._take)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, HOST, self.port).start()
            yield
        finally:
            await runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        body = (await request.read()).decode()
        Webhook(self.secret).verify(body, dict(request.headers))
        event = json.loads(body)
        assert request.headers["webhook-id"] == event["id"]
        assert request.headers["content-type"] == "application/cloudevents+json"
        self.tried.append(event["id"])
        status, headers = self.answer(event)
        if status < 300:
            self.events.append(event)
        return web.Response(status=status, headers=headers)


def a_receiver() -> Receiver:
    """One that is not up yet."""
    return Receiver(port=free_ports(1))
