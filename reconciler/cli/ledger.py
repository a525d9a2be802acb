"""Print what was deleted, why, by which pass and with which result.

Every line of the ledger, the oldest first: an intent before anything is deleted, a result after it, and
what was restored, purged, erased or withdrawn. It keeps its lines for RECONCILER_LEDGER_RETENTION. The
table shows the first lines; jsonl and csv print every one, in a few megabytes however many there are.
--virtual-key finds media by the virtual key of their rows; an orphan has none. Writes nothing, takes no
lease. Needs RECONCILER_DATABASE_URL alone.

$ reconciler ledger --since 7d
$ reconciler ledger --pass 1204 --format csv > deleted.csv
$ reconciler ledger --virtual-key 7f0c… --json | jq 'select(.event == "result")'
"""

import argparse
import sys
from collections.abc import Sequence

from reconciler.cli.arguments import Commands, a_pass, command, whole
from reconciler.cli.errors import DONE
from reconciler.cli.running import on_database, span
from reconciler.cli.types import Catalog, Output
from reconciler.model import LedgerFilter, LedgerLine
from reconciler.planning.formatting import human_bytes, shortened


def add(commands: Commands) -> None:
    made = command(commands, "ledger", __doc__, run)
    made.add_argument(
        "--since", metavar="TIME", help="only from then on: ISO 8601, or how long ago, as in 2h"
    )
    made.add_argument("--until", metavar="TIME", help="only before then")
    made.add_argument("--key", metavar="KEY", help="only of this storage key, and of its variants")
    a_pass(made, "only this pass's, and those of the passes that were approved with it")
    made.add_argument("--virtual-key", metavar="ID", help="only of the media of this virtual key")
    made.add_argument("--limit", type=whole, metavar="N", help="how many (table: 50, else all)")
    made.add_argument("--format", choices=("table", "jsonl", "csv"), default="table", help="default: table")
    made.add_argument("--json", action="store_const", dest="format", const="jsonl", help="the same as jsonl")


@on_database
async def run(catalog: Catalog, args: argparse.Namespace) -> int:
    from reconciler.cli.output import LISTED, CsvRows, console, first, limited, print_lines
    from reconciler.operations import as_json
    from reconciler.operations.history import ledger

    since, until = span(args.since, args.until)
    wanted = LedgerFilter(
        since=since, until=until, key=args.key, pass_id=args.pass_id, virtual_key_id=args.virtual_key
    )
    if args.format == "table":
        limit = args.limit or LISTED
        shown, more = await first(ledger(catalog, wanted, limit + 1), limit)
        _print(shown, console(), more=more)
    elif args.format == "jsonl":
        await print_lines(ledger(catalog, wanted), as_json.ledger_line, args.limit)
    else:
        rows = CsvRows(sys.stdout, as_json.LEDGER_LINE)
        async for page in limited(ledger(catalog, wanted), args.limit):
            rows.write(as_json.ledger_line(each) for each in page)
    return DONE


def _print(shown: Sequence[LedgerLine], out: Output, *, more: bool) -> None:
    from reconciler.cli.output import KEY_WIDTH

    if not shown:
        out.say("There is no such line.")
        return
    rows = [
        (
            f"{line.at:%Y-%m-%d %H:%M:%SZ}",
            line.event,
            line.what if line.record_id is None else f"row {line.record_id}",
            line.verdict,
            shortened(line.storage_key, KEY_WIDTH),
            line.result or "",
            human_bytes(line.bytes) if line.bytes else "",
            str(line.pass_id or ""),
            line.reason if line.detail is None else f"{line.reason}; {line.detail}",
        )
        for line in shown
    ]
    headings = ("at", "event", "what", "verdict", "key", "result", "bytes", "pass", "reason")
    out.table(headings, rows, right=("bytes", "pass"))
    if more:
        out.say(f"The first {len(shown):,}; --since or --limit shows others, --format jsonl or csv all.")
