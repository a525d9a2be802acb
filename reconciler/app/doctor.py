"""The checks of `doctor`, one after the other, each reported as soon as it is made."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace

from reconciler.app import wiring
from reconciler.app.commands import pause_switch
from reconciler.app.process import SystemClock
from reconciler.catalog.db.config import split_table
from reconciler.catalog.media_tables import served_columns, trial
from reconciler.catalog.media_tables.creation import made_by_us
from reconciler.catalog.media_tables.inspection import SchemaReport, inspect
from reconciler.catalog.media_tables.survey import opened as survey_of_tables
from reconciler.catalog.media_tables.triggers import Triggers
from reconciler.catalog.open import Catalog, open_catalog
from reconciler.engine.lead import adoption, ownership
from reconciler.engine.runtime.pause import PauseWatch
from reconciler.media.links import LinkSecrets
from reconciler.model import RESERVED_PREFIX, Capabilities, Check, DeleteMode, SeenTable, Versioning
from reconciler.operations import checks, expiry, other_tables
from reconciler.planning import lifecycle
from reconciler.planning.quarantine import managed
from reconciler.settings import SettingsSource
from reconciler.settings import tell as log_settings
from reconciler.stores.cdn import verify
from reconciler.stores.s3 import Bucket, open_bucket, open_queue
from reconciler.telemetry.observers import NullObserver

Emit = Callable[[Check], None]

OF_THE_TABLES = ("index", "triggers", "departures", "rights", "media service")
OF_BOTH_SIDES = ("rows", "identity", "restores", "clocks")
OF_THE_BUCKET = ("list", "head", "delete", "delete mode", "lifecycle")
OF_THE_STORE = ("listing order", "batches", "conditional delete", "versions", "copies")
"""What the probe finds out."""
MAPPING = "the mapped tables cannot be used yet"
SCHEMA = "our own schema cannot be used yet"
"""Why something is not looked at."""


async def doctor(source: SettingsSource, emit: Emit = lambda _: None) -> Sequence[Check]:
    """Check everything that a pass needs, as far as earlier checks allow. Raises none of our errors.

    `emit` receives each check when it is made, and what was skipped, with the reason.
    """
    return await _Doctor(source, emit).checks()


class _Doctor:
    def __init__(self, source: SettingsSource, emit: Emit) -> None:
        self._source = source
        self._settings = source.current()
        self._config = wiring.catalog_config(self._settings)
        self._emit = emit
        self._made: list[Check] = []
        self._report: SchemaReport | None = None
        self._tables: Sequence[SeenTable] = ()
        self._covered: Collection[str] = ()
        """Columns that a declared view reads."""

    async def checks(self) -> Sequence[Check]:
        settings = self._settings
        self._say(checks.configuration(settings.mode(), settings.bucket.prefixes))
        self._say(checks.settings(log_settings(self._source.loaded)))
        reached = "the database could not be looked at"
        if not await self._attempt("database", self._look_at_database):
            self._skip(("schema", "mapped tables", *OF_THE_TABLES, "pause", "collectors", "tables"), reached)
        if not await self._attempt("bucket", self._look_at_bucket):
            reached = "the bucket could not be looked at"
            self._skip((*OF_THE_BUCKET, *OF_THE_STORE, *OF_BOTH_SIDES, "other tables"), reached)
        if (url := settings.events.queue_url) is not None:
            await self._attempt("queue", lambda: self._look_at_queue(url))
        if settings.cdn.on:
            await self._attempt("cdn", self._look_at_cdn)
        if settings.events.webhook_url is not None:
            await self._attempt("webhook", self._look_at_webhook)
        return self._made

    def _say(self, made: Sequence[Check]) -> None:
        for check in made:
            self._made.append(check)
            self._emit(check)

    def _skip(self, names: Collection[str], why: str) -> None:
        """Say what was not looked at; what has been said already is no longer open."""
        said = {check.name for check in self._made}
        self._say([checks.skip(name, why) for name in names if name not in said])

    async def _attempt(self, name: str, act: Callable[[], Awaitable[Sequence[Check]]]) -> bool:
        """Make the checks, and say whether that came to its end."""
        ended = False

        async def look() -> Sequence[Check]:
            nonlocal ended
            made = await act()
            ended = True
            return made

        self._say(await checks.attempt(name, look))
        return ended

    # --- the database ---------------------------------------------------------------------------------

    async def _look_at_database(self) -> Sequence[Check]:
        self._report = report = await inspect(self._config, self._settings.bucket.prefixes)
        self._say(checks.database(report))
        self._say(checks.rules(report, self._settings.policy()))
        if self._settings.adoption.enabled and not report.faults:
            self._say(checks.adoption(report))
        undoable = self._settings.delete_mode != "direct"
        self._say(checks.rights(report, self._settings.mode(), undoable=undoable))
        if report.at_head:
            async with pause_switch(self._settings) as switch:
                self._say(checks.pause(await switch.read()))
        if not report.faults:
            self._say(checks.served(await served_columns.look(self._config, report)))
        if self._settings.media.access == "signed":
            told = list[str]()
            secrets = LinkSecrets(self._settings.media.link_keys_file, told.append).look()
            self._say(checks.links(len(secrets), told))
        if self._at_head and report.triggers is not Triggers.ABSENT:
            self._say(checks.tried(await trial.of(self._config)))
        if report.faults:
            self._skip(OF_THE_TABLES, MAPPING)
        if not report.at_head:
            self._skip(("triggers", "pause"), SCHEMA)
        async with survey_of_tables(self._config) as survey:
            self._tables = await survey.tables()
            views = [name.rpartition(".")[0] for name in self._config.tables.also_referenced]
            self._covered = await survey.columns_behind(views)
        tables = self._config.tables
        self._say(checks.collectors(self._tables, self._settings.quarantine.bucket))
        return checks.namesakes(self._tables, tables.media_table, tables.keys_table)

    @property
    def _at_head(self) -> bool:
        return self._report is not None and self._report.at_head and not self._report.faults

    async def _look_at_cdn(self) -> Sequence[Check]:
        config = wiring.cdn_config(self._settings)
        ours = ".".join(split_table(self._config.tables.media_table))
        media = next((each for each in self._tables if each.name == ours), None)
        self._say(checks.cdn_urls(config.template, config.url_column, media))
        return await checks.cdn(lambda: verify(config), str(config.provider))

    # --- the bucket -----------------------------------------------------------------------------------

    async def _look_at_bucket(self) -> Sequence[Check]:
        settings = self._settings
        mode, prefixes = settings.mode(), settings.bucket.prefixes
        reached = replace(wiring.bucket_config(settings), managed=lambda: wiring.scratched(settings, mode))
        async with open_bucket(reached) as bucket:
            # Without the declared order, so that the check can say whether it is true.
            found = await bucket.prober.probe()
            store, deleting = bucket.store(found), wiring.delete_mode_of(settings, found)
            versions = None if found.versioning is Versioning.OFF else bucket.versions
            await self._attempt("list", lambda: checks.listed(bucket.listing, prefixes))
            await self._attempt("delete", lambda: checks.scratch(store, versions))
            await self._attempt("quarantine", lambda: self._look_at_quarantine(bucket, found, deleting))
            self._say(checks.abilities(found, settings.bucket.order, deleting))
            await self._attempt("lifecycle", lambda: self._look_at_rules(found, deleting))
            if settings.sweep.source in {"inventory", "s3_metadata"}:
                await self._attempt("inventory", lambda: self._look_at_inventory(bucket))
            await self._look_at_both(bucket, found)
        self._skip(OF_THE_STORE, "nothing could be tried on scratch keys")
        return []

    async def _look_at_rules(self, found: Capabilities, mode: DeleteMode) -> Sequence[Check]:
        settings, known = self._settings, None
        prefixes, policy = settings.bucket.prefixes, settings.policy()
        if self._at_head and (areas := lifecycle.areas(found, prefixes)):
            async with open_catalog(self._config) as catalog:
                policy, known = await expiry.look(catalog, policy, areas)
        return checks.lifecycle(found, prefixes, mode, settings.undo_window, policy, known)

    async def _look_at_inventory(self, bucket: Bucket) -> Sequence[Check]:
        source = wiring.inventory_source(self._settings, bucket)
        now = SystemClock().wall_clock()
        return checks.inventory(await source.newest(), now, self._settings.inventory.max_age)

    async def _look_at_quarantine(
        self, bucket: Bucket, found: Capabilities, mode: DeleteMode
    ) -> Sequence[Check]:
        self._say(checks.quarantine(found, mode))
        there = found.quarantine
        if there is None or mode is not DeleteMode.QUARANTINE:
            return []
        if own := await bucket.own_identity_of(there.bucket).read():
            return [checks.fail("quarantine", managed(there.bucket, own))]
        versions = None if there.versioning is Versioning.OFF else bucket.versions
        return await checks.scratch(bucket.store(found), versions, there.bucket)

    async def _look_at_webhook(self) -> Sequence[Check]:
        from reconciler.app.listeners import verify  # noqa: PLC0415 - an extra that few need

        off = None
        if self._at_head:
            async with open_catalog(self._config) as catalog:
                off = next(iter(await catalog.receivers.switched_off()), None)
        return await checks.webhook(lambda: verify(self._settings), off)

    async def _look_at_queue(self, url: str) -> Sequence[Check]:
        async with open_queue(url, self._settings.bucket.region) as queue:
            return checks.queue(await queue.waiting(), sets_aside=await queue.sets_aside())

    async def _look_at_both(self, bucket: Bucket, found: Capabilities) -> None:
        if self._at_head:
            await self._attempt("identity", lambda: self._look_at_tie(bucket, found))
            await self._attempt("other tables", lambda: self._look_at_others(bucket, found))
            self._skip(OF_BOTH_SIDES, "the identity could not be looked at")
        else:
            faults = self._report is not None and self._report.faults
            why = "the database could not be looked at" if self._report is None else SCHEMA
            self._skip((*OF_BOTH_SIDES, "other tables"), MAPPING if faults else why)

    async def _look_at_tie(self, bucket: Bucket, found: Capabilities) -> Sequence[Check]:
        async with open_catalog(self._config) as catalog:
            pause = PauseWatch(catalog.pauses, SystemClock(), NullObserver())
            throttles = wiring.throttles_of(self._settings)
            mode, notary = wiring.delete_mode_of(self._settings, found), wiring.notary_of(self._settings)
            ports = wiring.wire(catalog, bucket, found, NullObserver(), pause, throttles, mode, notary)
            tie = await ownership.verify(ports, self._settings.bucket.name)
            fault = (await adoption.look(ports, self._settings.bucket.name)).fault
            self._say(await self._look_at_sides(bucket, catalog))
            self._say(checks.identity(tie, fault, await ports.site.lineage()))
            return checks.clocks(await ports.clocks.look())

    async def _look_at_sides(self, bucket: Bucket, catalog: Catalog) -> Sequence[Check]:
        prefixes, tables = self._settings.bucket.prefixes, catalog.database.config.tables
        pages = [await bucket.listing.list_page(prefix) for prefix in prefixes]
        stored = [key for page in pages for key in page.keys if not key.startswith(RESERVED_PREFIX)]
        rows = await catalog.records.first_keys(prefixes)
        async with catalog.database.connection() as connection:
            made_here = await made_by_us(connection, tables)
            table, first = tables.media_table, stored[0] if stored else None
            return checks.sides(table, rows, first, made_here=made_here)

    async def _look_at_others(self, bucket: Bucket, found: Capabilities) -> Sequence[Check]:
        named = await other_tables.look(
            self._tables,
            bucket.listing,
            bucket.store(found),
            self._settings.bucket.prefixes,
            bucket=self._settings.bucket.name,
            mapped=self._config.tables,
            covered=self._covered,
            role=self._report.role if self._report else "",
        )
        return checks.others(named)
