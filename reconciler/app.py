"""The composition root: the only module that names every adapter, and what each command does."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TextIO
from uuid import UUID

import anyio
import structlog
from prometheus_client import CollectorRegistry

from reconciler import __version__
from reconciler import doctor as doctoring
from reconciler.bucket import OPERATIONS, OUTCOMES, Bucket, BucketConfig, open_bucket
from reconciler.catalog.config import CatalogConfig, KeyColumns, MediaColumns, TableMapping
from reconciler.catalog.inspection import inspect
from reconciler.catalog.open import Catalog, open_catalog
from reconciler.catalog.pause import PostgresPauseSwitch
from reconciler.engine import adoption, identity, lease
from reconciler.engine.abilities import abilities, keep_probing
from reconciler.engine.clocks import Clocks
from reconciler.engine.cycle import Cycle, Progress
from reconciler.engine.daemon import Daemon
from reconciler.engine.gateway import WriteGateway
from reconciler.engine.pause import PauseWatch, notice_of
from reconciler.engine.steering import Limits, Ports, Steer, Steering
from reconciler.engine.survey import survey
from reconciler.engine.tasks import task_group
from reconciler.engine.throttle import ThrottledListing, Throttles
from reconciler.engine.undo import Emit, Undo, Undone
from reconciler.errors import ConfigError, Halt, Retryable
from reconciler.model import (
    Capabilities,
    Check,
    DeleteMode,
    Finding,
    HeldBy,
    Marker,
    Mode,
    Outcome,
    PassState,
    Pause,
    Report,
    Term,
    UndoScope,
)
from reconciler.ports import Observer
from reconciler.settings import DatabaseSettings, SchemaSettings, Settings, SettingsSource
from reconciler.telemetry.health import CONFIGURATION, FIRST_CONTACT, PAUSE, PAUSE_SILENCE, SCHEMA, Health
from reconciler.telemetry.limits import LimitsInForce
from reconciler.telemetry.metrics import Metrics
from reconciler.telemetry.observers import Fanout, Quiet
from reconciler.web.routes import build_app
from reconciler.web.server import serve

log = structlog.get_logger(__name__)

RELOAD_SECONDS = 2.0
"""How often the runtime file is looked at: well within the ten seconds that operators are promised."""

RECONNECT_SECONDS = 5.0
"""Between two attempts of a daemon that cannot reach its database or bucket yet."""

RECALL_SECONDS = 60.0
"""How often a replica looks what passes there were, its own and those of others."""

STOP_SECONDS = 25.0
"""After a signal: what has not ended by then is cancelled. Above the daemon's own time to drain."""


class SystemClock:
    """Implements `ports.Clock`."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall_clock(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


# --- commands -------------------------------------------------------------------------------------


async def once(source: SettingsSource, *, wait: timedelta, observer: Observer | None = None) -> Report:
    """One pass of every marker and the collector until nothing due is left, under the lease.

    Every ending but a ConfigError, which is raised, is a report: a lease not had in `wait` is a
    failed one that names the holder.
    """
    settings = source.current()
    progress = Progress(settings.mode())
    stopping = anyio.Event()
    started = time.monotonic()
    try:
        async with _ports(settings, observer or Quiet()) as ports:
            limits = _limits(settings)
            steer = _steer(source, ports.capabilities)
            cycle = Cycle(ports, limits, steer, stopping, settings.bucket.name)
            holder = lease.holder_name()
            ttl, clock = limits.lease_ttl, ports.clock
            got = await lease.acquire(ports.lease, holder, ttl, clock, wait, cycle.tenure)
            if isinstance(got, HeldBy):
                return progress.report(time.monotonic() - started, failed=_held(got, wait))
            started = time.monotonic()
            await _under_lease(ports, cycle, got, progress, stopping)
        failed = "stopped by a signal before the end" if stopping.is_set() else ""
        return progress.report(time.monotonic() - started, failed=failed)
    except Halt as halt:
        return progress.report(time.monotonic() - started, halted=str(halt))
    except Retryable as error:
        return progress.report(time.monotonic() - started, failed=str(error))


async def plan(
    settings: Settings, emit: Callable[[Sequence[Finding]], None], observer: Observer | None = None
) -> Report:
    """One pass without lease, marks or writes; each finding goes to `emit`, in pages."""
    started = time.monotonic()
    try:
        async with _ports(settings, observer or Quiet()) as ports:
            steering = _steering(settings, ports.capabilities)
            report = await survey(ports, _limits(settings), steering, settings.bucket.name, emit)
            told = (notice_of(await ports.pause.look()), (await ports.clocks.look()).line)
            return replace(report, notice="\n".join(filter(None, told)))
    except Halt as halt:
        seconds = time.monotonic() - started
        return _empty_report(settings, Outcome.HALTED, seconds, str(halt))
    except Retryable as error:
        seconds = time.monotonic() - started
        return _empty_report(settings, Outcome.FAILED, seconds, str(error))


async def undo(source: SettingsSource, scope: UndoScope, *, author: str, mode: Mode, emit: Emit) -> Undone:
    """Bring back what was deleted, beside whoever leads; each object and row goes to `emit`.

    Raises Halt where the bucket is not this database's, Retryable.
    """
    settings = source.current()
    async with _ports(settings, Quiet()) as ports:
        if await identity.verify(ports, settings.bucket.name) is None:
            raise ConfigError("bucket and database are not tied to each other: nothing was ever deleted here")
        read = _steer(source, ports.capabilities)

        def steer() -> Steering:
            return replace(read(), mode=mode)

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


async def run(source: SettingsSource) -> None:
    """The daemon, until SIGTERM or SIGINT. Raises ConfigError where it cannot start at all."""
    settings = source.current()
    registry, health, stopping = CollectorRegistry(), Health(), anyio.Event()
    metrics = Metrics(
        registry,
        version=__version__,
        operations=OPERATIONS,
        outcomes=OUTCOMES,
    )
    metrics.settings_in_force(settings.mode())
    metrics.settings_read(valid=True)
    health.meet(CONFIGURATION)
    web = build_app(registry, health)
    async with task_group() as group:
        group.start_soon(_stop_on_signal, stopping, group.cancel_scope)
        listening = anyio.Event()

        async def listen() -> None:
            await serve(web, settings.web.host, settings.web.port, started=listening)

        group.start_soon(listen)
        await listening.wait()
        group.start_soon(_follow_runtime_file, source, metrics)
        log.info("started", mode=str(settings.mode()), bucket=settings.bucket.name)
        await _connect_and_lead(source, metrics, health, stopping)
        group.cancel_scope.cancel()
    log.info("stopped")


async def _connect_and_lead(
    source: SettingsSource, metrics: Metrics, health: Health, stopping: anyio.Event
) -> None:
    """Reach database and bucket, however long that takes, then run the daemon on them."""
    settings = source.current()
    while not stopping.is_set():
        try:
            async with _ports(settings, Fanout(metrics, health), metrics.request_ended) as ports:
                health.meet(SCHEMA)
                health.meet(FIRST_CONTACT)
                metrics.halted(None)
                metrics.store_probed(ports.capabilities)
                limits = _limits(settings)
                steer = _steer(source, ports.capabilities)
                cycle = Cycle(ports, limits, steer, stopping, settings.bucket.name)
                async with task_group() as group:
                    metrics.limits.follow(partial(_limits_in_force, ports.throttles, steer))
                    group.start_soon(_recall_passes, ports, metrics)
                    group.start_soon(ports.clocks.watch)
                    group.start_soon(keep_probing, ports, settings.bucket.order, metrics.store_probed)
                    with health.watching(PAUSE, PAUSE_SILENCE):
                        await Daemon(ports, limits, cycle, stopping).run()
                    group.cancel_scope.cancel()
        except Halt as halt:
            log.error("halted: a person has to act", reason=str(halt))
            metrics.halted(str(halt))
        except (Retryable, ConfigError) as error:
            log.warning("not ready, trying again", reason=str(error))
        with anyio.move_on_after(RECONNECT_SECONDS):
            health.alive("leadership")
            await stopping.wait()


def _limits_in_force(throttles: Throttles, steer: Steer) -> LimitsInForce:
    return LimitsInForce(
        keys_a_second=throttles.deleting.rate(steer().rate),
        batches=throttles.deleting.in_flight,
        pages=throttles.listing.in_flight,
    )


async def _recall_passes(ports: Ports, metrics: Metrics) -> None:
    """Keep what metrics tell of passes and holds at what the database knows: it outlives process and term."""
    while True:
        try:
            for marker in Marker:
                last = await ports.passes.last(marker)
                metrics.pass_recalled(marker, last, await ports.passes.last(marker, PassState.ARMED))
            metrics.holds_recalled(await ports.holds.count())
        except Retryable as error:
            log.debug("passes not recalled", reason=str(error))
        await ports.clock.sleep(RECALL_SECONDS)


def migrate(
    settings: SchemaSettings, *, sql: bool, create_index: bool, with_triggers: bool | None, out: TextIO
) -> None:
    """The schema to head, telling on `out` what was done; with `sql` the statements go there instead.

    Blocking. Raises ConfigError, CatalogUnavailable.
    """
    # Alembic takes a fifth of a second to load, and no other command needs it.
    from reconciler.catalog.migrate import upgrade  # noqa: PLC0415

    config = catalog_config(settings) if isinstance(settings, DatabaseSettings) else _offline(settings)
    upgrade(config, sql=sql, create_index=create_index, with_triggers=with_triggers, out=out)


@asynccontextmanager
async def open_database(settings: DatabaseSettings) -> AsyncIterator[Catalog]:
    """The database alone, its schema at head: for commands that need no bucket and no lease."""
    async with open_catalog(catalog_config(settings)) as catalog:
        if not await catalog.schema_at_head():
            raise ConfigError("the database's schema is not at this version's: run `reconciler migrate`")
        yield catalog


async def pause(settings: DatabaseSettings, *, by: str, reason: str) -> Pause:
    """Stop every replica. Returns the pause that stands, which may be an earlier one."""
    return await _switch(settings, lambda switch: switch.pause(by, reason))


async def resume(settings: DatabaseSettings, *, by: str) -> Pause:
    """Let every replica go on. Returns how the switch stood before."""
    return await _switch(settings, lambda switch: switch.resume(by))


async def _switch(
    settings: DatabaseSettings, use: Callable[[PostgresPauseSwitch], Awaitable[Pause]]
) -> Pause:
    """The pause switch alone: whatever else is wrong, it can be used."""
    switch = PostgresPauseSwitch(catalog_config(settings))
    try:
        return await use(switch)
    finally:
        await switch.close()


async def doctor(settings: Settings) -> Sequence[Check]:
    """Everything that a pass needs, looked at as far as the parts before it allow. Raises nothing of ours."""
    checks = [*doctoring.configuration(settings.mode(), settings.bucket.prefixes)]
    at_head = False

    async def look_at_database() -> Sequence[Check]:
        nonlocal at_head
        report = await inspect(catalog_config(settings))
        at_head = report.at_head and not report.faults
        standing = await _switch(settings, PostgresPauseSwitch.read) if report.at_head else Pause()
        return [*doctoring.database(report), *doctoring.pause(standing)]

    async def look_at_bucket() -> Sequence[Check]:
        async with open_bucket(bucket_config(settings)) as bucket:
            found = await bucket.prober.probe()
            store, prefixes = bucket.store(found), settings.bucket.prefixes
            seen = [
                *await doctoring.attempt("access", lambda: doctoring.access(bucket.listing, store, prefixes)),
                *doctoring.abilities(found, settings.bucket.order, _delete_mode(settings, found)),
            ]
            if at_head:
                seen += await doctoring.attempt("identity", lambda: look_at_tie(bucket, found))
            return seen

    async def look_at_tie(bucket: Bucket, found: Capabilities) -> Sequence[Check]:
        async with open_catalog(catalog_config(settings)) as catalog:
            pause = PauseWatch(catalog.pauses, SystemClock(), Quiet())
            ports = _wire(catalog, bucket, found, Quiet(), pause, _throttles(settings))
            tie = await identity.verify(ports, settings.bucket.name)
            return [*doctoring.identity(tie), *doctoring.clocks(await ports.clocks.look())]

    checks += await doctoring.attempt("database", look_at_database)
    checks += await doctoring.attempt("bucket", look_at_bucket)
    return checks


async def adopt(settings: Settings, *, yes: bool, wait: timedelta, tell: Callable[[str], None]) -> None:
    """Settle which database the bucket belongs to; without `yes` only say what was found.

    Raises Halt where the marker cannot be read, Retryable where it could not be done now, ConfigError
    where it is to be done and `yes` was not said.
    """
    name = settings.bucket.name
    async with _ports(settings, Quiet()) as ports:
        situation = await adoption.look(ports, name)
        for line in situation.lines():
            tell(line)
        if not situation.fault:
            return
        if not yes:
            raise ConfigError(
                "nothing was changed; to make the bucket this database's, add --yes (see --help)"
            )
        limits, tenure = _limits(settings), lease.Tenure()
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


# --- wiring ---------------------------------------------------------------------------------------


@asynccontextmanager
async def _ports(
    settings: Settings, observer: Observer, on_request: Callable[[str, str, float], None] | None = None
) -> AsyncIterator[Ports]:
    """Both adapters, open and checked: the schema is at head, the store's abilities are known."""
    async with open_catalog(catalog_config(settings)) as catalog:
        if not await catalog.schema_at_head():
            message = "the database's schema is not at this version's: run `reconciler migrate`"
            raise ConfigError(message)
        pause = PauseWatch(catalog.pauses, SystemClock(), observer)
        throttles = _throttles(settings)

        def request_ended(operation: str, outcome: str, seconds: float) -> None:
            throttles.request_ended(operation, outcome, seconds)
            if on_request is not None:
                on_request(operation, outcome, seconds)

        reached = bucket_config(settings, request_ended)
        async with open_bucket(replace(reached, may_delete=pause.require_running)) as bucket:
            found = await abilities(bucket.prober, settings.bucket.order)
            _check_delete_mode(settings, found)
            yield _wire(catalog, bucket, found, observer, pause, throttles)


def _throttles(settings: Settings) -> Throttles:
    return Throttles(
        listing=settings.listing_concurrency, deleting=settings.delete_concurrency, clock=SystemClock()
    )


def _wire(
    catalog: Catalog,
    bucket: Bucket,
    capabilities: Capabilities,
    observer: Observer,
    pause: PauseWatch,
    throttles: Throttles,
) -> Ports:
    return Ports(
        listing=ThrottledListing(bucket.listing, throttles.listing),
        store=bucket.store(capabilities),
        copies=bucket.copies,
        versions=bucket.versions,
        uploads=bucket.uploads,
        marker=bucket.marker,
        prober=bucket.prober,
        records=catalog.records,
        staging=catalog.staging,
        passes=catalog.passes,
        marks=catalog.marks,
        lease=catalog.lease,
        site=catalog.site,
        budget=catalog.budget,
        pause=pause,
        throttles=throttles,
        clocks=Clocks(catalog.records.now, bucket.clock, SystemClock(), observer),
        holds=catalog.holds,
        recovery=catalog.recovery,
        purges=catalog.purges,
        clock=SystemClock(),
        observer=observer,
        capabilities=capabilities,
    )


def bucket_config(
    settings: Settings, on_request: Callable[[str, str, float], None] | None = None
) -> BucketConfig:
    """The bucket adapter's part of the settings."""
    return BucketConfig(
        name=settings.bucket.name,
        endpoint_url=settings.bucket.endpoint_url,
        region=settings.bucket.region,
        listing_concurrency=settings.listing_concurrency,
        delete_concurrency=settings.delete_concurrency,
        request_timeout=settings.bucket.request_timeout,
        on_request=on_request,
    )


def catalog_config(settings: DatabaseSettings) -> CatalogConfig:
    """The catalog adapter's part of the settings."""
    return CatalogConfig(database_url=settings.database_url.get_secret_value(), tables=_tables(settings))


def _tables(settings: SchemaSettings) -> TableMapping:
    mapped = settings.catalog
    return TableMapping(
        media_table=mapped.media_table,
        keys_table=mapped.keys_table,
        media=MediaColumns(**mapped.media_columns.model_dump()),
        keys=KeyColumns(**mapped.key_columns.model_dump()),
    )


def _offline(settings: SchemaSettings) -> CatalogConfig:
    """For SQL that is only written down: the gateway's names, and no database."""
    return CatalogConfig(database_url="postgresql:///", tables=_tables(settings))


def _limits(settings: Settings) -> Limits:
    return Limits(
        listing_concurrency=settings.listing_concurrency,
        delete_concurrency=settings.delete_concurrency,
        lease_ttl=settings.lease.ttl,
        request_timeout=settings.bucket.request_timeout,
        sweep_interval=settings.sweep_interval,
        retention_interval=settings.retention_interval,
    )


def _steer(source: SettingsSource, found: Capabilities) -> Steer:
    return lambda: _steering(source.current(), found)


def _steering(settings: Settings, found: Capabilities) -> Steering:
    rate = settings.max_deletes_per_second
    return Steering(
        mode=settings.mode(),
        policy=replace(
            settings.policy(),
            rewrites_keys=found.rewrites_keys,
            delete_mode=_delete_mode(settings, found),
        ),
        limits=settings.limits(),
        config_hash=settings.config_hash(),
        rate=math.inf if rate is None else rate,
        upload_window=settings.upload_window,
        undo_window=settings.undo_window,
        ledger_retention=settings.ledger_retention,
        abort_multipart_after=settings.abort_multipart_after,
    )


def _delete_mode(settings: Settings, found: Capabilities) -> DeleteMode:
    """What `auto` comes to; the other modes are what they are called."""
    if settings.delete_mode != "auto":
        return DeleteMode(settings.delete_mode)
    return DeleteMode.VERSIONED if found.versioned else DeleteMode.QUARANTINE


def _check_delete_mode(settings: Settings, found: Capabilities) -> None:
    """Raises ConfigError where the bucket cannot delete as it is told to, or would never shrink."""
    if settings.delete_mode == "versioned" and not found.versioned:
        raise ConfigError(
            "RECONCILER_DELETE_MODE versioned: the bucket keeps no versions; switch versioning on, or take"
            " auto or quarantine"
        )
    if settings.delete_mode == "quarantine" and found.versioned:
        raise ConfigError(
            "RECONCILER_DELETE_MODE quarantine: the bucket keeps versions, so that what is deleted would stay"
            " as a version beside its copy; take auto or versioned"
        )


# --- lifetimes ------------------------------------------------------------------------------------


async def _under_lease(
    ports: Ports, cycle: Cycle, term: Term, progress: Progress, stopping: anyio.Event
) -> None:
    """The whole cycle beside the lease's keeper; the lease is released when all of it has ended."""
    try:
        async with task_group() as group:
            group.start_soon(cycle.keep, term)
            group.start_soon(_stop_on_signal, stopping, group.cancel_scope)
            group.start_soon(ports.pause.watch)
            await cycle.first_contact(term)
            group.start_soon(cycle.watch)
            await cycle.everything(term, progress)
            group.cancel_scope.cancel()
    finally:
        with anyio.move_on_after(5, shield=True):
            await lease.release(ports.lease, term)


async def _stop_on_signal(stopping: anyio.Event, scope: anyio.CancelScope) -> None:
    """The first signal asks for a polite end, with a bound; the second ends at once."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for received in signals:
            if stopping.is_set():
                break
            log.info("stopping", signal=signal.Signals(received).name)
            stopping.set()
            scope.deadline = anyio.current_time() + STOP_SECONDS
    scope.cancel()


async def _follow_runtime_file(source: SettingsSource, metrics: Metrics) -> None:
    """Put a changed runtime file in force; an invalid one keeps the last good settings, and says so."""
    while True:
        await anyio.sleep(RELOAD_SECONDS)
        change = source.refresh()
        if change is None:
            continue
        metrics.settings_read(valid=change.error is None)
        metrics.settings_in_force(change.settings.mode())
        if change.error is not None:
            log.error("runtime file refused, keeping the last good settings", reason=change.error)
        else:
            log.info("settings changed", changed=change.changed)


def _empty_report(settings: Settings, outcome: Outcome, seconds: float, detail: str) -> Report:
    return Report(mode=settings.mode(), outcome=outcome, duration_seconds=seconds, detail=detail)


def _held(by: HeldBy, wait: timedelta) -> str:
    return (
        f"the lease is held by {by.holder} until {by.expires_at:%H:%M:%S} UTC unless renewed; waited"
        f" {wait.total_seconds():g} s. Wait longer (--wait), or stop the other replica"
    )
