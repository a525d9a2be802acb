"""How fast objects without a row become one: listing, HEADs and rows, the program's start included."""

from __future__ import annotations

from pathlib import Path

from tools.benchmarks.figures import Figure, at_least, at_most, for_comparison
from tools.benchmarks.programs import ProgramFailed, listing_server
from tools.benchmarks.site import CREDENTIALS, OWNER, RECONCILER, Site, reconcile

SETTINGS = {"DRY_RUN": "false", "ADOPTION__MAX_HEADS_PER_SECOND": "unlimited"}


def adopt(site: Site, keys: int, cache: Path) -> list[Figure]:
    """Every object of the bucket, none of which has a row, for one owner."""
    with listing_server(keys, cache) as endpoint, site.database(0) as database:
        command = [*RECONCILER, "adopt", "--owner", OWNER, "--json"]
        run = reconcile(database, endpoint, SETTINGS, CREDENTIALS, command)
    if (report := run.report())["adopted"] != keys:
        raise ProgramFailed(f"{keys:,} objects should have been adopted: {report}")
    title = f"adopting {keys:,} objects"
    return [
        at_least(title, "objects a second", keys / run.seconds, 2_000),
        at_most(title, "peak resident memory", run.peak_mib, 160, " MiB"),
        for_comparison(title, "processor time of its own", 1e6 * run.cpu / keys, " µs an object"),
    ]
