"""Everything that ends: one pass, a plan, an undo, a check, a decision."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TextIO, TypeVar
from uuid import UUID

import anyio

from reconciler import doctor as doctoring
from reconciler.app.surroundings import SystemClock, stop_on_signal, tell_change
from reconciler.app.wiring import (
    bucket_config,
    catalog_config,
    delete_mode_of,
    limits_of,
    mode_of,
    offline,
    open_ports,
    scratched,
    steer_of,
    steering_of,
    throttles_of,
    wire,
)
from reconciler.catalog.leadership.pause import PostgresPauseSwitch
from reconciler.catalog.media_tables import trial
from reconciler.catalog.media_tables.creation import made_by_us
from reconciler.catalog.media_tables.inspection import inspect
from reconciler.catalog.media_tables.triggers import Triggers
from reconciler.catalog.open import Catalog, open_catalog
from reconciler.engine.cycle import Cycle, Progress
from reconciler.engine.detect.plan import survey
from reconciler.engine.lead import adoption, lease, ownership
from reconciler.engine.recover.undo import Emit, Undo, Undone
from reconciler.engine.runtime.context import Ports, Steering
from reconciler.engine.runtime.pause import PauseWatch, notice_of
from reconciler.engine.runtime.tasks import task_group
from reconciler.engine.runtime.write_guard import WriteGateway
from reconciler.errors import ConfigError, Halt, Retryable
from reconciler.model import (
    RESERVED_PREFIX,
    Capabilities,
    Check,
    Finding,
    HeldBy,
    Mode,
    Outcome,
    Pause,
    Report,
    Term,
    UndoScope,
    Versioning,
)
from reconciler.ports import Observer
from reconciler.settings import DatabaseSettings, SchemaSettings, Settings, SettingsSource, traces_wanted
from reconciler.settings import tell as tell_settings
from reconciler.stores.s3 import Bucket, open_bucket
from reconciler.telemetry.observers import Quiet
from reconciler.telemetry.traces import tracing

T = TypeVar("T")


async def once(source: SettingsSource, *, wait: timedelta, observer: Observer | None = None) -> Report:
    """One pass of every marker and the collector until nothing due is left, under the lease.

    Every ending but a ConfigError, which is raised, is a report: a lease not had in `wait` is a
    failed one that names the holder.
    """
    source.listen(tell_change)
    settings = source.current()
    progress = Progress(settings.mode())
    stopping = anyio.Event()
    started = time.monotonic()
    try:
        async with traced_ports(settings, observer or Quiet(), mode_of(source)) as ports:
            limits = limits_of(settings)
            steer = steer_of(source, ports.capabilities)
            cycle = Cycle(ports, limits, steer, stopping, settings.bucket.name)
            holder = lease.holder_name()
            ttl, clock = limits.lease_ttl, ports.clock
            got = await lease.acquire(ports.lease, holder, ttl, clock, wait, cycle.tenure)
            if isinstance(got, HeldBy):
                return progress.report(time.monotonic() - started, failed=_held(got, wait))
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
    settings: Settings, observer: Observer, mode: Callable[[], Mode]
) -> AsyncIterator[Ports]:
    with tracing(wanted=traces_wanted()) as tracer:
        async with open_ports(settings, observer, mode=mode) as ports:
            yield replace(ports, tracer=tracer or ports.tracer)


async def plan(
    settings: Settings, emit: Callable[[Sequence[Finding]], None], observer: Observer | None = None
) -> Report:
    """One pass without lease, marks or writes; each finding goes to `emit`, in pages."""
    started = time.monotonic()
    try:
        async with open_ports(settings, observer or Quiet()) as ports:
            steering = steering_of(settings, ports.capabilities)
            report = await survey(ports, limits_of(settings), steering, settings.bucket.name, emit)
            told = (notice_of(await ports.pause.look()), (await ports.clocks.look()).line)
            return replace(report, notice="\n".join(filter(None, told)))
    except Halt as halt:
        seconds = time.monotonic() - started
        return _empty_report(settings, Outcome.HALTED, seconds, str(halt))
    except Retryable as error:
        seconds = time.monotonic() - started
        return _empty_report(settings, Outcome.FAILED, seconds, str(error))


async def undo(
    source: SettingsSource,
    scope: UndoScope,
    *,
    author: str,
    mode: Mode,
    emit: Emit,
    hold_for: timedelta | None = None,
) -> Undone:
    """Bring back what was deleted, beside whoever leads; each object and row goes to `emit`.

    What came back is on hold for as long as `hold_for`, or else the settings, say.
    Raises Halt where the bucket is not this database's, Retryable.
    """
    source.listen(tell_change)
    settings = source.current()
    async with open_ports(settings, Quiet()) as ports:
        if await ownership.verify(ports, settings.bucket.name) is None:
            raise ConfigError("bucket and database are not tied to each other: nothing was ever deleted here")
        read = steer_of(source, ports.capabilities)

        def steer() -> Steering:
            steering = read()
            return replace(steering, mode=mode, hold_for=hold_for or steering.hold_for)

        async def sealed(_: float) -> UUID:
            raise AssertionError("an undo claims and deletes nothing")

        gateway = WriteGateway(
            ports.store,
            ports.marks,
            lambda: steer().mode,
            lambda: True,
            sealed,
            ports.copies,
            ports.versions,
            ports.uploads,
            ports.pause.look,
        )
        return await Undo(ports, gateway, steer, author, emit).run(scope)


def migrate(
    settings: SchemaSettings,
    *,
    sql: bool,
    create_tables: bool,
    create_index: bool,
    with_triggers: bool | None,
    out: TextIO,
) -> None:
    """The schema to head, telling on `out` what was done; with `sql` the statements go there instead.

    Blocking. Raises ConfigError, CatalogUnavailable.
    """
    # Alembic takes a fifth of a second to load, and no other command needs it.
    from reconciler.catalog.migrate import upgrade  # noqa: PLC0415

    config = catalog_config(settings) if isinstance(settings, DatabaseSettings) else offline(settings)
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
    """The database alone, its schema at head: for commands that need no bucket and no lease."""
    async with open_catalog(catalog_config(settings)) as catalog:
        await catalog.require_schema()
        yield catalog


async def pause(settings: DatabaseSettings, *, by: str, reason: str) -> tuple[Pause, bool]:
    """Stop every replica. Returns the pause that stands, and whether it is this one or an earlier one."""

    async def use(switch: PostgresPauseSwitch) -> tuple[Pause, bool]:
        before = await switch.read()
        standing = await switch.pause(by, reason)
        # Whoever was quicker than us between the two calls wrote other words, or the same ones.
        ours = standing != before and (standing.by, standing.reason) == (by, reason)
        return standing, ours

    return await _switch(settings, use)


async def resume(settings: DatabaseSettings, *, by: str) -> Pause:
    """Let every replica go on. Returns how the switch stood before."""
    return await _switch(settings, lambda switch: switch.resume(by))


async def _switch(settings: DatabaseSettings, use: Callable[[PostgresPauseSwitch], Awaitable[T]]) -> T:
    """The pause switch alone: whatever else is wrong, it can be used."""
    switch = PostgresPauseSwitch(catalog_config(settings))
    try:
        return await use(switch)
    finally:
        await switch.close()


async def doctor(source: SettingsSource) -> Sequence[Check]:
    """Everything that a pass needs, looked at as far as the parts before it allow. Raises nothing of ours."""
    settings = source.current()
    checks = [*doctoring.configuration(settings.mode(), settings.bucket.prefixes)]
    checks += doctoring.settings(tell_settings(source.loaded))
    at_head = False

    async def look_at_database() -> Sequence[Check]:
        nonlocal at_head
        report = await inspect(catalog_config(settings), settings.bucket.prefixes)
        at_head = report.at_head and not report.faults
        standing = await _switch(settings, PostgresPauseSwitch.read) if report.at_head else Pause()
        undoable = settings.delete_mode != "direct"
        may = doctoring.rights(report, settings.mode(), undoable=undoable)
        checks = [*doctoring.database(report), *may, *doctoring.pause(standing)]
        if at_head and report.triggers is not Triggers.ABSENT:
            checks += doctoring.tried(await trial.of(catalog_config(settings)))
        return checks

    async def look_at_bucket() -> Sequence[Check]:
        reached = replace(bucket_config(settings), managed=lambda: scratched(settings, settings.mode()))
        async with open_bucket(reached) as bucket:
            # Without what is declared, so that it can be said whether that is so.
            found = await bucket.prober.probe()
            store, prefixes = bucket.store(found), settings.bucket.prefixes
            versions = None if found.versioning is Versioning.OFF else bucket.versions
            seen = [
                *await doctoring.attempt(
                    "access", lambda: doctoring.access(bucket.listing, store, versions, prefixes)
                ),
                *doctoring.abilities(found, settings.bucket.order, delete_mode_of(settings, found)),
                *doctoring.lifecycle(found, prefixes, delete_mode_of(settings, found), settings.undo_window),
            ]
            if at_head:
                seen += await doctoring.attempt("identity", lambda: look_at_tie(bucket, found))
            return seen

    async def look_at_tie(bucket: Bucket, found: Capabilities) -> Sequence[Check]:
        async with open_catalog(catalog_config(settings)) as catalog:
            pause = PauseWatch(catalog.pauses, SystemClock(), Quiet())
            ports = wire(catalog, bucket, found, Quiet(), pause, throttles_of(settings))
            tie = await ownership.verify(ports, settings.bucket.name)
            fault = (await adoption.look(ports, settings.bucket.name)).fault
            return [
                *await look_at_sides(bucket, catalog),
                *doctoring.identity(tie, fault, await ports.site.lineage()),
                *doctoring.clocks(await ports.clocks.look()),
            ]

    async def look_at_sides(bucket: Bucket, catalog: Catalog) -> Sequence[Check]:
        prefixes, tables = settings.bucket.prefixes, catalog.database.config.tables
        pages = [await bucket.listing.list_page(prefix) for prefix in prefixes]
        stored = [key for page in pages for key in page.keys if not key.startswith(RESERVED_PREFIX)]
        rows = await catalog.records.first_keys(prefixes)
        async with catalog.database.connection() as connection:
            made_here = await made_by_us(connection, tables)
        table, first = tables.media_table, stored[0] if stored else None
        return doctoring.sides(table, rows, first, made_here=made_here)

    checks += await doctoring.attempt("database", look_at_database)
    checks += await doctoring.attempt("bucket", look_at_bucket)
    return checks


async def adopt(settings: Settings, *, yes: bool, wait: timedelta, tell: Callable[[str], None]) -> None:
    """Settle which database the bucket belongs to; without `yes` only say what was found.

    Raises Halt where the marker cannot be read, Retryable where it could not be done now, ConfigError
    where it is to be done and `yes` was not said.
    """
    name = settings.bucket.name
    async with open_ports(settings, Quiet()) as ports:
        situation = await adoption.look(ports, name)
        for line in situation.lines():
            tell(line)
        if not situation.fault:
            return
        if not yes:
            raise ConfigError(
                "nothing was changed; to make the bucket this database's, add --yes (see --help)"
            )
        limits, tenure = limits_of(settings), lease.Tenure()
        ttl, clock = limits.lease_ttl, ports.clock
        got = await lease.acquire(ports.lease, lease.holder_name(), ttl, clock, wait, tenure)
        if isinstance(got, HeldBy):
            raise Retryable(_held(got, wait))
        try:
            async with task_group() as group:
                group.start_soon(lease.keep, ports.lease, got, ttl, clock, tenure)
                prefixes, dead_after = settings.bucket.prefixes, limits.dead_after
                withdrawn = await adoption.adopt(
                    ports, name, prefixes, got, dead_after, settings.upload_window
                )
                group.cancel_scope.cancel()
        finally:
            with anyio.move_on_after(5, shield=True):
                await lease.release(ports.lease, got)
        tell(f"bucket {name!r} is this database's now; {withdrawn} marks were withdrawn, to be found anew")


async def under_lease(
    ports: Ports, cycle: Cycle, term: Term, progress: Progress, stopping: anyio.Event
) -> None:
    """The whole cycle beside the lease's keeper; the lease is released when all of it has ended."""
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


def _empty_report(settings: Settings, outcome: Outcome, seconds: float, detail: str) -> Report:
    return Report(mode=settings.mode(), outcome=outcome, duration_seconds=seconds, detail=detail)


def _held(by: HeldBy, wait: timedelta) -> str:
    return (
        f"the lease is held by {by.holder} until {by.expires_at:%H:%M:%S} UTC unless renewed; waited"
        f" {wait.total_seconds():g} s. Wait longer (--wait), or stop the other replica"
    )
