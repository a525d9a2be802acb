"""Arguments of the commands for what was deleted: `undo` and `erase`."""

from __future__ import annotations

from reconciler.terminal.arguments.making import Commands, logged, words

UNDO = """\
Brings back what was deleted within RECONCILER_UNDO_WINDOW: objects out of the quarantine or from behind
their delete markers, rows out of the ledger. Never writes over what is there now. What comes back is put
on hold for RECONCILER_HOLD_FOR, or the next pass would delete it again (`reconciler hold remove --pass ID`
lifts what an undo of that pass left, `--key KEY` a single one). Runs
beside the daemon, and may be repeated at any time; with RECONCILER_DRY_RUN=true it only tells. Exits 1
where something could not be brought back, or the ledger knows of no deletion that fits."""


def add_undo(commands: Commands) -> None:
    """`reconciler undo`."""
    made = logged(
        commands,
        "undo",
        "bring back what was deleted",
        UNDO,
        "  reconciler undo --key image/2026/cat.png\n  reconciler undo --pass 1204 --dry-run\n"
        "  reconciler undo --since 2h --hold-for 90d\n"
        "  reconciler undo --since 2026-11-22T08:00:00Z --until 2026-11-22T09:00:00Z --json",
    )
    scope = made.add_mutually_exclusive_group(required=True)
    scope.add_argument("--key", action="append", metavar="KEY", help="this storage key; may be repeated")
    scope.add_argument(
        "--pass",
        dest="pass_id",
        type=int,
        metavar="ID",
        help="all that this pass deleted, and the passes that were approved with it",
    )
    scope.add_argument(
        "--since", metavar="TIME", help="all from then on: ISO 8601, or how long ago, as in 2h"
    )
    made.add_argument("--until", metavar="TIME", help="with --since: before then")
    made.add_argument("--dry-run", action="store_true", help="tell what would come back, and do nothing")
    made.add_argument(
        "--hold-for", metavar="30d", help="how long it is on hold (default: RECONCILER_HOLD_FOR, 30d)"
    )
    made.add_argument("--json", action="store_true", help="print a report as JSON, alone on stdout")
    made.add_argument(
        "--author", type=words, metavar="NAME", help="who brings it back (default: the user of this shell)"
    )


ERASE = """\
For erasure on request. What is hidden of these keys is purged by whoever leads within seconds, removed
rows are taken out of the ledger, and neither undo nor healing brings anything of them back. What is still
in the bucket and in the media table is left alone: delete the record first. Exits 1 where a row still
names a key, or a key is being deleted at that moment; and where any of them is on hold: then nothing is
erased, unless --despite-hold says that the request weighs more. Needs RECONCILER_DATABASE_URL alone."""


def add_erase(commands: Commands) -> None:
    """`reconciler erase`."""
    made = logged(
        commands,
        "erase",
        "make sure that deleted keys never come back",
        ERASE,
        "  reconciler erase image/2026/cat.png",
    )
    made.add_argument("keys", nargs="+", metavar="KEY", help="storage keys")
    made.add_argument(
        "--despite-hold", action="store_true", help="erase what is on hold, too; whose hold it was is kept"
    )
    made.add_argument(
        "--author", type=words, metavar="NAME", help="who asks for it (default: the user of this shell)"
    )
