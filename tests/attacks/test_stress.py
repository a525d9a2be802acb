"""Sixteen writers against the daemon, on the very keys that it collects, for a minute, on real servers.

They put identical bytes, so that no ETag tells one upload from another, and there is no grace, so that
an object is an orphan as soon as it is there. Rows come late, virtual keys go and take theirs along, keys and
virtual keys are put on hold, and copies are purged within a second. At any moment a live row has its object,
and what is on hold stays; at the end every row has its object, or its restoring is queued.

`STRESS_SECONDS` says how long (60), `STRESS_STORE=moto` on which store, `STRESS_MODE` how it deletes (else
each way).
`STRESS_UNGUARDED=1` takes the triggers, the wait and the second look away, which has to fail.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import anyio
import anyio.to_thread
import asyncpg
import pytest
from botocore.exceptions import ClientError

from reconciler.catalog.db.config import TableMapping
from reconciler.catalog.media_tables import triggers
from reconciler.catalog.media_tables.guard import REFUSED
from reconciler.model import Hold, HoldKind
from reconciler.ports import Holds
from tests.integration.site import Site, make_site
from tests.servers import Bucket

SECONDS = float(os.environ.get("STRESS_SECONDS", "60"))
STORE = os.environ.get("STRESS_STORE", "seaweed")
MODES = (os.environ["STRESS_MODE"],) if "STRESS_MODE" in os.environ else ("direct", "quarantine")
UNGUARDED = bool(os.environ.get("STRESS_UNGUARDED"))

pytestmark = [
    pytest.mark.soak,
    pytest.mark.anyio,
    pytest.mark.timeout(SECONDS + 180),
    pytest.mark.no_cover,  # the daemon goes round and round as fast as it can
]

WRITERS = 16
OWNERS = 6
KEYS = [f"image/{number}" for number in range(40)]
WINDOW = timedelta(seconds=4)
"""How long a tombstone lives: no writer takes longer from its PUT to its row."""

FAST = {
    "undo_window": "1s",
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

TOLD = ("40001", "40P01", "23503", "23505", REFUSED)
"""What a writer is told: try again, somebody else was first (the virtual key is gone), or upload again."""


@pytest.fixture
def site(database: str, request: pytest.FixtureRequest) -> Site:
    bucket: Bucket = request.getfixturevalue(f"{STORE}_bucket")
    return make_site(database, bucket)


class Writer:
    """A gateway's connection, and chance."""

    def __init__(
        self, site: Site, sql: Any, owners: Sequence[UUID], holds: Holds, chance: random.Random
    ) -> None:
        self._site = site
        self._sql = sql
        self._owners = owners
        self._holds = holds
        self._chance = chance
        self.told: Counter[str] = Counter()
        self.let_go: set[str] = set()
        """Objects that went although they were on hold."""

    async def act(self) -> None:
        """One transaction, or one hold; what it is told goes into `told`."""
        if self._chance.random() < 0.1:
            await self._hold()
            return
        acts = (
            *(self._upload, self._upload, self._upload, self._late),
            *(self._move, self._expire, self._extend, self._drop, self._cascade),
        )
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

    async def _hold(self) -> None:
        """Of what is not claimed when it begins nothing goes while it lasts: no writer takes objects."""
        if self._chance.random() < 0.5:
            kind, target = HoldKind.KEY, self._chance.choice(KEYS)
            keys = [target]
        else:
            owner = self._chance.choice(self._owners)
            kind, target = HoldKind.VIRTUAL_KEY, str(owner)
            named = 'SELECT "StorageKey" FROM "MediaRecords" WHERE "VirtualKeyId" = $1'
            keys = [row["StorageKey"] for row in await self._sql.fetch(named, owner)]
        author = f"writer {id(self)}"
        claimed = await self._holds.add([Hold(kind=kind, target=target, reason="a case", author=author)])
        on_hold = await self._holds.held([key for key in keys if key not in claimed])
        held = [key for key in on_hold if await self._there(key)]
        await self._pause()
        self.let_go |= {key for key in held if not await self._there(key)}
        await self._holds.remove(kind, [target], author)
        self.told[f"hold {kind}"] += 1

    async def _there(self, key: str) -> bool:
        return await anyio.to_thread.run_sync(has_object, self._site.bucket, key)

    async def _late(self, key: str) -> None:
        """As late as the window allows: the object has been collected meanwhile."""
        await anyio.to_thread.run_sync(self._site.bucket.put, key)
        await anyio.sleep(self._chance.uniform(0.5, WINDOW.total_seconds() - 1.5))
        await self._insert(key)

    async def _cascade(self, _: str) -> None:
        """The virtual key goes, and its rows with it; then there is one of that id again."""
        owner = self._chance.choice(self._owners)
        row = await self._sql.fetchrow('DELETE FROM "VirtualKeys" WHERE "Id" = $1 RETURNING *', owner)
        if row is not None:
            places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
            await self._sql.execute(f'INSERT INTO "VirtualKeys" VALUES ({places})', *row)

    async def _upload(self, key: str) -> None:
        await self._put(key)
        await self._insert(key)

    async def _insert(self, key: str) -> None:
        await self._sql.execute(
            'INSERT INTO "MediaRecords" ("Id", "StorageKey", "VirtualKeyId", "MediaType")'
            " VALUES ($1, $2, $3, 'image')",
            uuid4(),
            key,
            self._chance.choice(self._owners),
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


async def begun(sql: Any) -> bool:
    """The daemon leads, and a pass of it is under way: before that a signal just ends it."""
    return bool(await sql.fetchval("SELECT count(*) FROM reconciler.passes"))


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
@pytest.mark.attack(47)
@pytest.mark.attack(50)
@pytest.mark.parametrize("mode", MODES)
async def test_no_live_row_is_without_its_object_whatever_writers_do(site: Site, mode: str) -> None:
    program = "tests.attacks.unguarded" if UNGUARDED else "reconciler"
    connections = [await asyncpg.connect(site.database) for _ in range(WRITERS + 2)]
    sql, watching, *others = connections
    if not UNGUARDED:
        await triggers.install(sql, TableMapping())
    owners = [await site.virtual_key() for _ in range(OWNERS)]
    environment = {**os.environ, **site.settings(**FAST, delete_mode=mode)}
    daemon = await anyio.open_process([sys.executable, "-m", program, "run"], env=environment, stdout=None)
    lost: set[str] = set()
    try:
        async with site.catalog() as catalog, anyio.create_task_group() as group:
            writers = [
                Writer(site, each, owners, catalog.holds, random.Random(number))
                for number, each in enumerate(others)
            ]
            await until(lambda: begun(sql))
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
        events = await site.ledger()
        ledger = Counter(result for event, _, _, result in events if event == "result")
        purged = sum(event == "purged" for event, *_ in events)
        let_go = set().union(*(writer.let_go for writer in writers))
        print(dict(told), dict(ledger), purged)
    finally:
        if daemon.returncode is None:
            daemon.kill()
            with anyio.CancelScope(shield=True):
                await daemon.wait()
        await daemon.aclose()
        for each in connections:
            await each.close()
    assert (sorted(lost), sorted(gone), sorted(let_go), ledger["lost"]) == ([], [], [], 0)
    assert ledger["deleted"] > 0
    assert purged > 0 or mode == "direct"
    assert UNGUARDED or told[REFUSED] > 0 or mode != "direct"
