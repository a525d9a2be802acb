"""Make sure that deleted keys never come back, or erase all of a virtual key, with proof.

With storage keys alone: for what is deleted already. Removed rows are taken out of the ledger at once, and
neither undo nor healing brings anything of the keys back. What is hidden of them is purged by the leader
within seconds, but not in dry run, nor while deletions are paused: `reconciler history KEY` says when it is
done. What is still in the bucket and in the media table is left alone: delete the record first. Exits 1
where a row still names a key, a key is being deleted at that moment, or nothing is recorded of one; and
where any of them is on hold: then nothing is erased, unless --despite-hold says that the request weighs
more.

With --virtual-key or --key: rows and objects that are live go, too, with every version and copy, and the
leader ends with a signed certificate that names nobody. What is on hold, locked by the store or named by
somebody else's row stays, and the certificate says so. Exits 0 once all of it is certified as gone, 1 where
something stays, or it is not done within --wait; it goes on by itself then. --list shows all that were
ordered, --export writes their certificates to a directory, and --verify checks such files offline, needing
no setting. After a restore from a backup, --replay erases again what the bucket's certificates name; it
needs the bucket's settings as well. All else needs RECONCILER_DATABASE_URL alone.

$ reconciler erase image/2026/cat.png
$ reconciler erase --virtual-key "$ID" --reason "request 2026-17"
$ reconciler erase --export certificates
$ reconciler erase --verify certificates/*
$ reconciler erase --replay --dry-run
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

from reconciler.cli import proofs
from reconciler.cli.arguments import Commands, as_json, by, command, words, yes
from reconciler.cli.errors import DONE, FAILED, complain
from reconciler.cli.running import on_database, operator, sure
from reconciler.cli.types import Catalog
from reconciler.errors import ConfigError
from reconciler.model import Erased, Hold, HoldKind
from reconciler.model.moments import moment
from reconciler.planning.formatting import counted

WAYS = ("keys", "virtual_key", "key", "verify", "replay", "list", "export")
"""What can be asked for, of which each excludes the others."""


def add(commands: Commands) -> None:
    made = command(commands, "erase", __doc__, run)
    made.add_argument("keys", nargs="*", metavar="KEY", help="storage keys of what is deleted already")
    whole = made.add_argument_group("erase what is live, too, with proof")
    whole.add_argument("--virtual-key", metavar="ID", help="all that is this virtual key's")
    whole.add_argument("--key", action="append", metavar="K", help="this storage key, whosever it is; repeat")
    whole.add_argument("--reason", type=words, default="", metavar="TEXT", help="stands in the certificate")
    whole.add_argument("--wait", default="5m", metavar="5m", help="how long to wait for it (default 5m)")
    proof = made.add_argument_group("certificates")
    proof.add_argument("--list", action="store_true", help="all erasures with proof, the newest first")
    proof.add_argument("--export", type=Path, metavar="DIR", help="write all certificates there")
    proof.add_argument("--verify", nargs="+", type=Path, metavar="FILE", help="check certificates, offline")
    proof.add_argument(
        "--public-key", action="append", type=Path, metavar="FILE", help="who may have signed them; repeat"
    )
    proof.add_argument("--replay", action="store_true", help="erase again what came back with a backup")
    proof.add_argument("--dry-run", action="store_true", help="of a replay, only say what it is about")
    made.add_argument(
        "--despite-hold", action="store_true", help="of KEY: erase what is on hold, too; whose it was is kept"
    )
    by(made, "who asks for it")
    yes(made, "erase")
    as_json(made, "what was erased")


def run(args: argparse.Namespace) -> int:
    asked = [way for way in WAYS if getattr(args, way)]
    if len(asked) != 1:
        what = "one of KEY, --virtual-key, --key, --list, --export, --verify and --replay"
        message = f"say {what}" if not asked else f"say only {what}"
        raise ConfigError(message)
    if not args.keys:
        return proofs.run(args, asked[0])
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
