"""Passes: what ran, what it found, how far one has come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import Query
from fastapi.responses import JSONResponse
from starlette.requests import Request
from starlette.responses import Response

from reconciler.api import listing, marks
from reconciler.api.parameters import KNOWN, ByKind, ByVerdict, Cursor, Id, Limit, place_of
from reconciler.api.site import TheSite
from reconciler.model import MarkFilter, PassDetail, PassState
from reconciler.operations import as_json, passes


async def list_passes(
    request: Request,
    site: TheSite,
    limit: Limit = None,
    cursor: Cursor = None,
    state: Annotated[PassState | None, KNOWN, Query(description="Only in this state.")] = None,
    kind: ByKind = None,
) -> Response:
    """The passes, the newest first. `state=tripped` are those that wait for a decision."""
    begin = place_of(cursor, int)

    async def page(last: PassDetail | None, size: int) -> Sequence[PassDetail]:
        before = last.current.id if last else int(str(begin[0])) if begin else None
        return await passes.page(site.catalog, before, size, state=state, kind=kind)

    those: listing.Listing[PassDetail] = listing.Listing(
        page=page, told=as_json.pass_summary, place=lambda one: (one.current.id,)
    )
    return await listing.answer(request, those, limit)


async def get_pass(site: TheSite, pass_id: Id) -> Response:
    """One pass: counts and bytes by prefix and verdict, examples, what became of it, and how far it has come.

    `progress` is null unless it runs. What it found is at `/passes/{pass_id}/findings`.
    """
    detail = await passes.show(site.catalog, pass_id)
    progress = await passes.progress(site.catalog, detail.current)
    told = as_json.progress(progress) if progress else None
    return JSONResponse({**as_json.pass_detail(detail), "progress": told})


async def list_findings(
    request: Request,
    site: TheSite,
    pass_id: Id,
    limit: Limit = None,
    cursor: Cursor = None,
    verdict: ByVerdict = None,
) -> Response:
    """What a pass found and is not deleted yet, as marks; with what the passes found that it took in."""
    await passes.show(site.catalog, pass_id)
    return await marks.listed(request, site, MarkFilter(verdict=verdict, pass_id=pass_id), limit, cursor)
