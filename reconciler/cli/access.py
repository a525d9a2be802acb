"""Bring accesses that a CDN's logs tell of to the rows, so that they protect too.

What a CDN serves from its cache reaches neither the gateway nor the media service, so a row does not show it.
"""

import argparse
from dataclasses import fields

from reconciler.cli.arguments import Commands, actions, as_json, command
from reconciler.cli.errors import DONE, FAILED, complain
from reconciler.errors import ConfigError
from reconciler.model import Imported
from reconciler.planning.formatting import counted, printable, shortened

LINES = {
    "unreadable": "of no format that is known",
    "not_had": "of another answer than 200, 206 or 304, or another method",
    "uncounted": "of what MEDIA__UNCOUNTED_AGENTS names",
    "elsewhere": "of a URL that names no managed medium",
}
ACCESSES = {
    "unknown": "to keys without a row",
    "leaving": "to media that are being deleted",
    "refused": "that the table refused; the log has the reason",
}


def add(commands: Commands) -> None:
    within = actions(command(commands, "access", f"{__doc__}\n$ {EXAMPLE}"))
    made = command(within, "import", import_.__doc__, import_)
    made.add_argument("sources", nargs="+", metavar="SOURCE", help="files, folders, or s3://BUCKET/PREFIX")
    made.add_argument(
        "--url", metavar="URL", help="how URLs name media, as https://cdn.example/{key} (default: CDN__URL)"
    )
    as_json(made, "the counts")


EXAMPLE = "reconciler access import --url 'https://cdn.example/{key}' s3://logs/cdn/"


def import_(args: argparse.Namespace) -> int:
    """Read access logs, and write when media were last accessed, and how often.

    Reads CloudFront's standard logs, Cloudflare's Logpush, Fastly's, and the combined or common format, plain
    or packed by gzip; it finds out which. Answers 200, 206 and 304 to GET and HEAD count. How far a log was
    read is kept in the database: begun again, no line counts twice, also where the log has grown, or was
    renamed or packed meanwhile. Buckets are reached at BUCKET__ENDPOINT_URL. Needs the daemon's settings.

    $ reconciler access import --url 'https://cdn.example/{key}' s3://logs/cdn/
    $ reconciler access import --url '/v1/media/{key}' /var/log/nginx/access.log*
    """
    from reconciler.cli import running
    from reconciler.planning.access_logs import Address

    settings = running.settings_of(args)
    if (url := args.url or settings.cdn.url) is None:
        raise ConfigError("say how URLs name media: --url https://cdn.example/{key}, or RECONCILER_CDN__URL")
    try:
        address = Address.of(url)
    except ValueError as error:
        message = f"--url {error}"
        raise ConfigError(message) from None
    from rich.console import Console

    from reconciler.app.access_logs import import_accesses
    from reconciler.cli.output import print_json

    waiting = Console(stderr=True)
    with waiting.status("reading logs") as status:

        def told(name: str, done: Imported) -> None:
            read = f"{counted(done.lines, 'line')}, {counted(done.counted, 'access')}"
            status.update(printable(f"{shortened(name, 40)}: {read}"))

        done = running.wait_unless_ended(lambda: import_accesses(settings, args.sources, address, told))
    if args.json:
        print_json({each.name: getattr(done, each.name) for each in fields(done)})
    else:
        _print(done)
    for name in done.cut_off:
        complain(f"{name}: ends in the middle; what comes is read the next time")
    if done.unreadable and done.unreadable == done.lines:
        complain("no line is of a format that is known: are these access logs?")
        return FAILED
    return DONE


def _print(done: Imported) -> None:
    before = f"; {counted(done.done, 'log')} read before" if done.done else ""
    print(f"{counted(done.logs, 'log')}, {counted(done.lines, 'new line')}{before}")
    print(f"{counted(done.counted, 'access')} written")
    for name, what in LINES.items():
        if number := getattr(done, name):
            print(f"  {counted(number, 'line')} {what}")
    for name, what in ACCESSES.items():
        if number := getattr(done, name):
            print(f"  {counted(number, 'access')} {what}")
