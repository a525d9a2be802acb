"""How things stand: state, statistics, drift, settings, the ledger."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import Query
from fastapi.responses import JSONResponse
from starlette.requests import Request
from starlette.responses import Response

from reconciler.api import listing
from reconciler.api.parameters import NO_NUL, ByPass, Cursor, Limit, Moment, no_such_cursor, place_of
from reconciler.api.site import TheAdmin, TheSite
from reconciler.catalog.marks.history import Place
from reconciler.model import LedgerFilter, LedgerLine
from reconciler.operations import as_json
from reconciler.operations.drift import drift
from reconciler.operations.status import status
from reconciler.planning.formatting import timestamp


async def get_status(admin: TheAdmin, site: TheSite) -> Response:
    """How the site stands: leader, mode, pause, last passes, what waits for a decision, marks.

    `answered_by` is the replica that answers, with what keeps it from working and what to do about that.
    """
    replica, found = admin.replica(), await status(site.catalog)
    own = {
        "name": replica.name,
        "leading": replica.leading,
        "halted": replica.halted,
        "unmet": list(replica.unmet),
        "stuck": list(replica.stuck),
    }
    return JSONResponse({**as_json.status(found), "answered_by": own})


async def get_stats(admin: TheAdmin, site: TheSite) -> Response:
    """What is stored: in all, by virtual key, provider, media type, prefix and day; and what of it is drift.

    It reads the whole media table, so it is a minute old, or older if that takes long; `at` says since when.
    """
    return JSONResponse(as_json.stats(await admin.recent.look(site.catalog)))


async def get_drift(admin: TheAdmin, site: TheSite) -> Response:
    """What is marked, by verdict and prefix, what of it is due, and what waits for a person.

    `GET /api/v1/marks` has each of the marks, with the time at which it goes.
    """
    policy = admin.loaded().settings.policy()
    return JSONResponse(as_json.drift(await drift(site.catalog, policy)))


async def get_settings(admin: TheAdmin) -> Response:
    """Every setting of this replica: its value, where that came from, what it means. Secrets are masked."""
    return JSONResponse(as_json.settings(admin.loaded()))


async def get_ledger(
    request: Request,
    site: TheSite,
    limit: Limit = None,
    cursor: Cursor = None,
    since: Annotated[Moment | None, Query(description="Only from then on.")] = None,
    until: Annotated[Moment | None, Query(description="Only before then.")] = None,
    key: Annotated[
        str | None, Query(max_length=1_024, description="Only of this storage key, and of its variants.")
    ] = None,
    pass_id: ByPass = None,
    virtual_key_id: Annotated[
        str | None, Query(max_length=1_024, pattern=NO_NUL, description="Only of this virtual key's media.")
    ] = None,
) -> Response:
    """Every line of the ledger, the oldest first: what was deleted, why, by which pass, with which result."""
    wanted = LedgerFilter(since=since, until=until, key=key, pass_id=pass_id, virtual_key_id=virtual_key_id)
    place = place_of(cursor, str, int)
    begin = None if place is None else _moment(*place)

    async def page(last: LedgerLine | None, size: int) -> list[LedgerLine]:
        after = Place(last.at, last.id) if last else begin
        return [*await site.catalog.history.page(wanted, after, size)]

    return await listing.answer(
        request,
        listing.Listing(
            page=page,
            told=as_json.ledger_line,
            place=lambda line: (timestamp(line.at) or "", line.id),
        ),
        limit,
    )


def _moment(at: object, line: object) -> Place:
    assert isinstance(at, str)
    assert isinstance(line, int)
    try:
        return Place(datetime.fromisoformat(at), line)
    except ValueError:
        raise no_such_cursor() from None
