"""Holds: what is kept on purpose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from reconciler.api import listing
from reconciler.api.parameters import KNOWN, NO_NUL, ByPass, Cursor, Limit, Prefix, place_of
from reconciler.api.site import TheSite
from reconciler.model import Hold, HoldFilter, HoldKind
from reconciler.operations import as_json

Words = Annotated[str | None, Query(max_length=200, pattern=NO_NUL)]


async def list_holds(
    request: Request,
    site: TheSite,
    limit: Limit = None,
    cursor: Cursor = None,
    kind: Annotated[HoldKind | None, KNOWN, Query(description="Only holds of this kind.")] = None,
    prefix: Prefix = "",
    author: Words = None,
    pass_id: ByPass = None,
    reason: Words = None,
) -> Response:
    """The holds in force, by kind, target and author."""
    wanted = HoldFilter(kind=kind, prefix=prefix, author=author, pass_id=pass_id, reason=reason)
    place = place_of(cursor, str, str, str)
    begin = None
    if place is not None:
        kind_of, target, by = map(str, place)
        begin = Hold(kind=HoldKind(kind_of), target=target, author=by, reason="")

    async def page(last: Hold | None, size: int) -> Sequence[Hold]:
        return await site.catalog.holds.page(wanted, last or begin, size)

    those: listing.Listing[Hold] = listing.Listing(
        page=page, told=as_json.hold, place=lambda hold: (hold.kind.value, hold.target, hold.author)
    )
    return await listing.answer(request, those, limit)
