"""Live updates: what of a page has changed since it was sent, as server-sent events."""

from __future__ import annotations

import json
import operator
import time
from collections.abc import AsyncIterator, Mapping

import anyio
from starlette.responses import Response, StreamingResponse

from reconciler.api import problems
from reconciler.api.gate import address_of
from reconciler.api.page import rendering, views
from reconciler.api.page.looks import STREAMS, Looks
from reconciler.api.page.visit import Visit
from reconciler.api.problems import Problem
from reconciler.asgi.problems import RETRY_SECONDS
from reconciler.errors import ReconcilerError

LOOK_SECONDS = 2.0
ALIVE_SECONDS = 10.0
"""After so long without a change a stream says that it is alive."""

LASTS_SECONDS = 300.0
"""Then the browser asks anew, by itself."""

PARTS = ("headline", "health", "goes", "waits", "went")
ADDED_UP = ("trends", "freed", "costs")
"""Of the first page; each is a template. The latter change only when they are added up anew."""


async def events(visit: Visit) -> Response:
    """What changes on the first page, or on that of a pass. Ends when the token is no longer known."""
    looks, pass_id = views.looks_of(visit.request), views.whole(visit, "pass")
    if looks.streams >= STREAMS:
        detail = f"{STREAMS} live pages are open"
        raise Problem(503, "unavailable", detail, {"Retry-After": str(RETRY_SECONDS)})
    followed = _Followed(visit, looks, pass_id)
    return StreamingResponse(_events(visit, looks, followed), media_type="text/event-stream")


async def _events(visit: Visit, looks: Looks, followed: _Followed) -> AsyncIterator[bytes]:
    looks.streams += 1
    try:
        begun = said = time.monotonic()
        while time.monotonic() < begun + LASTS_SECONDS and await _still_known(visit):
            changed = await followed.changed()
            if changed or time.monotonic() >= said + ALIVE_SECONDS:
                said = time.monotonic()
                yield f"event: parts\ndata: {json.dumps(changed)}\n\n".encode()
            await anyio.sleep(LOOK_SECONDS)
    finally:
        looks.streams -= 1


async def _still_known(visit: Visit) -> bool:
    try:
        caller = await visit.admin.gate.admit(visit.token, address_of(visit.request))
    except Problem:
        return False
    return caller == visit.caller


class _Followed:
    """A page that somebody has open: the first one, or that of a pass."""

    def __init__(self, visit: Visit, looks: Looks, pass_id: int | None) -> None:
        self._visit = visit
        self._looks = looks
        self._pass_id = pass_id
        self._sent: dict[str, str] = {}
        self._added_up: tuple[object, object] | None = None

    async def changed(self) -> Mapping[str, str]:
        """The parts that are others than when they were last sent; of a database that is away, that it is."""
        try:
            parts = await (self._first_page() if self._pass_id is None else self._pass(self._pass_id))
        except ReconcilerError as error:
            parts = {"away": rendering.fill("parts/away.html", {"problem": problems.of(error)})}
        changed = {name: html for name, html in parts.items() if self._sent.get(name) != html}
        self._sent |= changed
        return changed

    async def _pass(self, pass_id: int) -> Mapping[str, str]:
        return self._filled(await views.one_pass(self._visit, pass_id), ("progress",))

    async def _first_page(self) -> Mapping[str, str]:
        values, looks = dict(await views.standing(self._visit)), self._looks
        now = looks.over_time.last, looks.stored.last
        if self._added_up is not None and all(map(operator.is_, self._added_up, now)):
            return self._filled(values, PARTS)
        self._added_up = now
        return self._filled(values | views.added_up(looks), PARTS + ADDED_UP)

    def _filled(self, values: Mapping[str, object], names: tuple[str, ...]) -> Mapping[str, str]:
        found = {**self._visit.common(), **values}
        return {"away": "", **{name: rendering.fill(f"parts/{name}.html", found) for name in names}}
