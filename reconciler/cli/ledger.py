"""Print what was deleted, why, by which pass and with which result.

Every line of the ledger, the oldest first: an intent before anything is deleted, a result after it, and
what was restored, purged, erased or withdrawn. It keeps its lines for RECONCILER_LEDGER_RETENTION. The
table shows the newest 50; jsonl and csv print every line, in a few megabytes however many there are.
--virtual-key finds media by the virtual key of their rows; an orphan has none. Writes nothing, takes no
lease. Needs RECONCILER_DATABASE_URL alone.

$ reconciler ledger --since 7d
$ reconciler ledger --last 500
$ reconciler ledger --pass 1204 --format csv > deleted.csv
$ reconciler ledger --virtual-key 7f0c… --json | jq -r .storage_key
"""

import argparse
import sys
from collections.abc import Sequence

from reconciler.cli.arguments import Commands, a_pass, command, whole
from reconciler.cli.errors import DONE
from reconciler.cli.running import looking, span
from reconciler.cli.types import Catalog, Output
from reconciler.model import LedgerFilter, LedgerLine
from reconciler.model.moments import moment
from reconciler.planning.formatting import human_bytes, shortened

HEADINGS = (
    *("at", "event", "result", "verdict", "what", "key", "bytes", "virtual key", "pass", "approved by"),
    "reason",
)


def add(commands: Commands) -> None:
    made = command(commands, "ledger", __doc__, run)
    made.add_argument(
        "--since", metavar="TIME", help="only from then on: ISO 8601, or how long ago, as in 2h"
    )
    made.add_argument("--until", metavar="TIME", help="only before then")
    made.add_argument("--key", metavar="KEY", help="only of this storage key, and of its variants")
    a_pass(made, "only this pass's, and those of the passes that were approved with it")
    made.add_argument("--virtual-key", metavar="ID", help="only of the media of this virtual key")
    some = made.add_mutually_exclusive_group()
    some.add_argument("--last", type=whole, metavar="N", help="only the newest so many (table: 50, else all)")
    some.add_argument("--limit", type=whole, metavar="N", help="only the oldest so many")
    made.add_argument("--format", choices=("table", "jsonl", "csv"), default="table", help="default: table")
    made.add_argument("--json", action="store_const", dest="format", const="jsonl", help="the same as jsonl")


@looking
async def run(catalog: Catalog, args: argparse.Namespace) -> int:
    from reconciler.cli.output import LISTED, CsvRows, console, limited, print_lines
    from reconciler.operations import as_json
    from reconciler.operations.history import ledger

    since, until = span(args.since, args.until)
    wanted = LedgerFilter(
        since=since, until=until, key=args.key, pass_id=args.pass_id, virtual_key_id=args.virtual_key
    )
    last = args.last or (LISTED if args.format == "table" and args.limit is None else None)
    after = None if last is None else await catalog.history.before(wanted, last)
    pages, most = ledger(catalog, wanted, after=after), args.limit or last
    if args.format == "table":
        shown = [each async for page in limited(pages, most) for each in page]
        out = console()
        _print(shown, out)
        if after is not None:
            out.say(f"The newest {len(shown):,}; --last N shows more, --format jsonl or csv all.")
    elif args.format == "jsonl":
        await print_lines(pages, as_json.ledger_line, most)
    else:
        rows = CsvRows(sys.stdout, as_json.LEDGER_LINE)
        async for page in limited(pages, most):
            rows.write(as_json.ledger_line(each) for each in page)
    return DONE


def _print(shown: Sequence[LedgerLine], out: Output) -> None:
    from reconciler.cli.output import KEY_WIDTH

    if not shown:
        out.say("There is no such line.")
        return
    rows = [
        (
            moment(line.at),
            line.event,
            line.result or "",
            line.verdict,
            line.what if line.record_id is None else f"row {line.record_id}",
            shortened(line.storage_key, KEY_WIDTH),
            human_bytes(line.bytes) if line.bytes else "",
            ", ".join(line.owners),
            str(line.pass_id or ""),
            line.decided_by or "",
            line.reason if line.detail is None else f"{line.reason}; {line.detail}",
        )
        for line in shown
    ]
    named = ("virtual key", "pass", "approved by")
    out.records(HEADINGS, rows, first=HEADINGS[:6], named=named, right=("bytes", "pass"))
