"""Make sure that deleted keys never come back.

For erasure on request. Removed rows are taken out of the ledger at once, and neither undo nor healing
brings anything of the keys back. What is hidden of them is purged by the leader within seconds, but not in
dry run, nor while deletions are paused: `reconciler history KEY` says when it is done. What is still
in the bucket and in the media table is left alone: delete the record first. Exits 1 where a row still
names a key, a key is being deleted at that moment, or nothing is recorded of one; and where any of them is
on hold: then nothing is erased, unless --despite-hold says that the request weighs more. Needs
RECONCILER_DATABASE_URL alone.

$ reconciler erase image/2026/cat.png
"""

import argparse
from collections.abc import Mapping

from reconciler.cli.arguments import Commands, as_json, by, command, yes
from reconciler.cli.errors import DONE, FAILED, complain
from reconciler.cli.running import on_database, operator, sure
from reconciler.cli.types import Catalog
from reconciler.model import Erased, Hold, HoldKind
from reconciler.model.moments import moment
from reconciler.planning.formatting import counted


def add(commands: Commands) -> None:
    made = command(commands, "erase", __doc__, run)
    made.add_argument("keys", nargs="+", metavar="KEY", help="storage keys")
    made.add_argument(
        "--despite-hold", action="store_true", help="erase what is on hold, too; whose hold it was is kept"
    )
    by(made, "who asks for it")
    yes(made, "erase")
    as_json(made, "what was erased")


def run(args: argparse.Namespace) -> int:
    if not sure(args, f"Erase {counted(len(args.keys), 'key')} for good? None of it can be undone."):
        return FAILED
    return _run(args)


@on_database
async def _run(catalog: Catalog, args: argparse.Namespace) -> int:
    from reconciler.cli.output import print_json
    from reconciler.operations import as_json
    from reconciler.operations.erase import erase

    done = await erase(catalog, args.keys, author=operator(args), despite_hold=args.despite_hold)
    erased = done.erased
    if args.json:
        print_json(as_json.erased(done))
    if erased.held:
        _refuse(erased.held)
        return FAILED
    if not args.json and {*args.keys} - {*erased.unknown}:
        _print(erased)
    for key in erased.unknown:
        complain(f"{key}: nothing is known of it, so nothing was erased: is the key right?")
    for key in erased.claimed:
        complain(f"{key}: it is being deleted at this moment; erase it again in a minute")
    for key in erased.returning:
        complain(
            f"{key}: its object is being brought back; delete that once it is there, and erase the key again"
        )
    for key in done.named:
        complain(f"{key}: a row still names it; delete that, and erase the key again once its object is gone")
    return DONE if done.complete and not erased.unknown else FAILED


def _print(erased: Erased) -> None:
    if not erased.objects and not erased.rows:
        print("nothing of it is hidden, and no removed row is in the ledger")
        return
    print(f"removed rows: {erased.rows:,}, out of the ledger now")
    if erased.objects:
        print(
            f"hidden objects: {erased.objects:,}, still stored: the leader's next round purges them (not in"
            " dry run, nor while paused). `reconciler history KEY` says when that is done"
        )
    print("neither can be undone any more")


def _refuse(held: Mapping[str, Hold]) -> None:
    for key, hold in sorted(held.items()):
        until = f", until {moment(hold.until)}" if hold.until else ""
        what = "" if hold.kind is HoldKind.KEY else f" ({hold.kind.replace('_', ' ')} {hold.target})"
        complain(f"{key}: on hold by {hold.author}{what}: {hold.reason}{until}")
    complain("nothing was erased; lift the hold, or say --despite-hold where that is for you to decide")
