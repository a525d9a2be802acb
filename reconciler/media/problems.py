"""What went wrong with a request for a medium. The public may read it, so it says nothing of the inside."""

from __future__ import annotations

from collections.abc import Mapping

import structlog
from starlette.exceptions import HTTPException

from reconciler.asgi import problems
from reconciler.asgi.problems import RETRY_SECONDS
from reconciler.errors import ReconcilerError

log = structlog.get_logger(__name__)

HINTS: Mapping[str, str] = {
    "no_such_medium": "Present the virtual key that it belongs to, or a link that is still good.",
    "no_such_path": "/v1/openapi.json lists every path that is served.",
    "no_such_method": "Allow says which it takes.",
    "no_links": "Present the virtual key. Whoever runs the service finds in its settings and log why.",
    "no_such_range": "Ask for bytes below the size that Content-Range says.",
    "unavailable": "Ask again in a few seconds.",
    "too_many_requests": "Wait until others have ended.",
    "not_authenticated": "Send the virtual key, such as in `Authorization: Bearer`.",
    "too_large": "Send less.",
    "type_not_taken": "Say in Content-Type what it is, or ask who runs the service what is taken.",
    "type_does_not_fit": "Say in Content-Type what it is.",
    "over_quota": "Delete media of this virtual key first.",
    "still_under_way": "Ask again in a few seconds.",
    "idempotency_key_reused": "Use a new key for another request.",
    "upload_ended": "Upload it again.",
    "not_recorded": "Ask who runs the gateway; the service's log says why.",
    "no_such_upload": "Begin a new upload.",
    "not_uploaded": "Put the object first, with the URL and the headers of the upload.",
    "not_as_announced": "Begin a new upload.",
}
"""What to do about a problem, by its code."""


class Problem(problems.Problem):
    """A problem of the media service."""

    hints = HINTS


def no_such_medium() -> Problem:
    """The one answer for what is not there, is not there any more, or belongs to somebody else."""
    return Problem(404, "no_such_medium", "there is no such medium, or it is not yours")


def unavailable() -> Problem:
    again = {"Retry-After": str(RETRY_SECONDS)}
    return Problem(503, "unavailable", "the database or the store cannot be reached", again)


def of(error: Exception) -> problems.Problem:
    """The problem that an error is. What it says of the inside is logged, and not told."""
    match error:
        case problems.Problem():
            return error
        case HTTPException(status_code=405):
            return Problem(405, "no_such_method", "this path does not take that method", error.headers)
        case HTTPException(status_code=status):
            return Problem(status, "no_such_path" if status == 404 else "invalid", "there is no such path")  # noqa: PLR2004
        case ReconcilerError():
            log.warning("a medium cannot be served", reason=str(error))
            return unavailable()
        case _:
            log.error("a request for a medium failed on a fault of the program", exc_info=error)
            return Problem(500, "internal", "a fault of the program")
