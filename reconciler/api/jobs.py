"""Long work: it is written down, answered with 202, and done by a replica that may."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import Path
from fastapi.responses import JSONResponse
from starlette.requests import Request
from starlette.responses import Response

from reconciler.api import listing
from reconciler.api.bodies import EraseMedia, EraseOwner, Keys, UndoKeys, UndoPass, UndoSpan
from reconciler.api.parameters import Cursor, DryRun, Limit, no_such_cursor, place_of
from reconciler.api.site import TheCaller, TheSite
from reconciler.model import ErasureCase, ErasureKind, Job, JobKind, UndoScope
from reconciler.operations import as_json, erasures, pause
from reconciler.operations import jobs as asking
from reconciler.planning.formatting import timestamp

ErasureId = Annotated[UUID, Path(description="Its id.")]
OperationId = Annotated[UUID, Path(description="Its id.")]


def accepted(job: Job) -> Response:
    """202, with where to ask how far it is."""
    return JSONResponse(as_json.job(job), 202, headers={"Location": f"/api/v1/operations/{job.id}"})


async def undo(
    site: TheSite,
    caller: TheCaller,
    body: UndoKeys | UndoPass | UndoSpan,
    dry_run: DryRun = False,  # noqa: FBT002 - a parameter of the query
) -> Response:
    """Bring back what was deleted, as far as it can come back, and put it on hold.

    Where the settings say dry run, it only says what would come back.
    """
    job = await asking.ask_for_undo(
        site.catalog, _scope(body), body.hold_for, dry_run=dry_run, author=caller.name
    )
    return accepted(job)


def _scope(body: UndoKeys | UndoPass | UndoSpan) -> UndoScope:
    match body:
        case UndoKeys():
            return UndoScope(keys=tuple(body.keys))
        case UndoPass():
            return UndoScope(pass_id=body.pass_id)
        case UndoSpan():
            return UndoScope(since=body.since, until=body.until)


async def erase(
    site: TheSite,
    caller: TheCaller,
    body: Keys | EraseOwner | EraseMedia,
    dry_run: DryRun = False,  # noqa: FBT002 - as above
) -> Response:
    """Make sure that deleted keys never come back: what is hidden of them is purged. It cannot be undone.

    Nothing is erased where one of the keys is on hold. Live objects and rows are left alone, unless a
    `virtual_key_id` or `media` is named: that is an erasure with proof, which the leader does. The operation
    is done once it is written down, and its `result` has the `id` for `/erasures/{erasure_id}`.
    """
    if not dry_run:
        await pause.require_running(site.catalog.pauses)
    if isinstance(body, Keys):
        job = await asking.ask_for_erasure(site.catalog, body.keys, dry_run=dry_run, author=caller.name)
        return accepted(job)
    owned = isinstance(body, EraseOwner)
    kind = ErasureKind.VIRTUAL_KEY if owned else ErasureKind.KEYS
    subject = [body.virtual_key_id] if isinstance(body, EraseOwner) else body.media
    reason = body.reason or ""
    return accepted(
        await asking.ask_for_proof(site.catalog, kind, subject, reason, dry_run=dry_run, author=caller.name)
    )


async def replay_erasures(
    site: TheSite,
    caller: TheCaller,
    dry_run: DryRun = False,  # noqa: FBT002 - as above
) -> Response:
    """Erase again what a restored backup brought back, by the certificates in the bucket.

    In dry run it only says what is back. A certificate that cannot be trusted fails the operation.
    """
    return accepted(await asking.ask_for_replay(site.catalog, dry_run=dry_run, author=caller.name))


async def list_erasures(
    request: Request, site: TheSite, limit: Limit = None, cursor: Cursor = None
) -> Response:
    """The erasures with proof, the newest first, without their certificates."""
    place = place_of(cursor, str, str)
    begin = None if place is None else _place(str(place[0]), str(place[1]))

    async def page(last: ErasureCase | None, size: int) -> Sequence[ErasureCase]:
        before = (last.ordered_at, last.id) if last else (begin.asked_at, begin.id) if begin else None
        return await erasures.page(site.catalog, size, before)

    those: listing.Listing[ErasureCase] = listing.Listing(
        page=page, told=as_json.erasure, place=lambda one: (timestamp(one.ordered_at) or "", str(one.id))
    )
    return await listing.answer(request, those, limit)


async def get_erasure(site: TheSite, erasure_id: ErasureId) -> Response:
    """One erasure with proof; `document` is its certificate, with digest and signature, null before."""
    case = await erasures.show(site.catalog, erasure_id)
    return JSONResponse(as_json.erasure(case, await erasures.document(site.catalog, erasure_id)))


async def list_operations(
    request: Request, site: TheSite, limit: Limit = None, cursor: Cursor = None
) -> Response:
    """The long work that was asked for, the newest first."""
    place = place_of(cursor, str, str)
    begin = None if place is None else _place(str(place[0]), str(place[1]))

    async def page(last: Job | None, size: int) -> Sequence[Job]:
        return await asking.page(site.catalog, last or begin, size)

    those: listing.Listing[Job] = listing.Listing(
        page=page, told=as_json.job, place=lambda one: (timestamp(one.asked_at) or "", str(one.id))
    )
    return await listing.answer(request, those, limit)


def _place(at: str, job_id: str) -> Job:
    try:
        moment, found = datetime.fromisoformat(at), UUID(job_id)
    except ValueError:
        raise no_such_cursor() from None
    return Job(id=found, kind=JobKind.UNDO, asked={}, dry_run=True, author="", asked_at=moment)


async def get_operation(site: TheSite, operation_id: OperationId) -> Response:
    """How far it is: `state`, how many keys it has looked at (`done`), at the end `result` or `error`."""
    return JSONResponse(as_json.job(await asking.show(site.catalog, operation_id)))


async def cancel_operation(site: TheSite, operation_id: OperationId) -> Response:
    """Have it end: at once where it waits, soon where an undo runs. What is done stays done."""
    return JSONResponse(as_json.job(await asking.cancel(site.catalog, operation_id)))
