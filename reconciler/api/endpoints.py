"""The table of what there is and who may; the rest is read from it: routes, checks, the OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from pydantic import BaseModel
from starlette.responses import Response

from reconciler.api import aliases, auditing, holds, jobs, marks, media, passes, schemas, state, steering
from reconciler.model import Role

Call: TypeAlias = Callable[..., Coroutine[Any, Any, Response]]

BASE = "/api/v1"
OPERATOR, APPROVER = Role.OPERATOR, Role.APPROVER


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One method of one path. `call`'s name identifies it, and its docstring describes it.

    `status` and `answer` are of a success, which may also be a stream of lines where it `streams`;
    `problems` are the failures of its own, those of any request apart.
    """

    method: str
    path: str
    call: Call
    role: Role
    answer: type[BaseModel]
    tag: str
    status: int = 200
    problems: Sequence[int] = ()
    streams: bool = False
    alias: bool = False

    @property
    def name(self) -> str:
        """What identifies it in the document and the audit."""
        return f"{self.call.__name__}_by_alias" if self.alias else self.call.__name__


def _look(
    path: str,
    call: Call,
    answer: type[BaseModel],
    tag: str,
    *problems: int,
    streams: bool = False,
) -> Endpoint:
    """What only looks."""
    return Endpoint(
        method="GET",
        path=BASE + path,
        call=call,
        role=Role.VIEWER,
        answer=answer,
        tag=tag,
        problems=problems,
        streams=streams,
    )


def _change(
    method: str,
    path: str,
    call: Call,
    role: Role,
    answer: type[BaseModel],
    tag: str,
    *problems: int,
    status: int = 200,
) -> Endpoint:
    """What changes something, and is written down in the audit."""
    return Endpoint(
        method=method,
        path=BASE + path,
        call=call,
        role=role,
        answer=answer,
        tag=tag,
        status=status,
        problems=problems,
    )


KEY = "{storage_key:path}"
"""A storage key as the rest of a path, or what stands before its last part."""

ENDPOINTS: Sequence[Endpoint] = (
    _look("/status", state.get_status, schemas.Status, "state"),
    _look("/stats", state.get_stats, schemas.Stats, "state"),
    _look("/drift", state.get_drift, schemas.Drift, "state"),
    _look("/settings", state.get_settings, schemas.Settings, "state"),
    _look("/ledger", state.get_ledger, schemas.LedgerPage, "state", 404, streams=True),
    _look("/media", media.list_media, schemas.MediaPage, "media", 404, 409, streams=True),
    _look(f"/media/{KEY}/explanation", media.explain_medium, schemas.Explanation, "media", 404, 409),
    _look(f"/media/{KEY}", media.get_medium, schemas.Medium, "media", 404),
    _look(
        "/virtual-keys/{virtual_key_id}/media",
        media.list_media_of_virtual_key,
        schemas.MediaOfKeyPage,
        "media",
        404,
        409,
        streams=True,
    ),
    _look("/marks", marks.list_marks, schemas.MarksPage, "marks", 404, streams=True),
    _look(f"/marks/{KEY}", marks.get_mark, schemas.Mark, "marks", 404),
    _look("/passes", passes.list_passes, schemas.PassesPage, "passes", 404, streams=True),
    _look("/passes/{pass_id}", passes.get_pass, schemas.PassDetail, "passes", 404),
    _look("/passes/{pass_id}/findings", passes.list_findings, schemas.MarksPage, "passes", 404, streams=True),
    _look("/holds", holds.list_holds, schemas.HoldsPage, "holds", 404, streams=True),
    _look("/erasures", jobs.list_erasures, schemas.ErasuresPage, "operations", 404, streams=True),
    _look("/erasures/{erasure_id}", jobs.get_erasure, schemas.Erasure, "operations", 404),
    _look("/operations", jobs.list_operations, schemas.OperationsPage, "operations", 404, streams=True),
    _look("/operations/{operation_id}", jobs.get_operation, schemas.Operation, "operations", 404),
    _look("/audit", auditing.list_audit, schemas.AuditPage, "audit", 404, streams=True),
    _change("POST", "/pause", steering.pause_deletions, OPERATOR, schemas.Paused, "pause", 409),
    _change("POST", "/resume", steering.resume_deletions, OPERATOR, schemas.Pause, "pause", 409),
    _change("POST", "/holds", steering.add_hold, OPERATOR, schemas.Held, "holds", 409),
    _change("DELETE", "/holds", steering.remove_holds, OPERATOR, schemas.Lifted, "holds", 404, 409),
    _change(
        "POST",
        "/virtual-keys/{virtual_key_id}/links/revoke",
        steering.revoke_links,
        OPERATOR,
        schemas.LinksRevoked,
        "media",
        404,
        409,
    ),
    _change("DELETE", f"/marks/{KEY}", steering.cancel_mark, OPERATOR, schemas.Cancelled, "marks", 404, 409),
    _change("POST", "/passes", steering.run_pass, OPERATOR, schemas.Operation, "passes", 409, status=202),
    _change(
        "POST",
        "/passes/{pass_id}/approve",
        steering.approve_pass,
        APPROVER,
        schemas.Decision,
        "passes",
        404,
        409,
        423,
    ),
    _change(
        "POST",
        "/passes/{pass_id}/discard",
        steering.discard_pass,
        APPROVER,
        schemas.Decision,
        "passes",
        404,
        409,
    ),
    _change("POST", "/undo", jobs.undo, APPROVER, schemas.Operation, "operations", 409, status=202),
    _change("POST", "/erasures", jobs.erase, APPROVER, schemas.Operation, "operations", 409, 423, status=202),
    _change(
        "POST",
        "/certificates/replay",
        jobs.replay_erasures,
        APPROVER,
        schemas.Operation,
        "operations",
        409,
        status=202,
    ),
    _change(
        "POST",
        "/operations/{operation_id}/cancel",
        jobs.cancel_operation,
        APPROVER,
        schemas.Operation,
        "operations",
        404,
        409,
    ),
)


def _of(call: Call) -> Endpoint:
    return next(each for each in ENDPOINTS if each.call is call)


ALIASES: Sequence[Endpoint] = (
    replace(_of(state.get_stats), path="/api/admin/media/stats", alias=True),
    replace(
        _of(media.list_media_of_virtual_key),
        path="/api/admin/virtual-keys/{virtual_key_id}/media",
        alias=True,
    ),
    Endpoint(
        method="DELETE",
        path="/api/admin/media/cleanup",
        call=aliases.clean_up,
        role=OPERATOR,
        answer=schemas.CleanUp,
        tag="aliases",
        status=202,
        problems=(409, 423),
    ),
)
"""The paths of a gateway that had such an API of its own."""

PROBLEMS: Mapping[int, str] = {
    401: "No token, or none that is known.",
    408: "The body came too slowly.",
    413: "The body is too large.",
    403: "The token's role is not enough.",
    404: "There is no such thing.",
    409: "The state of things does not allow it.",
    422: "The request is not as described here.",
    423: "Paused: nothing is deleted until `POST /api/v1/resume`.",
    429: "Too many failed attempts of this address.",
    503: "Database or store are away, or a person has to act.",
}
"""What a status that is no success means."""

ALWAYS = (401, 403, 422, 429, 503)
"""Failures of any request."""

OF_BODIES = (408, 413)
"""Further ones of what is sent with a body."""
