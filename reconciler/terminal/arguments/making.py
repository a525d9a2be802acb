"""How a command gets its arguments. Imports nothing heavy: `--help` answers at once."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn, TypeAlias

LARGEST = 2**63 - 1
"""What the database can count to."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}; see {self.prog} --help", file=sys.stderr)
        raise SystemExit(2)

    def parse_known_args(  # type: ignore[override]  # of the three overloads the general one
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Nothing is left over: so the command itself says what it does not know, and where its help is."""
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return known, unknown


Commands: TypeAlias = "argparse._SubParsersAction[Parser]"  # noqa: SLF001 - it has no public name
"""The group that a command belongs to: those of the program, or the actions of one of them."""


def command(
    commands: Commands, name: str, summary: str, text: str, examples: str, *, of: str | None = None
) -> Parser:
    """A command, or with `of` an action of that command. `summary` is one line."""
    made = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.\n\n{text}",
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.set_defaults(command=of or name)
    return made


def logged(
    commands: Commands, name: str, summary: str, text: str, examples: str, *, of: str | None = None
) -> Parser:
    """The same, with --log-level as its first argument."""
    made = command(commands, name, summary, text, examples, of=of)
    log_level(made)
    return made


def log_level(made: Parser) -> None:
    made.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        help="what is logged on stderr; debug adds tracebacks (RECONCILER_LOG_LEVEL)",
    )


def whole(text: str) -> int:
    """A whole number above 0."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= LARGEST:
        message = "must be a whole number above 0"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def words(given: str) -> str:
    """What people say for others to read: text that a database can keep. Raises for what is not UTF-8."""
    try:
        given.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(
            "it is not UTF-8: write it with the characters of a terminal"
        ) from None
    return given
