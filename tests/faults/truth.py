"""What writers have done to a site, and what has to hold of it whatever happened to the reconciler.

Writers here follow the rules that hold without triggers: a new object is put while the transaction
that inserts its row is open, keys are never used again, and what was given up is not taken back.
So at any moment: what is `live` has its row and its bytes; and what is gone without a writer's doing
stands in the ledger, with an intent before its result.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeAlias
from uuid import UUID, uuid4

import anyio
import anyio.to_thread
import asyncpg
from botocore.exceptions import BotoCoreError, ClientError

from tests.faults.rounds import SEED
from tests.integration.site import Site

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

GONE = {"deleted", "missing"}
WRITERS_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, BotoCoreError, ClientError)
ACTS = ("upload", "touch", "orphan", "drop", "expire", "lose")
WEIGHTS = (8, 4, 2, 2, 3, 1)
PAUSE = 0.05
"""Seconds between two acts of a writer: it has to leave the processors to the program under test."""
ACTS_A_ROUND = 60
"""The most, however long the program takes."""


@dataclass(slots=True)
class Truth:
    """`live` maps keys to the ETags of their objects. Objects that writers deleted themselves are `lost`,
    rows that they deleted are `dropped`; of keys that are `unsure` nobody knows, since a server died.
    """

    site: Site
    chance: random.Random
    owner: UUID
    live: dict[str, str] = field(default_factory=dict)
    uploaded: set[str] = field(default_factory=set)
    inserted: dict[UUID, str] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    dropped: set[UUID] = field(default_factory=set)
    unsure: set[str] = field(default_factory=set)
    numbers: int = 0
    _in_hand: str = ""

    # --- what writers do -----------------------------------------------------------------------------

    def new_key(self) -> str:
        self.numbers += 1
        prefix = self.chance.choice(("image", "image/sub", "video"))
        return f"{prefix}/{self.chance.randrange(16):x}{self.numbers:05}"

    def _begin(self, key: str) -> str:
        self._in_hand = key
        return key

    async def put(self, key: str) -> str:
        """An object with bytes of its own, so that its ETag is its own too."""
        etag = await anyio.to_thread.run_sync(self.site.bucket.put, key, f"bytes of {key}".encode())
        self.uploaded.add(key)
        return etag

    async def upload(self, connection: Connection, **columns: object) -> str:
        """As a gateway does it: the object is put before the row is committed."""
        key, row = self._begin(self.new_key()), uuid4()
        async with connection.transaction():
            await self._insert(connection, row, key, **columns)
            etag = await self.put(key)
        self.inserted[row] = key
        self.live[key] = etag
        return key

    async def _insert(self, connection: Connection, row: UUID, key: str, **columns: object) -> None:
        values = {
            "Id": row,
            "StorageKey": key,
            "VirtualKeyId": self.owner,
            "MediaType": "image",
            "SizeBytes": 1,
            "CreatedAt": datetime.now(UTC) - timedelta(days=1),
            **columns,
        }
        names = ", ".join(f'"{name}"' for name in values)
        marks = ", ".join(f"${number}" for number in range(1, len(values) + 1))
        await connection.execute(f'INSERT INTO "MediaRecords" ({names}) VALUES ({marks})', *values.values())

    async def act(self, connection: Connection) -> None:
        """One act by chance; half of them make something live, so that there is always something to lose."""
        (what,) = self.chance.choices(ACTS, WEIGHTS)
        if what == "upload":
            await self.upload(connection)
        elif what == "orphan":
            await self.put(self._begin(self.new_key()))
        elif self.live:
            key = self._begin(self.chance.choice(sorted(self.live)))
            if what != "touch":
                del self.live[key]  # from here on it may go
            await self._give_up(connection, what, key)

    async def _give_up(self, connection: Connection, what: str, key: str) -> None:
        if what == "touch":
            await connection.execute(
                'UPDATE "MediaRecords" SET "LastAccessedAt" = now() WHERE "StorageKey" = $1', key
            )
        elif what == "drop":
            self.dropped |= {row for row, named in self.inserted.items() if named == key}
            await connection.execute('DELETE FROM "MediaRecords" WHERE "StorageKey" = $1', key)
        elif what == "expire":
            await connection.execute(
                'UPDATE "MediaRecords" SET "ExpiresAt" = "CreatedAt" WHERE "StorageKey" = $1',
                key,
            )
        else:
            self.lost.add(key)
            bucket = self.site.bucket
            await anyio.to_thread.run_sync(lambda: bucket.client.delete_object(Bucket=bucket.name, Key=key))

    async def seed(self, live: int, drift: int) -> None:
        """Some of each, the drift beginning with one of every kind."""
        connection = await asyncpg.connect(self.site.database)
        try:
            for _ in range(live):
                await self.upload(connection)
            for number in range(drift):
                if number % 4 == 0:
                    await self.put(self.new_key())
                else:
                    key = await self.upload(connection)
                    del self.live[key]
                    await self._give_up(connection, ("drop", "expire", "lose")[number % 4 - 1], key)
        finally:
            await connection.close()

    @asynccontextmanager
    async def writers(self) -> AsyncIterator[None]:
        """A writer beside whatever runs in the context; at its end it finishes the act in hand."""
        done = anyio.Event()
        async with anyio.create_task_group() as beside:
            beside.start_soon(self._write_until, done)
            try:
                yield
            finally:
                done.set()

    async def _write_until(self, done: anyio.Event) -> None:
        connection: Connection | None = None
        for _ in range(ACTS_A_ROUND):
            if done.is_set():
                break
            try:
                if connection is None or connection.is_closed():
                    connection = await asyncpg.connect(self.site.database)
                await self.act(connection)
            except WRITERS_ERRORS:
                self._give_up_the_act()
            await anyio.sleep(PAUSE)
        if connection is not None:
            with suppress(*WRITERS_ERRORS):
                await connection.close()

    def _give_up_the_act(self) -> None:
        """A server went away in its middle: nobody can know whether it took effect."""
        if self._in_hand:
            self.live.pop(self._in_hand, None)
            self.unsure.add(self._in_hand)

    # --- what has to hold ------------------------------------------------------------------------------

    async def check(self) -> None:
        """At any moment in which no writer is at work: nothing live is lost, and the ledger is right."""
        objects = await anyio.to_thread.run_sync(self._objects)
        rows = {
            row["Id"]: row["StorageKey"]
            for row in await self.site.sql('SELECT "Id", "StorageKey" FROM "MediaRecords"')
        }
        named = set(rows.values())
        assert not (lost := {key for key in self.live if objects.get(key) != self.live[key]}), lost
        assert not (lost := self.live.keys() - named), lost
        await self._ledger_agrees(objects.keys(), rows.keys())

    def _objects(self) -> dict[str, str]:
        bucket = self.site.bucket
        pages = bucket.client.get_paginator("list_objects_v2").paginate(Bucket=bucket.name)
        entries = [entry for page in pages for entry in page.get("Contents", ())]
        return {
            entry["Key"]: entry["ETag"].strip('"')
            for entry in entries
            if not entry["Key"].startswith(".reconciler/")
        }

    async def _ledger_agrees(self, objects: Collection[str], rows: Collection[UUID]) -> None:
        told = await self._described()
        claimed = {
            row["storage_key"]
            for row in await self.site.sql("SELECT storage_key FROM reconciler.marks WHERE state = 'claimed'")
        }
        for key in self.uploaded - self.lost - set(objects):
            of_key = told["object", key]
            # Deleted, and killed before that could be confirmed: still claimed, and so carried on.
            assert _in_order(of_key) or (key in claimed and "intent" in of_key), (key, of_key)
        for row in self.inserted.keys() - self.dropped - set(rows):
            assert _in_order(told["record", str(row)]), (row, told["record", str(row)])
        for (what, name), of_name in told.items():
            if what == "object" and name in self.uploaded and GONE & set(of_name):
                assert name not in objects, (name, of_name)
                assert sum(word in GONE for word in of_name) == 1, (name, of_name)

    async def _described(self) -> dict[tuple[str, str], list[str]]:
        """What the ledger says of each object and row, in order: results, else events."""
        told: dict[tuple[str, str], list[str]] = defaultdict(list)
        for entry in await self.site.sql(
            "SELECT event, what, coalesce(record_id, storage_key) AS name, result"
            " FROM reconciler.ledger ORDER BY id"
        ):
            told[entry["what"], entry["name"]].append(entry["result"] or entry["event"])
        return told

    async def settled(self) -> bool:
        """Nothing but what is live, no mark, and no claim."""
        keys, rows = await self.site.state()
        marks = await self.site.sql("SELECT * FROM reconciler.marks")
        return keys - self.unsure == rows - self.unsure == set(self.live) and not marks

    async def converged(self) -> None:
        """Left alone for long enough."""
        await self.check()
        assert await self.settled(), (await self.site.state(), sorted(self.live))


async def new_truth(site: Site, name: str) -> Truth:
    """Of a site without rows; what its writers do is the seed's, by the name."""
    return Truth(site, random.Random(f"{SEED}/{name}"), await site.virtual_key())


def _in_order(told: Sequence[str]) -> bool:
    """Whether an end was written down, and what was meant before it."""
    ends = [place for place, word in enumerate(told) if word in GONE]
    return bool(ends) and "intent" in told[: ends[0]]
