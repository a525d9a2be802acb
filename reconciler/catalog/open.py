"""Opens the catalog: the schema is looked at first, then the stores are made over one pool."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio

from reconciler.catalog import connections
from reconciler.catalog.accounts import PostgresAccounts
from reconciler.catalog.approvals import PostgresApprovals
from reconciler.catalog.budget import PostgresBudget
from reconciler.catalog.config import CatalogConfig
from reconciler.catalog.connections import Database, open_database
from reconciler.catalog.erasure import Erasure
from reconciler.catalog.gateway import Gateway
from reconciler.catalog.holds import PostgresHolds
from reconciler.catalog.inspection import SchemaReport, inspect
from reconciler.catalog.lease import PostgresLease
from reconciler.catalog.marklist import MarkList
from reconciler.catalog.marks import PostgresMarks
from reconciler.catalog.nearmisses import PostgresNearMisses
from reconciler.catalog.passes import PostgresPasses
from reconciler.catalog.pause import PostgresPauseSwitch
from reconciler.catalog.purging import PostgresPurges
from reconciler.catalog.records import GatewayRecords
from reconciler.catalog.recovery import PostgresRecovery
from reconciler.catalog.schema import SchemaVersion
from reconciler.catalog.site import PostgresSite
from reconciler.catalog.staging import PostgresStagingArea
from reconciler.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """The stores of one database. `report` is what the inspection found when it was opened."""

    records: GatewayRecords
    passes: PostgresPasses
    near_misses: PostgresNearMisses
    approvals: PostgresApprovals
    marks: PostgresMarks
    lease: PostgresLease
    site: PostgresSite
    budget: PostgresBudget
    pauses: PostgresPauseSwitch
    staging: PostgresStagingArea
    holds: PostgresHolds
    mark_list: MarkList
    recovery: PostgresRecovery
    purges: PostgresPurges
    erasure: Erasure
    accounts: PostgresAccounts
    report: SchemaReport
    database: Database

    async def schema_version(self) -> SchemaVersion:
        """Where our own schema stands by now."""
        async with self.database.connection() as connection:
            return await connections.schema_version(connection)

    async def require_schema(self) -> None:
        """Raises ConfigError where this program cannot use it."""
        if misfit := (await self.schema_version()).misfit:
            raise ConfigError(misfit)


@asynccontextmanager
async def open_catalog(config: CatalogConfig) -> AsyncIterator[Catalog]:
    """The catalog, for as long as the context lasts.

    Raises ConfigError with every fault of the mapping, one a line; CatalogUnavailable.
    """
    report = await inspect(config)
    if report.types is None:
        raise ConfigError("\n".join(report.faults))
    gateway = Gateway(config.tables, report.types)
    lease, pauses = PostgresLease(config), PostgresPauseSwitch(config)
    async with open_database(config) as database:
        try:
            yield Catalog(
                records=GatewayRecords(database, gateway),
                passes=PostgresPasses(database, gateway),
                near_misses=PostgresNearMisses(database),
                approvals=PostgresApprovals(database),
                marks=PostgresMarks(database, gateway),
                lease=lease,
                site=PostgresSite(database),
                budget=PostgresBudget(database),
                pauses=pauses,
                staging=PostgresStagingArea(config, gateway),
                holds=PostgresHolds(database, gateway),
                mark_list=MarkList(database, gateway),
                recovery=PostgresRecovery(database, gateway),
                purges=PostgresPurges(database, gateway),
                erasure=Erasure(database, gateway),
                accounts=PostgresAccounts(database, gateway),
                report=report,
                database=database,
            )
        finally:
            with anyio.CancelScope(shield=True):
                await lease.close()
                await pauses.close()
