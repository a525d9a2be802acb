"""How fast a dry run compares bucket and rows, and in how much memory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.servers import execute
from tools.benchmarks.corpus import PREFIX
from tools.benchmarks.figures import TIMES, Figure, at_least, at_most, for_comparison
from tools.benchmarks.programs import ProgramFailed, Run, listing_server, measure, program
from tools.benchmarks.site import BUCKET, CREDENTIALS, DRIFT_EVERY, Site, forget_identity, once

ROUNDS = 3
DELAY_MS = 50
ORDERED = {"DRY_RUN": "true", "BUCKET__LISTING_ORDER": "bytes"}
UNORDERED_INDEX = (
    'ALTER TABLE "MediaRecords" DROP CONSTRAINT "MediaRecords_StorageKey_key"',
    'CREATE INDEX ON "MediaRecords" USING hash ("StorageKey")',
)
"""Keys are looked up as ever, and no index has them in order."""
UNORDERED = {"DRY_RUN": "true", "BUCKET__LISTING_ORDER": "none"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """A dry-run pass: the whole program, and the `duration_seconds` that it reports."""

    run: Run
    duration: float


def against_other_clients(site: Site, keys: int, cache: Path) -> list[Figure]:
    """The dry run and three other programs that list the same server, in interleaved rounds."""
    durations: list[float] = []
    seconds: dict[str, list[float]] = {}
    with listing_server(keys, cache) as endpoint:
        lister = _listers(endpoint, keys)
        for _ in range(ROUNDS):
            ours = dry_run(site, keys, endpoint)
            durations.append(ours.duration)
            seconds.setdefault("reconciler", []).append(ours.run.seconds)
            for name, list_all in lister.items():
                seconds.setdefault(name, []).append(list_all())
    duration, took = median(durations), {name: median(each) for name, each in seconds.items()}
    title = f"dry run, {keys:,} objects and rows"
    return [
        at_least(title, "against s5cmd ls, by duration_seconds", took["s5cmd"] / duration, 6.5, TIMES),
        at_least(title, "against s5cmd ls, by wall clock", took["s5cmd"] / took["reconciler"], 5, TIMES),
        at_least(title, "against the stock paginator", took["aioboto3"] / duration, 20, TIMES),
        for_comparison(title, "against rclone lsf --fast-list", took["rclone"] / duration, TIMES),
        for_comparison(title, "keys compared a second", keys / duration),
        *(for_comparison(title, f"wall clock, {name}", each, " s") for name, each in took.items()),
    ]


def memory(site: Site, keys: int, cache: Path) -> list[Figure]:
    """The peak of the reconciler's own process at `keys` and at five times as many."""
    peaks = []
    for count in (keys, 5 * keys):
        with listing_server(count, cache) as endpoint:
            peaks.append(dry_run(site, count, endpoint).run.peak_mib)
    title = "peak resident memory"
    growth = 100 * abs(peaks[1] / peaks[0] - 1)
    return [
        at_most(title, f"at {keys:,} objects and rows", peaks[0], 160, " MiB"),
        at_most(title, f"at {5 * keys:,} objects and rows", peaks[1], 160, " MiB"),
        at_most(title, "difference between the two", growth, 10, " %"),
    ]


def slow_store(site: Site, keys: int, cache: Path) -> list[Figure]:
    """The dry run where each page takes its time, as pages do; default concurrency."""
    with listing_server(keys, cache, delay_ms=DELAY_MS) as endpoint:
        duration = dry_run(site, keys, endpoint).duration
    title = f"dry run, {DELAY_MS} ms a page"
    return [at_least(title, "keys compared a second", keys / duration, 100_000)]


def without_order(site: Site, keys: int, cache: Path) -> list[Figure]:
    """The join that needs no order against the ordered one, on the same bucket and rows, turn about."""
    runs: dict[str, list[DryRun]] = {"ordered": [], "unordered": []}
    with listing_server(keys, cache) as endpoint:
        for _ in range(ROUNDS):
            runs["ordered"].append(dry_run(site, keys, endpoint))
            runs["unordered"].append(dry_run(site, keys, endpoint, UNORDERED))
    took = {name: median(each.duration for each in those) for name, those in runs.items()}
    peak = max(each.run.peak_mib for each in runs["unordered"])
    title = f"join without order, {keys:,} objects and rows"
    return [
        at_most(title, "against the ordered join", took["unordered"] / took["ordered"], 2, TIMES),
        at_most(title, "peak resident memory", peak, 160, " MiB"),
        *(for_comparison(title, f"{name} join", each, " s") for name, each in took.items()),
    ]


def without_index(site: Site, keys: int, cache: Path) -> list[Figure]:
    """The dry run where no index has the rows in byte order, against the one with it; turn about."""
    figures: list[Figure] = []
    for count in (keys, 5 * keys):
        took: dict[bool, list[float]] = {True: [], False: []}
        with listing_server(count, cache) as endpoint:
            for _ in range(ROUNDS if count == keys else 1):
                for indexed, durations in took.items():
                    durations.append(dry_run(site, count, endpoint, indexed=indexed).duration)
        with_it, without = median(took[True]), median(took[False])
        title = f"no index in byte order, {count:,} rows"
        figures += [
            at_most(title, "against the same with it", without / with_it, 2.5, TIMES),
            for_comparison(title, "with it", with_it, " s"),
            for_comparison(title, "without", without, " s"),
        ]
    return figures


def dry_run(
    site: Site,
    keys: int,
    endpoint: str,
    settings: Mapping[str, str] = ORDERED,
    *,
    indexed: bool = True,
) -> DryRun:
    """One pass on a fresh copy of the database; raises ProgramFailed unless it finds the drift made."""
    forget_identity(endpoint)
    with site.database(keys) as database:
        if not indexed:
            execute(database, *UNORDERED_INDEX)
        run = once(database, endpoint, settings, CREDENTIALS)
    report = run.report()
    drift = keys // DRIFT_EVERY
    wanted: Mapping[str, object] = {
        "objects": keys,
        "records": keys - drift + drift,
        "orphan": drift,
        "dangling": drift,
    }
    found = {**report, **report["found"]}
    if any(found[name] != value for name, value in wanted.items()):
        raise ProgramFailed(f"the dry run should have found {wanted}, and reported {report}")
    return DryRun(run=run, duration=report["duration_seconds"])


def _listers(endpoint: str, keys: int) -> dict[str, Callable[[], float]]:
    commands = {
        "s5cmd": [program("s5cmd"), "--endpoint-url", endpoint, "ls", f"s3://{BUCKET}/{PREFIX}*"],
        "rclone": [
            *(program("rclone"), "lsf", "--config", "", "-R", "--fast-list", "--files-only"),
            *("--s3-provider", "Other", "--s3-env-auth", "--s3-list-version", "2"),
            *("--s3-endpoint", endpoint, f":s3:{BUCKET}/{PREFIX}"),
        ],
        "aioboto3": [sys.executable, "-m", "tools.benchmarks.stock_paginator", endpoint, BUCKET, PREFIX],
    }

    def lister(name: str, command: list[str]) -> Callable[[], float]:
        def list_all() -> float:
            run = measure(command, CREDENTIALS)
            seen = int(run.output) if name == "aioboto3" else run.lines()
            if seen != keys:
                raise ProgramFailed(f"{name} listed {seen:,} of {keys:,} keys")
            return run.seconds

        return list_all

    return {name: lister(name, command) for name, command in commands.items()}
