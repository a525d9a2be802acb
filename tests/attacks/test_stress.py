"""Sixteen writers against the daemon, on the very keys that it collects, for a minute, on real servers.

They put identical bytes, so that no ETag tells one upload from another, and there is no grace, so that
an object is an orphan as soon as it is there. At any moment a live row has its object; at the end every
row has, or its restoring is queued.

`STRESS_SECONDS` says how long (60), `STRESS_STORE=moto` on which store, `STRESS_MODE` how it deletes.
`STRESS_UNGUARDED=1` takes the triggers, the wait and the second look away, which has to fail.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import anyio
import anyio.to_thread
import asyncpg
import pytest
from botocore.exceptions import ClientError

from reconciler.catalog import triggers
from reconciler.catalog.config import TableMapping
from reconciler.catalog.guard import REFUSED
from tests.integration.site import Site, make_site
from tests.servers import Bucket

SECONDS = float(os.environ.get("STRESS_SECONDS", "60"))
STORE = os.environ.get("STRESS_STORE", "seaweed")
MODE = os.environ.get("STRESS_MODE", "direct")
UNGUARDED = bool(os.environ.get("STRESS_UNGUARDED"))

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(SECONDS + 180),
    pytest.mark.no_cover,  # the daemon goes round and round as fast as it can
]

WRITERS = 16
KEYS = [f"image/{number}" for number in range(40)]
WINDOW = timedelta(seconds=4)
"""How long a tombstone lives: no writer takes longer from its PUT to its row."""

FAST = {
    "delete_mode": MODE,
    "sweep_interval": "0s",
    "retention_interval": "0s",
    "upload_window": f"{WINDOW.total_seconds():.0f}s",
    "lease__ttl": "60s",
    "dangling_cleanup_enabled": "false",
    "breaker__max_dangling": "1000000",
    "breaker__max_count": "1000000",
    "web__port": "0",
    "log_level": "error",
}
"""A dangling row stays, so that a loss cannot be tidied away."""

TOLD = ("40001", "40P01", "23505", REFUSED)
"""What a writer is told: try again, somebody else was first, or upload again."""


@pytest.fixture
def site(database: str, request: pytest.FixtureRequest) -> Site:
    bucket: Bucket = request.getfixturevalue(f"{STORE}_bucket")
    return make_site(database, bucket)


class Writer:
    """A gateway's connection, and chance."""

    def __init__(self, site: Site, sql: Any, owner: UUID, chance: random.Random) -> None:
        self._site = site
        self._sql = sql
        self._owner = owner
        self._chance = chance
        self.told: Counter[str] = Counter()

    async def act(self) -> None:
        """One transaction; what it is told goes into `told`."""
        acts = (self._upload, self._upload, self._upload, self._move, self._expire, self._extend, self._drop)
        act = self._chance.choice(acts)
        isolation = self._chance.choice(
            ("read committed", "read committed", "repeatable read", "serializable")
        )
        began = time.monotonic()
        await self._sql.execute(f"BEGIN ISOLATION LEVEL {isolation}")
        try:
            if self._chance.random() < 0.3:
                await self._sql.execute('SELECT count(*) FROM "MediaRecords"')
                await self._pause()
            await act(self._chance.choice(KEYS))
            await self._pause()
            # Slower than the window from its PUT on, it would have to upload again.
            late = time.monotonic() - began > WINDOW.total_seconds() - 1
            end = "ROLLBACK" if late or self._chance.random() < 0.1 else "COMMIT"
            await self._sql.execute(end)
            self.told[f"{act.__name__} {end.lower()}"] += 1
        except asyncpg.PostgresError as error:
            if error.sqlstate not in TOLD:
                raise
            await self._sql.execute("ROLLBACK")
            self.told[str(error.sqlstate)] += 1

    async def _pause(self) -> None:
        await anyio.sleep(self._chance.random() ** 3 * 0.5)

    async def _put(self, key: str) -> None:
        await anyio.to_thread.run_sync(self._site.bucket.put, key)
        await self._pause()

    async def _upload(self, key: str) -> None:
        await self._put(key)
        await self._sql.execute(
            'INSERT INTO "MediaRecords" ("Id", "StorageKey", "VirtualKeyId", "MediaType")'
            " VALUES ($1, $2, $3, 'image')",
            uuid4(),
            key,
            self._owner,
        )

    async def _move(self, key: str) -> None:
        await self._put(key)
        other = self._chance.choice(KEYS)
        await self._sql.execute(
            'UPDATE "MediaRecords" SET "StorageKey" = $2 WHERE "StorageKey" = $1', other, key
        )

    async def _expire(self, key: str) -> None:
        await self._set(key, datetime.now(UTC) - timedelta(hours=1))

    async def _extend(self, key: str) -> None:
        await self._set(key, None)

    async def _set(self, key: str, expires: datetime | None) -> None:
        await self._sql.execute(
            'UPDATE "MediaRecords" SET "ExpiresAt" = $2 WHERE "StorageKey" = $1', key, expires
        )

    async def _drop(self, key: str) -> None:
        await self._sql.execute('DELETE FROM "MediaRecords" WHERE "StorageKey" = $1', key)


ROW = """
SELECT m.xmin::text, m."ExpiresAt" IS NULL AS live, EXISTS (
    SELECT FROM reconciler.restores r WHERE r.storage_key = m."StorageKey") AS restoring
FROM "MediaRecords" m WHERE m."StorageKey" = $1
"""


async def live_row(sql: Any, key: str) -> str | None:
    """The version of the key's row if it is live and nothing is on its way."""
    row = await sql.fetchrow(ROW, key)
    return row["xmin"] if row and row["live"] and not row["restoring"] else None


def has_object(bucket: Bucket, key: str) -> bool:
    try:
        bucket.client.head_object(Bucket=bucket.name, Key=key)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return False
        raise
    return True


async def watch(site: Site, sql: Any, lost: set[str]) -> None:
    """A row that is live before and after a look at its object has one."""
    while True:
        for key in KEYS:
            before = await live_row(sql, key)
            if before is None or await anyio.to_thread.run_sync(has_object, site.bucket, key):
                continue
            if await live_row(sql, key) == before:
                lost.add(key)
        await anyio.sleep(0.02)


async def settled(sql: Any) -> bool:
    """Nothing is claimed any more; what was put off is due at once."""
    await sql.execute("UPDATE reconciler.marks SET not_before = clock_timestamp() WHERE state = 'claimed'")
    return not await sql.fetchval("SELECT count(*) FROM reconciler.marks WHERE state = 'claimed'")


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    with anyio.fail_after(90):
        while not await condition():  # noqa: ASYNC110 - the daemon tells its state in its tables alone
            await anyio.sleep(0.2)


async def write_for(seconds: float, writers: list[Writer]) -> Counter[str]:
    deadline = time.monotonic() + seconds

    async def write(writer: Writer) -> None:
        while time.monotonic() < deadline:
            await writer.act()

    async with anyio.create_task_group() as group:
        for writer in writers:
            group.start_soon(write, writer)
    return sum((writer.told for writer in writers), Counter[str]())


@pytest.mark.attack(6)
@pytest.mark.attack(28)
async def test_no_live_row_is_without_its_object_whatever_writers_do(site: Site) -> None:
    program = "tests.attacks.unguarded" if UNGUARDED else "reconciler"
    connections = [await asyncpg.connect(site.database) for _ in range(WRITERS + 2)]
    sql, watching, *others = connections
    if not UNGUARDED:
        await triggers.install(sql, TableMapping())
    owner = await site.virtual_key()
    writers = [Writer(site, each, owner, random.Random(number)) for number, each in enumerate(others)]
    environment = {**os.environ, **site.settings(**FAST)}
    daemon = await anyio.open_process([sys.executable, "-m", program, "run"], env=environment, stdout=None)
    lost: set[str] = set()
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(watch, site, watching, lost)
            told = await write_for(SECONDS, writers)
            await until(lambda: settled(sql))
            group.cancel_scope.cancel()
        daemon.send_signal(signal.SIGTERM)
        with anyio.fail_after(60):
            assert await daemon.wait() == 0
        gone = {
            key
            for key in await site.rows() - await site.keys()
            if not await sql.fetchval("SELECT count(*) FROM reconciler.restores WHERE storage_key = $1", key)
        }
        ledger = Counter(result for event, _, _, result in await site.ledger() if event == "result")
        print(dict(told), dict(ledger))
    finally:
        if daemon.returncode is None:
            daemon.kill()
            with anyio.CancelScope(shield=True):
                await daemon.wait()
        await daemon.aclose()
        for each in connections:
            await each.close()
    assert (sorted(lost), sorted(gone), ledger["lost"]) == ([], [], 0)
    assert ledger["deleted"] > 0
    assert UNGUARDED or told[REFUSED] > 0 or MODE != "direct"
