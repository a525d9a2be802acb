"""The daemon: it connects, leads or stands by, and answers over HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import anyio
import structlog
from anyio.abc import TaskGroup

from reconciler import __version__, lean
from reconciler.app.metric_refresh import recall, refresh_statistics, refresh_storage
from reconciler.app.process import log_origins, stop_on_signal
from reconciler.app.reloading import follow_runtime_file, log_settings
from reconciler.app.replica_state import ReplicaState, keep_telling, leave, log_orders
from reconciler.app.wiring import in_force_of, limits_of, mode_of, open_both
from reconciler.catalog.open import Catalog
from reconciler.engine.cycle import Cycle
from reconciler.engine.daemon import Daemon
from reconciler.engine.detect.hints import HintedLooks
from reconciler.engine.lead.capabilities import keep_probing
from reconciler.engine.runtime.context import Ports, SettingsInForce
from reconciler.engine.runtime.tasks import task_group
from reconciler.engine.runtime.throttle import Throttles
from reconciler.errors import ConfigError, Halt, Retryable
from reconciler.ports import Tracer
from reconciler.settings import Settings, SettingsSource, traces_wanted
from reconciler.stores.s3 import OPERATIONS, OUTCOMES, open_queue
from reconciler.telemetry.health import CONFIGURATION, FIRST_CONTACT, PAUSE, PAUSE_SILENCE, SCHEMA, Health
from reconciler.telemetry.limits import LimitsInForce
from reconciler.telemetry.metrics import Metrics, daemon_registry
from reconciler.telemetry.observers import CompositeObserver
from reconciler.telemetry.own_state import OwnState
from reconciler.telemetry.traces import tracing
from reconciler.web.routes import build_app
from reconciler.web.server import serve

log = structlog.get_logger(__name__)


RECONNECT_SECONDS = 5.0
"""The time between two attempts of a daemon that cannot reach its database or bucket yet."""

GIVE_BACK_SECONDS = 10.0
"""The time between two returns of freed memory to the system, each of a millisecond."""


async def run(source: SettingsSource) -> None:
    """Run the daemon until SIGTERM or SIGINT. Raises ConfigError where it cannot start at all."""
    settings = source.current()
    health, own, stopping = Health(), OwnState(), anyio.Event()
    registry, metrics = daemon_registry(version=__version__, operations=OPERATIONS, outcomes=OUTCOMES)
    log_settings(source, metrics)
    metrics.settings_read(valid=True)
    health.meet(CONFIGURATION)
    web = build_app(registry, health)
    with tracing(wanted=traces_wanted()) as tracer:
        async with task_group() as group:
            group.start_soon(stop_on_signal, stopping, group.cancel_scope)
            listening = anyio.Event()

            async def listen() -> None:
                await serve(web, settings.web.host, settings.web.port, started=listening)

            group.start_soon(listen)
            await listening.wait()
            if settings.admin.on:
                await _start_admin(group, source, metrics, health, own)
            group.start_soon(follow_runtime_file, source, metrics)
            hash_ = settings.config_hash()
            log.info("started", mode=str(settings.mode()), bucket=settings.bucket.name, config_hash=hash_)
            log_origins(source)
            await connect_and_lead(source, metrics, health, stopping, tracer, own)
            group.cancel_scope.cancel()
    log.info("stopped")


async def _start_admin(
    group: TaskGroup, source: SettingsSource, metrics: Metrics, health: Health, own: OwnState
) -> None:
    """Start the admin API, and wait until it answers. It is imported only here: it takes 20 MiB."""
    from reconciler.app.admin import serve_admin  # noqa: PLC0415

    listening = anyio.Event()

    async def listen() -> None:
        await serve_admin(source, health, own, metrics.admin_refused, started=listening)

    group.start_soon(listen)
    await listening.wait()


async def connect_and_lead(
    source: SettingsSource,
    metrics: Metrics,
    health: Health,
    stopping: anyio.Event,
    tracer: Tracer | None = None,
    own: OwnState | None = None,
) -> None:
    """Connect to database and bucket, however long that takes, then run the daemon on them."""
    settings = source.current()
    own = own or OwnState()
    counts = metrics.request_ended, metrics.database_called
    while not stopping.is_set():
        try:
            state = ReplicaState()
            observer = CompositeObserver(metrics, health, own, state)
            async with open_both(settings, observer, mode_of(source), *counts) as (wired, catalog):
                ports = replace(wired, tracer=tracer or wired.tracer)
                health.meet(SCHEMA)
                health.meet(FIRST_CONTACT)
                observer.halted(None)
                metrics.store_probed(ports.capabilities)
                metrics.channels_opened(ports.channels)
                limits = limits_of(settings)
                in_force = in_force_of(source, ports)
                cycle = Cycle(ports, limits, in_force, stopping, settings.bucket.name)
                statistics = catalog.statistics
                async with (
                    _hinted(settings, ports, catalog, in_force) as hinted,
                    task_group() as group,
                ):
                    metrics.limits.follow(partial(_limits_in_force, ports.throttles, in_force))
                    group.start_soon(_give_memory_back)
                    group.start_soon(recall, ports, statistics, metrics)
                    group.start_soon(refresh_statistics, ports, statistics, metrics, in_force)
                    every = settings.accounting_interval
                    group.start_soon(refresh_storage, ports, statistics, metrics, in_force, every)
                    group.start_soon(keep_telling, state, source, catalog)
                    group.start_soon(log_orders, catalog)
                    group.start_soon(ports.clocks.watch)
                    group.start_soon(keep_probing, ports, settings.bucket.order, metrics.store_probed)
                    with health.watching(PAUSE, PAUSE_SILENCE):
                        await Daemon(ports, limits, cycle, stopping, hinted).run()
                    group.cancel_scope.cancel()
                await leave(source, state, catalog)
        except Halt as halt:
            log.error("halted: a person has to act", reason=str(halt))
            observer.halted(str(halt))
        except (Retryable, ConfigError) as error:
            log.warning("not ready, trying again", reason=str(error))
        with anyio.move_on_after(RECONNECT_SECONDS):
            health.alive("leadership")
            await stopping.wait()


@asynccontextmanager
async def _hinted(
    settings: Settings, ports: Ports, catalog: Catalog, in_force: SettingsInForce
) -> AsyncIterator[HintedLooks | None]:
    """What looks at keys that the store's events name, where it has a queue for them."""
    url = settings.events.queue_url
    if url is None:
        yield None
        return
    async with open_queue(url, settings.bucket.region) as queue:
        yield HintedLooks(ports, catalog.hints, queue, in_force, settings.bucket.name)


async def _give_memory_back() -> None:
    while True:
        await anyio.sleep(GIVE_BACK_SECONDS)
        lean.give_back()


def _limits_in_force(throttles: Throttles, in_force: SettingsInForce) -> LimitsInForce:
    return LimitsInForce(
        keys_a_second=throttles.deleting.rate(in_force().rate),
        batches=throttles.deleting.in_flight,
        pages=throttles.listing.in_flight,
    )
