"""How soon the objects of a deleted virtual key are gone, and what noting that costs the gateway."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from statistics import median, quantiles

import asyncpg

from reconciler.catalog.media_tables.departing import DELETED, MOVED, TRUNCATED
from tools.benchmarks import site
from tools.benchmarks.corpus import PREFIX, keys_by_day
from tools.benchmarks.deletion import LIVE
from tools.benchmarks.figures import TIMES, Figure, at_most, for_comparison
from tools.benchmarks.programs import ProgramFailed, measure
from tools.benchmarks.resting import replica
from tools.benchmarks.site import BUCKET, RECONCILER, environment, once
from tools.benchmarks.store import opened, upload

OBJECTS_A_KEY = 10
ROUNDS = 5
PATIENCE_SECONDS = 120.0
ANNOUNCED = {"max_prepared_transactions": "0"}
"""As Postgres comes: elsewhere departures are polled, and not announced."""

SETTINGS = {
    **LIVE,
    "DELETE_MODE": "auto",
    "GRACE_PERIOD": "48h",
    "DELETE_DELAY": "24h",
    "MAX_DELETES_PER_SECOND": "unlimited",
    "SWEEP_INTERVAL": "12h",
}

OWNERS = """
INSERT INTO "VirtualKeys" ("KeyName", "KeyHash") SELECT 'k', n::text FROM generate_series(1, $1::int) AS n
"""
ROWS = """
INSERT INTO "MediaRecords" ("StorageKey", "VirtualKeyId", "MediaType", "ContentType", "SizeBytes", "Prompt")
SELECT $1 || k."KeyHash" || '/' || n, k."Id", 'image', 'image/png', 1, 'a prompt of some sixty characters'
FROM "VirtualKeys" k, generate_series(1, $2::int) AS n
"""
GONE = """
SELECT count(*) FROM reconciler.ledger
WHERE event = 'result' AND what = 'object' AND verdict = 'departed' AND result = 'deleted'
"""


def departures(keys: int, objects: int, rows: int) -> list[Figure]:
    """`keys` virtual keys are deleted one by one, then one with so many `objects`; `rows` for the cost."""
    with site.opened(ANNOUNCED) as gateway:
        with gateway.database(0) as database:
            cost = asyncio.run(_cost(database, rows))
        with gateway.database(0) as database:
            return [*_seconds(database, keys, objects), *cost]


def _seconds(database: str, keys: int, objects: int) -> list[Figure]:
    total = keys * OBJECTS_A_KEY + objects
    with opened() as store:
        upload(store, BUCKET, total)
        names = [name for _, day in keys_by_day(total) for name in day]
        measure([*RECONCILER, "migrate", "--install-triggers"], {"RECONCILER_DATABASE_URL": database})
        asyncio.run(_load(database, names, keys))
        once(database, store.endpoint_url, SETTINGS, store.environment())
        surroundings = environment(database, store.endpoint_url, SETTINGS, store.environment())
        with replica({**surroundings, **store.environment()}, leads=True):
            each, last = asyncio.run(_delete(database, keys, objects))
    title = "a deleted virtual key, commit to its objects gone"
    return [
        at_most(title, f"{keys} keys of {OBJECTS_A_KEY} objects, p99", quantiles(each, n=100)[98], 2, " s"),
        for_comparison(title, "median", median(each), " s"),
        at_most(title, f"one key of {objects:,} objects", last, 15, " s"),
    ]


async def _load(database: str, names: Sequence[str], keys: int) -> None:
    connection = await asyncpg.connect(database)
    try:
        await connection.execute(OWNERS, keys + 1)
        query = 'SELECT "Id" FROM "VirtualKeys" WHERE "KeyName" = \'k\' ORDER BY "KeyHash"::int'
        owners = [row["Id"] for row in await connection.fetch(query)]
        owned = [owners[min(place // OBJECTS_A_KEY, keys)] for place in range(len(names))]
        await connection.execute(
            'INSERT INTO "MediaRecords" ("StorageKey", "VirtualKeyId", "MediaType", "SizeBytes")'
            " SELECT *, 'image', 16 FROM unnest($1::text[], $2::uuid[])",
            names,
            owned,
        )
        # What stays, so that not all of the table goes.
        await connection.execute(
            'INSERT INTO "VirtualKeys" ("KeyName", "KeyHash") VALUES (\'stays\', \'stays\')'
        )
        await connection.execute(
            'INSERT INTO "MediaRecords" ("StorageKey", "VirtualKeyId", "MediaType")'
            ' SELECT $1, "Id", \'image\' FROM "VirtualKeys" WHERE "KeyHash" = \'stays\'',
            f"{PREFIX}stays",
        )
    finally:
        await connection.close()


async def _delete(database: str, keys: int, objects: int) -> tuple[list[float], float]:
    connection = await asyncpg.connect(database)
    try:
        numbers = range(1, keys + 1)
        each = [await _deleted(connection, number, number * OBJECTS_A_KEY) for number in numbers]
        return each, await _deleted(connection, keys + 1, keys * OBJECTS_A_KEY + objects)
    finally:
        await connection.close()


async def _deleted(connection: asyncpg.Connection, number: int, gone: int) -> float:
    """Delete one key; the seconds until the store has confirmed so many deletions in total."""
    await connection.execute('DELETE FROM "VirtualKeys" WHERE "KeyHash" = $1', str(number))
    begun = time.perf_counter()
    while await connection.fetchval(GONE) < gone:
        if time.perf_counter() - begun > PATIENCE_SECONDS:
            raise ProgramFailed(f"the objects of key {number} are still there after {PATIENCE_SECONDS:g} s")
        await asyncio.sleep(0.01)
    return time.perf_counter() - begun


async def _cost(database: str, rows: int) -> list[Figure]:
    """Statements of the gateway's with and without the triggers, in turn."""
    measure([*RECONCILER, "migrate", "--install-triggers"], {"RECONCILER_DATABASE_URL": database})
    connection = await asyncpg.connect(database)
    took: dict[tuple[str, bool], list[float]] = {}

    async def timed(what: str, noted: bool, act: Callable[[], Awaitable[object]]) -> None:  # noqa: FBT001
        begun = time.perf_counter()
        await act()
        took.setdefault((what, noted), []).append(time.perf_counter() - begun)

    try:
        for _ in range(ROUNDS):
            for noted in (False, True):
                await _switch(connection, on=noted)
                await connection.execute('TRUNCATE "VirtualKeys" CASCADE')
                await connection.execute("TRUNCATE reconciler.departures")
                await connection.execute(OWNERS, rows // 100)
                await timed("INSERT", noted, lambda: connection.execute(ROWS, PREFIX, 100))
                await connection.execute("VACUUM (ANALYZE)")
                await connection.execute("CHECKPOINT")
                await timed("DELETE", noted, lambda: connection.execute('DELETE FROM "VirtualKeys"'))
    finally:
        await connection.close()
    best: Mapping[tuple[str, bool], float] = {each: min(seconds) for each, seconds in took.items()}
    longer = (best["DELETE", True] - best["DELETE", False]) / rows * 1e6
    title = f"noting departures, {rows:,} rows by cascade"
    return [
        at_most(title, "DELETE longer, a row", longer, 4, " µs"),
        for_comparison(title, "DELETE without, a row", best["DELETE", False] / rows * 1e6, " µs"),
        at_most(title, "INSERT against none", best["INSERT", True] / best["INSERT", False], 1.1, TIMES),
    ]


async def _switch(connection: asyncpg.Connection, *, on: bool) -> None:
    how = "ENABLE" if on else "DISABLE"
    for name in (DELETED, MOVED, TRUNCATED):
        await connection.execute(f'ALTER TABLE "MediaRecords" {how} TRIGGER {name}')
