"""What changes something: the pause, holds, marks, passes and decisions about them."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from fastapi.responses import JSONResponse
from starlette.responses import Response

from reconciler.api.bodies import Approval, NewHold, NewHoldFor, NewRetention, NewSweep, Reason
from reconciler.api.jobs import accepted
from reconciler.api.parameters import KNOWN, NO_NUL, DryRun, Id, StorageKey, VirtualKeyId
from reconciler.api.site import TheAdmin, TheCaller, TheSite
from reconciler.errors import ErrorKind, NotDone
from reconciler.model import HoldKind, PassKind
from reconciler.operations import as_json, holds, jobs, links, marks, passes, pause


async def pause_deletions(site: TheSite, caller: TheCaller, body: Reason) -> Response:
    """Stop every deletion, on every replica, within a second, until it is resumed.

    A pause that stands is kept with its reason; `ours` is false then.
    """
    done = await pause.pause(site.catalog.pauses, by=caller.name, reason=body.reason)
    return JSONResponse({**as_json.pause(done.standing), "ours": done.ours})


async def resume_deletions(site: TheSite, caller: TheCaller) -> Response:
    """End the pause. Answers with how it stood before."""
    return JSONResponse(as_json.pause(await pause.resume(site.catalog.pauses, by=caller.name)))


async def add_hold(site: TheSite, caller: TheCaller, body: NewHold | NewHoldFor) -> Response:
    """Keep a key, a prefix, or the media of a virtual key from deletion.

    `claimed` are keys under it that were claimed before, and may still go.
    """
    added = await holds.add(
        site.catalog,
        {body.kind: [body.target]},
        reason=body.reason,
        author=caller.name,
        end=body.lasts if isinstance(body, NewHoldFor) else body.until,
    )
    return JSONResponse(as_json.held(added))


async def remove_holds(
    site: TheSite,
    caller: TheCaller,
    kind: Annotated[HoldKind, KNOWN, Query(description="What the hold names.")],
    target: Annotated[str, Query(min_length=1, max_length=1_024, pattern=r"^[^\x00]+$")],
    author: Annotated[
        str | None, Query(max_length=200, pattern=NO_NUL, description="Only this author's.")
    ] = None,
    all_authors: Annotated[bool, Query(description="Everybody's.")] = False,  # noqa: FBT002 - as below
    dry_run: DryRun = False,  # noqa: FBT002 - a parameter of the query
) -> Response:
    """Lift the holds on a target: the caller's, or those of `author` or `all_authors`.

    Where neither is given and somebody else has a hold on it, nothing is lifted. Marks made before go on as
    if there had been none: what is due may go.
    """
    total = await holds.remove(
        site.catalog,
        {kind: [target]},
        by=caller.name,
        author=author,
        all_authors=all_authors,
        dry_run=dry_run,
    )
    if not total:
        raise NotDone(ErrorKind.NOT_FOUND, "no_such_hold", "no such hold is in force")
    return JSONResponse({"holds": total, "dry_run": dry_run})


async def revoke_links(
    site: TheSite, caller: TheCaller, virtual_key_id: VirtualKeyId, body: Reason
) -> Response:
    """End every link made so far to the media of a virtual key, in each process of the media service at once.

    What a cache was given stays there until its time is over.
    """
    ended = await links.revoke(site.catalog, [virtual_key_id], by=caller.name, reason=body.reason)
    return JSONResponse({"virtual_key_ids": list(ended)})


async def cancel_mark(
    site: TheSite,
    caller: TheCaller,
    storage_key: StorageKey,
    reason: Annotated[
        str, Query(min_length=1, max_length=2_000, pattern=r"^[^\x00]*[^\x00\s][^\x00]*$", description="Why.")
    ],
) -> Response:
    """Withdraw a mark that is not claimed yet. A later pass may mark the key again; a hold keeps it."""
    done = await marks.cancel(site.catalog, [storage_key], author=caller.name, reason=reason)
    if done.claimed:
        message = f"{storage_key}: it is claimed, and is being deleted"
        raise NotDone(ErrorKind.CONFLICT, "claimed", message, key=storage_key)
    if done.unmarked:
        message = f"{storage_key}: there is no mark on this key"
        raise NotDone(ErrorKind.NOT_FOUND, "no_mark", message, key=storage_key)
    return JSONResponse(as_json.cancelled(done))


async def run_pass(
    admin: TheAdmin, site: TheSite, caller: TheCaller, body: NewSweep | NewRetention
) -> Response:
    """Ask for a pass. The leader begins it within a second or two, or after the one that runs.

    With a `prefix` no pass begins: a replica lists that part and says, as the operation's `result`, what a
    sweep would find there. Only whole sweeps make marks.
    """
    if isinstance(body, NewSweep) and body.prefix is not None:
        prefixes = admin.loaded().settings.bucket.prefixes
        look = await jobs.ask_for_look(site.catalog, body.prefix, prefixes, author=caller.name)
        return accepted(look)
    return accepted(await jobs.ask_for_pass(site.catalog, PassKind(body.kind), author=caller.name))


async def approve_pass(
    site: TheSite,
    caller: TheCaller,
    pass_id: Id,
    body: Approval | None = None,
    dry_run: DryRun = False,  # noqa: FBT002 - as above
) -> Response:
    """Release the marks of a tripped pass, and of those that it takes in; `marks` says how many.

    They still wait until they are due, and each is decided again before it goes. With a `plan`, only what it
    lists is released; `withdrawn` says how many are not.
    """
    given = body or Approval()
    only = None if given.plan is None else {(each.storage_key, each.verdict.value) for each in given.plan}
    if dry_run:
        return JSONResponse(as_json.decided(await passes.undecided(site.catalog, pass_id, only=only)))
    await pause.require_running(site.catalog.pauses)
    done = await passes.approve(site.catalog, pass_id, by=caller.name, understood=given.understood, only=only)
    return JSONResponse(as_json.decided(done))


async def discard_pass(
    site: TheSite,
    caller: TheCaller,
    pass_id: Id,
    dry_run: DryRun = False,  # noqa: FBT002 - as above
) -> Response:
    """Withdraw the marks of a tripped pass, and of those that it takes in; `marks` says how many."""
    if dry_run:
        return JSONResponse(as_json.decided(await passes.undecided(site.catalog, pass_id)))
    return JSONResponse(as_json.decided(await passes.discard(site.catalog, pass_id, by=caller.name)))
