"""Links: made by the owner of a medium, for others."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from reconciler.asgi.bodies import read_body
from reconciler.media import links
from reconciler.media.access import Access
from reconciler.media.problems import Problem
from reconciler.media.serving import own_row
from reconciler.media.site import Media

LARGEST_BODY = 1_024


async def make_link(request: Request) -> Response:
    """A link to a medium of the caller's, for whoever has it, good for `seconds`.

    Its end is rounded up to five minutes, so links that are made within them are the same. It ends at once
    where the virtual key is disabled, or the medium is deleted.
    """
    media: Media = request.app.state.media
    await read_body(request, LARGEST_BODY)
    seconds = _seconds(await request.body(), media.terms.link_for)
    key, row = await own_row(media, request)
    secrets = media.secrets.look()
    if media.terms.access is not Access.SIGNED or not secrets:
        raise Problem(409, "no_links", "this service knows no links")
    ends = links.end_of(media.now(), seconds)
    told = {
        "path": links.make(secrets, links.subject(key, row), ends),
        "ends_at": datetime.fromtimestamp(ends, UTC).isoformat().replace("+00:00", "Z"),
    }
    return JSONResponse(told, 201)


def _seconds(body: bytes, most: timedelta) -> float:
    """How long the link is to last. Raises Problem for a body that does not say it as it should."""
    longest = most.total_seconds()
    try:
        asked = json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError):
        asked = None
    if not isinstance(asked, dict) or asked.keys() - {"seconds"}:
        raise Problem(422, "invalid", 'the body is JSON such as {"seconds": 600}, or empty')
    seconds = asked.get("seconds", longest)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 1 <= seconds <= longest:
        raise Problem(422, "invalid", f"seconds: must be a number from 1 to {longest:g}")
    return float(seconds)
