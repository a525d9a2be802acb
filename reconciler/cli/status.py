"""Print who leads, what the last passes found, and what waits.

Reads the database alone, and counts every mark. Writes nothing, takes no lease. Exits 0 however things
stand: `reconciler doctor` is what checks them. Needs RECONCILER_DATABASE_URL alone.

$ reconciler status
$ reconciler status --json | jq .leader.holder
"""

import argparse

from reconciler.cli.arguments import Commands, as_json, command
from reconciler.cli.errors import DONE
from reconciler.cli.running import on_database
from reconciler.cli.types import Catalog, Output, Status
from reconciler.model import Pass
from reconciler.planning import formatting

TIME = "%Y-%m-%d %H:%M:%S UTC"


def add(commands: Commands) -> None:
    as_json(command(commands, "status", __doc__, run))


@on_database
async def run(catalog: Catalog, args: argparse.Namespace) -> int:
    from reconciler.cli.output import console, print_json
    from reconciler.operations import as_json
    from reconciler.operations.status import status

    found = await status(catalog)
    if args.json:
        print_json(as_json.status(found))
    else:
        print_status(found, console())
    return DONE


def print_status(status: Status, out: Output) -> None:
    """A line for each thing; a tripped pass with the command that shows it."""
    leader, mode = status.leader, status.mode
    rows = [
        ("leader", f"{leader.holder}, epoch {leader.epoch}" if leader else "no replica holds the lease"),
        ("mode", f"{mode.mode} since {mode.since:{TIME}}" if mode else "there has been no pass yet"),
        ("deletion", formatting.pause(status.pause) if status.pause.paused else "not paused"),
        *((f"last {each.kind}", _described(each)) for each in status.passes),
        *(
            ("to decide", f"pass {each.id} tripped: {each.trip_reason}; reconciler passes show {each.id}")
            for each in status.tripped
        ),
    ]
    marks = [f"{keys:,} {verdict}" for verdict, (keys, _, _) in sorted(status.marks.items())]
    holds = [
        formatting.counted(number, kind.replace("_", " ")) for kind, number in sorted(status.holds.items())
    ]
    rows += [("marks", ", ".join(marks) or "none"), ("holds", ", ".join(holds) or "none")]
    out.table(("", ""), rows, header=False)


def _described(each: Pass) -> str:
    ended = f" {each.finished_at:{TIME}}" if each.finished_at else ""
    looked = f"{each.tally.objects:,} objects and {each.tally.records:,} records looked at"
    return f"pass {each.id}, {each.state}{ended}: {looked}, {sum(each.tally.found.values()):,} found"
