"""What is known of one storage key, as JSON."""

from __future__ import annotations

from reconciler import model
from reconciler.operations.as_json.passes import mark
from reconciler.operations.as_json.site import pause
from reconciler.operations.as_json.steering import hold
from reconciler.operations.as_json.values import Json, field, fields, plain
from reconciler.planning.formatting import timestamp

LEDGER_LINE = (
    "at",
    "event",
    "what",
    "storage_key",
    "record_id",
    "virtual_key_ids",
    "verdict",
    "reason",
    "result",
    "detail",
    "bytes",
    "pass_id",
    "kind",
    "decided_by",
    "decided_at",
    "operation_id",
)
"""The fields of a line of the ledger, in order."""


def history(of: model.KeyHistory) -> Json:
    """A key's lines, oldest first, and its state since `since`; `rows` are the ids that name it now."""
    line = ("at", "event", "what", "record_id", "verdict", "reason", "result", "detail", "bytes", "pass_id")
    return {
        **fields(of, "key", "state", "since"),
        "rows": list(of.rows),
        "mark": mark(of.mark) if of.mark else None,
        "events": [fields(each, *line, "kind", "decided_by", "decided_at") for each in of.lines],
    }


def ledger_line(of: model.LedgerLine) -> Json:
    """A line of the ledger; `decided_by` is who approved its pass, null where the breaker let it through."""
    return {name: list(of.owners) if name == "virtual_key_ids" else field(of, name) for name in LEDGER_LINE}


def explained(of: model.Explained) -> Json:
    """One key's story. `verdict` and `kept` null: nothing is found, and it stays. `until` of what can be
    brought back is when a purge may take it at the earliest.
    """
    seen, told = of.seen, history(of.history)
    return {
        "key": seen.key,
        "known": of.known,
        **fields(of, "at", "mode"),
        "pause": pause(of.pause),
        "object": _stored(seen.object) if seen.object else None,
        "lock": fields(of.lock, "reason", "until") if of.lock else None,
        "versions": None
        if of.versions is None
        else [
            fields(each, "id", "marker", "latest", "last_modified", "etag", "size") for each in of.versions
        ],
        "rows": [
            {
                **fields(each.record, "id", "virtual_key_id", "size_bytes", "created_at", "expires_at"),
                **fields(each.record, "last_accessed_at", "deleted_at"),
                "virtual_key": fields(each.record.owner, "id", "enabled", "disabled_since", "expires_at")
                if each.record.owner
                else None,
                "rule": each.rule,
                "rules": [_rule(rule) for rule in each.rules],
                **_outlook(each.outlook),
            }
            for each in of.rows
        ],
        "named_by_further_column": bool(seen.named),
        "named_by": list(seen.named),
        "near": [
            {
                "key": each.storage_key,
                "row": each.row,
                "object": _stored(each.object) if each.object else None,
            }
            for each in seen.near
        ],
        "rules": [_rule(rule) for rule in of.rules],
        **_outlook(of.outlook),
        "hold": hold(seen.hold) if seen.hold else None,
        **{name: told[name] for name in ("state", "since", "mark", "events")},
        "departures": [
            {
                "left_at": timestamp(each.left_at),
                "virtual_key_id": each.virtual_key,
                "row_kept": each.row_kept,
            }
            for each in of.departures
        ],
        "returnable": [fields(each, "record_id", "mode", "since", "until") for each in of.returnable],
        "unseen": list(of.unseen),
    }


def _stored(of: model.StoredObject) -> Json:
    return fields(of, "size", "etag", "last_modified", "version_id")


def _rule(of: model.RuleSeen) -> Json:
    compared = {name: plain(value) for name, value in of.compared.items()}
    return {
        **fields(of, "verdict", "holds", "reason", "holds_from", "switched_off"),
        "compared": compared,
    }


def _outlook(of: model.Outlook) -> Json:
    standing = ("verdict", "kept", "reason")
    return {
        **fields(of.now, *standing),
        "goes": of.now.goes,
        "changes_at": timestamp(of.changes_at),
        "then": {**fields(of.then, *standing), "goes": of.then.goes} if of.then else None,
    }
