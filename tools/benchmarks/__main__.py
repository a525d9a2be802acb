"""`python -m tools.benchmarks`: runs the benchmarks, and prints each figure beside its target.

Every figure compared with another program is a ratio of one run on one machine. It takes about
twenty minutes; `--quick` takes a hundredth of the size, to see that it works, not how fast.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from tools.benchmarks import (
    adoption,
    api,
    deletion,
    departures,
    inventory,
    inventory_pass,
    listing,
    media,
    quotas,
    recovery,
    resting,
    retention,
    site,
)
from tools.benchmarks.figures import Figure, all_met, markdown, table, write_between_markers
from tools.benchmarks.programs import ProgramFailed

KEYS = 1_000_000
ORPHANS = 100_000
PACED = MOVED = 20_000
DEPARTED = 200
DEPARTED_AT_ONCE = 10_000
INVENTORIED = 10_000_000
IDLE_SECONDS = 120.0
QUICK = 100


def _benchmarks(
    opened: site.Site, cache: Path, shrink: int, inventoried: int | None = None
) -> Mapping[str, Callable[[], list[Figure]]]:
    keys, orphans, paced = KEYS // shrink, ORPHANS // shrink, max(2_500, PACED // shrink)
    moved = MOVED // shrink
    return {
        "start": lambda: resting.start(opened, cache),
        "idle": lambda: resting.idle(opened, cache, max(10.0, IDLE_SECONDS / shrink)),
        "listing": lambda: listing.against_other_clients(opened, keys, cache),
        "without-order": lambda: listing.without_order(opened, keys, cache),
        "without-index": lambda: listing.without_index(opened, keys, cache),
        "memory": lambda: listing.memory(opened, keys, cache),
        "slow-store": lambda: listing.slow_store(opened, keys, cache),
        "inventory": lambda: inventory.inventory((inventoried or INVENTORIED) // shrink),
        "inventory-pass": lambda: inventory_pass.whole_pass(opened, (inventoried or KEYS) // shrink, cache),
        "rules": lambda: retention.rules(opened, keys),
        "quotas": lambda: quotas.quotas(opened, keys),
        "deletion": lambda: deletion.against_s5cmd(opened, orphans),
        "versioned": lambda: deletion.against_s5cmd(opened, moved, "versioned"),
        "quarantine": lambda: deletion.into_quarantine(opened, moved),
        "from-afar": lambda: deletion.from_afar(opened, moved, {30: orphans, 300: orphans}),
        "departures": lambda: departures.departures(
            max(20, DEPARTED // shrink), DEPARTED_AT_ONCE // shrink, ORPHANS // shrink
        ),
        "api": lambda: api.beside_a_sweep(opened, keys, cache),
        "stream": lambda: api.streaming(opened, keys, cache),
        "media": lambda: media.serving(opened),
        "slow-clients": lambda: media.slow_clients(opened, max(100, media.SLOW // shrink)),
        "upload": lambda: media.upload(opened, max(64 << 20, media.UPLOADED // shrink)),
        "adopt": lambda: adoption.adopt(opened, keys, cache),
        "undo": lambda: recovery.undo(opened, moved),
        "purge": lambda: recovery.purge(opened, moved),
        "rate": lambda: deletion.at_a_set_rate(opened, paced),
    }


NAMES = (
    "start",
    "idle",
    "listing",
    "without-order",
    "without-index",
    "memory",
    "slow-store",
    "inventory",
    "inventory-pass",
    "rules",
    "quotas",
    "deletion",
    "versioned",
    "quarantine",
    "from-afar",
    "departures",
    "api",
    "stream",
    "media",
    "slow-clients",
    "upload",
    "adopt",
    "undo",
    "purge",
    "rate",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.benchmarks", description=__doc__)
    parser.add_argument("--only", choices=NAMES, action="append", help="this one alone; may be repeated")
    parser.add_argument("--quick", action="store_true", help="a hundredth of the size: does it work?")
    parser.add_argument("--inventoried", type=int, metavar="N", help="objects of the inventories")
    parser.add_argument(
        "--readme", type=Path, metavar="FILE", help="write the table between the file's markers"
    )
    options = parser.parse_args()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as cache, site.opened() as opened:
        benchmarks = _benchmarks(opened, Path(cache), QUICK if options.quick else 1, options.inventoried)
        for name in options.only or NAMES:
            print(f"{name} …", file=sys.stderr, flush=True)
            try:
                measured = benchmarks[name]()
                print(table(measured), file=sys.stderr, flush=True)
                figures += measured
            except ProgramFailed as failure:
                figures.append(Figure(benchmark=name, name="could not be measured", measured="", met=False))
                print(failure, file=sys.stderr)
    print(table(figures))
    if options.readme:
        write_between_markers(options.readme, markdown(figures, _surroundings()))
    return 0 if all_met(figures) else 1


def _surroundings() -> str:
    cores = len(os.sched_getaffinity(0))
    python = platform.python_version()
    return f"Measured on {cores} cores of {platform.machine()}, Python {python}, servers on the same machine."


if __name__ == "__main__":
    sys.exit(main())
