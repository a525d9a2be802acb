"""Two minutes of a gateway's life beside a running daemon, and a watcher with a truth of its own.

Media are written all the time, while keys are made, banned, enabled again and deleted, rules differ by owner,
and transactions roll back. What should stay is looked at all the while, in the bucket itself and in the
table, without asking the program anything. At the end bucket, tables, ledger and `explain` agree to the byte.

CI has 25 seconds for it: `SCENARIO_SECONDS=120 pytest -s tests/faults/test_scenario.py` is its full size.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import anyio
import anyio.to_thread
import asyncpg
import pytest

from reconciler import app
from reconciler.catalog import migrate
from reconciler.model import KeyState, Verdict
from reconciler.settings import load
from tests.faults.rounds import SEED
from tests.integration.daemons import daemon, until
from tests.integration.site import CALM, Site

pytestmark = [pytest.mark.anyio, pytest.mark.soak]

SECONDS = float(os.environ.get("SCENARIO_SECONDS", "25"))
MEDIA_A_SECOND = 50.0
WRITERS = 5
GRACE = 8.0
"""Seconds for which a key has to be disabled before its media go."""
MOMENT = (3.0, 4.5)
"""For how long a key is disabled by mistake: without the grace its media would go."""

KEEPERS, PASSERS, OTHERS = 1, 2, 3
"""Key groups: media that stay for ever, also those of a banned key; media that stay a day; the rest."""

RULES = """[
    {"name": "keepers", "match": {"key_group": 1}, "media_retention_days": "forever",
     "revoked_key_policy": "keep"},
    {"name": "passers", "match": {"key_group": 2}, "media_retention_days": 1}
]"""

SETTINGS = {
    "retention__rules": RULES,
    "delete_mode": "quarantine",
    "grace_period": "5s",
    "delete_delay": "1s",
    "key_grace": f"{GRACE:.0f}s",
    "sweep_interval": "3s",
    "retention_interval": "2s",
}

LEFT = frozenset({Verdict.DEPARTED, Verdict.ORPHAN})
"""A sweep may come before the pass of departures."""


@dataclass(slots=True, eq=False)
class Owner:
    """A virtual key. `fate`: the verdicts under which all its media go from now on; none while they stay."""

    id: UUID
    group: int
    media: set[str] = field(default_factory=set)
    fate: frozenset[Verdict] = frozenset()
    in_hand: bool = False


@dataclass(slots=True)
class Truth:
    """What the gateway did. `live` stays: bytes by storage key; `going` goes, for one of those verdicts.

    A change that lets media go is written here before it is made, one that keeps them after it was.
    """

    site: Site
    chance: random.Random
    owners: list[Owner] = field(default_factory=list)
    live: dict[str, bytes] = field(default_factory=dict)
    going: dict[str, frozenset[Verdict]] = field(default_factory=dict)
    owner_of: dict[str, UUID] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    removed_by_us: set[str] = field(default_factory=set)
    did: Counter[str] = field(default_factory=Counter)
    looks: int = 0

    def let_go(self, keys: Iterable[str], verdicts: frozenset[Verdict]) -> None:
        for key in keys:
            self.live.pop(key, None)
            self.going[key] = self.going.get(key, frozenset()) | verdicts

    def staying(self) -> list[Owner]:
        return [each for each in self.owners if not each.fate and not each.in_hand]

    # --- the gateway -----------------------------------------------------------------------------------

    async def make_owner(self, connection: asyncpg.Connection[asyncpg.Record]) -> Owner:
        made = Owner(id=uuid4(), group=self.chance.choice((KEEPERS, PASSERS, OTHERS, OTHERS)))
        await connection.execute(
            'INSERT INTO "VirtualKeys" ("Id", "KeyName", "KeyHash", "IsEnabled", "CreatedAt",'
            ' "VirtualKeyGroupId") VALUES ($1, $2, $2, true, now(), $3)',
            made.id,
            made.id.hex,
            made.group,
        )
        self.owners.append(made)
        self.did["keys made"] += 1
        return made

    async def write(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        """One medium: its object is put while the transaction of its row is open; some roll back."""
        owner = self.chance.choice(self.staying() or self.owners)
        key = f"{self.chance.choice(('image', 'video'))}/{uuid4().hex}"
        body = self.chance.randbytes(self.chance.randrange(1, 4_000))
        rolls_back = self.chance.random() < 0.04
        old = self.chance.random() < 0.2
        self.sizes[key], self.owner_of[key] = len(body), owner.id
        transaction = connection.transaction()
        await transaction.start()
        try:
            await connection.execute(
                'INSERT INTO "MediaRecords" ("Id", "StorageKey", "VirtualKeyId", "MediaType", "SizeBytes",'
                ' "CreatedAt") VALUES ($1, $2, $3, $4, $5, $6)',
                uuid4(),
                key,
                owner.id,
                key.partition("/")[0],
                len(body),
                datetime.now(UTC) - timedelta(days=2 if old else 0),
            )
        except asyncpg.ForeignKeyViolationError:
            await transaction.rollback()
            del self.sizes[key]
            self.did["writes refused, their key was gone"] += 1
            return
        await anyio.to_thread.run_sync(self.site.bucket.put, key, body)
        if rolls_back:
            self.let_go([key], frozenset({Verdict.ORPHAN}))
            await transaction.rollback()
            self.did["uploads rolled back"] += 1
            return
        await transaction.commit()
        owner.media.add(key)
        self.did["media"] += 1
        stale = {Verdict.STALE} if old and owner.group == PASSERS else set()
        if fate := owner.fate | stale:
            self.let_go([key], fate)
        else:
            self.live[key] = body

    async def ban(self, connection: asyncpg.Connection[asyncpg.Record], owner: Owner) -> None:
        if owner.group != KEEPERS:
            owner.fate = frozenset({Verdict.REVOKED})
            self.let_go(owner.media, owner.fate)
        else:
            owner.in_hand = True  # its media stay all the same, by its rule
        await self._enable(connection, owner, to=False)
        self.did["keys banned"] += 1

    async def ban_for_a_moment(self, owner: Owner) -> None:
        began = time.monotonic()
        async with self.site.connected() as connection:
            await self._enable(connection, owner, to=False)
            await anyio.sleep(self.chance.uniform(*MOMENT))
            await self._enable(connection, owner, to=True)
        assert time.monotonic() - began < GRACE, "this machine is too slow for this test"
        owner.in_hand = False
        self.did["keys enabled again"] += 1

    @staticmethod
    async def _enable(connection: asyncpg.Connection[asyncpg.Record], owner: Owner, *, to: bool) -> None:
        await connection.execute('UPDATE "VirtualKeys" SET "IsEnabled" = $2 WHERE "Id" = $1', owner.id, to)

    async def delete(self, connection: asyncpg.Connection[asyncpg.Record], owner: Owner) -> None:
        owner.fate = LEFT
        self.let_go(owner.media, LEFT)
        self.removed_by_us |= owner.media
        await connection.execute('DELETE FROM "VirtualKeys" WHERE "Id" = $1', owner.id)
        self.did["keys deleted"] += 1

    async def delete_and_think_again(
        self, connection: asyncpg.Connection[asyncpg.Record], owner: Owner
    ) -> None:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute('DELETE FROM "VirtualKeys" WHERE "Id" = $1', owner.id)
        await anyio.sleep(self.chance.uniform(0, 0.3))
        await transaction.rollback()
        self.did["deletions of keys rolled back"] += 1

    async def expire(self, connection: asyncpg.Connection[asyncpg.Record], owner: Owner) -> None:
        """Some of its media: those that the gateway deletes by row, and those whose time is over."""
        some = sorted(owner.media & self.live.keys())[:6]
        ends, goes = some[::2], some[1::2]
        self.let_go(ends, frozenset({Verdict.EXPIRED}))
        self.let_go(goes, LEFT)
        self.removed_by_us.update(goes)
        await connection.execute(
            'UPDATE "MediaRecords" SET "ExpiresAt" = now() WHERE "StorageKey" = ANY($1)', ends
        )
        await connection.execute('DELETE FROM "MediaRecords" WHERE "StorageKey" = ANY($1)', goes)
        self.did["media expired"] += len(ends)
        self.did["rows deleted"] += len(goes)

    # --- what runs beside ------------------------------------------------------------------------------

    async def writing(self, ends: float) -> None:
        async with self.site.connected() as connection:
            due = time.monotonic()
            while (now := time.monotonic()) < ends:
                await anyio.sleep(max(0.0, due - now))
                due += WRITERS / MEDIA_A_SECOND
                await self.write(connection)

    async def managing(self, ends: float) -> None:
        """Keys come and go; at least two of them always stay."""
        acts: tuple[Callable[..., Awaitable[None]], ...] = (
            self.ban,
            self.delete,
            self.delete,
            self.delete_and_think_again,
            self.expire,
            self.expire,
        )
        async with self.site.connected() as connection, anyio.create_task_group() as moments:
            while time.monotonic() < ends:
                await self.make_owner(connection)
                if len(staying := self.staying()) > 3:
                    owner = self.chance.choice(staying[:-1])
                    if self.chance.random() < 0.2:
                        owner.in_hand = True
                        moments.start_soon(self.ban_for_a_moment, owner)
                    else:
                        await self.chance.choice(acts)(connection, owner)
                await anyio.sleep(0.3)

    async def watching(self) -> None:
        """Look at both sides again and again; what stayed before and after a look has to be in it."""
        while True:
            await self.look()
            await anyio.sleep(0.2)

    async def look(self) -> None:
        before = dict(self.live)
        objects, rows = await self.seen()
        for key in before.keys() & self.live.keys():
            assert objects.get(key) == len(before[key]), f"the object {key} is gone, or another one"
            assert rows.get(key) == len(before[key]), f"the row of {key} is gone"
        self.looks += 1

    async def seen(self) -> tuple[dict[str, int], dict[str, int]]:
        """Bytes by storage key: of the objects, and of the rows."""
        rows = await self.site.sql('SELECT "StorageKey", "SizeBytes" FROM "MediaRecords"')
        objects = await anyio.to_thread.run_sync(self._listed)
        managed = {key: size for key, size in objects.items() if not key.startswith(".reconciler/")}
        return managed, {row["StorageKey"]: row["SizeBytes"] for row in rows}

    def _listed(self) -> dict[str, int]:
        bucket = self.site.bucket
        pages = bucket.client.get_paginator("list_objects_v2").paginate(Bucket=bucket.name)
        return {each["Key"]: each["Size"] for page in pages for each in page.get("Contents", ())}

    async def settled(self) -> bool:
        objects, rows = await self.seen()
        return objects.keys() == rows.keys() == self.live.keys()


async def test_all_agree_to_the_byte_after_two_minutes_of_a_gateway(site: Site) -> None:
    await site.script('ALTER TABLE "VirtualKeys" ADD "VirtualKeyGroupId" integer')
    await anyio.to_thread.run_sync(lambda: migrate.upgrade(site.database, with_triggers=True))
    site.environment.update(CALM)
    site.environment.update({f"RECONCILER_{name.upper()}": value for name, value in SETTINGS.items()})
    truth = Truth(site=site, chance=random.Random(SEED))
    async with site.connected() as connection:
        for _ in range(8):
            await truth.make_owner(connection)
    began = time.monotonic()
    async with daemon(site), anyio.create_task_group() as watch:
        watch.start_soon(truth.watching)
        async with anyio.create_task_group() as gateway:
            for _ in range(WRITERS):
                gateway.start_soon(truth.writing, began + SECONDS)
            gateway.start_soon(truth.managing, began + SECONDS)
        wrote = time.monotonic() - began
        await until(truth.settled, within=120)
        converged = time.monotonic() - began - wrote
        await truth.look()
        watch.cancel_scope.cancel()
    await agree_to_the_byte(truth)
    gone = await explanations_agree(truth)
    told = ", ".join(f"{number:,} {what}" for what, number in truth.did.most_common())
    print(f"\n{wrote:.0f} s: {told}; {truth.looks} looks at both sides; settled {converged:.1f} s later")
    print(f"gone: {dict(gone)}; {len(truth.live):,} stay with {sum(map(len, truth.live.values())):,} bytes")
    assert truth.did["media"] > SECONDS * MEDIA_A_SECOND / 2, "the gateway wrote what it should"
    assert truth.looks > SECONDS / 10


async def agree_to_the_byte(truth: Truth) -> None:
    """Bucket and table hold what stays; ledger and quarantine what went, once each."""
    site = truth.site
    objects, rows = await truth.seen()
    assert objects == rows == {key: len(body) for key, body in truth.live.items()}
    for key in truth.chance.sample(sorted(truth.live), k=min(200, len(truth.live))):
        assert (
            site.bucket.client.get_object(Bucket=site.bucket.name, Key=key)["Body"].read() == truth.live[key]
        )
    lines = await site.sql(
        "SELECT storage_key, what, result, bytes, verdict, owners FROM reconciler.ledger"
        " WHERE event = 'result'"
    )
    went = [line for line in lines if line["what"] == "object" and line["result"] == "deleted"]
    assert Counter(line["storage_key"] for line in went) == Counter(truth.going.keys()), "each of them, once"
    assert {line["storage_key"]: line["bytes"] for line in went} == {
        key: truth.sizes[key] for key in truth.going
    }
    for line in went:
        assert Verdict(line["verdict"]) in truth.going[line["storage_key"]], line
        if line["verdict"] != Verdict.ORPHAN:
            assert line["owners"] == [str(truth.owner_of[line["storage_key"]])]
    removed = {
        line["storage_key"] for line in lines if line["what"] == "record" and line["result"] == "deleted"
    }
    by_rule = {line["storage_key"] for line in went if line["verdict"] in {"revoked", "stale", "expired"}}
    assert removed <= by_rule
    assert by_rule - removed <= truth.removed_by_us, "or the gateway was faster"
    hidden = await site.sql("SELECT storage_key, bytes FROM reconciler.hidden")
    assert {row["storage_key"]: row["bytes"] for row in hidden} == {
        key: truth.sizes[key] for key in truth.going
    }
    copies = await anyio.to_thread.run_sync(truth._listed)
    kept = sum(size for key, size in copies.items() if key.startswith(".reconciler/quarantine/"))
    assert kept == sum(truth.sizes[key] for key in truth.going), "every byte that went can come back"


async def explanations_agree(truth: Truth) -> Counter[str]:
    """What `explain` says of some of each, and the verdicts under which media went."""
    lines = await truth.site.sql(
        "SELECT DISTINCT storage_key, verdict FROM reconciler.ledger"
        " WHERE event = 'result' AND what = 'object'"
    )
    verdicts = {line["storage_key"]: line["verdict"] for line in lines}
    some = [key for kind in Verdict for key in [key for key, each in verdicts.items() if each == kind][:8]]
    stay = truth.chance.sample(sorted(truth.live), k=min(20, len(truth.live)))
    with pytest.MonkeyPatch.context() as patched:
        for name, value in truth.site.environment.items():
            patched.setenv(name, value)
        settings = load()
        for key in stay:
            told = await app.explain(settings, key)
            assert told.seen.object is not None
            assert told.seen.object.size == len(truth.live[key])
            assert (len(told.rows), told.outlook.now.goes, told.history.mark) == (1, False, None), key
        for key in some:
            told = await app.explain(settings, key)
            assert (told.seen.object, told.rows, told.history.state) == (None, [], KeyState.DELETED), key
            (deleted,) = [
                line for line in told.history.lines if (line.what, line.result) == ("object", "deleted")
            ]
            assert (deleted.verdict, deleted.bytes) == (verdicts[key], truth.sizes[key])
            assert [each for each in told.returnable if each.record_id is None], "and it can come back"
    return Counter(verdicts.values())
