"""What sweeps and storage cost, as JSON."""

from dataclasses import asdict

from reconciler import model
from reconciler.operations.as_json.values import Json, fields


def cost(of: model.Costs) -> Json:
    """Money is in US dollars a month; `backfill` is paid once. `prices` are those of a million, and of a GiB
    a month. `pass_id` null: the number of objects was given. `inventory` null: none is made that often.
    """
    return {
        **fields(of, "pass_id", "objects", "bytes", "changes", "deleted"),
        "sweeps": [
            {
                "every_seconds": int(each.every.total_seconds()),
                "list": each.lists,
                **fields(each, "inventory", "s3_metadata", "cheapest"),
            }
            for each in of.sweeps
        ],
        **fields(of, "requests", "backfill", "heads"),
        "storage": of.stored(of.bytes),
        "drift": {
            verdict: {"keys": keys, "bytes": size, "storage": of.stored(size)}
            for verdict, (keys, size) in of.drift.items()
        },
        "freed": {"bytes": of.freed, "storage": of.stored(of.freed)},
        "prices": asdict(of.prices),
    }
