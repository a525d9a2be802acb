"""Show what the store's own events led to.

Where RECONCILER_EVENTS__QUEUE_URL names a queue, the leader looks at each key that an event names, long
before the next sweep. Needs RECONCILER_DATABASE_URL alone.

$ reconciler events hints --found
"""

import argparse
from collections.abc import Sequence

from reconciler.cli.arguments import Commands, actions, command, limit_and_format
from reconciler.cli.errors import DONE
from reconciler.cli.running import on_database
from reconciler.cli.types import Catalog, Output
from reconciler.model import ListedHint
from reconciler.model.moments import minute
from reconciler.planning.formatting import shortened


def add(commands: Commands) -> None:
    within = actions(command(commands, "events", __doc__))
    listed = command(within, "hints", hints.__doc__, hints)
    listed.add_argument("--found", action="store_true", help="only what the next sweep would find")
    limit_and_format(listed)


@on_database
async def hints(catalog: Catalog, args: argparse.Namespace) -> int:
    """List the keys that events named and that are not settled.

    A key is settled, and leaves the list, as soon as a look finds nothing wrong, or a sweep has judged it.
    It is found once two looks agree; that marks nothing, and deletes nothing.

    $ reconciler events hints
    $ reconciler events hints --found --json | jq -r .storage_key
    """
    from reconciler.cli.output import LISTED, console, first, print_lines
    from reconciler.operations import as_json, events

    if args.format == "jsonl":
        await print_lines(events.hints(catalog, found=args.found), as_json.hint, args.limit)
        return DONE
    limit = args.limit or LISTED
    shown, more = await first(events.hints(catalog, found=args.found, size=limit + 1), limit)
    if not shown:
        print("No event names a key that has to be looked at.")
        return DONE
    out = console()
    _print(shown, out)
    if more:
        out.say(f"The first {limit:,}; --limit N shows more, --format jsonl all.")
    return DONE


def _print(shown: Sequence[ListedHint], out: Output) -> None:
    from reconciler.cli.output import KEY_WIDTH

    rows = [
        (
            shortened(each.storage_key, KEY_WIDTH),
            str(each.verdict) if each.found else "",
            minute(each.noted_at),
            minute(each.due_at),
            each.reason or "not looked at yet",
        )
        for each in shown
    ]
    headings = ("key", "found", "noted", "next look", "reason")
    out.records(headings, rows, first=headings[:4], named=())
