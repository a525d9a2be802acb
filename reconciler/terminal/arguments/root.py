"""The command line's arguments and its help. Imports nothing heavy: `--help` answers at once."""

from __future__ import annotations

import argparse

from reconciler import __version__
from reconciler.terminal.arguments import acting, keeping, looking, recovering, steering
from reconciler.terminal.arguments.making import Parser

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
        acting.add_demo,
        acting.add_migrate,
        looking.add_config,
        looking.add_doctor,
        looking.add_plan,
        acting.add_once,
        acting.add_run,
        keeping.add_marks,
        keeping.add_hold,
        looking.add_storage,
        steering.add_pause,
        steering.add_resume,
        acting.add_adopt_bucket,
        recovering.add_undo,
        recovering.add_erase,
        steering.add_passes,
        steering.add_approve,
        steering.add_discard,
    ):
        add(commands)
    return root
