"""Adoptions, and their objects."""

from reconciler import model
from reconciler.operations.as_json.values import Json, fields
from reconciler.planning.formatting import timestamp


def adoption(done: model.Adoption) -> Json:
    """What became of an adoption, by reason."""
    return {
        "pass_id": done.id,
        "mode": "dry_run" if done.dry_run else "live",
        **fields(done, "candidates", "adopted", "adopted_bytes"),
        "left": dict(done.left),
        "passed_over": dict(done.passed_over),
        "undone": done.undone,
        "began_at": timestamp(done.begun_at),
        "ended_at": timestamp(done.ended_at),
    }


def adopted(each: model.Adopted) -> Json:
    """What became of one object of an adoption."""
    return {
        "storage_key": each.storage_key,
        "outcome": "left" if each.reason else "adopted",
        "reason": each.why or None,
        "detail": each.reason.partition(": ")[2] or None,
        "bytes": each.size,
        "virtual_key_id": each.owner,
        "record_id": each.record_id,
    }
