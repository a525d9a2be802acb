"""Arguments of the commands that look at marks and keep keys: `marks` and `hold`."""

from __future__ import annotations

from reconciler.terminal.arguments.making import Commands, Parser, logged, whole, words

VERDICTS = ("ownerless", "revoked", "expired", "stale", "orphan", "dangling")
STATES = ("claimed", "held", "refused", "unreleased", "waiting", "due")

MARKS = """\
A mark is the intention to delete one key. Its state is the first that applies: claimed (the collector
has it, and it goes), held, refused (the database does not let its row go, so its object stays too),
unreleased (its pass is not through, or tripped the breaker), waiting (for its time), due. Needs
RECONCILER_DATABASE_URL alone."""

HOLDS = """\
What is on hold is found and counted, and never deleted: by its key, by all keys that begin with a
prefix (write the slash at its end), or by the virtual key of its record, as long as the hold lasts.
Needs RECONCILER_DATABASE_URL alone."""


def add_marks(commands: Commands) -> None:
    """`reconciler marks list|show|retry|cancel`."""
    group = logged(
        commands,
        "marks",
        "list, show, retry and cancel what is marked for deletion",
        MARKS,
        "  reconciler marks list --verdict orphan --state due\n  reconciler marks show image/2026/cat.png\n"
        '  reconciler marks cancel image/2026/cat.png --reason "still in use"',
    )
    actions = group.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")
    _add_marks_list(actions)
    _add_marks_show(actions)
    _add_marks_retry(actions)
    _add_marks_cancel(actions)


def _add_marks_list(actions: Commands) -> None:
    listed = logged(
        actions,
        "list",
        "list marks by key",
        "The table shows the first ones; jsonl prints every one, a line each.",
        "  reconciler marks list --prefix image/ --pass 17\n"
        "  reconciler marks list --limit 50 --after image/2026/cat.png\n"
        "  reconciler marks list --format jsonl | jq -r .storage_key",
        of="marks",
    )
    listed.add_argument("--verdict", choices=VERDICTS, help="only these")
    listed.add_argument("--state", choices=STATES, help="only those that stand so")
    listed.add_argument("--prefix", default="", metavar="P", help="only keys that begin with it")
    listed.add_argument(
        "--pass",
        type=whole,
        dest="pass_id",
        metavar="ID",
        help="only this pass's, and those of the passes that it takes in",
    )
    _paging(listed)


def _add_marks_show(actions: Commands) -> None:
    shown = logged(
        actions,
        "show",
        "show one key's mark",
        "What was seen of it, when, by which pass, what it waits for, and what database or store said when\n"
        "it was last tried.",
        "  reconciler marks show image/2026/cat.png\n  reconciler marks show --json image/2026/cat.png",
        of="marks",
    )
    shown.add_argument("key", metavar="KEY", help="the storage key")
    shown.add_argument("--json", action="store_true", help="print it as JSON, alone on stdout")


def _add_marks_retry(actions: Commands) -> None:
    retried = logged(
        actions,
        "retry",
        "have marks tried again at once that failed, or whose rows the database does not let go",
        "By themselves they are tried again later and later. Mend first what keeps them: `marks show` says\n"
        "what it is. Exits 1 where one of the keys has no such mark.",
        "  reconciler marks retry image/2026/cat.png\n  reconciler marks retry --all",
        of="marks",
    )
    which = retried.add_mutually_exclusive_group(required=True)
    which.add_argument("keys", nargs="*", default=[], metavar="KEY", help="storage keys")
    which.add_argument("--all", action="store_true", help="every such mark")


def _add_marks_cancel(actions: Commands) -> None:
    cancelled = logged(
        actions,
        "cancel",
        "withdraw marks",
        "Written in the ledger, with the reason. A pass that finds such a key again marks it anew, with a\n"
        "new delay: to keep it for good, put it on hold. A claimed mark cannot be cancelled. Exits 1\n"
        "where one of the marks was not there or is claimed.",
        '  reconciler marks cancel image/2026/cat.png --reason "still in use"',
        of="marks",
    )
    cancelled.add_argument("keys", nargs="+", metavar="KEY", help="storage keys")
    _who_and_why(cancelled)


def add_hold(commands: Commands) -> None:
    """`reconciler hold add|list|remove`."""
    group = logged(
        commands,
        "hold",
        "keep keys, prefixes or a virtual key's media from deletion",
        HOLDS,
        '  reconciler hold add --key image/cat.png --reason "case 2026-17" --for 30d\n'
        "  reconciler hold list\n  reconciler hold remove --key image/cat.png",
    )
    actions = group.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")
    _add_hold_add(actions)
    _add_hold_list(actions)
    _add_hold_remove(actions)


def _add_hold_add(actions: Commands) -> None:
    added = logged(
        actions,
        "add",
        "put keys on hold",
        "Nothing under the hold is claimed for deletion from then on. Says which keys were claimed before,\n"
        "and exits 1 for them: they may still go. Again for the same target and author, the newer reason\n"
        "and end count; holds of several authors stand side by side.",
        '  reconciler hold add --prefix image/tenant-7/ --reason "moving house"\n'
        '  reconciler hold add --virtual-key 7f0c… --reason "case 2026-17" --until 2027-01-01',
        of="hold",
    )
    _targets(added)
    _who_and_why(added)
    ends = added.add_mutually_exclusive_group()
    ends.add_argument("--until", metavar="TIME", help="its end, as 2027-01-01 or 2027-01-01T12:00Z (UTC)")
    ends.add_argument(
        "--for", dest="lasting", metavar="30d", help="how long it lasts; default: until removed"
    )


def _add_hold_list(actions: Commands) -> None:
    listed = logged(
        actions,
        "list",
        "list the holds in force",
        "The table shows the first ones; jsonl prints every one, a line each.",
        '  reconciler hold list --kind prefix\n  reconciler hold list --author "the store"\n'
        "  reconciler hold list --pass 17 --format jsonl",
        of="hold",
    )
    listed.add_argument("--kind", choices=("key", "prefix", "virtual_key"), help="only these")
    listed.add_argument("--prefix", default="", metavar="P", help="only targets that begin with it")
    listed.add_argument("--author", type=words, metavar="NAME", help="only this author's")
    _of_pass_or_reason(listed)
    _limit_and_format(listed)


def _add_hold_remove(actions: Commands) -> None:
    removed = logged(
        actions,
        "remove",
        "lift holds",
        "By name, those of every author unless one is named; or all that an author, a pass or a reason has\n"
        "left, where all that is given has to apply. The program's own holds are by 'the store', which\n"
        "refused to delete, and by whoever ran an undo; both bear the pass. Marks made before the hold go\n"
        "on as if there had been none: what is due, and was seen by the last pass, may go at once. Who\n"
        "lifted it is written in the ledger. Exits 1 where there was no such hold.",
        "  reconciler hold remove --key image/cat.png\n"
        "  reconciler hold remove --prefix image/tenant-7/ --author alice@ops\n"
        '  reconciler hold remove --author "the store" --reason QuotaExceeded --dry-run\n'
        "  reconciler hold remove --pass 17",
        of="hold",
    )
    _targets(removed)
    removed.add_argument("--author", type=words, metavar="NAME", help="only this author's")
    _of_pass_or_reason(removed)
    removed.add_argument("--all", action="store_true", help="every hold that is in force, whoever made it")
    removed.add_argument("--dry-run", action="store_true", help="count what would be lifted, and do nothing")


def _targets(made: Parser) -> None:
    made.add_argument("--key", action="append", default=[], metavar="KEY", help="a storage key (repeatable)")
    made.add_argument(
        "--prefix", action="append", default=[], metavar="P", help="all keys that begin so (repeatable)"
    )
    made.add_argument(
        "--virtual-key", action="append", default=[], metavar="ID", help="all its records' keys (repeatable)"
    )


def _of_pass_or_reason(made: Parser) -> None:
    made.add_argument(
        "--pass",
        type=whole,
        dest="pass_id",
        metavar="ID",
        help="only those that an undo of this pass left, or that the store's refusals of its keys did",
    )
    made.add_argument("--reason", type=words, metavar="TEXT", help="only those whose reason contains this")


def _who_and_why(made: Parser) -> None:
    made.add_argument(
        "--reason", type=words, required=True, metavar="TEXT", help="why, for those who find it later"
    )
    made.add_argument(
        "--author", type=words, metavar="NAME", help="who says so (default: the user of this shell)"
    )


def _paging(made: Parser) -> None:
    made.add_argument("--after", default="", metavar="KEY", help="only keys behind this one")
    _limit_and_format(made)


def _limit_and_format(made: Parser) -> None:
    made.add_argument("--limit", type=whole, metavar="N", help="how many (default: 50, or all in jsonl)")
    made.add_argument("--format", choices=("table", "jsonl"), default="table", help="default: table")
    made.add_argument("--json", action="store_const", dest="format", const="jsonl", help="the same as jsonl")
