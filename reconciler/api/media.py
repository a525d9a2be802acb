"""Media: rows of the media table, and why one stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import Query
from fastapi.responses import JSONResponse
from starlette.requests import Request
from starlette.responses import Response

from reconciler.api import listing
from reconciler.api.parameters import (
    NO_NUL,
    Cursor,
    Limit,
    Moment,
    Prefix,
    StorageKey,
    VirtualKeyId,
    no_such_cursor,
    place_of,
)
from reconciler.api.site import Site, TheSite
from reconciler.model import ListedRow, MediaFilter, MediaSort
from reconciler.operations import as_json, media

Sort = Annotated[
    MediaSort, Query(description="What the rows are sorted by. Without an index on it, each page sorts all.")
]
Descending = Annotated[bool, Query(description="The last first.")]
Named = Annotated[str | None, Query(max_length=200, pattern=NO_NUL)]


async def list_media(
    request: Request,
    site: TheSite,
    limit: Limit = None,
    cursor: Cursor = None,
    prefix: Prefix = "",
    virtual_key_id: Named = None,
    media_type: Named = None,
    provider: Named = None,
    since: Annotated[Moment | None, Query(description="Only rows made from then on.")] = None,
    until: Annotated[Moment | None, Query(description="Only rows made before then.")] = None,
    sort: Sort = MediaSort.STORAGE_KEY,
    descending: Descending = False,  # noqa: FBT002 - a parameter of the query
) -> Response:
    """The rows of the media table, filtered and sorted."""
    wanted = MediaFilter(
        prefix=prefix,
        virtual_key_id=virtual_key_id,
        media_type=media_type,
        provider=provider,
        since=since,
        until=until,
    )
    return await _listed(request, site, wanted, sort, descending, limit, cursor, None)


async def list_media_of_virtual_key(
    request: Request,
    site: TheSite,
    virtual_key_id: VirtualKeyId,
    limit: Limit = None,
    cursor: Cursor = None,
    sort: Sort = MediaSort.STORAGE_KEY,
    descending: Descending = False,  # noqa: FBT002 - a parameter of the query
) -> Response:
    """A virtual key's media, and how much of it there is."""
    used = await media.usage(site.catalog, virtual_key_id)
    wanted = MediaFilter(virtual_key_id=virtual_key_id)
    besides: as_json.Json = {"usage": as_json.usage(used)}
    return await _listed(request, site, wanted, sort, descending, limit, cursor, besides)


async def get_medium(site: TheSite, storage_key: StorageKey) -> Response:
    """One storage key: the rows that name it, its mark, and a hold that keeps it."""
    return JSONResponse(as_json.medium(await media.show(site.catalog, storage_key)))


async def explain_medium(site: TheSite, storage_key: StorageKey) -> Response:
    """Why a storage key's object and rows are still there, or are not, and until when.

    It looks at the bucket too. `known` is false for a key that is nowhere; `near` are keys that may be meant.
    """
    return JSONResponse(as_json.explained(await site.explain(storage_key)))


async def _listed(
    request: Request,
    site: Site,
    wanted: MediaFilter,
    sort: MediaSort,
    descending: bool,  # noqa: FBT001 - as above
    limit: int | None,
    cursor: str | None,
    besides: as_json.Json | None,
) -> Response:
    place = place_of(cursor, str, str, str)
    if place is not None and place[0] != sort:
        raise no_such_cursor()
    begin = None if place is None else (str(place[1]), str(place[2]))

    async def page(last: ListedRow | None, size: int) -> Sequence[ListedRow]:
        after = (last.place, last.record.id) if last else begin
        return await media.page(site.catalog, wanted, sort, descending=descending, after=after, size=size)

    rows: listing.Listing[ListedRow] = listing.Listing(
        page=page,
        told=lambda row: as_json.record(row.record),
        place=lambda row: (sort.value, row.place, row.record.id),
    )
    return await listing.answer(request, rows, limit, besides)
