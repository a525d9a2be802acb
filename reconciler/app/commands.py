"""Commands that open the adapters and end: a pass, a plan, an undo, the checks, the schema, the database."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TextIO

import anyio

from reconciler import model
from reconciler.app import wiring
from reconciler.app.process import SystemClock, log_change, stop_on_signal
from reconciler.catalog.leadership.pause import PostgresPauseSwitch
from reconciler.catalog.media_tables import trial
from reconciler.catalog.media_tables.creation import made_by_us
from reconciler.catalog.media_tables.inspection import inspect
from reconciler.catalog.media_tables.triggers import Triggers
from reconciler.catalog.open import Catalog, open_catalog
from reconciler.engine.cycle import Cycle, Progress
from reconciler.engine.detect.plan import survey
from reconciler.engine.lead import adoption, lease, ownership
from reconciler.engine.recover.undo import Emit, Undone
from reconciler.engine.runtime.context import Ports
from reconciler.engine.runtime.pause import PauseWatch, notice_of
from reconciler.engine.runtime.tasks import task_group
from reconciler.errors import Halt, Retryable
from reconciler.operations import checks
from reconciler.operations import undo as undoing
from reconciler.operations.ownership import lease_held
from reconciler.ports import Observer
from reconciler.settings import DatabaseSettings, SchemaSettings, Settings, SettingsSource, traces_wanted
from reconciler.settings import tell as log_settings
from reconciler.stores.s3 import Bucket, open_bucket
from reconciler.telemetry.observers import NullObserver
from reconciler.telemetry.traces import tracing


async def once(source: SettingsSource, *, wait: timedelta, observer: Observer | None = None) -> model.Report:
    """Run one pass of every kind, and the collector until nothing due is left, under the lease.

    Every ending is a report, except a ConfigError, which is raised. If the lease is not free within
    `wait`, the report is a failed one that names the holder.
    """
    source.listen(log_change)
    settings = source.current()
    progress = Progress(settings.mode())
    stopping = anyio.Event()
    started = time.monotonic()
    try:
        async with traced_ports(settings, observer, wiring.mode_of(source)) as ports:
            limits = wiring.limits_of(settings)
            in_force = wiring.in_force_of(source, ports.capabilities)
            cycle = Cycle(ports, limits, in_force, stopping, settings.bucket.name)
            holder = lease.holder_name()
            ttl, clock = limits.lease_ttl, ports.clock
            got = await lease.acquire(ports.lease, holder, ttl, clock, wait, cycle.tenure)
            if isinstance(got, model.HeldBy):
                return progress.report(time.monotonic() - started, failed=str(lease_held(got, wait)))
            started = time.monotonic()
            await under_lease(ports, cycle, got, progress, stopping)
        failed = "stopped by a signal before the end" if stopping.is_set() else ""
        return progress.report(time.monotonic() - started, failed=failed)
    except Halt as halt:
        return progress.report(time.monotonic() - started, halted=str(halt))
    except Retryable as error:
        return progress.report(time.monotonic() - started, failed=str(error))


@asynccontextmanager
async def traced_ports(
    settings: Settings, observer: Observer | None, mode: Callable[[], model.Mode]
) -> AsyncIterator[Ports]:
    with tracing(wanted=traces_wanted()) as tracer:
        async with wiring.open_ports(settings, observer, mode=mode) as ports:
            yield replace(ports, tracer=tracer or ports.tracer)


async def plan(
    settings: Settings, emit: Callable[[Sequence[model.Finding]], None], observer: Observer | None = None
) -> model.Report:
    """Run one pass without lease, marks or writes; `emit` receives the findings in pages."""
    started = time.monotonic()
    try:
        async with wiring.open_ports(settings, observer) as ports:
            runtime = wiring.runtime_settings(settings, ports.capabilities)
            report = await survey(ports, wiring.limits_of(settings), runtime, settings.bucket.name, emit)
            notices = (notice_of(await ports.pause.look()), (await ports.clocks.look()).line)
            return replace(report, notice="\n".join(filter(None, notices)))
    except Halt as halt:
        seconds = time.monotonic() - started
        return _empty_report(settings, model.Outcome.HALTED, seconds, str(halt))
    except Retryable as error:
        seconds = time.monotonic() - started
        return _empty_report(settings, model.Outcome.FAILED, seconds, str(error))


async def undo(
    source: SettingsSource,
    scope: model.UndoScope,
    *,
    author: str,
    mode: model.Mode,
    emit: Emit,
    hold_for: timedelta | None = None,
) -> Undone:
    """Bring back what was deleted, while any replica leads; `emit` receives each object and row.

    See `operations.undo`.
    """
    source.listen(log_change)
    settings = source.current()
    async with wiring.open_ports(settings) as ports:
        in_force = wiring.in_force_of(source, ports.capabilities)
        return await undoing.undo(
            ports,
            in_force,
            settings.bucket.name,
            scope,
            author=author,
            mode=mode,
            emit=emit,
            hold_for=hold_for,
        )


def migrate(
    settings: SchemaSettings,
    *,
    sql: bool,
    create_tables: bool,
    create_index: bool,
    with_triggers: bool | None,
    out: TextIO,
) -> None:
    """Migrate the schema to head and report on `out` what was done; with `sql`, write the statements there.

    Blocking. Raises ConfigError, CatalogUnavailable.
    """
    # Alembic takes a fifth of a second to load, and no other command needs it.
    from reconciler.catalog.migrate import upgrade  # noqa: PLC0415

    config = (
        wiring.catalog_config(settings)
        if isinstance(settings, DatabaseSettings)
        else wiring.offline(settings)
    )
    upgrade(
        config,
        sql=sql,
        create_tables=create_tables,
        create_index=create_index,
        with_triggers=with_triggers,
        out=out,
    )


@asynccontextmanager
async def open_database(settings: DatabaseSettings) -> AsyncIterator[Catalog]:
    """Open the database alone, with its schema at head, for commands that need no bucket and no lease."""
    async with open_catalog(wiring.catalog_config(settings)) as catalog:
        await catalog.require_schema()
        yield catalog


@asynccontextmanager
async def pause_switch(settings: DatabaseSettings) -> AsyncIterator[PostgresPauseSwitch]:
    """Open the pause switch alone: it can be used whatever else is wrong."""
    switch = PostgresPauseSwitch(wiring.catalog_config(settings))
    try:
        yield switch
    finally:
        await switch.close()


async def doctor(source: SettingsSource) -> Sequence[model.Check]:
    """Check everything that a pass needs, as far as earlier checks allow. Raises none of our errors."""
    settings = source.current()
    made = [*checks.configuration(settings.mode(), settings.bucket.prefixes)]
    made += checks.settings(log_settings(source.loaded))
    at_head = False

    async def look_at_database() -> Sequence[model.Check]:
        nonlocal at_head
        report = await inspect(wiring.catalog_config(settings), settings.bucket.prefixes)
        at_head = report.at_head and not report.faults
        standing = await look_at_pause() if report.at_head else model.Pause()
        undoable = settings.delete_mode != "direct"
        may = checks.rights(report, settings.mode(), undoable=undoable)
        made = [*checks.database(report), *may, *checks.pause(standing)]
        if at_head and report.triggers is not Triggers.ABSENT:
            made += checks.tried(await trial.of(wiring.catalog_config(settings)))
        return made

    async def look_at_pause() -> model.Pause:
        async with pause_switch(settings) as switch:
            return await switch.read()

    async def look_at_bucket() -> Sequence[model.Check]:
        reached = replace(
            wiring.bucket_config(settings), managed=lambda: wiring.scratched(settings, settings.mode())
        )
        async with open_bucket(reached) as bucket:
            # Without the declared order, so that the check can say whether it is true.
            found = await bucket.prober.probe()
            store, prefixes = bucket.store(found), settings.bucket.prefixes
            versions = None if found.versioning is model.Versioning.OFF else bucket.versions
            seen = [
                *await checks.attempt(
                    "access", lambda: checks.access(bucket.listing, store, versions, prefixes)
                ),
                *checks.abilities(found, settings.bucket.order, wiring.delete_mode_of(settings, found)),
                *checks.lifecycle(
                    found, prefixes, wiring.delete_mode_of(settings, found), settings.undo_window
                ),
            ]
            if at_head:
                seen += await checks.attempt("identity", lambda: look_at_tie(bucket, found))
            return seen

    async def look_at_tie(bucket: Bucket, found: model.Capabilities) -> Sequence[model.Check]:
        async with open_catalog(wiring.catalog_config(settings)) as catalog:
            pause = PauseWatch(catalog.pauses, SystemClock(), NullObserver())
            ports = wiring.wire(catalog, bucket, found, NullObserver(), pause, wiring.throttles_of(settings))
            tie = await ownership.verify(ports, settings.bucket.name)
            fault = (await adoption.look(ports, settings.bucket.name)).fault
            return [
                *await look_at_sides(bucket, catalog),
                *checks.identity(tie, fault, await ports.site.lineage()),
                *checks.clocks(await ports.clocks.look()),
            ]

    async def look_at_sides(bucket: Bucket, catalog: Catalog) -> Sequence[model.Check]:
        prefixes, tables = settings.bucket.prefixes, catalog.database.config.tables
        pages = [await bucket.listing.list_page(prefix) for prefix in prefixes]
        stored = [key for page in pages for key in page.keys if not key.startswith(model.RESERVED_PREFIX)]
        rows = await catalog.records.first_keys(prefixes)
        async with catalog.database.connection() as connection:
            made_here = await made_by_us(connection, tables)
        table, first = tables.media_table, stored[0] if stored else None
        return checks.sides(table, rows, first, made_here=made_here)

    made += await checks.attempt("database", look_at_database)
    made += await checks.attempt("bucket", look_at_bucket)
    return made


async def under_lease(
    ports: Ports, cycle: Cycle, term: model.Term, progress: Progress, stopping: anyio.Event
) -> None:
    """Run the whole cycle while a task keeps the lease; release the lease when all of it has ended."""
    try:
        async with task_group() as group:
            group.start_soon(cycle.keep, term)
            group.start_soon(stop_on_signal, stopping, group.cancel_scope)
            group.start_soon(ports.pause.watch)
            await cycle.first_contact(term)
            group.start_soon(cycle.watch)
            await cycle.everything(term, progress)
            group.cancel_scope.cancel()
    finally:
        with anyio.move_on_after(5, shield=True):
            await lease.release(ports.lease, term)


def _empty_report(settings: Settings, outcome: model.Outcome, seconds: float, detail: str) -> model.Report:
    return model.Report(mode=settings.mode(), outcome=outcome, duration_seconds=seconds, detail=detail)
