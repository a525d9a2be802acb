"""Reading a request's body: within a time, and up to a size."""

from __future__ import annotations

import anyio
from starlette.requests import Request

from reconciler.asgi.problems import Problem
from reconciler.planning.formatting import counted

BODY_SECONDS = 10.0
"""How long a body may take to come."""


async def read_body(request: Request, largest: int) -> None:
    """Read the request's body of up to so many bytes, which then waits for whoever wants it.

    Raises Problem: 408 or 413.
    """
    parts, size = [], 0
    try:
        with anyio.fail_after(BODY_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size > largest:
                    close, limit = {"Connection": "close"}, {"limit": largest}
                    raise Problem(
                        413, "too_large", f"a body may have {counted(largest, 'byte')}", close, limit
                    )
                parts.append(part)
    except TimeoutError:
        detail = f"the body did not come within {BODY_SECONDS:g} s"
        raise Problem(408, "too_slow", detail, {"Connection": "close"}) from None
    request._body = b"".join(parts)  # noqa: SLF001 - where Starlette itself keeps it
