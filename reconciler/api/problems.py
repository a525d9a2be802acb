"""What went wrong with a request of the admin API, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import structlog
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from reconciler.asgi import problems
from reconciler.asgi.problems import RETRY_SECONDS
from reconciler.errors import ErrorKind, NotDone, ReconcilerError, Retryable
from reconciler.model import Role

log = structlog.get_logger(__name__)

STATUS: Mapping[ErrorKind, int] = {
    ErrorKind.NOT_FOUND: 404,
    ErrorKind.CONFLICT: 409,
    ErrorKind.INVALID: 422,
    ErrorKind.NOT_READY: 409,
}

BY_CODE: Mapping[str, int] = {"not_a_virtual_key": 409, "end_is_past": 409, "paused": 423}
"""Requests that only the state of things makes wrong: which type the tables have, what time it is."""

HINTS: Mapping[str, str] = {
    "internal": "The daemon's log has the reason; tell the project, if it is no fault of yours.",
    "no_such_path": "/api/v1/docs lists every path.",
    "not_authenticated": "Send `Authorization: Bearer TOKEN`; `reconciler token new` makes a token.",
    "not_allowed": "Ask somebody whose token has the role, or for a token that has it.",
    "too_many_failures": "Wait as many seconds as Retry-After says, then send a token that is known.",
    "unavailable": "Nothing was done. Ask again in a few seconds; GET /api/v1/status says what is known.",
    "halted": "A person has to act first: the detail says how.",
    "not_managed": "GET /api/v1/settings has the managed prefixes, as bucket.prefixes.",
    "no_such_pass": "GET /api/v1/passes lists them.",
    "no_such_cursor": "Begin again without a cursor; one is good for the list that gave it.",
    "no_such_medium": "GET /api/v1/media/{storage_key}/explanation looks at the bucket too.",
    "key_refused": "GET /api/v1/media/{storage_key} has its rows, mark and hold.",
    "deleted_recoverably": "POST /api/v1/undo brings it back.",
    "both_sides": 'Mend the cause and discard the pass; or send {"understood": true} if both are to go.',
    "later_pass_first": "Decide about the later pass: `fields.later`.",
    "paused": "POST /api/v1/resume ends the pause; GET /api/v1/status says who paused it, and why.",
    "pass_not_tripped": "GET /api/v1/passes?state=tripped lists those that wait for a decision.",
    "no_such_hold": "GET /api/v1/holds lists those in force.",
    "holds_of_others": "`author` names the one whose hold is to go; `all_authors=true` lifts everybody's.",
    "no_such_operation": "GET /api/v1/operations lists them.",
    "claimed": "GET /api/v1/marks/{storage_key} says how it ends; POST /api/v1/undo may bring it back.",
    "idempotency_key_reused": "Take a new key for a new request.",
    "still_under_way": "Ask again in a few seconds.",
    "invalid": "The errors name what is wrong; /api/v1/docs says what is allowed.",
}
"""What to do about a problem, by its code."""


class Problem(problems.Problem):
    """A problem of the admin API."""

    hints = HINTS


def not_authenticated(detail: str) -> Problem:
    return Problem(401, "not_authenticated", detail, {"WWW-Authenticate": 'Bearer realm="reconciler"'})


def not_allowed(role: Role, needed: Role) -> Problem:
    detail = f"this needs the role {needed}, and the token has {role}"
    return Problem(403, "not_allowed", detail, fields={"role": role, "needed": needed})


def of(error: Exception) -> problems.Problem:
    """The problem that an error is. An error that no one foresaw is logged, and not told."""
    match error:
        case problems.Problem():
            return error
        case RequestValidationError():
            return invalid(error)
        case HTTPException():
            return _of_http(error)
        case ReconcilerError():
            return _of_ours(error)
        case _:
            log.error("a request of the admin API failed on a fault of the program", exc_info=error)
            return Problem(500, "internal", "a fault of the program")


def _of_ours(error: ReconcilerError) -> Problem:
    match error:
        case NotDone():
            return Problem(
                BY_CODE.get(error.code, STATUS[error.kind]), error.code, str(error), fields=error.fields
            )
        case Retryable():
            return Problem(503, "unavailable", str(error), {"Retry-After": str(RETRY_SECONDS)})
        case _:
            return Problem(503, "halted", str(error))


def invalid(error: RequestValidationError) -> Problem:
    """What of the request is wrong, without the values: they may be secrets, or not be text at all."""
    if any(each["loc"][0] == "path" for each in error.errors()):
        return Problem(404, "no_such_path", "the path names nothing that there could be")
    faults = [
        {"where": ".".join(str(part) for part in each["loc"]), "what": each["msg"]} for each in error.errors()
    ]
    detail = "; ".join(f"{each['where']}: {each['what']}" for each in faults)
    return Problem(422, "invalid", detail, fields={"errors": faults})


def _of_http(error: HTTPException) -> Problem:
    if error.status_code == HTTPStatus.NOT_FOUND:
        return Problem(404, "no_such_path", "there is no such path")
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return Problem(405, "no_such_method", "this path does not take that method", error.headers)
    if error.status_code == HTTPStatus.BAD_REQUEST:
        # FastAPI's answer to a body whose bytes are no text; to JSON that is none it answers 422.
        return Problem(422, "invalid", "body: it is not JSON in UTF-8")
    return Problem(error.status_code, "invalid", str(error.detail), error.headers)
