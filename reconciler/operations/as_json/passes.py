"""Passes and their marks as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from reconciler import model
from reconciler.planning.formatting import timestamp

if TYPE_CHECKING:  # the settings are written without the engine and the catalog being loaded
    from reconciler.operations.passes import Decided, Progress
from reconciler.operations.as_json.steering import hold
from reconciler.operations.as_json.values import Json, fields


def pass_summary(detail: model.PassDetail) -> Json:
    """A pass in a list."""
    return {
        **one_pass(detail.current),
        "marks": sum(detail.marks.values()),
        "takes_in": [each for each in detail.together if each != detail.current.id],
        "to_decide": detail.to_decide if detail.current.state is model.PassState.TRIPPED else None,
    }


def one_pass(current: model.Pass) -> Json:
    tally = current.tally
    return {
        **fields(current, "id", "kind", "state", "mode", "config_hash"),
        "began_at": timestamp(current.cutoff),
        "finished_at": timestamp(current.finished_at),
        **fields(tally, "objects", "records"),
        "found": _found(tally.found),
        "expired_by_store": tally.expired_by_store,
        "reason": current.trip_reason,
        "both_sides": current.both_sides,
        **fields(current, "decided_by", "decided_at", "superseded_by"),
    }


def pass_detail(detail: model.PassDetail) -> Json:
    """One pass with everything that is known of it."""
    example = ("verdict", "storage_key", "bytes", "reason", "due_at")
    return {
        **pass_summary(detail),
        "by_prefix": {
            prefix: {**fields(part, "objects", "records"), "found": _found(part.found)}
            for prefix, part in sorted(detail.current.tally.by_prefix.items())
        },
        "marks_by_prefix": [
            {
                "prefix": prefix,
                "verdict": verdict,
                "marks": number,
                "bytes": detail.bytes.get((prefix, verdict), 0),
            }
            for (prefix, verdict), number in sorted(detail.marks.items())
        ],
        "examples": [fields(mark, *example) for mark in detail.examples],
        "supersedes": list(detail.supersedes),
        "results": [
            {**fields(each, "what", "verdict", "result", "keys", "bytes"), "examples": list(each.examples)}
            for each in detail.results
        ],
    }


def decided(decision: Decided) -> Json:
    """The pass as it is after the decision, and how many marks that was about; `withdrawn` are those that a
    discard withdrew, or an approval by a plan besides; `added` are those of the passes `supersedes`, which
    nobody has decided about.
    """
    return {
        **pass_summary(decision.detail),
        "marks": decision.marks,
        "withdrawn": decision.withdrawn,
        "supersedes": list(decision.detail.supersedes),
        "added": decision.added,
        "approval": approval(decision.detail.approval) if decision.detail.approval else None,
    }


def verdicts(found: Iterable[model.Verdict]) -> list[model.Verdict]:
    """All that there are, then those of a newer program."""
    return [*model.Verdict, *sorted({*found} - {*model.Verdict})]


def _found(found: Mapping[model.Verdict, int]) -> Json:
    return {verdict: found.get(verdict, 0) for verdict in verdicts(found)}


def approval(of: model.Approval) -> Json:
    """An approval of which `marks` are left; `ends_at` is for the first of them, `last_ends_at` for the last.

    Null: no program has said how long approvals count.
    """
    first, last = of.until or (None, None)
    return {
        **fields(of, "pass_id", "kind", "by", "at", "marks"),
        "ends_at": timestamp(first),
        "last_ends_at": timestamp(last),
    }


def mark(found: model.ListedMark) -> Json:
    """A mark, with the hold that keeps it."""
    of = found.mark
    return {
        "storage_key": of.storage_key,
        "state": found.state,
        **fields(of, "verdict", "reason", "bytes", "due_at"),
        "not_before": timestamp(found.not_before),
        "pass": of.pass_id,
        **fields(found, "pass_state", "kind"),
        **fields(of, "first_seen_at", "last_seen_at", "sightings", "object_etag", "object_last_modified"),
        **fields(found, "attempts", "refusals", "last_error", "operation_id", "epoch"),
        "hold": hold(found.hold) if found.hold else None,
    }


def progress(of: Progress) -> Json:
    """How far a pass has come. `fraction` is from 0 to 1."""
    names = ("objects", "records", "ranges_done", "ranges", "fraction", "ends_at")
    return fields(of, *names)
