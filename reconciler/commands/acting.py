"""What changes bucket or database: `migrate`, `once`, `run`, `adopt-bucket`."""

from __future__ import annotations

import argparse
import sys

from reconciler.commands import shared
from reconciler.commands.reports import ended, report_of
from reconciler.terminal.complaints import complain
from reconciler.terminal.statuses import DONE


def migrate(args: argparse.Namespace) -> int:
    from reconciler.settings import DatabaseSettings, SchemaSettings, load

    settings = load(kind=SchemaSettings if args.sql else DatabaseSettings, warn=complain)
    shared.log_as(settings, args)
    from reconciler import app

    triggers = True if args.install_triggers else False if args.remove_triggers else None
    app.migrate(
        settings,
        sql=args.sql,
        create_tables=args.create_tables,
        create_index=args.create_index,
        with_triggers=triggers,
        out=sys.stdout,
    )
    return DONE


def once(args: argparse.Namespace) -> int:
    wait = shared.duration_of(args.wait, "--wait")
    source = shared.source_of(args)
    from reconciler import app
    from reconciler.terminal.progress import ProgressBar
    from reconciler.terminal.report import as_json, print_report

    with ProgressBar() as bar:
        report = report_of(lambda: app.once(source, wait=wait, observer=bar), source)
    if args.json:
        print(as_json(report))
    else:
        print_report(report, shared.console())
    return ended(report)


def run(args: argparse.Namespace) -> int:
    source = shared.source_of(args, daemon=True)
    from reconciler.app import daemon

    shared.wait_for(lambda: daemon.run(source))
    return DONE


def adopt_bucket(args: argparse.Namespace) -> int:
    wait = shared.duration_of(args.wait, "--wait")
    settings = shared.settings_of(args)
    from reconciler import app

    def tell(line: str) -> None:
        from reconciler.terminal.text import printable

        print(printable(line))

    shared.wait_for(lambda: app.adopt(settings, yes=args.yes, wait=wait, tell=tell))
    return DONE
