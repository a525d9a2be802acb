"""Paths under which a gateway's own admin API offered the same."""

from __future__ import annotations

from fastapi.responses import JSONResponse
from starlette.responses import Response

from reconciler.api.parameters import DryRun
from reconciler.api.site import TheAdmin, TheCaller, TheSite
from reconciler.model import PassKind
from reconciler.operations import as_json, jobs, pause
from reconciler.operations.drift import drift


async def clean_up(
    admin: TheAdmin,
    site: TheSite,
    caller: TheCaller,
    dry_run: DryRun = False,  # noqa: FBT002 - a parameter of the query
) -> Response:
    """Ask for a sweep and a retention pass; what they find goes when it is due, by the settings in force.

    It deletes nothing itself: `operations` are the passes asked for, `drift` is what is marked now.
    """
    asked = []
    if not dry_run:
        await pause.require_running(site.catalog.pauses)
        asked = [
            await jobs.ask_for_pass(site.catalog, kind, author=caller.name)
            for kind in (PassKind.SWEEP, PassKind.RETENTION)
        ]
    standing = await drift(site.catalog, admin.loaded().settings.policy())
    told = {"dry_run": dry_run, "operations": [as_json.job(each) for each in asked]}
    return JSONResponse({**told, "drift": as_json.drift(standing)}, 202)
