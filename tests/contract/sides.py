"""The two sides of each port: the double in memory, and the adapter on a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from reconciler.catalog.passes.approvals import PostgresApprovals
from reconciler.model import (
    Capabilities,
    Claim,
    Hidden,
    ListingOrder,
    Mode,
    ObjectResult,
    Pass,
    PassKind,
    Removed,
    Tally,
    Term,
    Trip,
    Verdict,
)
from reconciler.model.spelling import Orphans
from reconciler.ports import (
    Budget,
    ClaimRequest,
    Copies,
    Decide,
    Holds,
    IdentityObject,
    Lease,
    Listing,
    Marks,
    NearMisses,
    ObjectStore,
    Passes,
    PauseSwitch,
    Purges,
    Records,
    Recovery,
    Site,
    StagingArea,
    Uploads,
    Versions,
)
from reconciler.stores.s3 import open_bucket
from tests.contract.catalog import ALL, LONG_AGO, NOTHING, POLICY, TTL, Stage, finding, no_cap, unless_named
from tests.doubles.approvals import MemoryApprovals
from tests.doubles.bucket import MemoryBucket
from tests.doubles.budget import MemoryBudget
from tests.doubles.database import MemoryDatabase
from tests.doubles.holds import MemoryHolds
from tests.doubles.marks import MemoryMarks
from tests.doubles.nearmisses import MemoryNearMisses
from tests.doubles.observing import Surroundings
from tests.doubles.passes import MemoryLease, MemoryPasses, MemorySite
from tests.doubles.pause import MemoryPauseSwitch
from tests.doubles.records import MemoryRecords, MemoryStagingArea
from tests.doubles.recovery import MemoryPurges, MemoryRecovery
from tests.servers import Bucket
from tests.support.buckets import CAPABILITIES, config_of


@dataclass(frozen=True, kw_only=True)
class BucketSide:
    """A bucket of its own for a test. `keep_versions` switches them on."""

    listing: Listing
    store: ObjectStore
    copies: Copies
    versions: Versions
    uploads: Uploads
    identity: IdentityObject
    put: Callable[[str], object]
    keep_versions: Callable[[], object]
    begin_upload: Callable[[str], object]
    capabilities: Capabilities

    @property
    def ordered(self) -> bool:
        return self.capabilities.order is ListingOrder.BYTES


@asynccontextmanager
async def memory_bucket(order: ListingOrder) -> AsyncIterator[BucketSide]:
    bucket = MemoryBucket(Surroundings(), order=order)

    def keep_versions() -> None:
        bucket.versions.kept_now = True

    yield BucketSide(
        listing=bucket,
        store=bucket,
        copies=bucket,
        versions=bucket.versions,
        uploads=bucket.uploads,
        identity=bucket,
        put=bucket.upload,
        keep_versions=keep_versions,
        begin_upload=bucket.uploads.begin,
        capabilities=bucket.capabilities,
    )


@asynccontextmanager
async def real_bucket(bucket: Bucket) -> AsyncIterator[BucketSide]:
    capabilities = CAPABILITIES[bucket.server.kind]
    client, name = bucket.client, bucket.name

    def keep_versions() -> None:
        client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})

    async with open_bucket(config_of(bucket)) as opened:
        yield BucketSide(
            listing=opened.listing,
            store=opened.store(capabilities),
            copies=opened.copies,
            versions=opened.versions,
            uploads=opened.uploads,
            identity=opened.identity,
            put=bucket.put,
            keep_versions=keep_versions,
            begin_upload=lambda key: client.create_multipart_upload(Bucket=name, Key=key),
            capabilities=capabilities,
        )


@dataclass(frozen=True, kw_only=True)
class CatalogSide:
    """A database of its own for a test, whose lease is ours, in live mode."""

    records: Records
    passes: Passes
    near_misses: NearMisses
    approvals: PostgresApprovals | MemoryApprovals
    marks: Marks
    lease: Lease
    budget: Budget
    pauses: PauseSwitch
    staging: StagingArea
    holds: Holds
    recovery: Recovery
    purges: Purges
    site: Site
    term: Term
    add_row: Callable[..., Any]
    keep_row: Callable[[str], Any]
    """Makes the row with that id one that does not expire."""

    async def begin(self) -> Pass:
        return await self.passes.begin(self.term, PassKind.SWEEP, "hash", Mode.LIVE, None)

    async def sweep(self, *verdicts: tuple[str, Verdict], trip: Trip | None = None) -> int:
        """One complete sweep that found these, released unless it is to trip."""
        current = await self.begin()
        found = [finding(key, verdict) for key, verdict in verdicts]
        orphans = Orphans(pass_id=current.id, bucket="", prefixes=POLICY.prefixes)
        keys = [key for key, verdict in verdicts if verdict is Verdict.ORPHAN]
        await self.near_misses.note(current.id, orphans.folded(keys), [])
        await self.passes.record(self.term, current, found, NOTHING)
        if trip is None:
            await self.passes.arm(self.term, current, Tally(objects=3))
        else:
            await self.passes.trip(self.term, current, Tally(objects=3), trip)
        return current.id

    async def claim(self, decide: Decide = unless_named, limit: int = 1000) -> Claim:
        return await self.marks.claim(self.term, ClaimRequest(POLICY, ALL, limit, decide, no_cap))

    async def confirm(
        self,
        claim: Claim,
        result: ObjectResult,
        decide: Decide = unless_named,
        hidden: Mapping[str, Hidden] | None = None,
    ) -> Removed:
        answers = {key.mark.storage_key: (result, "") for key in claim.keys}
        window = timedelta(hours=1)
        return await self.marks.confirm(self.term, claim, answers, decide, window, hidden)


async def memory_catalog() -> CatalogSide:
    database = MemoryDatabase(Surroundings())
    lease = MemoryLease(database)
    term = await lease.acquire("test", TTL)
    assert isinstance(term, Term)
    await lease.observe_mode(term, Mode.LIVE)

    async def add_row(key: str, *, expired: bool = False) -> str:
        return database.insert(key, created_at=LONG_AGO, expires_at=LONG_AGO if expired else None)

    async def keep_row(row_id: str) -> None:
        database.update(row_id, expires_at=None)

    return CatalogSide(
        records=MemoryRecords(database),
        passes=MemoryPasses(database),
        near_misses=MemoryNearMisses(database),
        approvals=MemoryApprovals(database),
        marks=MemoryMarks(database),
        lease=lease,
        budget=MemoryBudget(database),
        pauses=MemoryPauseSwitch(database),
        staging=MemoryStagingArea(database),
        holds=MemoryHolds(database),
        recovery=MemoryRecovery(database),
        purges=MemoryPurges(database),
        site=MemorySite(database),
        term=term,
        add_row=add_row,
        keep_row=keep_row,
    )


def real_catalog(stage: Stage) -> CatalogSide:
    async def add_row(key: str, *, expired: bool = False) -> str:
        return await stage.add_row(key, ExpiresAt=LONG_AGO if expired else None)

    async def keep_row(row_id: str) -> None:
        await stage.sql.execute(
            'UPDATE public."MediaRecords" SET "ExpiresAt" = NULL WHERE "Id" = $1::text::uuid', row_id
        )

    catalog = stage.catalog
    return CatalogSide(
        records=catalog.records,
        passes=catalog.passes,
        near_misses=catalog.near_misses,
        approvals=catalog.approvals,
        marks=catalog.marks,
        lease=catalog.lease,
        budget=catalog.budget,
        pauses=catalog.pauses,
        staging=catalog.staging,
        holds=catalog.holds,
        recovery=catalog.recovery,
        purges=catalog.purges,
        site=catalog.site,
        term=stage.term,
        add_row=add_row,
        keep_row=keep_row,
    )
