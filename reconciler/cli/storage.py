"""Print who stores how much.

Adds up the rows in the managed prefixes: how many objects they name and how many bytes they give. Each
row counts as one object. Reads the whole media table once, and waits ten minutes at most. Needs
RECONCILER_DATABASE_URL alone, and RECONCILER_CATALOG__... where tables have other names. The prefixes are
those that the leader last wrote down: before there was one, every row counts, and the output says so.

$ reconciler storage
$ reconciler storage --by media-type
$ reconciler storage --top 100 --json | jq '.largest[] | [.virtual_key_id, .bytes]'
"""

import argparse

from reconciler.cli.arguments import Commands, as_json, command, whole
from reconciler.cli.errors import DONE
from reconciler.cli.running import on_database
from reconciler.cli.types import Catalog, Output
from reconciler.model import Storage, StorageBy, StoragePart
from reconciler.planning.formatting import human_bytes, shortened

BY = tuple(by.value for by in StorageBy)

UNKNOWN_PREFIXES = (
    "This is the whole table: no managed prefixes are known before a first leader has looked at the bucket."
)


def add(commands: Commands) -> None:
    made = command(commands, "storage", __doc__, run)
    made.add_argument("--by", choices=BY, default=BY[0], help=f"what to tell apart (default {BY[0]})")
    made.add_argument(
        "--top", type=whole, default=20, metavar="N", help="how many of the largest (default 20)"
    )
    as_json(made)


@on_database
async def run(catalog: Catalog, args: argparse.Namespace) -> int:
    from reconciler.cli.output import console, print_json
    from reconciler.operations import as_json
    from reconciler.operations.status import storage

    by = StorageBy(args.by)
    stored = await storage(catalog, by, args.top)
    if args.json:
        print_json(as_json.storage(stored, by))
    else:
        print_storage(stored, by, console())
    return DONE


def print_storage(stored: Storage, by: StorageBy, out: Output) -> None:
    """The largest, the rest in one line, and the sum."""
    from reconciler.cli.output import KEY_WIDTH
    from reconciler.operations.as_json import STORAGE_NAMES, share

    parts = [(shortened(part.names[0], KEY_WIDTH), part) for part in stored.largest]
    if stored.other_parts:
        parts.append((f"{stored.other_parts:,} others", stored.other))
    parts.append(("all", StoragePart(names=(), objects=stored.objects, bytes=stored.bytes)))
    rows = []
    for name, part in parts:
        sizes = (f"{part.bytes:,}", human_bytes(part.bytes), f"{share(part, stored):.1%}")
        rows.append((name, f"{part.objects:,}", *sizes))
    numbers = ("objects", "bytes", "", "share")
    out.table((STORAGE_NAMES[by].removesuffix("_id").replace("_", " "), *numbers), rows, right=numbers)
    if stored.prefixes is None:
        out.say(UNKNOWN_PREFIXES, hang=0)
