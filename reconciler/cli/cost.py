"""Print what sweeps and storage cost a month.

By listing, by S3 Inventory and by S3 Metadata, for sweeps every 6 hours, day and week, at the list prices of
Amazon S3 in us-east-1. How many objects there are is what the last released sweep counted; how many come and
go is twice what was deleted in the last 30 days. Asks nothing of the bucket. Needs RECONCILER_DATABASE_URL
alone.

$ reconciler cost
$ reconciler cost --objects 1000000000
$ reconciler cost --json | jq .sweeps
"""

import argparse

from reconciler.cli.arguments import Commands, as_json, command, whole
from reconciler.cli.errors import DONE
from reconciler.cli.running import looking
from reconciler.cli.types import Catalog, Output
from reconciler.errors import ConfigError
from reconciler.model import Costs, SweepCosts
from reconciler.planning.formatting import age, counted, human_bytes

NAMES = {"list": "listing", "inventory": "S3 Inventory", "s3_metadata": "S3 Metadata"}


def add(commands: Commands) -> None:
    made = command(commands, "cost", __doc__, run)
    made.add_argument(
        "--objects", type=whole, metavar="N", help="as if there were so many, with as many changes for each"
    )
    made.add_argument(
        "--per-gib",
        metavar="PRICE",
        help="what a GiB costs a month, in dollars (default: 0.023, S3 Standard)",
    )
    as_json(made)


@looking
async def run(catalog: Catalog, args: argparse.Namespace) -> int:
    from reconciler.cli.output import console, print_json
    from reconciler.operations import as_json
    from reconciler.operations.costs import cost

    found = await cost(catalog, args.objects, _price(args.per_gib))
    if args.json:
        print_json(as_json.cost(found))
    else:
        print_costs(found, console())
    return DONE


def _price(text: str | None) -> float | None:
    from reconciler.settings.values import price

    try:
        return None if text is None else price(text)
    except ValueError as error:
        message = f"--per-gib {text!r}: {error}"
        raise ConfigError(message) from None


def print_costs(of: Costs, out: Output) -> None:
    """A table of the sweeps, then deletions and storage."""
    by = "as given" if of.pass_id is None else f"as pass {of.pass_id} counted"
    out.say(f"{counted(of.objects, 'object')}, {human_bytes(of.bytes)}, {by}", hang=0)
    out.say()
    columns = tuple(NAMES.values())
    out.table(("a sweep every", *columns, "cheapest"), map(_row, of.sweeps), right=columns)
    out.say()
    out.say(f"Dollars a month. A listing takes {counted(of.requests, 'request')}.", hang=0)
    out.say("An inventory is made once a day or a week, so none is new every 6 hours.", hang=0)
    out.say(
        f"S3 Metadata costs {_money(of.backfill)} once for its backfill, and is counted with"
        f" {counted(of.changes, 'change')} a month.",
        hang=0,
    )
    out.say(f"Deletions of 30 days: {of.deleted:,}; HEADs {_money(of.heads)}, DELETE is free.", hang=0)
    out.say(f"Storage: {_money(of.stored(of.bytes))}", hang=0)
    for verdict, (keys, size) in of.drift.items():
        if size:
            marked = f"{counted(keys, 'mark')}, {human_bytes(size)}"
            out.say(f"Of that {verdict}: {marked}, {_money(of.stored(size))}", hang=2)
    freed = f"{human_bytes(of.freed)}, {_money(of.stored(of.freed))} less each month from then on"
    out.say(f"Freed in 30 days: {freed}", hang=0)


def _row(each: SweepCosts) -> tuple[str, ...]:
    saved = each.lists - (getattr(each, each.cheapest) if each.cheapest != "list" else each.lists)
    cheapest = NAMES[each.cheapest] + (f", saves {_money(saved)}" if saved else "")
    costs = (each.lists, each.inventory, each.s3_metadata)
    return (age(each.every), *("-" if cost is None else _money(cost) for cost in costs), cheapest)


def _money(cost: float) -> str:
    return f"${cost:,.2f}"
