"""The media service: it connects, serves, and ends what it has begun before it stops."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
import structlog

from reconciler import __version__
from reconciler.app import uploads, wiring
from reconciler.app.process import stop_on_signal
from reconciler.catalog.open import open_catalog
from reconciler.engine.runtime.tasks import task_group
from reconciler.errors import CatalogUnavailable, ConfigError, Halt, ReconcilerError, Retryable
from reconciler.media.access import Access
from reconciler.media.app import build
from reconciler.media.counting import Accesses
from reconciler.media.links import LinkSecrets
from reconciler.media.recording import Recorder
from reconciler.media.remembered import Types
from reconciler.media.sending import Places
from reconciler.media.site import Media, Site, Terms
from reconciler.model import QuotaOwner, Uncounted
from reconciler.settings import Settings
from reconciler.stores.s3 import OPERATIONS, OUTCOMES, BucketConfig, open_bucket
from reconciler.telemetry.health import CONFIGURATION, SCHEMA, TAKING, Health
from reconciler.telemetry.metrics.media import MediaMetrics, media_registry
from reconciler.web.quick import QuickProtocol
from reconciler.web.routes import build_app
from reconciler.web.server import serve

log = structlog.get_logger(__name__)

CONNECTIONS = 10
"""To the database, at most: each request asks once, for a millisecond."""

RECONNECT_SECONDS = 5.0

RECORD_SECONDS = 5.0
"""Between two writings of what was accessed."""

LAST_SECONDS = 2.0
"""For what was accessed last, before the process ends."""

LINGER_SECONDS = 3.0
"""How long new requests are still taken after a signal: whoever sends them does not know yet that we are not
ready any more."""

DRAIN_SECONDS = 18.0
"""How long media may still be sent after that."""


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises ConfigError where it cannot start at all."""
    health, stopping = Health(conditions=(CONFIGURATION, SCHEMA, TAKING), always={}), anyio.Event()
    registry, metrics = media_registry(version=__version__, operations=OPERATIONS, outcomes=OUTCOMES)
    connected = _Connected(settings, metrics)
    media = describe(settings, connected.site, metrics)
    metrics.follow_open(lambda: media.places.taken)
    health.meet(CONFIGURATION)
    async with task_group() as group:
        group.start_soon(stop_on_signal, stopping, group.cancel_scope)
        watched = anyio.Event()

        async def listen() -> None:
            app = build_app(registry, health)
            await serve(app, settings.web.host, settings.web.port, started=watched)

        group.start_soon(listen)
        await watched.wait()
        group.start_soon(connected.keep, lambda: health.meet(SCHEMA))
        group.start_soon(_keep_recording, media)
        async with _serving(media, settings):
            log.info("serving media", host=settings.media.host, port=settings.media.port)
            health.meet(TAKING)
            await stopping.wait()
            health.miss(TAKING)
            await anyio.sleep(LINGER_SECONDS)
        with anyio.move_on_after(LAST_SECONDS):
            await media.recorder.write(all_of_them=True)
        group.cancel_scope.cancel()
    log.info("stopped")


async def _keep_recording(media: Media) -> None:
    while True:
        await anyio.sleep(RECORD_SECONDS)
        await media.recorder.write()


@asynccontextmanager
async def _serving(media: Media, settings: Settings) -> AsyncIterator[None]:
    """Served as long as the context lasts; at its end the requests that are open get their time."""
    listening = anyio.Event()
    async with task_group() as group:

        async def listen() -> None:
            await serve(
                build(media),
                settings.media.host,
                settings.media.port,
                section="MEDIA",
                grace=DRAIN_SECONDS,
                protocol=QuickProtocol,
                started=listening,
            )

        group.start_soon(listen)
        await listening.wait()
        yield
        group.cancel_scope.cancel()


def describe(settings: Settings, site: Callable[[], Site], metrics: MediaMetrics) -> Media:
    """What the application works on. Raises ConfigError where links are to be signed with nothing, or uploads
    would not be managed.
    """
    asked = settings.media
    if asked.access == "signed" and asked.link_keys_file is None:
        raise ConfigError(
            "RECONCILER_MEDIA__ACCESS=signed: set RECONCILER_MEDIA__LINK_KEYS_FILE to a file with a line"
            " `NAME SECRET`, such as `2026-11` and 32 random bytes in hexadecimal digits"
        )
    file = asked.link_keys_file
    accesses = Accesses(time.monotonic)
    return Media(
        site=site,
        terms=Terms(
            prefixes=settings.bucket.prefixes,
            access=Access(asked.access),
            owner=QuotaOwner(asked.owner),
            redirects=asked.delivery == "redirect",
            redirect_for=asked.redirect_for,
            cache_for=asked.cache_for,
            link_for=asked.link_for,
            uncounted=Uncounted(agents=asked.uncounted_agents, prefetch=not asked.count_prefetch),
            uploads=uploads.terms(settings),
        ),
        secrets=LinkSecrets(file, lambda reason: log.error("the links' secrets", file=file, reason=reason)),
        places=Places(asked.requests, asked.requests_per_owner),
        types=Types(time.monotonic),
        accesses=accesses,
        recorder=Recorder(accesses, lambda: site().records),
        counts=metrics,
        now=time.time,
    )


class _Connected:
    """The site while it is open, and otherwise why it is not."""

    def __init__(self, settings: Settings, metrics: MediaMetrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._site: Site | None = None
        self._fault: ReconcilerError = CatalogUnavailable("the database has not been reached yet")

    def site(self) -> Site:
        if self._site is None:
            raise self._fault
        return self._site

    async def keep(self, opened: Callable[[], None]) -> None:
        """Keep it open until cancelled; `opened` is called each time that it is."""
        while True:
            try:
                async with open_site(self._settings, self._metrics) as site:
                    self._site = site
                    opened()
                    await anyio.sleep_forever()
            except (Retryable, ConfigError, Halt) as error:
                log.warning("media cannot be served yet, trying again", reason=str(error))
                self._fault = error
            finally:
                self._site = None
            await anyio.sleep(RECONNECT_SECONDS)


@asynccontextmanager
async def open_site(settings: Settings, metrics: MediaMetrics) -> AsyncIterator[Site]:
    """Both sides. Raises ConfigError, CatalogUnavailable."""
    database = replace(
        wiring.catalog_config(settings), pool_size=CONNECTIONS, on_call=metrics.database_called
    )
    store = _store(settings, metrics)
    outside = replace(store, endpoint_url=settings.media.redirect_url or store.endpoint_url)
    async with (
        open_catalog(database) as catalog,
        open_bucket(store) as bucket,
        open_bucket(outside) as reached,
    ):
        await catalog.require_schema()
        if settings.media.access != "public":
            catalog.served.require_callers()
        recorded = settings.media.record_accesses and catalog.accesses.possible
        yield Site(
            tables=catalog.served,
            store=bucket.reader,
            outside=reached.reader,
            uploads=await uploads.site(settings, catalog, bucket, reached),
            records=catalog.accesses if recorded else None,
        )


def _store(settings: Settings, metrics: MediaMetrics) -> BucketConfig:
    """A connection for each medium that is sent, and a few to describe others meanwhile."""
    return replace(
        wiring.bucket_config(settings, metrics.request_ended),
        listing_concurrency=1,
        delete_concurrency=1,
        copy_concurrency=settings.media.requests,
    )
