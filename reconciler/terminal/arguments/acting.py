"""Arguments of what deletes, prepares it, or shows it: `demo`, `migrate`, `once`, `run`, `adopt-bucket`."""

from __future__ import annotations

from reconciler.terminal.arguments.making import Commands, command, log_level, logged, whole

ADOPT = """\
Bucket and database name each other, and each leader writes a new nonce to both. Where they do not agree,
everything halts: two copies of one database act on the bucket, or this one was restored from a backup or
failed over, or the bucket lost its marker, or the settings name another bucket than before. Only a person
can know which database is the right one.

Run this with the settings of the database that is to go on. Without --yes it says what it found and
changes nothing. With --yes the bucket becomes this database's under a new site id: every other database
that acted on it halts. All marks are withdrawn, and found anew by later passes after their delay. A database
restored from an old backup lacks newer rows, whose objects then look like orphans: see that its rows are
complete first, and keep RECONCILER_DRY_RUN on until `reconciler plan` shows what you expect.

Exits 0 when it was settled or nothing had to be, 1 where it could not be done now, 2 where --yes is
missing, 3 where the marker cannot be read."""


def add_demo(commands: Commands) -> None:
    made = command(
        commands,
        "demo",
        "show the whole of it on embedded servers",
        "Starts a Postgres and an S3 server of its own, fills them with every kind of drift, prints the\n"
        "plan of a dry run, then converges and verifies the outcome. Needs no settings; touches nothing\n"
        "of yours; leaves nothing behind. Needs the extra: pip install 'media-reconciler[demo]'.",
        "  reconciler demo\n  reconciler demo --objects 20000\n  reconciler demo --keep",
    )
    made.add_argument("--objects", type=whole, default=2000, metavar="N", help="how many (default 2000)")
    made.add_argument(
        "--keep", action="store_true", help="leave the servers up until Ctrl-C, and print how to reach them"
    )
    log_level(made)


def add_migrate(commands: Commands) -> None:
    made = command(
        commands,
        "migrate",
        "bring the database's schema to this version's",
        "Makes the reconciler's own schema. Nothing of the gateway's is altered, except where\n"
        "--create-index asks for an index and --install-triggers for triggers that hold off writers of\n"
        "keys that are being deleted. --create-tables is for a new gateway that has no tables yet: beside\n"
        "tables of its own, empty ones would make every object an orphan, so it stops where it finds any.\n"
        "Needs RECONCILER_DATABASE_URL, and RECONCILER_CATALOG__... where tables have other names.",
        "  reconciler migrate\n  reconciler migrate --create-index\n  reconciler migrate --install-triggers\n"
        "  reconciler migrate --create-tables\n  reconciler migrate --sql > schema.sql",
    )
    made.add_argument("--sql", action="store_true", help="print the SQL instead; needs no database")
    made.add_argument(
        "--create-tables",
        action="store_true",
        help='also make "MediaRecords" and "VirtualKeys", for a new gateway that has neither',
    )
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
    log_level(made)


def add_once(commands: Commands) -> None:
    made = command(
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
    log_level(made)


def add_run(commands: Commands) -> None:
    made = command(
        commands,
        "run",
        "run the daemon",
        "Sweeps, retains and collects at their intervals while it holds the lease, and stands by while\n"
        "another replica does. Serves /metrics, /healthz and /readyz. Never migrates. SIGTERM finishes\n"
        "the batch in hand and exits 0. A halted daemon stays up, idle, and says so.",
        "  reconciler run\n  RECONCILER_WEB__PORT=9090 reconciler run",
    )
    log_level(made)


def add_adopt_bucket(commands: Commands) -> None:
    """`reconciler adopt-bucket [--yes] [--wait 60s]`."""
    made = logged(
        commands,
        "adopt-bucket",
        "settle which database a bucket belongs to",
        ADOPT,
        "  reconciler adopt-bucket\n  reconciler adopt-bucket --yes",
    )
    made.add_argument("--yes", action="store_true", help="do it; otherwise only say what was found")
    made.add_argument(
        "--wait", default="60s", metavar="60s", help="how long to wait for the lease (default 60s)"
    )
