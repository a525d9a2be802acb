"""The harness of the attacks: writers and the collector, stepped by hand, on a real Postgres.

A test opens a `Scene`, opens writers on it (`scene.writer()`), and calls the collector's steps one by
one: `mark`, `claim`, `ready`, `look_again`, `delete`, `confirm`. Each is the code's own, on the
catalog's real tables; the store is a bucket in memory. `scene.bucket.on_delete` runs an act in the
middle of a deletion. At the end, `scene.losses()` are the rows that lost their object unnoticed.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Any
from uuid import UUID, uuid4

import anyio
import anyio.lowlevel
import asyncpg

from reconciler.catalog.db.config import CatalogConfig, TableMapping
from reconciler.catalog.media_tables import triggers
from reconciler.catalog.media_tables.guard import REFUSED
from reconciler.engine.collect.answers import Answers
from reconciler.engine.collect.collector import Collector
from reconciler.engine.collect.deletion import delete_claimed
from reconciler.engine.collect.rules import decider
from reconciler.engine.lead.lease import Tenure
from reconciler.engine.lead.seal import Sealer
from reconciler.engine.runtime.clocks import Clocks
from reconciler.engine.runtime.context import Ports, RuntimeSettings
from reconciler.engine.runtime.pause import PauseWatch
from reconciler.engine.runtime.throttle import Throttles
from reconciler.engine.runtime.write_guard import WriteGuard
from reconciler.model import (
    Claim,
    Finding,
    Identity,
    Mode,
    Pass,
    PassKind,
    Policy,
    Removed,
    Tally,
    Term,
    Verdict,
)
from reconciler.ports import ClaimRequest, Decide
from tests.contract.catalog import ALL, DAY, LONG_AGO, NOTHING, POLICY, TTL, Stage, no_cap, staged
from tests.doubles.adoptions import MemoryDescriptions
from tests.doubles.bucket import MemoryBucket, no_other_bucket
from tests.doubles.build import LIMITS, runtime, tuning
from tests.doubles.erasures import no_erasures
from tests.doubles.observing import RecordingObserver, Surroundings

WINDOW = timedelta(hours=1)
FOR_EVER = replace(POLICY, media_retention=100 * 365 * DAY)
"""Nothing is ever stale: a row goes because it has expired, or for its key."""
READ_COMMITTED, REPEATABLE_READ, SERIALIZABLE = "read committed", "repeatable read", "serializable"


class Refused(Exception):
    """A writer's statement was refused by the triggers: upload again."""


class Again(Exception):
    """Postgres asks the writer to repeat its transaction (40001)."""


@dataclass
class Writer:
    """A gateway's connection. It is in a transaction until `commit` or `rollback`."""

    scene: Scene
    sql: Any

    async def begin(self, isolation: str = READ_COMMITTED) -> None:
        await self.sql.execute(f"BEGIN ISOLATION LEVEL {isolation}")

    async def run(self, statement: str, *arguments: object) -> None:
        try:
            await self.sql.execute(statement, *arguments)
        except asyncpg.SerializationError as error:
            raise Again(str(error)) from error
        except asyncpg.PostgresError as error:
            if error.sqlstate == REFUSED:
                raise Refused(str(error)) from error
            raise

    async def insert(self, key: str, **columns: Any) -> UUID:
        """The row of an object that was put before."""
        row = uuid4()
        values = {
            "Id": row,
            "StorageKey": key,
            "VirtualKeyId": self.scene.owner,
            "MediaType": "image",
            "CreatedAt": LONG_AGO,
            **columns,
        }
        names = ", ".join(f'"{name}"' for name in values)
        places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
        await self.run(f'INSERT INTO public."MediaRecords" ({names}) VALUES ({places})', *values.values())
        return row

    async def update(self, key: str, **columns: Any) -> None:
        """Change columns of the key's row."""
        changes = ", ".join(f'"{name}" = ${number}' for number, name in enumerate(columns, start=2))
        await self.run(
            f'UPDATE public."MediaRecords" SET {changes} WHERE "StorageKey" = $1', key, *columns.values()
        )

    async def look(self) -> None:
        """A read, which takes the snapshot of a REPEATABLE READ transaction and no transaction id."""
        await self.run('SELECT count(*) FROM public."MediaRecords"')

    async def commit(self) -> None:
        await self.run("COMMIT")

    async def rollback(self) -> None:
        await self.sql.execute("ROLLBACK")


@dataclass
class Scene:
    """A migrated database whose lease is ours, and a bucket. `policy` may be replaced in between."""

    stage: Stage
    bucket: MemoryBucket
    url: str
    closing: AsyncExitStack
    tables: TableMapping = field(default_factory=TableMapping)
    policy: Policy = FOR_EVER
    observer: RecordingObserver = field(default_factory=RecordingObserver)

    @property
    def sql(self) -> Any:
        """A connection of the test's own, each statement a transaction."""
        return self.stage.sql

    @property
    def owner(self) -> UUID:
        return self.stage.owner

    @property
    def term(self) -> Term:
        return self.stage.term

    async def writer(self, **credentials: str) -> Writer:
        sql = await asyncpg.connect(self.url, **credentials)
        self.closing.push_async_callback(sql.close)
        return Writer(self, sql)

    async def waits(self, writer: Writer) -> None:
        """Until the writer's statement, started in another task, waits for a lock."""
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = $1"
        with anyio.fail_after(10):
            while not await self.sql.fetchval(waiting, writer.sql.get_server_pid()):
                await anyio.lowlevel.checkpoint()

    async def install_triggers(self) -> None:
        await triggers.install(self.sql, self.tables)

    # --- what the bucket holds ---

    def put(self, *keys: str) -> None:
        """Objects, uploaded long ago."""
        for key in keys:
            self.bucket.upload(key, age=timedelta(days=1000))

    async def tracked(self, key: str, **columns: Any) -> UUID:
        """An object with its row."""
        self.put(key)
        return UUID(await self.stage.add_row(key, **columns))

    # --- the collector's steps ---

    def finding(self, key: str, verdict: Verdict = Verdict.ORPHAN) -> Finding:
        """As a sweep makes it: retention marks carry nothing of the object."""
        seen = self.bucket.objects.get(key) if verdict is Verdict.ORPHAN else None
        return Finding(
            storage_key=key,
            verdict=verdict,
            bytes=10,
            reason="for the test",
            object_etag=seen.etag if seen else None,
            object_last_modified=seen.last_modified if seen else None,
        )

    async def mark(self, *keys: str, verdict: Verdict = Verdict.ORPHAN, arm: bool = True) -> Pass:
        """One pass that finds these, released unless told otherwise."""
        kind = PassKind.SWEEP if verdict in {Verdict.ORPHAN, Verdict.DANGLING} else PassKind.RETENTION
        current = await self.stage.begin(kind)
        findings = [self.finding(key, verdict) for key in keys]
        await self.stage.catalog.passes.record(self.term, current, findings, NOTHING)
        if arm:
            await self.arm(current)
        return current

    async def arm(self, current: Pass) -> None:
        await self.stage.catalog.passes.arm(self.term, current, Tally())

    @property
    def runtime(self) -> RuntimeSettings:
        return runtime(policy=self.policy, limits=LIMITS, config_hash="hash", rate=inf, upload_window=WINDOW)

    @property
    def decide(self) -> Decide:
        """The real decision, under the policy of now."""
        return decider(self.runtime)

    async def claim(self, limit: int = 1000) -> Claim:
        return await self.stage.catalog.marks.claim(
            self.term, ClaimRequest(self.policy, ALL, limit, self.decide, no_cap)
        )

    async def ready(self, claim: Claim) -> bool:
        """What a deletion waits for, asked once: the triggers hold, or the horizon has passed the claim."""
        collector = self.collector()
        return await collector._guarded(claim) or await collector.wait_for_horizon(claim.xid)

    async def look_again(self, claim: Claim) -> Mapping[str, str]:
        return await self.stage.catalog.marks.look_again(
            claim, self.decide, self.policy, guarded=await self.collector()._guarded(claim)
        )

    async def delete(self, claim: Claim, spared: Mapping[str, str] | None = None) -> Answers:
        answers = Answers()
        guard = WriteGuard(self.ports, lambda: Mode.LIVE, lambda: True, self.sealer.check)
        await delete_claimed(self.ports, guard, claim, spared or {}, answers, lambda _: True, timedelta(0))
        return answers

    async def confirm(self, claim: Claim, answers: Answers) -> Removed:
        return await self.stage.catalog.marks.confirm(
            self.term, claim, answers.results, self.decide, WINDOW, answers.hidden
        )

    async def finish(self, claim: Claim) -> Removed:
        """From the second look to the end."""
        answers = await self.delete(claim, await self.look_again(claim))
        return await self.confirm(claim, answers)

    async def collect(self) -> Removed:
        """A whole round of the real collector."""
        done = await self.collector().run(self.term, report_again=False)
        return done.removed

    def collector(self) -> Collector:
        """Its clock is the bucket's, so that its patience takes no time of ours."""
        limits, tenure = tuning(delete_concurrency=1), Tenure(good_until=inf)
        return Collector(self.ports, limits, lambda: self.runtime, anyio.Event(), tenure, self.sealer)

    @functools.cached_property
    def sealer(self) -> Sealer:
        """Keeps the kind in the bucket ours."""
        return Sealer(self.ports, "media", TTL, Tenure(good_until=inf))

    @property
    def ports(self) -> Ports:
        catalog = self.stage.catalog
        return Ports(
            listing=self.bucket,
            store=self.bucket,
            descriptions=MemoryDescriptions(self.bucket),
            copies=self.bucket,
            versions=self.bucket.versions,
            uploads=self.bucket.uploads,
            identity=self.bucket,
            prober=self.bucket,
            records=catalog.records,
            staging=catalog.staging,
            passes=catalog.passes,
            departures=catalog.departures,
            jobs=catalog.jobs,
            near_misses=catalog.near_misses,
            marks=catalog.marks,
            lease=catalog.lease,
            site=catalog.site,
            quarantines=no_other_bucket(catalog.site, self.bucket.around),
            **no_erasures(),
            budget=catalog.budget,
            holds=catalog.holds,
            clocks=Clocks(self.tell, self.bucket, self.bucket.around, self.observer),
            throttles=Throttles(listing=1, deleting=1, copying=1, clock=self.bucket.around),
            pause=PauseWatch(catalog.pauses, self.bucket.around, self.observer),
            recovery=catalog.recovery,
            adoptions=catalog.adoptions,
            purges=catalog.purges,
            outbox=catalog.outbox,
            clock=self.bucket.around,
            observer=self.observer,
            capabilities=self.bucket.capabilities,
        )

    async def tell(self) -> datetime:
        """For the comparison of clocks: the bucket's stands still, and the database's is the real one."""
        return self.bucket.around.now

    # --- leadership ---

    async def next_term(self) -> Term:
        """The leader is gone; another one leads."""
        await self.stage.catalog.lease.release(self.term)
        term = await self.stage.catalog.lease.acquire("next", TTL)
        assert isinstance(term, Term)
        self.stage.term = term
        await self.sealer.take(term)
        return term

    # --- what came of it ---

    async def rows(self) -> list[str]:
        return await self.stage.keys_left()

    @property
    def objects(self) -> set[str]:
        return {key for key in self.bucket.objects if not key.startswith(".reconciler/")}

    async def restores(self) -> list[str]:
        rows = await self.sql.fetch("SELECT storage_key FROM reconciler.restores ORDER BY 1")
        return [row["storage_key"] for row in rows]

    async def losses(self) -> list[str]:
        """Committed rows without an object that nobody is bringing back."""
        held = {*self.objects, *await self.restores()}
        return [key for key in await self.rows() if key not in held]


@asynccontextmanager
async def open_scene(
    url: str, *, guarded: bool = True, compares: bool = True, config: CatalogConfig | None = None
) -> AsyncIterator[Scene]:
    """A scene on a migrated database, with the triggers or not; the bucket compares ETags, or does not.

    `config` is the reconciler's own way to the database, where it is not the writers'.
    """
    around = Surroundings()
    bucket = MemoryBucket(around, compares=compares)
    bucket.identity = Identity(
        site_id=uuid4(), bucket="media", prefixes=POLICY.prefixes, created_at=datetime.now(UTC)
    )
    async with AsyncExitStack() as closing, staged(url, config) as stage:
        scene = Scene(stage=stage, bucket=bucket, url=url, closing=closing)
        scene.tables = config.tables if config else scene.tables
        await stage.catalog.site.bind(bucket.identity)
        await scene.sealer.take(scene.term)
        if guarded:
            await scene.install_triggers()
        yield scene
