"""Commands that open the adapters and end: a pass, a plan, an undo, the schema, the database."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TextIO

import anyio

from reconciler import model
from reconciler.app import wiring
from reconciler.app.process import log_change, stop_on_signal
from reconciler.app.replica_state import tell_of_once
from reconciler.catalog.leadership.pause import PostgresPauseSwitch
from reconciler.catalog.open import Catalog, open_catalog
from reconciler.engine.cycle import Cycle, Progress
from reconciler.engine.detect.plan import survey
from reconciler.engine.lead import lease
from reconciler.engine.recover.undo import Emit, Undone
from reconciler.engine.runtime.context import Ports, ruled
from reconciler.engine.runtime.pause import notice_of
from reconciler.engine.runtime.tasks import task_group
from reconciler.errors import ConfigError, Halt, LoginRefused, Retryable
from reconciler.operations import adopt as adopting
from reconciler.operations import undo as undoing
from reconciler.operations.ownership import lease_held
from reconciler.ports import Observer
from reconciler.settings import DatabaseSettings, SchemaSettings, Settings, SettingsSource, traces_wanted
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
        async with _traced(settings, observer, wiring.mode_of(source)) as (ports, catalog):
            limits = wiring.limits_of(settings)
            in_force = wiring.in_force_of(source, ports)
            cycle = Cycle(ports, limits, in_force, stopping, settings.bucket.name)
            holder = lease.holder_name()
            ttl, clock = limits.lease_ttl, ports.clock
            try:
                got = await lease.acquire(ports.lease, holder, ttl, clock, wait, cycle.tenure)
                if isinstance(got, model.HeldBy):
                    return progress.report(time.monotonic() - started, failed=str(lease_held(got, wait)))
                started = time.monotonic()
                await under_lease(ports, cycle, got, progress, stopping)
            except Halt as halt:
                await tell_of_once(source, catalog, str(halt))
                raise
            await tell_of_once(source, catalog)
            for each in progress.tripped:
                decide = (await catalog.approvals.show(each.pass_id, 0)).to_decide
                progress.to_decide[each.pass_id] = decide or each.pass_id
        failed = "stopped by a signal before the end" if stopping.is_set() else ""
        return progress.report(time.monotonic() - started, failed=failed)
    except (Retryable, LoginRefused) as error:
        return progress.report(time.monotonic() - started, failed=str(error))
    except Halt as halt:
        return progress.report(time.monotonic() - started, halted=str(halt))


@asynccontextmanager
async def _traced(
    settings: Settings, observer: Observer | None, mode: Callable[[], model.Mode]
) -> AsyncIterator[tuple[Ports, Catalog]]:
    with tracing(wanted=traces_wanted()) as tracer:
        async with wiring.open_both(settings, observer, mode) as (ports, catalog):
            yield replace(ports, tracer=tracer or ports.tracer), catalog


async def plan(
    settings: Settings,
    emit: Callable[[Sequence[model.Finding]], None],
    observer: Observer | None = None,
    ahead: timedelta = timedelta(0),
) -> model.Report:
    """Run one pass without lease, marks or writes; `emit` receives the findings in pages. `ahead`: judged as
    if it were so much later.
    """
    started = time.monotonic()
    try:
        async with wiring.open_ports(settings, observer) as ports:
            runtime = await ruled(wiring.runtime_settings(settings, ports.capabilities), ports.records)
            limits, bucket = wiring.limits_of(settings), settings.bucket.name
            report = await survey(ports, limits, runtime, bucket, emit, ahead)
            notices = (notice_of(await ports.pause.look()), (await ports.clocks.look()).line)
            return replace(report, notice="\n".join(filter(None, notices)))
    except (Retryable, LoginRefused) as error:
        return _empty_report(settings, model.Outcome.FAILED, time.monotonic() - started, str(error))
    except Halt as halt:
        return _empty_report(settings, model.Outcome.HALTED, time.monotonic() - started, str(halt))


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
    async with wiring.open_both(settings) as (ports, catalog):
        in_force = wiring.in_force_of(source, ports)
        return await undoing.undo(
            ports,
            in_force,
            settings.bucket.name,
            scope,
            author=author,
            mode=mode,
            emit=emit,
            note=catalog.orders.note,
            hold_for=hold_for,
        )


async def adopt(
    source: SettingsSource,
    *,
    prefix: str,
    owner: str | None,
    author: str,
    dry_run: bool,
    listed: adopting.Listed,
    settled: Callable[[Sequence[model.Adopted]], None],
) -> model.Adoption:
    """Make rows for objects that have none, while any replica leads; see `operations.adopt`."""
    source.listen(log_change)
    settings = source.current()
    terms = settings.adoption.of_model()
    asked = adopting.Asked(prefix=prefix, owner=owner, terms=terms, author=author, dry_run=dry_run)
    async with wiring.open_both(settings) as (ports, catalog):
        runtime = await ruled(wiring.in_force_of(source, ports)(), ports.records)
        return await adopting.adopt(
            ports,
            catalog,
            wiring.limits_of(settings),
            runtime,
            settings.bucket.name,
            asked,
            listed=listed,
            settled=settled,
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
async def open_to_look(settings: DatabaseSettings, warn: Callable[[str], None]) -> AsyncIterator[Catalog]:
    """Like `open_database`, for commands that only look and ask no further column: where one of those cannot
    be read, it is left out, and `warn` hears why.
    """
    config = wiring.catalog_config(settings)
    async with AsyncExitStack() as stack:
        try:
            catalog = await stack.enter_async_context(open_catalog(config))
        except ConfigError as error:
            own = replace(config.tables, also_referenced=(), variants=())
            if own == config.tables:
                raise
            catalog = await stack.enter_async_context(open_catalog(replace(config, tables=own)))
            warn(f"{error}\nuntil that is mended nothing is deleted; this command does without it")
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
