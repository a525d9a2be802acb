"""The command line's arguments and its help. Imports nothing heavy: `--help` answers at once."""

from __future__ import annotations

import argparse
import sys
from typing import Any, NoReturn

from reconciler import __version__
from reconciler.terminal import adopting, decisions, keeping, recovering, storing
from reconciler.terminal.words import words


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}; see {self.prog} --help", file=sys.stderr)
        raise SystemExit(2)


SETTINGS_HELP = """\
settings:
  Environment variables RECONCILER_..., over the YAML file RECONCILER_CONFIG_FILE, over defaults.
  The YAML file RECONCILER_RUNTIME_FILE is read again while the daemon runs, and wins for what it sets;
  `reconciler config` prints every setting, and where its value came from.
  At least RECONCILER_DATABASE_URL, RECONCILER_BUCKET__NAME and RECONCILER_BUCKET__PREFIXES must be
  set; credentials of the bucket come from the usual AWS variables and files.

exit status:
  0 done, 1 failed, 2 usage or configuration, 3 halted or tripped
"""


def parser() -> Parser:
    """The whole command line."""
    root = Parser(
        prog="reconciler",
        description="Keeps an S3-compatible bucket and its index table in Postgres in agreement: finds what\n"
        "is in one and not in the other, or past its retention, marks it, and deletes it after a delay,\n"
        "under a rate limit and a circuit breaker. Dry run is the default.",
        epilog=SETTINGS_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    root.add_argument("--version", action="version", version=f"reconciler {__version__}")
    commands = root.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (
        _add_demo,
        _add_migrate,
        _add_config,
        _add_doctor,
        _add_plan,
        _add_once,
        _add_run,
        _add_marks,
        _add_hold,
        _add_storage,
        _add_pause,
        _add_resume,
        _add_adopt,
        _add_undo,
        _add_erase,
    ):
        add(commands)
    for decide in (decisions.add_passes, decisions.add_approve, decisions.add_discard):
        decide(commands, _add_logged)
    return root


def _add(
    commands: Any,  # noqa: ANN401 - argparse's own type is private
    name: str,
    summary: str,
    text: str,
    examples: str,
) -> Parser:
    made: Parser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.\n\n{text}",
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.set_defaults(command=name)
    return made


def _log_level(made: Parser) -> None:
    made.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        help="what is logged on stderr; debug adds tracebacks (RECONCILER_LOG_LEVEL)",
    )


def _add_demo(commands: Any) -> None:  # noqa: ANN401
    made = _add(
        commands,
        "demo",
        "show the whole of it on embedded servers",
        "Starts a Postgres and an S3 server of its own, fills them with every kind of drift, prints the\n"
        "plan of a dry run, then converges and verifies the outcome. Needs no settings; touches nothing\n"
        "of yours; leaves nothing behind. Needs the extra: pip install 'media-reconciler[demo]'.",
        "  reconciler demo\n  reconciler demo --objects 20000\n  reconciler demo --keep",
    )
    made.add_argument("--objects", type=_positive, default=2000, metavar="N", help="how many (default 2000)")
    made.add_argument(
        "--keep", action="store_true", help="leave the servers up until Ctrl-C, and print how to reach them"
    )
    _log_level(made)


def _add_migrate(commands: Any) -> None:  # noqa: ANN401
    made = _add(
        commands,
        "migrate",
        "bring the database's schema to this version's",
        "Makes the reconciler's own schema, and the gateway's two tables where they do not exist.\n"
        "Nothing of an existing gateway is altered, except where --create-index asks for an index and\n"
        "--install-triggers for triggers that hold off writers of keys that are being deleted.\n"
        "Needs RECONCILER_DATABASE_URL, and RECONCILER_CATALOG__... where tables have other names.",
        "  reconciler migrate\n  reconciler migrate --create-index\n  reconciler migrate --install-triggers\n"
        "  reconciler migrate --sql > schema.sql",
    )
    made.add_argument("--sql", action="store_true", help="print the SQL instead; needs no database")
    made.add_argument(
        "--create-index",
        action="store_true",
        help="also build the index on the storage key in byte order (CONCURRENTLY, without a lock)",
    )
    guarding = made.add_mutually_exclusive_group()
    guarding.add_argument(
        "--install-triggers",
        action="store_true",
        help="also install the triggers that refuse a row whose object is being deleted (needs the owner)",
    )
    guarding.add_argument("--remove-triggers", action="store_true", help="remove those triggers again")
    _log_level(made)


def _add_config(commands: Any) -> None:  # noqa: ANN401
    made = _add(
        commands,
        "config",
        "print every setting, its value, where that came from, and what it means",
        "Reads the environment and the files as the daemon does, and reaches nothing. Secrets are masked.\n"
        "Settings marked with ~ follow RECONCILER_RUNTIME_FILE while the daemon runs. Exits 2 with one line\n"
        "for each fault where the settings are not valid.",
        "  reconciler config\n  reconciler config --json | jq '.settings[] | select(.source != \"default\")'",
    )
    made.add_argument("--json", action="store_true", help="print them as JSON, alone on stdout")
    _log_level(made)


def _add_doctor(commands: Any) -> None:  # noqa: ANN401
    made = _add(
        commands,
        "doctor",
        "check settings, database, schema, bucket and permissions",
        "Looks at everything that a pass needs and at what the store can do, and says what mends a fault.\n"
        "Writes nothing but scratch keys under .reconciler/ in the bucket, which it removes again.",
        "  reconciler doctor",
    )
    _log_level(made)


def _add_plan(commands: Any) -> None:  # noqa: ANN401
    made = _add(
        commands,
        "plan",
        "print what a pass would find, and do nothing",
        "One pass that takes no lease and writes no mark. Exits 3 if its findings would trip the breaker.\n"
        "The table shows counts and the first findings; jsonl and csv print every one, as they are found.",
        "  reconciler plan\n  reconciler plan --format jsonl | jq -r .storage_key\n"
        "  reconciler plan --format csv > plan.csv",
    )
    made.add_argument("--format", choices=("table", "jsonl", "csv"), default="table", help="default: table")
    _log_level(made)


def _add_once(commands: Any) -> None:  # noqa: ANN401
    made = _add(
        commands,
        "once",
        "run every marker and the collector once, then exit",
        "Takes the lease as any replica does. In dry run, which is the default, nothing is deleted:\n"
        "set RECONCILER_DRY_RUN=false to let it. What is found is deleted after RECONCILER_DELETE_DELAY,\n"
        "by a later run.",
        "  reconciler once\n  reconciler once --json | jq .outcome\n"
        "  RECONCILER_DRY_RUN=false reconciler once --wait 5m",
    )
    made.add_argument("--json", action="store_true", help="print the report as JSON, alone on stdout")
    made.add_argument(
        "--wait", default="60s", metavar="60s", help="how long to wait for the lease (default 60s)"
    )
    _log_level(made)


def _add_adopt(commands: Any) -> None:  # noqa: ANN401
    adopting.add_adopt_bucket(commands, _add_logged)


def _add_run(commands: Any) -> None:  # noqa: ANN401
    made = _add(
        commands,
        "run",
        "run the daemon",
        "Sweeps, retains and collects at their intervals while it holds the lease, and stands by while\n"
        "another replica does. Serves /metrics, /healthz and /readyz. Never migrates. SIGTERM finishes\n"
        "the batch in hand and exits 0. A halted daemon stays up, idle, and says so.",
        "  reconciler run\n  RECONCILER_WEB__PORT=9090 reconciler run",
    )
    _log_level(made)


def _add_marks(commands: Any) -> None:  # noqa: ANN401
    keeping.add_marks(commands, _add_logged)


def _add_hold(commands: Any) -> None:  # noqa: ANN401
    keeping.add_hold(commands, _add_logged)


def _add_storage(commands: Any) -> None:  # noqa: ANN401
    storing.add_storage(commands, _add_logged, _positive)


def _add_undo(commands: Any) -> None:  # noqa: ANN401
    recovering.add_undo(commands, _add_logged)


def _add_erase(commands: Any) -> None:  # noqa: ANN401
    recovering.add_erase(commands, _add_logged)


def _add_logged(commands: Any, name: str, summary: str, text: str, examples: str) -> Parser:  # noqa: ANN401
    made = _add(commands, name, summary, text, examples)
    _log_level(made)
    return made


def _add_pause(commands: Any) -> None:  # noqa: ANN401
    made = _add(
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
    _log_level(made)


def _add_resume(commands: Any) -> None:  # noqa: ANN401
    made = _add(
        commands,
        "resume",
        "end a pause",
        "What is due goes at once, at the set rate: look at `reconciler plan` first. Claims that a pause\n"
        "held up are carried on. Needs RECONCILER_DATABASE_URL alone.",
        "  reconciler resume",
    )
    _log_level(made)


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        message = "must be a whole number above 0"
        raise argparse.ArgumentTypeError(message)
    return int(text)
