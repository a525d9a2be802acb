"""The command line: which command, and what its end means: an exit status, and errors in one line each.

A file for each command holds its arguments, its call and what it prints; `COMMANDS` lists them. Nothing
heavy is imported before it is needed: `--help` answers at once, and faults of the settings are shown before
the adapters are loaded.
"""

import argparse
import gc
import os
import sys
from collections.abc import Callable, Sequence

from reconciler import __version__
from reconciler.cli import (
    access,
    adopt,
    adopt_bucket,
    approve,
    completion,
    config,
    cost,
    demo,
    discard,
    doctor,
    erase,
    events,
    explain,
    history,
    hold,
    init,
    ledger,
    lifecycle,
    links,
    marks,
    media,
    migrate,
    once,
    passes,
    pause,
    plan,
    policy,
    resume,
    run,
    status,
    storage,
    token,
    undo,
)
from reconciler.cli.arguments import Commands, Help, Parser
from reconciler.cli.errors import failed
from reconciler.cli.running import log_until_settings_are_read

COMMANDS: Sequence[Callable[[Commands], None]] = (
    demo.add,
    init.add,
    migrate.add,
    config.add,
    doctor.add,
    plan.add,
    once.add,
    run.add,
    media.add,
    links.add,
    access.add,
    status.add,
    marks.add,
    hold.add,
    explain.add,
    history.add,
    ledger.add,
    storage.add,
    cost.add,
    lifecycle.add,
    events.add,
    policy.add,
    pause.add,
    resume.add,
    adopt.add,
    adopt_bucket.add,
    undo.add,
    erase.add,
    passes.add,
    approve.add,
    discard.add,
    token.add,
    completion.add,
)
"""Every command, in the order of `--help`."""

SETTINGS_HELP = """\
settings:
  Environment variables RECONCILER_..., over the YAML file
  RECONCILER_CONFIG_FILE, over defaults. The YAML file RECONCILER_RUNTIME_FILE
  is read again while the daemon runs, and wins for what it sets;
  `reconciler config` prints every setting, and where its value came from.
  At least RECONCILER_DATABASE_URL, RECONCILER_BUCKET__NAME and
  RECONCILER_BUCKET__PREFIXES must be set; credentials of the bucket come from
  the usual AWS variables and files.

exit status:
  0 done
  1 failed; so where database or store are away, or a login lacks or is wrong
  2 usage or configuration
  3 halted or tripped
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit status."""
    _open_streams()
    # What is imported stays, and a listed page holds thousands of short-lived tuples: looking through
    # them at Python's own threshold took a quarter of a sweep's processor time (measured, 3.11).
    gc.set_threshold(50_000)
    args = _arguments(argv)
    try:
        log_until_settings_are_read(args)
        status: int = args.run(args)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 - the last place that can turn an error into a line
        return failed(error)
    return status


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments, without the parser, which a daemon would keep for years."""
    root = parser()
    if "_ARGCOMPLETE" in os.environ:  # a shell asks for completions, see `reconciler completion`
        import argcomplete

        argcomplete.autocomplete(root)
    return root.parse_args(argv)


def parser() -> Parser:
    root = Parser(
        prog="reconciler",
        description="Keeps an S3-compatible bucket and its index table in Postgres in agreement: finds what "
        "is in one and not in the other, or past its retention, marks it, and deletes it after a delay, "
        "under a rate limit and a circuit breaker. Dry run is the default.",
        epilog=SETTINGS_HELP,
        formatter_class=Help,
        allow_abbrev=False,
    )
    root.add_argument("--version", action="version", version=f"reconciler {__version__}")
    commands = root.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in COMMANDS:
        add(commands)
    return root


def _open_streams() -> None:
    """Both outputs are there, and write every key."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            # Closed by the shell (`>&-`): there is no reader, and no file opened later may take its number.
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115 - open until the program ends
        # A key that the terminal's encoding lacks must not end the listing.
        getattr(sys, name).reconfigure(errors="backslashreplace")
