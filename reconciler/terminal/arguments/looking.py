"""Arguments of what looks and changes nothing: `config`, `doctor`, `plan`, `storage`."""

from __future__ import annotations

from reconciler.terminal.arguments.making import Commands, command, log_level, logged, whole

STORAGE = """\
Adds up the rows in the managed prefixes: how many objects they name and how many bytes they give. Each
row counts as one object. Reads the whole media table once, and waits ten minutes at most. Needs
RECONCILER_DATABASE_URL alone, and RECONCILER_CATALOG__... where tables have other names. The prefixes are
those that the leader last wrote down: before there was one, every row counts, and the output says so."""

STORAGE_EXAMPLES = """\
  reconciler storage
  reconciler storage --by media-type
  reconciler storage --top 100 --json | jq '.largest[] | [.virtual_key_id, .bytes]'"""

BY = ("virtual-key", "media-type", "provider")


def add_config(commands: Commands) -> None:
    made = command(
        commands,
        "config",
        "print every setting, its value, where that came from, and what it means",
        "Reads the environment and the files as the daemon does, and reaches nothing. Secrets are masked.\n"
        "Settings marked with ~ follow RECONCILER_RUNTIME_FILE while the daemon runs. Exits 2 with one line\n"
        "for each fault where the settings are not valid.",
        "  reconciler config\n  reconciler config --json | jq '.settings[] | select(.source != \"default\")'",
    )
    made.add_argument("--json", action="store_true", help="print them as JSON, alone on stdout")
    log_level(made)


def add_doctor(commands: Commands) -> None:
    made = command(
        commands,
        "doctor",
        "check settings, database, schema, bucket and permissions",
        "Looks at everything that a pass needs and at what the store can do, and says what mends a fault.\n"
        "Writes nothing but scratch keys under .reconciler/ in the bucket, which it removes again.",
        "  reconciler doctor",
    )
    log_level(made)


def add_plan(commands: Commands) -> None:
    made = command(
        commands,
        "plan",
        "print what a pass would find, and do nothing",
        "One pass that takes no lease and writes no mark. Exits 3 if its findings would trip the breaker.\n"
        "The table shows counts and the first findings; jsonl and csv print every one, as they are found.",
        "  reconciler plan\n  reconciler plan --format jsonl | jq -r .storage_key\n"
        "  reconciler plan --format csv > plan.csv",
    )
    made.add_argument("--format", choices=("table", "jsonl", "csv"), default="table", help="default: table")
    log_level(made)


def add_storage(commands: Commands) -> None:
    """`reconciler storage`."""
    made = logged(commands, "storage", "print who stores how much", STORAGE, STORAGE_EXAMPLES)
    made.add_argument("--by", choices=BY, default=BY[0], help=f"what to tell apart (default {BY[0]})")
    made.add_argument(
        "--top", type=whole, default=20, metavar="N", help="how many of the largest (default 20)"
    )
    made.add_argument("--json", action="store_true", help="print it as JSON, alone on stdout")
