"""Live updates: what of a page has changed since it was sent, as server-sent events."""

from __future__ import annotations

import json
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
from reconciler.errors import ReconcilerError

LOOK_SECONDS = 2.0
ALIVE_SECONDS = 10.0
"""After so long without a change a stream says that it is alive."""

LASTS_SECONDS = 300.0
"""Then the browser asks anew, by itself."""

PARTS = ("headline", "health", "goes", "waits", "went")
"""Of the first page; each is a template."""


async def events(visit: Visit) -> Response:
    """What changes on the first page, or on that of a pass. Ends when the token is no longer known."""
    looks = views.looks_of(visit.request)
    if looks.streams >= STREAMS:
        detail = f"{STREAMS} live pages are open"
        raise Problem(503, "unavailable", detail, {"Retry-After": str(problems.RETRY_SECONDS)})
    return StreamingResponse(_events(visit, looks), media_type="text/event-stream")


async def _events(visit: Visit, looks: Looks) -> AsyncIterator[bytes]:
    looks.streams += 1
    try:
        sent: dict[str, str] = {}
        begun = said = time.monotonic()
        while time.monotonic() < begun + LASTS_SECONDS and await _still_known(visit):
            parts = await _parts(visit)
            changed = {name: html for name, html in parts.items() if sent.get(name) != html}
            if changed or time.monotonic() >= said + ALIVE_SECONDS:
                sent, said = {**sent, **changed}, time.monotonic()
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


async def _parts(visit: Visit) -> Mapping[str, str]:
    """Each part as it is now; of a database that is away, that it is."""
    wanted = views.whole(visit, "pass")
    try:
        if wanted is not None:
            return _filled(visit, await views.one_pass(visit, wanted), ("progress",))
        return _filled(visit, await views.standing(visit), PARTS)
    except ReconcilerError as error:
        return {"away": rendering.fill("parts/away.html", {"problem": problems.of(error)})}


def _filled(visit: Visit, values: Mapping[str, object], names: tuple[str, ...]) -> Mapping[str, str]:
    found = {**visit.common(), **values}
    return {"away": "", **{name: rendering.fill(f"parts/{name}.html", found) for name in names}}
