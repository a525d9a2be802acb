"""Look at database and bucket, and write a first settings file.

Finds the table and the column that name the bucket's objects, how they spell its keys, and under which
prefixes both sides have something; looks up a thousand rows' objects; and writes what it found, with
comments, for you to read. Only reads: nothing is written to database or bucket. On a terminal it asks for
what is not given.

$ reconciler init --database-url postgresql://me:secret@db/app --bucket media
$ reconciler init --endpoint-url https://s3.internal -o reconciler.yaml
"""

import argparse
import getpass
import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from reconciler.cli import running
from reconciler.cli.arguments import Commands, as_json, command
from reconciler.cli.errors import DONE, complain, leaf
from reconciler.cli.types import Looked
from reconciler.errors import ConfigError, ReconcilerError

FILE = "reconciler.yaml"
SHOWN = 5
"""Tables that a line names."""
DATABASE = "RECONCILER_DATABASE_URL"
DATABASE_FILE = "RECONCILER_DATABASE_URL_FILE"
BUCKET = "RECONCILER_BUCKET__NAME"
ENDPOINT = "RECONCILER_BUCKET__ENDPOINT_URL"
REGION = "RECONCILER_BUCKET__REGION"
PREFIXES = "RECONCILER_BUCKET__PREFIXES"
ASKED = {DATABASE: "--database-url", BUCKET: "--bucket"}
"""What has to be given, and the option for it."""
OPTIONS = {**ASKED, ENDPOINT: "--endpoint-url", REGION: "--region"}


def add(commands: Commands) -> None:
    made = command(commands, "init", __doc__, run)
    made.add_argument("--database-url", metavar="URL", help=f"the primary's address ({DATABASE})")
    made.add_argument("--bucket", metavar="NAME", help=f"the bucket's name ({BUCKET})")
    made.add_argument("--endpoint-url", metavar="URL", help=f"the store's address, if not AWS ({ENDPOINT})")
    made.add_argument("--region", metavar="NAME", help=f"the bucket's region ({REGION})")
    made.add_argument(
        "--output",
        "-o",
        default=FILE,
        metavar="FILE",
        help=f"the file to write (default {FILE}); - is stdout",
    )
    made.add_argument("--force", action="store_true", help="overwrite the file")
    as_json(made, "what was found")


def run(args: argparse.Namespace) -> int:
    try:
        return _run(args)
    except Exception as error:
        cause = leaf(error)
        if isinstance(cause, ReconcilerError):
            cause.args = (_with_options(str(cause)),)
        raise


def _with_options(message: str) -> str:
    """The message, with the option behind each setting that has one."""
    for name, option in OPTIONS.items():
        if option not in message:
            message = re.sub(rf"\b{name}\b", f"{name} ({option})", message)
    return message


def _run(args: argparse.Namespace) -> int:
    if args.output != "-" and Path(args.output).exists() and not args.force:
        message = f"{args.output} exists: name another file with -o, or overwrite it with --force"
        raise ConfigError(message)
    if args.output == "-" and args.json:
        raise ConfigError("--json and -o - both want stdout: name a file with -o")
    environ = _given(args)
    from reconciler.settings import load

    settings = load(environ, warn=complain)
    running.log_as(settings, args)
    from reconciler import app
    from reconciler.operations import as_json
    from reconciler.operations.settings_file import text

    def tell(line: str) -> None:
        print(f"looking: {line}", file=sys.stderr)

    looked = running.wait_unless_ended(lambda: app.init(settings, tell))
    address = settings.database_url.get_secret_value()
    shown = None if settings.database_url_file or _has_password(address) else address
    written = text(
        looked,
        database_url=shown,
        endpoint_url=settings.bucket.endpoint_url,
        region=settings.bucket.region,
    )
    if args.output == "-":
        print(written, end="")
        return DONE
    _write(Path(args.output), written, force=args.force)
    if args.json:
        from reconciler.cli.output import print_json

        print_json(as_json.looked(looked, args.output))
    else:
        _print(looked, args.output, _exports(args, environ, shown))
    return DONE


def _given(args: argparse.Namespace) -> dict[str, str]:
    """The environment, with the options over it, and with what was asked for on a terminal."""
    options = {
        DATABASE: args.database_url,
        BUCKET: args.bucket,
        ENDPOINT: args.endpoint_url,
        REGION: args.region,
    }
    environ = {PREFIXES: '[""]', **os.environ}
    environ |= {name: value for name, value in options.items() if value is not None}
    if args.database_url is not None:
        environ.pop(DATABASE_FILE, None)
    missing = [name for name in ASKED if not environ.get(name)]
    if environ.get(DATABASE_FILE) or environ.get("RECONCILER_CONFIG_FILE"):
        return environ  # the settings say what else is missing
    if missing and not (sys.stdin.isatty() and sys.stderr.isatty()):
        lines = [f"{name} is not set: set it, or give {ASKED[name]}" for name in missing]
        raise ConfigError("\n".join(lines))
    if missing:
        environ |= _asked(environ)
    return environ


def _asked(environ: dict[str, str]) -> dict[str, str]:
    """What a person answers. The address may hold a password, so it is not shown."""
    answers = {}
    if not environ.get(DATABASE):
        answers[DATABASE] = getpass.getpass("database (postgresql://user:password@host/name, not shown): ")
    if not environ.get(BUCKET):
        answers[BUCKET] = _ask("bucket: ")
        if not environ.get(ENDPOINT) and (endpoint := _ask("endpoint (empty for AWS): ")):
            answers[ENDPOINT] = endpoint
    return answers


def _ask(question: str) -> str:
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()


def _has_password(address: str) -> bool:
    from reconciler.settings.secrets import holds_password

    return holds_password(address)


def _write(path: Path, text: str, *, force: bool) -> None:
    """Raises ConfigError where the file cannot be written, or came into being meanwhile."""
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror or error}"
        raise ConfigError(message) from None


def _exports(args: argparse.Namespace, environ: dict[str, str], shown: str | None) -> Sequence[str]:
    """What the next commands need in the environment, besides the file."""
    lines = [f"export RECONCILER_CONFIG_FILE={shlex.quote(args.output)}"]
    if shown is None and DATABASE not in os.environ and DATABASE_FILE not in environ:
        lines.append(f"export {DATABASE}=...   # with its password, which is not in the file")
    return lines


def _print(looked: Looked, path: str, exports: Sequence[str]) -> None:
    from reconciler.cli.output import console
    from reconciler.operations.settings_file import REWRITES

    out = console()
    for name, words, style in _found(looked):
        out.say((f"{name:<13}", "bold"), (words, style), hang=13)
    out.say()
    out.say(f"{path} is written: read it.")
    if looked.statements or looked.views:
        out.say("Make what gives the objects' keys, as the tables' owner, in psql:")
    if looked.statements:
        out.say((f"Mind that {REWRITES}.", "yellow"), hang=0)
    for each in (*looked.statements, *looked.views):
        out.say(f"  {each}")
    out.say("Then:")
    for step in (*exports, "reconciler migrate", "reconciler doctor", "reconciler plan"):
        out.say(f"  {step}")


def _found(looked: Looked) -> Iterator[tuple[str, str, str]]:
    """What was found: what it is about, the words, and their style."""
    from reconciler.operations.init import spelled
    from reconciler.operations.settings_file import COMMENTS, have_theirs, sides
    from reconciler.planning.formatting import counted

    made = looked.proposal
    yield "media table", f"{made.table}: {made.key_column} holds the keys {spelled(made.form)}", ""
    for name in ("expires_at", "last_accessed_at", "created_at", "size_bytes", "virtual_key_id"):
        if column := made.columns[name]:
            yield "column", f"{column}: {COMMENTS[name]}", ""
    keys = (
        f"{made.keys_table} has the virtual keys"
        if made.keys_table
        else "none, so nothing is ownerless or revoked"
    )
    yield "keys table", keys, ""
    for name in (*made.variants, *made.also_referenced):
        yield "also names", f"{name}, whose objects are kept", ""
    for each in looked.seen:
        managed = each.prefix in looked.prefixes or looked.prefixes == ("",)
        shown = repr(each.prefix) if each.prefix else "keys without a slash"
        yield "prefix" if managed else "left out", f"{shown}: {sides(each)}", "" if managed else "yellow"
    lost = f", but {looked.missing!r} has not" if looked.missing is not None else ""
    joined = f"of {counted(looked.sampled, 'row')} looked up, {have_theirs(looked.there)}{lost}"
    yield "what joins", joined, "yellow" if lost else "green"
    for note in made.notes:
        yield "note", note, "yellow"
    if looked.unreadable:
        names = ", ".join(looked.unreadable[:SHOWN]) + (" …" if len(looked.unreadable) > SHOWN else "")
        yield "note", f"could not be read, so nothing is known of them: {names}", "yellow"
