"""Opens the catalog: inspects the schema first, then makes the stores over one pool."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import anyio

from reconciler.catalog.admin.audit import Audit
from reconciler.catalog.admin.jobs import PostgresJobs
from reconciler.catalog.db import connections
from reconciler.catalog.db.config import CatalogConfig
from reconciler.catalog.db.connections import Database, open_database
from reconciler.catalog.db.schema import SchemaVersion
from reconciler.catalog.holds import PostgresHolds
from reconciler.catalog.leadership.budget import PostgresBudget
from reconciler.catalog.leadership.lease import PostgresLease
from reconciler.catalog.leadership.orders import PostgresOrders
from reconciler.catalog.leadership.pause import PostgresPauseSwitch
from reconciler.catalog.leadership.replicas import PostgresReplicas
from reconciler.catalog.leadership.site import PostgresSite
from reconciler.catalog.marks.history import History
from reconciler.catalog.marks.marks import PostgresMarks
from reconciler.catalog.marks.queries import MarkList
from reconciler.catalog.media_tables.access_logs import AccessLogs
from reconciler.catalog.media_tables.accesses import RecordedAccesses
from reconciler.catalog.media_tables.browsing import MediaList
from reconciler.catalog.media_tables.inspection import SchemaReport, inspect
from reconciler.catalog.media_tables.links import Links
from reconciler.catalog.media_tables.near_misses.noted import PostgresNearMisses
from reconciler.catalog.media_tables.records import GatewayRecords
from reconciler.catalog.media_tables.serving import ServedMedia
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.catalog.outbox import PostgresOutbox
from reconciler.catalog.passes.approvals import PostgresApprovals
from reconciler.catalog.passes.departures import PostgresDepartures
from reconciler.catalog.passes.export import PostgresExport
from reconciler.catalog.passes.hints import PostgresHints
from reconciler.catalog.passes.nominations import PostgresNominationArea
from reconciler.catalog.passes.passes import PostgresPasses
from reconciler.catalog.passes.staging import PostgresStagingArea
from reconciler.catalog.receivers import Receivers
from reconciler.catalog.recovery.adoption import PostgresAdoptions
from reconciler.catalog.recovery.cases import PostgresErasures
from reconciler.catalog.recovery.erasure import Erasure
from reconciler.catalog.recovery.purge import PostgresPurges
from reconciler.catalog.recovery.recovery import PostgresRecovery
from reconciler.catalog.reservations import Reservations
from reconciler.catalog.statistics import PostgresStatistics
from reconciler.catalog.trends import PostgresTrends
from reconciler.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """The stores of one database. `report` is the result of the inspection when it was opened."""

    records: GatewayRecords
    passes: PostgresPasses
    departures: PostgresDepartures
    hints: PostgresHints
    near_misses: PostgresNearMisses
    approvals: PostgresApprovals
    marks: PostgresMarks
    lease: PostgresLease
    site: PostgresSite
    budget: PostgresBudget
    pauses: PostgresPauseSwitch
    staging: PostgresStagingArea
    export: PostgresExport
    nominations: PostgresNominationArea
    holds: PostgresHolds
    jobs: PostgresJobs
    audit: Audit
    mark_list: MarkList
    media_list: MediaList
    served: ServedMedia
    accesses: RecordedAccesses
    access_logs: AccessLogs
    links: Links
    reservations: Reservations
    history: History
    recovery: PostgresRecovery
    purges: PostgresPurges
    outbox: PostgresOutbox
    receivers: Receivers
    erasure: Erasure
    adoptions: PostgresAdoptions
    erasures: PostgresErasures
    statistics: PostgresStatistics
    trends: PostgresTrends
    replicas: PostgresReplicas
    orders: PostgresOrders
    report: SchemaReport
    database: Database

    async def schema_version(self) -> SchemaVersion:
        async with self.database.connection() as connection:
            return await connections.schema_version(connection)

    async def require_schema(self) -> None:
        """Raises ConfigError where this program cannot use it."""
        if misfit := (await self.schema_version()).misfit:
            raise ConfigError(misfit)


@asynccontextmanager
async def open_catalog(config: CatalogConfig) -> AsyncIterator[Catalog]:
    """The catalog, for as long as the context lasts.

    Raises ConfigError with all faults of the mapping, one on each line; CatalogUnavailable.
    """
    report = await inspect(config)
    if report.types is None or report.tables is None:
        raise ConfigError("\n".join(report.faults))
    config = replace(config, tables=report.tables)
    media = MediaTables(config.tables, report.types)
    lease, pauses = PostgresLease(config), PostgresPauseSwitch(config)
    async with open_database(config) as database:
        accesses = RecordedAccesses(database, media, config.tables.media)
        try:
            records = GatewayRecords(database, media)
            yield Catalog(
                records=records,
                passes=PostgresPasses(database, media),
                departures=PostgresDepartures(database, config),
                hints=PostgresHints(database),
                near_misses=PostgresNearMisses(database),
                approvals=PostgresApprovals(database),
                marks=PostgresMarks(database, media),
                lease=lease,
                site=PostgresSite(database),
                budget=PostgresBudget(database),
                pauses=pauses,
                staging=PostgresStagingArea(config, media),
                export=PostgresExport(config, media, records),
                nominations=PostgresNominationArea(config, media),
                holds=PostgresHolds(database, media),
                jobs=PostgresJobs(database),
                audit=Audit(database),
                mark_list=MarkList(database, media),
                media_list=MediaList(database, media),
                served=ServedMedia(database, media, config.tables.keys),
                accesses=accesses,
                access_logs=AccessLogs(database, accesses),
                links=Links(database, media),
                reservations=Reservations(database, media),
                history=History(database),
                recovery=PostgresRecovery(database, media),
                purges=PostgresPurges(database, media),
                outbox=PostgresOutbox(database, media),
                receivers=Receivers(database),
                erasure=Erasure(database, media),
                adoptions=PostgresAdoptions(database, media, config.tables),
                erasures=PostgresErasures(database, media),
                statistics=PostgresStatistics(database, media),
                trends=PostgresTrends(database, media),
                replicas=PostgresReplicas(database),
                orders=PostgresOrders(database),
                report=report,
                database=database,
            )
        finally:
            with anyio.CancelScope(shield=True):
                await lease.close()
                await pauses.close()
