"""Print the rules of retention in words, with how much is stored under each.

The first rule that matches a record holds for it, and the global settings hold for the rest. With
RECONCILER_RETENTION__SOURCE=conduit the rules are Conduit's policies as they are now. `--format markdown` is
a page for your users, to be published as it is. Counts the rows in the managed prefixes: reads the whole
media table once, and waits ten minutes at most. Needs the daemon's settings, and reaches the database alone.

$ reconciler policy
$ reconciler policy --format markdown > media-retention.md
$ reconciler policy --format markdown --template retention-policy.md > ours.md
$ reconciler policy --format json | jq '.rules[] | [.name, .records, .bytes]'
"""

from __future__ import annotations

import argparse
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli.arguments import Commands, command
from reconciler.cli.errors import DONE
from reconciler.cli.types import Output
from reconciler.errors import ConfigError

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

    made.add_argument("--template", metavar="FILE", help="a page in Markdown of your own, to be filled in")


def run(args: argparse.Namespace) -> int:
    from reconciler.cli import running

    template = _template(args)
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
        print(markdown(told) if template is None else filled(template, markdown(told)), end="")
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


PLACE = "<!-- reconciler policy -->"
"""The line of a template in whose place the rules go."""


def filled(template: str, page: str) -> str:
    """The template with the rules in it: the page without its title, whose sections are sections there."""
    return template.replace(PLACE, page.partition("\n")[2].strip("\n"))


def _template(args: argparse.Namespace) -> str | None:
    """Raises ConfigError for one that cannot be read, or has no place for the rules."""
    if args.template is None:
        return None
    if args.format != "markdown":
        raise ConfigError("--template needs --format markdown")
    try:
        text = Path(args.template).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"--template {args.template}: it cannot be read: {error}"
        raise ConfigError(message) from None
    if PLACE not in text:
        message = f"--template {args.template}: no line says {PLACE}, in whose place the rules go"
        raise ConfigError(message)
    return text


def _plain(text: str) -> str:
    """Text in which Markdown sees no marks of its own, and a terminal nothing but letters."""
    from reconciler.planning.formatting import printable

    shown = printable(text)
    return "".join(f"\\{char}" if char in "\\`*_{}[]<>()#|!" else char for char in shown)
