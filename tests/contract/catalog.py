"""What the catalog's contract tests share: a gateway's rows, findings, and a database seen from outside."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from reconciler.catalog.db.config import CatalogConfig
from reconciler.catalog.open import Catalog, open_catalog
from reconciler.model import (
    WITHOUT_ROW,
    Backlog,
    Cancel,
    Claim,
    Decision,
    Finding,
    Mark,
    Mode,
    ObjectResult,
    Pass,
    PassKind,
    Policy,
    Record,
    RecordRef,
    Remove,
    Removed,
    Tally,
    Term,
    Verdict,
)
from reconciler.ports import Cap, ClaimRequest, Decide

DAY = timedelta(days=1)
NOTHING = timedelta(0)
TTL = timedelta(seconds=30)
ALL = tuple(Verdict)
POLICY = Policy(
    prefixes=("image/",),
    grace_period=2 * DAY,
    delete_delay=NOTHING,
    media_retention=90 * DAY,
    recent_access=30 * DAY,
    key_grace=7 * DAY,
    delete_revoked=True,
)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def unless_named(mark: Mark, records: Sequence[Record], now: datetime) -> Decision:
    """Orphans go unless a row names them; the rows of other marks go once they have expired."""
    if mark.verdict in WITHOUT_ROW:
        return Cancel(reason="a record names it now") if records else Remove()
    going = [row for row in records if row.expires_at is not None and row.expires_at <= now]
    if not going:
        return Cancel(reason="its record is to be kept now")
    refs = tuple(RecordRef(id=row.id, version=row.version) for row in going)
    return Remove(records=refs, delete_object=len(going) == len(records))


def all_go(mark: Mark, records: Sequence[Record], now: datetime) -> Decision:
    """Whatever names the key goes, but what no row of the table is: a further column, another spelling."""
    refs = tuple(RecordRef(id=row.id, version=row.version) for row in records if row.id)
    dangling = mark.verdict is Verdict.DANGLING
    return Remove(records=refs, delete_object=not dangling, verify_absence=dangling)


def finding(key: str, verdict: Verdict = Verdict.ORPHAN, **changes: Any) -> Finding:
    values: dict[str, Any] = {"bytes": 10, "reason": "for the test", "object_etag": "e1"}
    return Finding(storage_key=key, verdict=verdict, **{**values, **changes})


def no_cap(backlog: Backlog, seen: Mapping[PassKind, Tally]) -> Mapping[PassKind, str]:
    """The breaker's caps, wide open."""
    return {}


@dataclass
class Stage:
    """An open catalog whose lease is ours, and a connection of the test's own."""

    catalog: Catalog
    sql: Any
    term: Term
    owner: UUID = field(default_factory=uuid4)

    async def add_owner(self, **changes: Any) -> UUID:
        owner = uuid4()
        columns = {"Id": owner, "KeyName": "k", "KeyHash": str(owner), "IsEnabled": True, **changes}
        await self._insert("VirtualKeys", columns)
        return owner

    async def add_row(self, key: str, **changes: Any) -> str:
        row = uuid4()
        columns = {
            "Id": row,
            "StorageKey": key,
            "VirtualKeyId": self.owner,
            "MediaType": "image",
            "CreatedAt": LONG_AGO,
            **changes,
        }
        await self._insert("MediaRecords", columns)
        return str(row)

    async def _insert(self, table: str, columns: dict[str, Any]) -> None:
        names = ", ".join(f'"{name}"' for name in columns)
        places = ", ".join(f"${number}" for number in range(1, len(columns) + 1))
        await self.sql.execute(f'INSERT INTO public."{table}" ({names}) VALUES ({places})', *columns.values())

    async def begin(self, kind: PassKind = PassKind.SWEEP) -> Pass:
        return await self.catalog.passes.begin(self.term, kind, "hash", Mode.LIVE, None)

    async def mark(self, *findings: Finding, delay: timedelta = NOTHING, arm: bool = True) -> Pass:
        """One sweep that finds these."""
        current = await self.begin()
        await self.catalog.passes.record(self.term, current, findings, delay)
        if arm:
            await self.catalog.passes.arm(self.term, current, Tally())
        return current

    async def claim(
        self, decide: Decide = unless_named, policy: Policy = POLICY, limit: int = 1000, cap: Cap = no_cap
    ) -> Claim:
        return await self.catalog.marks.claim(self.term, ClaimRequest(policy, ALL, limit, decide, cap))

    async def confirm(
        self,
        claim: Claim,
        result: ObjectResult = ObjectResult.DELETED,
        decide: Decide = unless_named,
        **results: ObjectResult,
    ) -> Removed:
        answers = {key.mark.storage_key: (result, "") for key in claim.keys}
        return await self.catalog.marks.confirm(self.term, claim, answers, decide, timedelta(hours=1))

    async def marks(self) -> dict[str, Any]:
        rows = await self.sql.fetch("SELECT * FROM reconciler.marks ORDER BY storage_key")
        return {row["storage_key"]: row for row in rows}

    async def ledger(self, event: str = "result") -> list[tuple[str, str, str | None]]:
        rows = await self.sql.fetch(
            "SELECT storage_key, what, result FROM reconciler.ledger WHERE event = $1 ORDER BY id", event
        )
        return [(row["storage_key"], row["what"], row["result"]) for row in rows]

    async def keys_left(self) -> list[str]:
        rows = await self.sql.fetch('SELECT "StorageKey" FROM public."MediaRecords" ORDER BY 1')
        return [row["StorageKey"] for row in rows]


def claimed(claim: Claim) -> list[str]:
    return [key.mark.storage_key for key in claim.keys]


@asynccontextmanager
async def staged(url: str, config: CatalogConfig | None = None) -> AsyncIterator[Stage]:
    """A migrated database, with the lease taken and live mode observed."""
    sql = await asyncpg.connect(url)
    try:
        async with open_catalog(config or CatalogConfig(database_url=url)) as catalog:
            term = await catalog.lease.acquire("test", TTL)
            assert isinstance(term, Term)
            await catalog.lease.observe_mode(term, Mode.LIVE)
            stage = Stage(catalog=catalog, sql=sql, term=term)
            stage.owner = await stage.add_owner()
            yield stage
    finally:
        await sql.close()
