"""How fast orphans go from a real store, and how well a set rate is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from reconciler.embedded.seaweedfs import EmbeddedS3
from tools.benchmarks.corpus import PREFIX
from tools.benchmarks.figures import TIMES, Figure, at_least, at_most, for_comparison
from tools.benchmarks.programs import ProgramFailed, processor_time
from tools.benchmarks.site import BUCKET, Site, once
from tools.benchmarks.store import late, opened, s5cmd, upload

RATE = 500
AFAR = 30
LIVE = {
    "DRY_RUN": "false",
    "DELETE_DELAY": "0s",
    "GRACE_PERIOD": "0s",
    "DANGLING_CLEANUP_ENABLED": "false",
}
# A batch is confirmed in one transaction: its first row's time stands for all of it.
_BATCHES = """
    SELECT min(at) AS at, count(*) AS keys FROM reconciler.ledger
    WHERE event = 'result' AND what = 'object' AND result IN ('deleted', 'missing')
    GROUP BY operation_id ORDER BY min(at)
"""


@dataclass(frozen=True, slots=True)
class Batch:
    """One operation of the ledger: when it was confirmed, and how many objects it deleted."""

    at: datetime
    keys: int


@dataclass(frozen=True, slots=True)
class Collected:
    """A pass: its reported duration, its batches in order, and the processor time of the program, its start
    included, and of Postgres. In seconds.
    """

    seconds: float
    batches: Sequence[Batch]
    cpu: float
    postgres: float


def against_s5cmd(site: Site, keys: int, mode: str = "direct") -> list[Figure]:
    """Everything listed, found without a record and deleted, against `s5cmd rm` of as many objects."""
    with opened() as store:
        for bucket in ("other", BUCKET):
            upload(store, bucket, keys)
            if mode == "versioned":
                s5cmd(store, "bucket-version", "--set", "Enabled", f"s3://{bucket}")
        removal = s5cmd(store, "rm", f"s3://other/{PREFIX}*")
        ours = _collect(site, store, keys, "unlimited", mode)
    spent = ours.cpu + ours.postgres
    title = f"deleting {keys:,} orphans" + (", hidden behind delete markers" if mode == "versioned" else "")
    return [
        at_least(title, "against s5cmd rm, the whole pass", removal.seconds / ours.seconds, 0.9, TIMES),
        at_most(title, "processor time with Postgres's against s5cmd rm", spent / removal.cpu, 1.5, TIMES),
        for_comparison(title, "Postgres's part of that", 100 * ours.postgres / spent, " %"),
        for_comparison(title, "keys a second, the whole pass", keys / ours.seconds),
        for_comparison(title, "keys a second, from the first batch on", _rate(ours.batches)),
        for_comparison(title, "keys a second, s5cmd rm", keys / removal.seconds),
    ]


def into_quarantine(site: Site, keys: int) -> list[Figure]:
    """The default where no versions are kept, each object copied and then deleted, against `s5cmd mv`."""
    with opened() as store:
        upload(store, "other", keys)
        moved = s5cmd(store, "mv", f"s3://other/{PREFIX}*", "s3://other/moved/")
        upload(store, BUCKET, keys)
        ours = _collect(site, store, keys, "unlimited", "quarantine")
    title = f"{keys:,} orphans into quarantine"
    return [
        at_least(title, "against s5cmd mv, the whole pass", moved.seconds / ours.seconds, 1.1, TIMES),
        at_most(title, "processor time of its own against s5cmd mv", ours.cpu / moved.cpu, 1, TIMES),
        for_comparison(title, "keys a second", keys / ours.seconds),
        for_comparison(title, "keys a second, s5cmd mv", keys / moved.seconds),
    ]


def from_afar(site: Site, moved: int, deleted: Mapping[int, int]) -> list[Figure]:
    """Both, where each call takes longer. `deleted`: how many go for good, by the milliseconds added."""
    figures = []
    with opened() as near, late(near, AFAR) as store:
        upload(near, "other", moved)
        theirs = s5cmd(store, "mv", f"s3://other/{PREFIX}*", "s3://other/moved/").seconds
        upload(near, BUCKET, moved)
        ours = _collect(site, store, moved, "unlimited", "quarantine").seconds
        title = f"{moved:,} orphans into quarantine, {AFAR} ms added to each call"
        figures.append(at_least(title, "against s5cmd mv, the whole pass", theirs / ours, 1, TIMES))
        figures.append(for_comparison(title, "keys a second", moved / ours))
    for delay, keys in deleted.items():
        with opened() as near, late(near, delay) as store:
            upload(near, "other", keys)
            theirs = s5cmd(store, "rm", f"s3://other/{PREFIX}*").seconds
            upload(near, BUCKET, keys)
            ours = _collect(site, store, keys, "unlimited").seconds
        title = f"deleting {keys:,} orphans, {delay} ms added to each call"
        figures.append(at_least(title, "against s5cmd rm, the whole pass", theirs / ours, 2, TIMES))
        figures.append(for_comparison(title, "keys a second", keys / ours))
    return figures


def at_a_set_rate(site: Site, keys: int) -> list[Figure]:
    """The rate achieved, and the fullest second, from the ledger's own timestamps."""
    with opened() as store:
        upload(store, BUCKET, keys)
        batches = _collect(site, store, keys, str(RATE)).batches
    title = f"deleting at {RATE} keys a second"
    allowed = RATE + max(batch.keys for batch in batches)
    return [
        at_most(title, "deviation of the achieved rate", 100 * abs(_rate(batches) / RATE - 1), 2, " %"),
        at_most(title, "keys in the fullest second", _fullest_second(batches), allowed),
    ]


def _rate(batches: Sequence[Batch]) -> float:
    """Keys a second between the first batch and the last."""
    keys = sum(batch.keys for batch in batches[1:])
    return keys / max((batches[-1].at - batches[0].at).total_seconds(), 1e-6)


def _fullest_second(batches: Sequence[Batch]) -> int:
    """The most deletions within any second; the batches are in order of time."""
    return max(
        sum(batch.keys for batch in batches[first:] if (batch.at - begun.at).total_seconds() < 1)
        for first, begun in enumerate(batches)
    )


def _collect(site: Site, store: EmbeddedS3, keys: int, rate: str, mode: str = "direct") -> Collected:
    """One live pass over a bucket of orphans."""
    with site.database(0) as database:
        settings = {**LIVE, "DELETE_MODE": mode, "MAX_DELETES_PER_SECOND": rate}
        before = processor_time(site.postgres.pid)
        run = once(database, store.endpoint_url, settings, store.environment())
        postgres = processor_time(site.postgres.pid) - before
        report = run.report()
        batches = asyncio.run(_batches(database))
    gone = sum(batch.keys for batch in batches)
    if report["deleted"]["objects"] != keys or gone != keys:
        raise ProgramFailed(f"{keys:,} orphans should have gone; the ledger has {gone:,}: {report}")
    return Collected(report["duration_seconds"], batches, run.cpu, postgres)


async def _batches(database: str) -> list[Batch]:
    connection = await asyncpg.connect(database)
    try:
        return [Batch(row["at"], row["keys"]) for row in await connection.fetch(_BATCHES)]
    finally:
        await connection.close()
