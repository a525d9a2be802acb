"""Print the rules of retention in words, with how much is stored under each.

The first rule that matches a record holds for it, and the global settings hold for the rest. With
RECONCILER_RETENTION__SOURCE=conduit the rules are Conduit's policies as they are now. `--format markdown` is
a page for your users, to be published as it is. Counts the rows in the managed prefixes: reads the whole
media table once, and waits ten minutes at most. Needs the daemon's settings, and reaches the database alone.

$ reconciler policy
$ reconciler policy --format markdown > media-retention.md
$ reconciler policy --format json | jq '.rules[] | [.name, .records, .bytes]'
"""

from __future__ import annotations

import argparse
from datetime import timedelta
from typing import TYPE_CHECKING

from reconciler.cli.arguments import Commands, command
from reconciler.cli.errors import DONE
from reconciler.cli.types import Output

if TYPE_CHECKING:
    from reconciler.operations.policy import Published

GLOBAL = "(global settings)"


def add(commands: Commands) -> None:
    made = command(commands, "policy", __doc__, run)
    made.add_argument(
        "--format", choices=("table", "markdown", "json"), default="table", help="how to print them"
    )
    made.add_argument(
        "--json", action="store_const", dest="format", const="json", help="the same as --format json"
    )


def run(args: argparse.Namespace) -> int:
    from reconciler.cli import running

    settings = running.settings_of(args)
    from reconciler import app
    from reconciler.cli.output import console, print_json
    from reconciler.operations import as_json
    from reconciler.operations.policy import publish

    async def ask() -> Published:
        async with app.open_database(settings) as catalog:
            window = timedelta(0) if settings.delete_mode == "direct" else settings.undo_window
            return await publish(catalog, settings.policy(), window)

    told = running.wait_unless_ended(ask)
    if args.format == "json":
        print_json(as_json.published(told))
    elif args.format == "markdown":
        print(markdown(told), end="")
    else:
        print_policy(told, console())
    return DONE


def print_policy(told: Published, out: Output) -> None:
    from reconciler.planning.formatting import human_bytes

    rows = [
        (
            (each.name or GLOBAL, "bold"),
            each.whose,
            ". ".join(filter(None, (each.kept, each.of_quota, each.soft_deleted, each.of_ended_keys))),
            f"{each.records:,}",
            human_bytes(each.bytes),
        )
        for each in told.rules
    ]
    out.table(("rule", "for", "what happens", "records", "bytes"), rows, right=("records", "bytes"))
    for sentence in told.for_all:
        out.say(sentence, hang=2)
    for line in told.doubts:
        out.say(("kept in doubt: ", "yellow"), line, hang=2)


def markdown(told: Published) -> str:
    """A page for the gateway's users."""
    from reconciler.model.moments import moment
    from reconciler.planning.formatting import counted, human_bytes

    lines = ["# How long media is kept", ""]
    if len(told.rules) > 1:
        lines += ["The first of these rules that is about a file holds for it.", ""]
    for each in told.rules:
        if len(told.rules) > 1:
            lines += [f"## {_plain(each.name) if each.name else each.whose.capitalize()}", ""]
        lines += [f"- For: {_plain(each.whose)}."] if each.name else []
        lines += [
            f"- {words}."
            for words in (each.kept, each.of_quota, each.soft_deleted, each.of_ended_keys)
            if words
        ]
        lines += [f"- Stored now: {counted(each.records, 'file')}, {human_bytes(each.bytes)}.", ""]
    lines += ["## For all media", "", *(f"- {sentence}" for sentence in told.for_all), ""]
    lines += [f"As of {moment(told.at)}."]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """Text in which Markdown sees no marks of its own, and a terminal nothing but letters."""
    from reconciler.planning.formatting import printable

    shown = printable(text)
    return "".join(f"\\{char}" if char in "\\`*_{}[]<>()#|!" else char for char in shown)
