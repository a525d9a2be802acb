"""Arguments of what stops the daemon, and of what decides about its passes."""

from __future__ import annotations

import argparse

from reconciler.terminal.arguments.making import Commands, Parser, command, log_level, logged, whole, words

LIMIT = 20


def add_pause(commands: Commands) -> None:
    made = command(
        commands,
        "pause",
        "stop every deletion, on every replica, within a second",
        "The stop is kept in the database: it outlives restarts, and holds until `reconciler resume`.\n"
        "Sweeps and marks go on, so that what is found stays visible; nothing is claimed, no request that\n"
        "deletes is sent, and what was claimed before waits. Needs RECONCILER_DATABASE_URL alone.",
        '  reconciler pause --reason "restoring the database"',
    )
    made.add_argument(
        "--reason", type=words, default="", metavar="TEXT", help="why, for those who find it stopped"
    )
    log_level(made)


def add_resume(commands: Commands) -> None:
    made = command(
        commands,
        "resume",
        "end a pause",
        "What is due goes at once, at the set rate: look at `reconciler plan` first. Claims that a pause\n"
        "held up are carried on. Needs RECONCILER_DATABASE_URL alone.",
        "  reconciler resume",
    )
    log_level(made)


def add_passes(commands: Commands) -> None:
    """`reconciler passes`, and `reconciler passes show ID`."""
    made = logged(
        commands,
        "passes",
        "list the passes, or show one",
        "The newest first. A tripped pass waits until somebody approves or discards it; one that tripped\n"
        "after it takes it in, and the earlier ones are left out (--all lists them). Writes nothing, takes\n"
        "no lease. Needs RECONCILER_DATABASE_URL alone.",
        "  reconciler passes\n  reconciler passes show 12\n  reconciler passes --json | jq '.[0].state'",
    )
    made.add_argument("--all", action="store_true", help="list tripped passes that a later one takes in, too")
    made.add_argument("--limit", type=whole, default=LIMIT, metavar="N", help=f"default {LIMIT}")
    made.add_argument("--json", action="store_true", help="print them as JSON, alone on stdout")
    show = logged(
        made.add_subparsers(title="actions", metavar="ACTION", dest="action"),
        "show",
        "show one pass: why it tripped, what it would release, and examples",
        "Counts by prefix and verdict, the reasons, and the first keys of each verdict.",
        "  reconciler passes show 12\n  reconciler passes show 12 --json",
        of="passes",
    )
    show.add_argument("pass_id", type=whole, metavar="ID", help="the pass")
    # Given before or after `show`, it means the same.
    show.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help="print it as JSON, alone on stdout"
    )


def add_approve(commands: Commands) -> None:
    """`reconciler approve ID`."""
    made = logged(
        commands,
        "approve",
        "let a tripped pass go",
        "Its marks are released: they still wait for their due time, and each is decided anew before it\n"
        "goes. Who approved it and when is recorded. Marks of tripped passes before it go with it, as far\n"
        "as it has seen them again. Works beside a running daemon; takes no lease. Exits 1 where the pass\n"
        "is not tripped, or needs --i-understand.",
        "  reconciler passes show 12\n  reconciler approve 12",
    )
    _decision(made)
    made.add_argument(
        "--i-understand",
        action="store_true",
        help="needed where both sides were above their limits: that says that the comparison is wrong",
    )


def add_discard(commands: Commands) -> None:
    """`reconciler discard ID`."""
    made = logged(
        commands,
        "discard",
        "withdraw the marks of a tripped pass",
        "Nothing of it goes; the next pass looks at everything anew, and is released if it is in order. For\n"
        "when the cause is mended. Who discarded it and when is recorded. Works beside a running daemon;\n"
        "takes no lease. Exits 1 where the pass is not tripped.",
        "  reconciler discard 12",
    )
    _decision(made)


def _decision(made: Parser) -> None:
    made.add_argument("pass_id", type=whole, metavar="ID", help="the pass, see `reconciler passes`")
    made.add_argument("--by", type=words, metavar="NAME", help="who decides (default: user@host)")
    made.add_argument("--json", action="store_true", help="print the outcome as JSON, alone on stdout")
