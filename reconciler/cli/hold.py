"""Keep keys, prefixes or a virtual key's media from deletion.

What is on hold is found and counted, and never deleted: by its key, by all keys that begin with a
prefix (write the slash at its end), or by the virtual key of its record, as long as the hold lasts.
Needs RECONCILER_DATABASE_URL alone.

$ reconciler hold add --key image/cat.png --reason "case 2026-17" --for 30d
$ reconciler hold list
$ reconciler hold remove --key image/cat.png
"""

import argparse
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from reconciler.cli.arguments import (
    Commands,
    Parser,
    a_pass,
    actions,
    as_json,
    by,
    command,
    limit_and_format,
    who_and_why,
    words,
)
from reconciler.cli.errors import DONE, FAILED, complain
from reconciler.cli.running import duration_of, on_database, operator
from reconciler.cli.types import Catalog
from reconciler.errors import ConfigError
from reconciler.model import HoldFilter, HoldKind
from reconciler.model.moments import minute, moment
from reconciler.planning.formatting import counted, printable, shortened

NAMED = 10
"""Keys that a warning spells out."""


def add(commands: Commands) -> None:
    within = actions(command(commands, "hold", __doc__))
    added = command(within, "add", add_holds.__doc__, add_holds)
    _targets(added)
    who_and_why(added)
    as_json(added, "the holds")
    ends = added.add_mutually_exclusive_group()
    ends.add_argument("--until", metavar="TIME", help="its end, as 2027-01-01 or 2027-01-01T12:00Z (UTC)")
    ends.add_argument(
        "--for", dest="lasting", metavar="30d", help="how long it lasts; default: until removed"
    )
    listed = command(within, "list", list_holds.__doc__, list_holds)
    listed.add_argument("--kind", choices=[kind.value for kind in HoldKind], help="only these")
    listed.add_argument("--prefix", default="", metavar="P", help="only targets that begin with it")
    _of_author_pass_or_reason(listed, "--by")
    limit_and_format(listed)
    removed = command(within, "remove", remove.__doc__, remove)
    _targets(removed)
    _of_author_pass_or_reason(removed)
    removed.add_argument("--all-authors", action="store_true", help="of what is named, everybody's")
    removed.add_argument("--all", action="store_true", help="every hold that is in force, by any author")
    removed.add_argument("--dry-run", action="store_true", help="count what would be lifted, and do nothing")
    by(removed, "who lifts them")
    as_json(removed, "the count")


def _targets(made: Parser) -> None:
    for option, metavar, what in (
        ("--key", "KEY", "a storage key"),
        ("--prefix", "P", "all keys that begin so"),
        ("--virtual-key", "ID", "all its records' keys"),
    ):
        made.add_argument(option, action="append", default=[], metavar=metavar, help=f"{what} (repeatable)")


def _of_author_pass_or_reason(made: Parser, *former: str) -> None:
    made.add_argument("--author", *former, type=words, metavar="NAME", help="only this author's")
    a_pass(made, "only those that an undo of this pass left, or that the store's refusals of its keys did")
    made.add_argument("--reason", type=words, metavar="TEXT", help="only those whose reason contains this")


@on_database
async def add_holds(catalog: Catalog, args: argparse.Namespace) -> int:
    """Put keys on hold.

    Nothing under the hold is claimed for deletion from then on. Says which keys were claimed before,
    and exits 1 for them: they may still go. Again for the same target and author, the newer reason
    and end count; holds of several authors stand side by side.

    $ reconciler hold add --prefix image/tenant-7/ --reason "moving house"
    $ reconciler hold add --virtual-key 7f0c… --reason audit --until 2027-01-01
    """
    from reconciler.cli.output import print_json
    from reconciler.operations import as_json, holds

    author = operator(args)
    done = await holds.add(catalog, _named(args), reason=args.reason, author=author, end=_end(args))
    if args.json:
        print_json(as_json.held(done))
    for each in () if args.json else done.holds:
        until = f" until {moment(each.until)}" if each.until else ""
        print(printable(f"on hold{until}: {each.kind.replace('_', ' ')} {each.target}"))
    if not done.claimed:
        return DONE
    more = f" and {len(done.claimed) - NAMED:,} more" if len(done.claimed) > NAMED else ""
    complain(
        f"{len(done.claimed):,} of these keys were claimed for deletion before the hold, and may still go:"
        f" {', '.join(done.claimed[:NAMED])}{more}. `reconciler marks show KEY` tells how each ends"
    )
    return FAILED


@on_database
async def list_holds(catalog: Catalog, args: argparse.Namespace) -> int:
    """List the holds in force.

    The table shows the first ones; jsonl prints every one, a line each.

    $ reconciler hold list --kind prefix
    $ reconciler hold list --author "the store"
    $ reconciler hold list --pass 17 --format jsonl
    """
    from reconciler.cli.output import KEY_WIDTH, LISTED, console, first, print_lines
    from reconciler.operations import as_json, holds

    kind = HoldKind(args.kind) if args.kind else None
    pages = holds.pages(catalog, _filter(args, kind, args.prefix))
    if args.format == "jsonl":
        await print_lines(pages, as_json.hold, args.limit)
        return DONE
    limit, out = args.limit or LISTED, console()
    shown, more = await first(pages, limit)
    if not shown:
        out.say("no hold is in force")
        return DONE
    rows = [
        (
            each.kind.replace("_", " "),
            shortened(each.target, KEY_WIDTH),
            minute(each.until) if each.until else "no end",
            each.author,
            each.reason,
        )
        for each in shown
    ]
    headings = ("kind", "target", "until", "author", "reason")
    out.records(headings, rows, first=headings[:2], named=("until", "author"))
    if more:
        out.say(f"The first {limit:,}; --limit shows more, --format jsonl every one.")
    return DONE


@on_database
async def remove(catalog: Catalog, args: argparse.Namespace) -> int:
    """Lift holds.

    By name, your own (--by); where others hold it too, nothing is lifted unless --author or --all-authors
    says whose. Or all that an author, a pass or a reason has left, where all that is given has to apply.
    The program's own holds are by 'the store', which refused to delete, and by the author of an undo;
    both name the pass. Marks made before the hold go on as if there had been none: what is due, and was
    seen by the last pass, may go at once. Who lifted it (--by) is written in the ledger. Exits 1 where
    there was no such hold, and where somebody else has one.

    $ reconciler hold remove --key image/cat.png
    $ reconciler hold remove --prefix image/tenant-7/ --author alice@ops
    $ reconciler hold remove --author "the store" --reason QuotaExceeded --dry-run
    $ reconciler hold remove --pass 17
    """
    from reconciler.cli.output import print_json
    from reconciler.operations import holds

    named = _named(args)
    if any(named.values()):
        _only_named(args)
        total = await holds.remove(
            catalog,
            named,
            by=operator(args),
            author=args.author,
            all_authors=args.all_authors,
            dry_run=args.dry_run,
        )
    else:
        wanted = _common(args)
        total = (
            sum([len(page) async for page in holds.pages(catalog, wanted)])
            if args.dry_run
            else await holds.lift(catalog, wanted, by=operator(args))
        )
    if args.json:
        print_json({"holds": total, "dry_run": args.dry_run})
    if not total:
        complain("no such hold is in force; `reconciler hold list` shows those that are")
        return FAILED
    if not args.json:
        print(f"{counted(total, 'hold')} {'would be lifted' if args.dry_run else 'lifted'}")
    return DONE


def _only_named(args: argparse.Namespace) -> None:
    if args.pass_id is not None or args.reason is not None or args.all:
        raise ConfigError(
            "--pass, --reason and --all are for many holds at once; a hold that is named by --key, --prefix"
            " or --virtual-key takes --author or --all-authors"
        )


def _common(args: argparse.Namespace) -> HoldFilter:
    """What the holds have in common."""
    given = any(each is not None for each in (args.author, args.pass_id, args.reason))
    if args.all == given or args.all_authors:
        raise ConfigError(
            "say which: --key KEY, --prefix P or --virtual-key ID; or --author NAME, --pass ID, --reason TEXT"
            " (all that is given has to apply); or --all alone"
        )
    return _filter(args)


def _filter(args: argparse.Namespace, kind: HoldKind | None = None, prefix: str = "") -> HoldFilter:
    return HoldFilter(kind=kind, prefix=prefix, author=args.author, pass_id=args.pass_id, reason=args.reason)


def _named(args: argparse.Namespace) -> Mapping[HoldKind, Sequence[str]]:
    return {HoldKind.KEY: args.key, HoldKind.PREFIX: args.prefix, HoldKind.VIRTUAL_KEY: args.virtual_key}


def _end(args: argparse.Namespace) -> datetime | timedelta | None:
    if args.lasting is not None:
        return duration_of(args.lasting, "--for")
    if args.until is None:
        return None
    try:
        until = datetime.fromisoformat(args.until)
    except ValueError:
        message = f"--until {args.until!r}: write a time as 2027-01-01 or 2027-01-01T12:00Z"
        raise ConfigError(message) from None
    return until if until.tzinfo else until.replace(tzinfo=UTC)
