"""Show what the store's own events led to, and tell receivers of ours again.

Where RECONCILER_EVENTS__QUEUE_URL names a queue, the leader looks at each key that an event names, long
before the next sweep. Where RECONCILER_EVENTS__WEBHOOK_URL or RECONCILER_EVENTS__NOTIFY names a receiver,
it is told of what was deleted, restored, adopted and erased. Needs RECONCILER_DATABASE_URL alone.

$ reconciler events hints --found
$ reconciler events replay --since 24h
$ reconciler events resume webhook
"""

import argparse
from collections.abc import Sequence

from reconciler.cli.arguments import Commands, actions, as_json, by, command, limit_and_format
from reconciler.cli.errors import DONE
from reconciler.cli.running import on_database, operator, span
from reconciler.cli.types import Catalog, Output
from reconciler.model import ListedHint
from reconciler.model.moments import minute
from reconciler.planning.formatting import counted, shortened


def add(commands: Commands) -> None:
    within = actions(command(commands, "events", __doc__))
    listed = command(within, "hints", hints.__doc__, hints)
    listed.add_argument("--found", action="store_true", help="only what the next sweep would find")
    limit_and_format(listed)
    again = command(within, "replay", replay.__doc__, replay)
    again.add_argument(
        "--since", required=True, metavar="TIME", help="from then on: ISO 8601, or how long ago, as in 2h"
    )
    again.add_argument("--until", metavar="TIME", help="only before then")
    again.add_argument("--dry-run", action="store_true", help="only say how many events that is")
    by(again, "who asks for it")
    as_json(again, "the number of events")
    resumed = command(within, "resume", resume.__doc__, resume)
    resumed.add_argument("channel", choices=("webhook",), metavar="CHANNEL", help="webhook")
    by(resumed, "who opens it")


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


@on_database
async def replay(catalog: Catalog, args: argparse.Namespace) -> int:
    """Have receivers told again of what the ledger has.

    Every line of it since then that is an event, with the same ids, behind what waits. What waits still is
    not told twice. Passes that tripped have no line in the ledger. The leader sends them.

    $ reconciler events replay --since 2026-11-30T08:00
    $ reconciler events replay --since 7d --until 6d --dry-run
    """
    from reconciler.cli.output import print_json
    from reconciler.operations import events

    since, until = span(args.since, args.until)
    assert since is not None
    done = await events.replay(catalog, since, until, dry_run=args.dry_run, author=operator(args))
    if args.json:
        print_json({"events": done.events, "channels": [*done.channels], "dry_run": args.dry_run})
        return DONE
    told = "would be told again" if args.dry_run else "are told again, as soon as the leader gets to it"
    print(f"{counted(done.events, 'event')} {told}: {', '.join(done.channels)}")
    return DONE


@on_database
async def resume(catalog: Catalog, args: argparse.Namespace) -> int:
    """Open a channel again that was switched off, because its receiver answered 410.

    Then have it told of what happened meanwhile: `events replay --since`.

    $ reconciler events resume webhook
    """
    from reconciler.operations import events

    await events.resume(catalog, args.channel, author=operator(args))
    print(f"{args.channel} is open again; `reconciler events replay --since` tells it what it missed")
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
    out.records(headings, rows, first=headings[:2], named=headings[2:4])
