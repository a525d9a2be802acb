"""Print who stores how much.

Adds up the rows in the managed prefixes: how many objects they name and how many bytes they give. Each
row counts as one object. Then what was deleted and is not freed yet, by the bucket that it is in; and,
where there are quotas, the owners that are nearest to each: those of the last retention pass. Reads the
whole media table once (twice with quotas), and waits ten minutes at most. Needs RECONCILER_DATABASE_URL
alone, and RECONCILER_CATALOG__... where tables have other names. The prefixes are those that the leader
last wrote down: before there was one, every row counts, and the output says so.

$ reconciler storage
$ reconciler storage --group-by media-type
$ reconciler storage --top 100 --json | jq '.largest[].virtual_key_id'
"""

import argparse

from reconciler.cli.arguments import Commands, as_json, command, whole
from reconciler.cli.errors import DONE
from reconciler.cli.running import on_database
from reconciler.cli.types import Catalog, Output
from reconciler.model import QUOTA_REACHED, QuotaStanding, Storage, StorageBy, StoragePart
from reconciler.planning.formatting import counted, human_bytes, limits, shortened

BY = tuple(by.value for by in StorageBy)

UNKNOWN_PREFIXES = (
    "This is the whole table: no managed prefixes are known before a first leader has looked at the bucket."
)


def add(commands: Commands) -> None:
    made = command(commands, "storage", __doc__, run)
    made.add_argument(
        "--group-by",
        "--by",
        choices=BY,
        default=BY[0],
        metavar="WHAT",
        help=f"what to tell apart: {', '.join(BY)} (default {BY[0]})",
    )
    made.add_argument(
        "--top", type=whole, default=20, metavar="N", help="how many of the largest (default 20)"
    )
    as_json(made)


@on_database
async def run(catalog: Catalog, args: argparse.Namespace) -> int:
    from reconciler.cli.output import console, print_json
    from reconciler.operations import as_json
    from reconciler.operations.status import quotas, storage

    by = StorageBy(args.group_by)
    stored, standings = await storage(catalog, by, args.top), await quotas(catalog, args.top)
    if args.json:
        print_json(as_json.storage(stored, by, standings))
    else:
        out = console()
        print_storage(stored, by, out)
        for standing in standings:
            print_quota(standing, out)
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
    for each in stored.hidden:
        what = f"{counted(each.objects, 'object')}, {human_bytes(each.bytes)}"
        where = "" if each.bucket is None else f" in bucket {each.bucket!r}"
        out.say(f"Deleted and not freed yet: {what}{where}")
    if stored.prefixes is None:
        out.say(UNKNOWN_PREFIXES, hang=0)


def print_quota(standing: QuotaStanding, out: Output) -> None:
    """The owners nearest to a quota."""
    from reconciler.cli.output import KEY_WIDTH

    quota = standing.quota
    owner = quota.owner.value.replace("_", " ")
    reached = ", ".join(
        f"{100 * share:.0f} % of it: {number:,}"
        for share, number in zip(QUOTA_REACHED, standing.reached, strict=True)
    )
    evict = quota.evict.value.replace("_", " ")
    out.say()
    out.say(
        (f"quota {quota.name or '(global settings)'}", "bold"),
        f": {limits(quota.max_objects, quota.max_bytes)} a {owner}, evict {evict}",
    )
    out.say(f"{owner}s that keep {reached}")
    if not standing.nearest:
        return
    rows = [
        (
            shortened(each.owner, KEY_WIDTH),
            f"{each.objects:,}",
            f"{each.bytes:,}",
            human_bytes(each.bytes),
            f"{each.share:.0%}",
        )
        for each in standing.nearest
    ]
    numbers = ("objects", "bytes", "", "of quota")
    out.table((owner, *numbers), rows, right=numbers)
