"""The checks of `doctor`, as far as earlier ones allow."""

from collections.abc import Sequence
from dataclasses import replace

from reconciler import settings as configured
from reconciler.app import wiring
from reconciler.app.commands import pause_switch
from reconciler.app.process import SystemClock
from reconciler.catalog.media_tables import trial
from reconciler.catalog.media_tables.creation import made_by_us
from reconciler.catalog.media_tables.inspection import inspect
from reconciler.catalog.media_tables.triggers import Triggers
from reconciler.catalog.open import Catalog, open_catalog
from reconciler.engine.lead import adoption, ownership
from reconciler.engine.runtime.pause import PauseWatch
from reconciler.model import RESERVED_PREFIX, Capabilities, Check, Pause, Versioning
from reconciler.operations import checks
from reconciler.settings import Settings, SettingsSource
from reconciler.stores.s3 import Bucket, open_bucket
from reconciler.telemetry.observers import NullObserver


async def doctor(source: SettingsSource) -> Sequence[Check]:
    """Check everything that a pass needs, as far as earlier checks allow. Raises none of our errors."""
    settings = source.current()
    examination = _Examination(settings)
    return [
        *checks.configuration(settings.mode(), settings.bucket.prefixes),
        *checks.settings(configured.tell(source.loaded)),
        *await checks.attempt("database", examination.database),
        *await checks.attempt("bucket", examination.bucket),
    ]


class _Examination:
    """Looks at the database first: only where its schema can be used are both sides compared."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._catalog = wiring.catalog_config(settings)
        self._usable = False

    async def database(self) -> Sequence[Check]:
        settings, config = self._settings, self._catalog
        report = await inspect(config, settings.bucket.prefixes)
        self._usable = report.at_head and not report.faults
        standing = await self._pause() if report.at_head else Pause()
        may = checks.rights(report, settings.mode(), undoable=settings.delete_mode != "direct")
        made = [*checks.database(report), *may, *checks.pause(standing)]
        if self._usable and report.triggers is not Triggers.ABSENT:
            made += checks.tried(await trial.of(config))
        return made

    async def _pause(self) -> Pause:
        async with pause_switch(self._settings) as switch:
            return await switch.read()

    async def bucket(self) -> Sequence[Check]:
        settings, prefixes = self._settings, self._settings.bucket.prefixes
        config = wiring.bucket_config(settings)
        config = replace(config, managed=lambda: wiring.scratched(settings, settings.mode()))
        async with open_bucket(config) as bucket:
            # Without the declared order, so that the check can say whether it is true.
            found = await bucket.prober.probe()
            listing, store = bucket.listing, bucket.store(found)
            versions = None if found.versioning is Versioning.OFF else bucket.versions
            mode = wiring.delete_mode_of(settings, found)
            seen = [
                *await checks.attempt("access", lambda: checks.access(listing, store, versions, prefixes)),
                *checks.abilities(found, settings.bucket.order, mode),
                *checks.lifecycle(found, prefixes, mode, settings.undo_window),
            ]
            if self._usable:
                seen += await checks.attempt("identity", lambda: self._tie(bucket, found))
            return seen

    async def _tie(self, bucket: Bucket, found: Capabilities) -> Sequence[Check]:
        settings, observer = self._settings, NullObserver()
        async with open_catalog(self._catalog) as catalog:
            pause = PauseWatch(catalog.pauses, SystemClock(), observer)
            ports = wiring.wire(catalog, bucket, found, observer, pause, wiring.throttles_of(settings))
            tie = await ownership.verify(ports, settings.bucket.name)
            fault = (await adoption.look(ports, settings.bucket.name)).fault
            return [
                *await self._sides(bucket, catalog),
                *checks.identity(tie, fault, await ports.site.lineage()),
                *checks.clocks(await ports.clocks.look()),
            ]

    async def _sides(self, bucket: Bucket, catalog: Catalog) -> Sequence[Check]:
        prefixes, tables = self._settings.bucket.prefixes, catalog.database.config.tables
        pages = [await bucket.listing.list_page(prefix) for prefix in prefixes]
        stored = [key for page in pages for key in page.keys if not key.startswith(RESERVED_PREFIX)]
        rows = await catalog.records.first_keys(prefixes)
        async with catalog.database.connection() as connection:
            made_here = await made_by_us(connection, tables)
        return checks.sides(tables.media_table, rows, stored[0] if stored else None, made_here=made_here)
