"""Make rows for objects that have none.

Finds the objects of the managed prefixes that no row names, looks at each, and makes its row where its owner
is known: from its metadata, a tag or its key (RECONCILER_ADOPTION__OWNER_FROM), or --owner for all. An owner
counts only where there is such a virtual key. Size, content type, media type, hash and dates come from the
object, and the adoption counts as an access. Objects within RECONCILER_GRACE_PERIOD stay as they are, and so
does what is marked, held, deleted before, erased, or spelled otherwise by a row. Runs while the daemon runs.
After a kill the same command goes on where it was. --undo removes the rows again that a pass of adoption
made and nobody has changed since: their objects are without a row then. Exits 1 where objects were left, or
RECONCILER_DRY_RUN is true: then nothing is made, which --dry-run asks for.

$ reconciler adopt --dry-run
$ reconciler adopt --prefix image/2024/ --owner 7
$ reconciler adopt --jsonl > adopted.jsonl
$ reconciler adopt --undo 1204
"""

import argparse
from collections.abc import Coroutine
from typing import Any

from reconciler.cli import running
from reconciler.cli.arguments import Commands, by, command, whole
from reconciler.cli.errors import DONE, FAILED, complain
from reconciler.cli.types import Catalog
from reconciler.model import Adoption, Left
from reconciler.planning.formatting import counted, human_bytes

WORDS = {
    Left.GONE: "not in the bucket any more",
    Left.UNREADABLE: "the store refuses to show it",
    Left.PENDING: "younger than the grace period",
    Left.NO_OWNER: "nothing says whose it is",
    Left.UNKNOWN_OWNER: "its owner is no virtual key",
    Left.HAS_ROW: "named by a row or another column by now",
    Left.NEAR_MISS: "a row spells its key otherwise",
    Left.MARKED: "marked to be deleted (reconciler marks cancel)",
    Left.CLAIMED: "being deleted",
    Left.DEPARTED: "its row left the table",
    Left.DELETED: "deleted before",
    Left.ERASED: "erased on request",
    Left.RESERVED: "an upload to its key is announced",
    Left.UNDONE: "adopted before, and undone",
    Left.RETENTION: "its row would go at the next retention pass",
    Left.REFUSED: "the table refuses its row",
}
"""What is said of each reason to leave an object."""

DRY = "nothing was made: RECONCILER_DRY_RUN is true; set it to false for this command"


def add(commands: Commands) -> None:
    made = command(commands, "adopt", __doc__, run)
    made.add_argument("--prefix", default="", metavar="P", help="objects with this prefix alone")
    made.add_argument("--owner", metavar="ID", help="the virtual key that all of them belong to")
    made.add_argument("--dry-run", action="store_true", help="show what would be adopted, and make nothing")
    made.add_argument("--undo", type=whole, metavar="PASS", help="remove the rows that this pass made")
    shown = made.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="print a report as JSON, alone on stdout")
    shown.add_argument("--jsonl", action="store_true", help="print a line of JSON for each object instead")
    by(made, "who adopts them")


def run(args: argparse.Namespace) -> int:
    source = running.source_of(args)
    live = source.current().mode().value == "live"
    if args.undo is not None:
        return _undo(args, live=live)
    from reconciler import app
    from reconciler.cli.output import print_json
    from reconciler.cli.progress import ProgressBar
    from reconciler.operations import as_json

    author, dry_run = running.operator(args), args.dry_run or not live
    with ProgressBar() as bar:

        def adopt() -> Coroutine[Any, Any, Adoption]:
            return app.adopt(
                source,
                prefix=args.prefix,
                owner=args.owner,
                author=author,
                dry_run=dry_run,
                listed=bar.found_without_row,
                settled=bar.settled,
            )

        done = running.wait_unless_ended(adopt)
    if args.json:
        print_json(as_json.adoption(done))
    elif args.jsonl:
        _print_each(args, done)
    else:
        _print(done)
    if dry_run and not args.dry_run:
        complain(DRY)
        return FAILED
    return FAILED if done.left else DONE


def _print(done: Adoption) -> None:
    from reconciler.cli.output import console

    out = console()
    would = "would be adopted" if done.dry_run else "adopted"
    out.say(f"pass {done.id}: {counted(done.adopted, 'object')} ({human_bytes(done.adopted_bytes)}) {would}")
    rows = [(f"{number:,}", reason, WORDS.get(Left(reason), "")) for reason, number in done.left.items()]
    if rows:
        out.say("left as they are:")
        out.table(["objects", "reason", "which is"], rows, right=("objects",))
    passed = ", ".join(f"{number:,} {reason}" for reason, number in sorted(done.passed_over.items()))
    if passed:
        out.say(f"not looked at: {passed}", hang=2)
    if done.adopted and not done.dry_run:
        out.say(f"`reconciler adopt --undo {done.id}` removes these rows again")


def _print_each(args: argparse.Namespace, done: Adoption) -> None:
    from reconciler.cli.output import print_lines
    from reconciler.operations import as_json

    @running.on_database
    async def print_all(catalog: Catalog, _: argparse.Namespace) -> None:
        await print_lines(catalog.adoptions.objects(done.id), as_json.adopted, None)

    print_all(args)


def _undo(args: argparse.Namespace, *, live: bool) -> int:
    from reconciler.cli.output import print_json
    from reconciler.operations.adopt import undo

    acts = live and not args.dry_run

    @running.on_database
    async def undone(catalog: Catalog, args: argparse.Namespace) -> tuple[int, int]:
        return await undo(catalog, args.undo, author=running.operator(args), live=acts)

    removed, stay = undone(args)
    if args.json:
        print_json(
            {"pass_id": args.undo, "mode": "live" if acts else "dry_run", "removed": removed, "stay": stay}
        )
    elif acts:
        print(f"{counted(removed, 'row')} removed: their objects are without a row again")
    else:
        print(f"{counted(stay, 'row')} would be removed, but those that were changed since")
    if not acts:
        if not args.dry_run:
            complain(DRY.replace("made", "removed"))
        return DONE if args.dry_run else FAILED
    if stay:
        complain(f"{counted(stay, 'row')} stay: changed since, gone, or kept by the table")
    return FAILED if stay else DONE
