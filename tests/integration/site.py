"""A gateway's site on real servers: its bucket, its tables, and the reconciler's settings for both."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import anyio
import anyio.to_thread
import asyncpg

from reconciler import app
from reconciler.catalog.db.config import CatalogConfig
from reconciler.catalog.open import Catalog, open_catalog
from reconciler.engine.lead.adoption import Situation
from reconciler.engine.recover.undo import Undone
from reconciler.model import Finding, Mode, Report, UndoScope
from reconciler.operations import ownership
from reconciler.ports import Observer
from reconciler.settings import DatabaseSettings, SettingsSource, load
from tests.servers import Bucket

DAY = timedelta(days=1)
PATIENCE = timedelta(seconds=20)

IMPATIENT = {
    "RECONCILER_BUCKET__PREFIXES": '["image/", "video/"]',
    "RECONCILER_DRY_RUN": "false",
    "RECONCILER_GRACE_PERIOD": "0s",
    "RECONCILER_DELETE_DELAY": "0s",
    "RECONCILER_DELETE_MODE": "direct",
    "RECONCILER_KEY_GRACE": "0s",
    "RECONCILER_REVOKED_KEY_POLICY": "delete",
    "RECONCILER_MAX_DELETES_PER_SECOND": "unlimited",
    "RECONCILER_BREAKER__MAX_FRACTION": "1",
    "RECONCILER_LEASE__TTL": "4s",
    "RECONCILER_BUCKET__REQUEST_TIMEOUT": "3s",
}
"""No grace, no delay, no way back and an open breaker: a test says itself which of them it is about."""


CALM = {"RECONCILER_LEASE__TTL": "120s", "RECONCILER_BUCKET__REQUEST_TIMEOUT": "20s"}
"""Where nobody dies and nothing hangs, so that nobody waits for it: a busy machine may take its time."""


SOON_DEAD = {"bucket__request_timeout": "3s"}
"""For a run that takes up what another left: it waits twice that for the last requests to end."""


@dataclass(frozen=True, slots=True)
class Site:
    """`environment` holds every setting and credential of this site."""

    database: str
    bucket: Bucket
    environment: dict[str, str] = field(default_factory=dict)

    def settings(self, **changes: str) -> dict[str, str]:
        """The site's environment with settings changed: `grace_period="1h"`, `breaker__max_count="5"`."""
        named = {f"RECONCILER_{name.upper()}": value for name, value in changes.items()}
        return {**self.environment, **named}

    async def once(self, **changes: str) -> Report:
        return await self.once_within(PATIENCE, **changes)

    async def once_within(self, wait: timedelta, **changes: str) -> Report:
        """Giving up on a lease that is not had in `wait`."""
        with _environment(self.settings(**changes)):
            return await app.once(SettingsSource(), wait=wait)

    async def once_told(self, observer: Observer, **changes: str) -> Report:
        """With metrics, or whoever else wants to be told."""
        with _environment(self.settings(**changes)):
            return await app.once(SettingsSource(), wait=PATIENCE, observer=observer)

    async def plan(self, **changes: str) -> tuple[Report, list[Finding]]:
        findings: list[Finding] = []
        with _environment(self.settings(**changes)):
            report = await app.plan(load(), findings.extend)
        return report, findings

    def catalog(self) -> AbstractAsyncContextManager[Catalog]:
        """The site's database, as the program sees it."""
        return open_catalog(CatalogConfig(database_url=self.database))

    async def undo(self, mode: Mode = Mode.LIVE, **scope: Any) -> Undone:
        with _environment(self.environment):
            source, wanted = SettingsSource(), UndoScope(**scope)
            return await app.undo(source, wanted, author="test", mode=mode, emit=lambda _: None)

    async def ownership(self) -> Situation:
        with _environment(self.environment):
            settings = load()
            async with app.open_ports(settings) as ports:
                return await ownership.look(ports, settings.bucket.name)

    async def adopt(self) -> int:
        """As `reconciler adopt-bucket --yes` does. Returns how many marks were withdrawn."""
        with _environment(self.environment):
            settings = load()
            async with app.open_ports(settings) as ports:
                return await ownership.adopt(
                    ports,
                    settings.bucket.name,
                    settings.bucket.prefixes,
                    app.limits_of(settings),
                    upload_window=settings.upload_window,
                    wait=PATIENCE,
                )

    async def approve(self, pass_id: int, *, understood: bool = False) -> int:
        """As a person does, beside whoever leads; returns how many marks that releases."""
        with _environment(self.environment):
            async with app.open_database(load(kind=DatabaseSettings)) as catalog:
                done = await catalog.approvals.approve(pass_id, "ada@desk", understood=understood)
                return done.released

    async def discard(self, pass_id: int) -> int:
        with _environment(self.environment):
            async with app.open_database(load(kind=DatabaseSettings)) as catalog:
                return await catalog.approvals.discard(pass_id, "ada@desk")

    async def passes(self) -> list[tuple[int, str, str]]:
        """Id, kind and state of every pass, in order."""
        found = await self.sql("SELECT id, kind, state FROM reconciler.passes ORDER BY id")
        return [(row[0], row[1], row[2]) for row in found]

    async def tripped(self) -> int:
        """The newest pass that waits for a decision."""
        return max(number for number, _, state in await self.passes() if state == "tripped")

    async def newest_pass(self) -> int:
        return max(number for number, _, _ in await self.passes())

    async def put(self, *keys: str) -> None:
        """Objects, put now."""
        for key in keys:
            await anyio.to_thread.run_sync(self.bucket.put, key)

    async def virtual_key(
        self, *, enabled: bool = True, expires_at: datetime | None = None, on: Any = None
    ) -> UUID:
        key = uuid4()
        await (on.execute if on else self.sql)(
            'INSERT INTO "VirtualKeys" ("Id", "KeyName", "KeyHash", "IsEnabled", "ExpiresAt", "CreatedAt")'
            " VALUES ($1, $2, $2, $3, $4, now())",
            key,
            key.hex,
            enabled,
            expires_at,
        )
        return key

    async def row(
        self, key: str, owner: UUID | None = None, *, age: timedelta = DAY, on: Any = None, **columns: Any
    ) -> UUID:
        """A row of that age; further columns by name: `ExpiresAt=...`. `on` the caller's connection."""
        async with nullcontext(on) if on else self.connected() as connection:
            row = uuid4()
            values = {
                "Id": row,
                "StorageKey": key,
                "VirtualKeyId": owner or await self.virtual_key(on=connection),
                "MediaType": "image",
                "SizeBytes": 1,
                "CreatedAt": datetime.now(UTC) - age,
                **columns,
            }
            names = ", ".join(f'"{name}"' for name in values)
            marks = ", ".join(f"${number}" for number in range(1, len(values) + 1))
            insert = f'INSERT INTO "MediaRecords" ({names}) VALUES ({marks})'
            await connection.execute(insert, *values.values())
            return row

    async def tracked(self, *keys: str, owner: UUID | None = None) -> None:
        """Objects with rows that nothing speaks against."""
        async with self.connected() as connection:
            owner = owner or await self.virtual_key(on=connection)
            for key in keys:
                await self.put(key)
                await self.row(key, owner, on=connection)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Any]:
        """A connection of the test's own. To open one takes 10 ms of processor time."""
        connection = await asyncpg.connect(self.database)
        try:
            yield connection
        finally:
            await connection.close()

    async def sql(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        async with self.connected() as connection:
            return list(await connection.fetch(statement, *arguments))

    async def script(self, statements: str) -> None:
        """Statements that answer nothing, as their owner runs them."""
        async with self.connected() as connection:
            await connection.execute(statements)

    async def outlive_the_dead(self) -> None:
        """As if lease and longest requests of who was killed had run out: otherwise the next waits for it."""
        await self.sql("UPDATE reconciler.lease SET expires_at = least(expires_at, clock_timestamp())")
        await self.sql("UPDATE reconciler.marks SET attempted_at = attempted_at - interval '1 hour'")

    async def keys(self) -> set[str]:
        """What the bucket holds, but for our own corner."""
        found = await anyio.to_thread.run_sync(self.bucket.keys)
        return {key for key in found if not key.startswith(".reconciler/")}

    async def rows(self) -> set[str]:
        """The storage keys of the rows."""
        return {str(row[0]) for row in await self.sql('SELECT "StorageKey" FROM "MediaRecords"')}

    async def state(self) -> tuple[set[str], set[str]]:
        return await self.keys(), await self.rows()

    async def ledger(self) -> list[tuple[str, str, str, str]]:
        """Event, storage key, what and result of each entry, in order."""
        found = await self.sql(
            "SELECT event, storage_key, what, coalesce(result, '') FROM reconciler.ledger ORDER BY id"
        )
        return [(row[0], row[1], row[2], row[3]) for row in found]


def make_site(database: str, bucket: Bucket, *, calm: bool = False) -> Site:
    environment = {**bucket.environment(), **IMPATIENT, "RECONCILER_DATABASE_URL": database}
    environment |= CALM if calm else {}
    return Site(database, bucket, environment)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """The settings in `os.environ`, where credentials are looked for as well."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
