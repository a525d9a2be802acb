"""What was found, and what was done about it, as JSON."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from reconciler import model
from reconciler.planning.formatting import timestamp

if TYPE_CHECKING:  # the settings are written without the engine and the catalog being loaded
    from reconciler.catalog.marks.queries import Cancelled
    from reconciler.engine.recover.undo import Undone
    from reconciler.operations.erase import Erasure
    from reconciler.operations.findings import Findings
    from reconciler.operations.marks import Retried
from reconciler.operations.as_json.steering import hold
from reconciler.operations.as_json.values import Json, fields

FINDING = (
    "verdict",
    "storage_key",
    "bytes",
    "reason",
    "virtual_key_id",
    "object_last_modified",
    "record_created_at",
    "due_at",
)
"""The fields of a finding, in order."""


def cancelled(of: Cancelled) -> Json:
    """Marks that were withdrawn, and those that were not."""
    return {name: sorted(getattr(of, name)) for name in ("cancelled", "claimed", "unmarked")}


def retried(of: Retried) -> Json:
    """Marks that are tried again, and keys that have none."""
    return {"retried": sorted(of.keys), "unmarked": sorted(of.unmarked)}


def erased(of: Erasure) -> Json:
    """What an erasure found. `held` names the hold of each key that was on hold: then nothing is erased.

    `unknown` are keys of which nothing is recorded.
    """
    return {
        "complete": of.complete,
        **fields(of.erased, "objects", "rows"),
        **{name: sorted(getattr(of.erased, name)) for name in ("claimed", "returning", "unknown")},
        "named": sorted(of.named),
        "held": {key: hold(each) for key, each in sorted(of.erased.held.items())},
    }


def undone(result: Undone, mode: model.Mode, seconds: float) -> Json:
    """What an undo brought back, or in dry run would have."""
    refused = ("storage_key", "record_id", "outcome", "reason")
    return {
        "mode": mode,
        "outcome": "complete" if result.complete else "incomplete",
        **fields(result, "objects", "records", "bytes", "present", "gone", "held_until"),
        "refused": [fields(each, *refused) for each in result.refused],
        "duration_seconds": round(seconds, 3),
    }


def report(of: model.Report) -> Json:
    """How a pass with its collection ended."""
    return {
        **fields(of, "mode", "outcome", "objects", "records"),
        "found": {verdict: of.found.get(verdict, 0) for verdict in model.Verdict},
        "deleted": fields(of.removed, "objects", "records", "bytes"),
        "kept": {reason: of.kept.get(reason, 0) for reason in model.KeepReason},
        "failed": of.removed.failed,
        "duration_seconds": round(of.duration_seconds, 3),
    }


def finding(of: model.Finding, due_at: datetime) -> Json:
    """A finding of `plan`; `due_at` is when a mark written now would be due. What is kept never is."""
    return {**fields(of, *FINDING[:-1]), "due_at": timestamp(due_at) if of.kept is None else None}


def look(prefix: str, tally: model.Tally, found: Findings, seconds: float) -> Json:
    """What a sweep would find under a prefix: by verdict how much, and the first few."""
    return {
        "prefix": prefix,
        **fields(tally, "objects", "records"),
        "verdicts": {
            verdict: {
                "to_go": group.going,
                **fields(group, "kept", "bytes"),
                "examples": [fields(each, *FINDING[:-1], "kept") for each in group.first],
            }
            for verdict, group in found.groups.items()
        },
        "duration_seconds": round(seconds, 3),
    }
