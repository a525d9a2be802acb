"""Marks: what is to go, and by when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import Query
from fastapi.responses import JSONResponse
from starlette.requests import Request
from starlette.responses import Response

from reconciler.api import listing
from reconciler.api.parameters import KNOWN, ByPass, ByVerdict, Cursor, Limit, Prefix, StorageKey, place_of
from reconciler.api.site import Site, TheSite
from reconciler.model import ListedMark, MarkFilter, MarkState
from reconciler.operations import as_json, marks


async def list_marks(
    request: Request,
    site: TheSite,
    limit: Limit = None,
    cursor: Cursor = None,
    verdict: ByVerdict = None,
    state: Annotated[MarkState | None, KNOWN, Query(description="Only in this state.")] = None,
    prefix: Prefix = "",
    pass_id: ByPass = None,
) -> Response:
    """The marks, by storage key: what is found and not deleted yet, why, and when it is due."""
    return await listed(
        request, site, MarkFilter(verdict=verdict, state=state, prefix=prefix, pass_id=pass_id), limit, cursor
    )


async def get_mark(site: TheSite, storage_key: StorageKey) -> Response:
    """One mark, with a hold that keeps it, and what database or store said last.

    Of a key without one the problem says whether it was deleted, and whether it can come back.
    """
    return JSONResponse(as_json.mark(await marks.show(site.catalog, storage_key)))


async def listed(
    request: Request, site: Site, wanted: MarkFilter, limit: int | None, cursor: str | None
) -> Response:
    """Marks as a list."""
    begin = place_of(cursor, str)

    async def page(last: ListedMark | None, size: int) -> Sequence[ListedMark]:
        after = last.mark.storage_key if last else str(begin[0]) if begin else ""
        return await marks.page(site.catalog, wanted, after, size)

    those: listing.Listing[ListedMark] = listing.Listing(
        page=page, told=as_json.mark, place=lambda mark: (mark.mark.storage_key,)
    )
    return await listing.answer(request, those, limit)
