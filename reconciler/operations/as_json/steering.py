"""What operators asked for, as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler import model

if TYPE_CHECKING:  # the settings are written without the engine and the catalog being loaded
    from reconciler.operations.holds import Added
from reconciler.operations.as_json.values import Json, fields


def held(added: Added) -> Json:
    """Holds that were added, and keys under them that were claimed before."""
    return {"holds": [hold(each) for each in added.holds], "claimed": list(added.claimed)}


def hold(each: model.Hold) -> Json:
    """A hold; `until` null is until it is lifted."""
    return fields(each, "kind", "target", "reason", "author", "until", "added_at", "pass_id")


def hint(each: model.ListedHint) -> Json:
    """A key that an event named; `verdict` is what the last look saw, `found` whether two in a row did."""
    names = ("storage_key", "verdict", "found", "reason", "noted_at", "looked_at", "due_at")
    return fields(each, *names)


def job(of: model.Job) -> Json:
    """Work that was asked for; `result` is that of the command of the same name, null until it is done."""
    return {
        **fields(of, "id", "kind", "state", "dry_run", "author", "asked_at", "begun_at", "ended_at"),
        **fields(of, "cancel", "done", "pass_id", "error"),
        "asked": dict(of.asked),
        "result": None if of.result is None else dict(of.result),
    }


def audit_line(of: model.AuditLine) -> Json:
    """A change over HTTP; `status` null: it is under way, or its replica died."""
    change = ("caller", "role", "address", "action", "target", "asked")
    return {**fields(of, "id", "at"), **fields(of.change, *change), **fields(of, "status", "outcome")}
