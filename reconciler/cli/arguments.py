"""How a command gets its arguments. Imports nothing heavy: `--help` answers at once."""

import argparse
import difflib
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn, TypeAlias

LARGEST = 2**63 - 1
"""What the database can count to."""

NOTHING_NAMED = "the following arguments are required: COMMAND"
"""What argparse says where no command is given."""

Run: TypeAlias = Callable[[argparse.Namespace], int]
"""What a command does with its arguments. Returns the exit status."""


class Help(argparse.RawDescriptionHelpFormatter):
    """Prose as wide as the terminal, or COLUMNS; a paragraph with indented lines stays as it is."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        del indent
        lines = textwrap.TextWrapper(width, break_long_words=False, break_on_hyphens=False)
        return "\n\n".join(part if "\n " in part else lines.fill(part) for part in text.split("\n\n"))


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        if message == NOTHING_NAMED:
            self.print_help(sys.stderr)
            raise SystemExit(2)
        see = " See" if message.endswith("?") else "; see"
        print(f"{self.prog}: {message}{see} {self.prog} --help", file=sys.stderr)
        raise SystemExit(2)

    def parse_known_args(  # type: ignore[override]  # of the three overloads the general one
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Nothing is left over: so the command itself says what it does not know, and where its help is."""
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            guesses = (_guess(each, self._option_string_actions) for each in unknown if each.startswith("-"))
            self.error(f"unrecognized arguments: {' '.join(unknown)}{next(filter(None, guesses), '')}")
        return known, unknown

    def _check_value(self, action: argparse.Action, value: str) -> None:
        """As argparse does, with a guess at what was meant."""
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            guess = _guess(value, action.choices or ())
            raise argparse.ArgumentError(
                action, f"invalid choice: {value!r}{guess}" if guess else error.message
            ) from None


def _guess(given: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(given, map(str, known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


Commands: TypeAlias = "argparse._SubParsersAction[Parser]"  # noqa: SLF001 - it has no public name
"""The group that a command belongs to: those of the program, or the actions of one of them."""


def command(commands: Commands, name: str, text: str | None, run: Run | None = None) -> Parser:
    """A command, or an action of one; without `run` an action of it has to be named.

    `text` is a docstring: a summary in one line, what is to be known, and examples, each behind a `$`.
    """
    lines = inspect.cleandoc(text or name).splitlines()
    examples = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    made = commands.add_parser(
        name,
        help=lines[0][0].lower() + lines[0][1:].removesuffix("."),
        description="\n".join(line for line in lines if not line.startswith("$ ")).rstrip(),
        epilog="\n  ".join(("examples:", *examples)),
        formatter_class=Help,
        allow_abbrev=False,
    )
    made.set_defaults(run=run)
    made.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        help="what is logged on stderr; debug adds tracebacks (RECONCILER_LOG_LEVEL)",
    )
    return made


def actions(made: Parser, *, required: bool = True) -> Commands:
    return made.add_subparsers(title="actions", metavar="ACTION", required=required)


def as_json(made: Parser, what: str = "it", *, default: object = False) -> None:
    made.add_argument(
        "--json", action="store_true", default=default, help=f"print {what} as JSON, alone on stdout"
    )


def wait(made: Parser) -> None:
    made.add_argument(
        "--wait", default="60s", metavar="60s", help="how long to wait for the lease (default 60s)"
    )


def by(made: Parser, who: str) -> None:
    made.add_argument(
        "--by", type=words, metavar="NAME", help=f"{who} (default: RECONCILER_OPERATOR, or the shell's user)"
    )


def yes(made: Parser, what: str) -> None:
    made.add_argument("--yes", action="store_true", help=f"{what} without asking; a terminal is asked")


def who_and_why(made: Parser) -> None:
    made.add_argument(
        "--reason", type=words, required=True, metavar="TEXT", help="why, for those who find it later"
    )
    by(made, "who says so")


def limit_and_format(made: Parser) -> None:
    made.add_argument("--limit", type=whole, metavar="N", help="how many (default: 50, or all in jsonl)")
    made.add_argument("--format", choices=("table", "jsonl"), default="table", help="default: table")
    made.add_argument("--json", action="store_const", dest="format", const="jsonl", help="the same as jsonl")


def a_pass(made: Parser, summary: str) -> None:
    made.add_argument("--pass", type=whole, dest="pass_id", metavar="ID", help=summary)


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
