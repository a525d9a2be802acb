"""Connect each port to its adapter, and give each adapter its part of the settings."""

import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import fields, replace
from functools import partial
from typing import TypeVar

import structlog

from reconciler.app import shares
from reconciler.app.process import SystemClock
from reconciler.catalog.db.config import CatalogConfig, KeyColumns, MediaColumns, TableMapping
from reconciler.catalog.open import Catalog, open_catalog
from reconciler.engine.detect import key_ranges
from reconciler.engine.lead.capabilities import abilities
from reconciler.engine.runtime.clocks import Clocks
from reconciler.engine.runtime.context import Limits, Ports, RuntimeSettings, SettingsInForce
from reconciler.engine.runtime.pause import PauseWatch
from reconciler.engine.runtime.quarantine import Quarantines
from reconciler.engine.runtime.throttle import ThrottledCopies, ThrottledListing, Throttles
from reconciler.engine.runtime.write_guard import require_live
from reconciler.errors import ConfigError
from reconciler.model import (
    QUARANTINE_PREFIX,
    Capabilities,
    CdnProvider,
    CloudflarePlan,
    DeleteMode,
    ListingOrder,
    Mode,
    Notary,
)
from reconciler.model.keys import merge_prefixes
from reconciler.operations.notary import FileNotary
from reconciler.planning.lifecycle import early_removals
from reconciler.ports import Channel, Inventories, Observer
from reconciler.settings import (
    DatabaseSettings,
    SchemaSettings,
    Settings,
    SettingsSource,
    database_url_now,
    read_secret,
    split_timeout,
)
from reconciler.sources import engine
from reconciler.sources import own_listing as own
from reconciler.sources.adapters import Adapter
from reconciler.sources.inventories import InventoryConfig, LocalInventories
from reconciler.sources.s3_inventory.newest import S3Inventory
from reconciler.sources.s3_metadata.newest import S3Metadata
from reconciler.sources.sharing import Shared
from reconciler.sources.storage_insights.newest import StorageInsights
from reconciler.stores.cdn import CdnConfig, open_cdn
from reconciler.stores.s3 import Bucket, BucketConfig, open_bucket
from reconciler.telemetry.observers import NullObserver

log = structlog.get_logger(__name__)

T = TypeVar("T")


@asynccontextmanager
async def open_ports(
    settings: Settings, observer: Observer | None = None, mode: Callable[[], Mode] = lambda: Mode.DRY_RUN
) -> AsyncIterator[Ports]:
    """Open and check both adapters: the schema is at head, the store's capabilities are known.

    `mode` is called before each single request that deletes, and before each retry: a batch sent key by
    key may take seconds. Switching dry run on must stop everything that has not been sent.
    """
    async with open_both(settings, observer, mode) as (ports, _):
        yield ports


@asynccontextmanager
async def open_both(
    settings: Settings,
    observer: Observer | None = None,
    mode: Callable[[], Mode] = lambda: Mode.DRY_RUN,
    on_request: Callable[[str, str, float], None] = lambda *_: None,
    on_call: Callable[[str, float | None], None] | None = None,
) -> AsyncIterator[tuple[Ports, Catalog]]:
    """Like `open_ports`, with the catalog; `on_request` and `on_call` hear of each end."""
    async with open_catalog(replace(catalog_config(settings), on_call=on_call)) as catalog:
        await catalog.require_schema()
        observer = observer or NullObserver()
        pause = PauseWatch(catalog.pauses, SystemClock(), observer)
        throttles = throttles_of(settings)

        def request_ended(operation: str, outcome: str, seconds: float) -> None:
            throttles.request_ended(operation, outcome, seconds)
            on_request(operation, outcome, seconds)

        def may_delete() -> None:
            pause.require_running()
            require_live(mode())

        reached = bucket_config(settings, request_ended)
        reached = replace(reached, may_delete=may_delete, managed=lambda: scratched(settings, mode()))
        async with open_bucket(reached) as bucket:
            found = await abilities(bucket.prober, settings.bucket.order)
            check_delete_mode(settings, found)
            for line in early_removals(found, settings.bucket.prefixes, settings.policy()):
                log.warning("the bucket has rules of its own", reason=line)
            if found.quarantine and delete_mode_of(settings, found) is not DeleteMode.QUARANTINE:
                log.warning("RECONCILER_QUARANTINE__BUCKET has no effect: the bucket keeps versions")
            if misfits := catalog.records.misfits(settings.policy()):
                raise ConfigError("\n".join(misfits))
            deleting, notary = delete_mode_of(settings, found), notary_of(settings)
            ports = wire(catalog, bucket, found, observer, pause, throttles, deleting, notary)
            async with open_channels(settings, catalog) as channels:
                inventories = inventories_of(settings, bucket, catalog, ports)
                yield replace(ports, channels=channels, inventories=inventories), catalog


@asynccontextmanager
async def open_channels(settings: Settings, catalog: Catalog) -> AsyncIterator[Sequence[Channel]]:
    """Whoever is told of what happens, by the settings."""
    async with AsyncExitStack() as stack:
        channels: list[Channel] = []
        if settings.cdn.on:
            opened = open_cdn(cdn_config(settings), catalog.outbox, SystemClock())
            channels.append(await stack.enter_async_context(opened))
        if settings.events.told:
            from reconciler.app.listeners import open_listeners  # noqa: PLC0415 - an extra that few need

            channels += await stack.enter_async_context(open_listeners(settings, catalog))
        yield channels


def cdn_config(settings: Settings) -> CdnConfig:
    cdn, file = settings.cdn, settings.cdn.token_file
    return CdnConfig(
        provider=CdnProvider(cdn.provider),
        zone=cdn.zone,
        plan=CloudflarePlan(cdn.plan),
        token=None if file is None else lambda: read_secret(file),
        api_url=cdn.api_url,
        template=cdn.url,
        url_column=cdn.url_column or None,
        tags=cdn.tags,
    )


def inventories_of(settings: Settings, bucket: Bucket, catalog: Catalog, ports: Ports) -> Inventories | None:
    """What a sweep by inventory acts through; None where the bucket is listed."""
    if settings.sweep.source == "list":
        return None
    itself = settings.sweep.source == "listing_parquet"
    return Inventories(
        source=own_listing(settings, bucket, ports) if itself else inventory_source(settings, bucket),
        export=catalog.export,
        area=catalog.nominations,
        max_age=settings.inventory.max_age,
    )


def inventory_source(settings: Settings, bucket: Bucket) -> LocalInventories:
    """The bucket's inventories. Raises ConfigError where the extra is not installed."""
    wanted = settings.inventory
    config = InventoryConfig(directory=wanted.directory, memory=wanted.memory, disk=wanted.disk)
    return LocalInventories(config, inventory_adapter(settings, bucket), shared_of(settings, bucket))


def inventory_adapter(settings: Settings, bucket: Bucket) -> Adapter:
    """What finds the newest inventory. Raises ConfigError where the extra is not installed."""
    wanted = settings.inventory
    if settings.sweep.source == "s3_metadata":
        load = partial(bucket.load_table, wanted.catalog)
        return S3Metadata(bucket.name, bucket.metadata_table, load, bucket.files_of)
    assert wanted.id is not None, "the settings have said so"
    if wanted.destination is not None:
        return StorageInsights(bucket.name, wanted.id, wanted.destination, bucket.files_of)
    return S3Inventory(bucket.name, wanted.id, bucket.inventory_configuration, bucket.files_of)


def own_listing(settings: Settings, bucket: Bucket, ports: Ports) -> LocalInventories:
    """The bucket, listed to local disk. Raises ConfigError where the extra is not installed."""
    engine.require_extra(settings.sweep.source)
    wanted, at_once = settings.inventory, settings.listing_concurrency
    config = InventoryConfig(directory=wanted.directory, memory=wanted.memory, disk=wanted.disk)
    limits = own.Limits(directory=wanted.directory, memory=wanted.memory, disk=wanted.disk, at_once=at_once)
    prefixes = merge_prefixes(settings.bucket.prefixes)
    ordered = ports.capabilities.order is ListingOrder.BYTES
    adapter = own.OwnListing(
        limits,
        ports.listing,
        bucket.files_of(bucket.name),
        partial(key_ranges.planned, ports.records, prefixes, at_once) if ordered else None,
        prefixes,
        ports.records.now,
        ports.observer.page_listed,
    )
    return LocalInventories(config, adapter)


def shared_of(settings: Settings, bucket: Bucket) -> Shared | None:
    """What a comparison on many machines acts through; None where this process compares alone."""
    wanted = settings.inventory
    if wanted.engine == "duckdb":
        return None
    place = shares.Place(
        bucket=bucket_config(settings), directory=wanted.directory, memory=wanted.memory, disk=wanted.disk
    )
    return Shared(
        exports=bucket.exports, look=partial(shares.look, place), compare_range=partial(shares.compare, place)
    )


def scratched(settings: Settings, mode: Mode) -> Sequence[str]:
    """The managed prefixes in which a probe may put a scratch key: none in dry run, which writes nothing
    there, and none in delete mode `direct`, for which the result does not matter.
    """
    return settings.bucket.prefixes if mode is Mode.LIVE and settings.delete_mode != "direct" else ()


def throttles_of(settings: Settings) -> Throttles:
    return Throttles(
        listing=settings.listing_concurrency,
        deleting=settings.delete_concurrency,
        copying=settings.copy_concurrency,
        clock=SystemClock(),
    )


def wire(
    catalog: Catalog,
    bucket: Bucket,
    capabilities: Capabilities,
    observer: Observer,
    pause: PauseWatch,
    throttles: Throttles,
    mode: DeleteMode,
    notary: Notary,
) -> Ports:
    """`mode` is the one that `auto` stands for: without copies, the other bucket is of no matter."""
    elsewhere = capabilities.quarantine if mode is DeleteMode.QUARANTINE else None
    return Ports(
        listing=ThrottledListing(bucket.listing, throttles.listing),
        store=bucket.store(capabilities),
        descriptions=bucket.descriptions,
        copies=ThrottledCopies(bucket.copies.knowing(capabilities), throttles.copying),
        versions=bucket.versions,
        uploads=bucket.uploads,
        identity=bucket.identity,
        prober=bucket.prober,
        records=catalog.records,
        staging=catalog.staging,
        passes=catalog.passes,
        departures=catalog.departures,
        near_misses=catalog.near_misses,
        marks=catalog.marks,
        lease=catalog.lease,
        site=catalog.site,
        budget=catalog.budget,
        pause=pause,
        throttles=throttles,
        clocks=Clocks(catalog.records.now, bucket.clock, SystemClock(), observer),
        quarantines=Quarantines(
            bucket.name,
            None if elsewhere is None else elsewhere.bucket,
            bucket.identity_of,
            bucket.own_identity_of,
            catalog.site,
            SystemClock(),
        ),
        holds=catalog.holds,
        jobs=catalog.jobs,
        recovery=catalog.recovery,
        adoptions=catalog.adoptions,
        purges=catalog.purges,
        outbox=catalog.outbox,
        erasures=catalog.erasures,
        certificates=bucket.certificates,
        notary=notary,
        clock=SystemClock(),
        observer=observer,
        capabilities=capabilities,
    )


def notary_of(settings: Settings) -> FileNotary:
    """Raises ConfigError where a key cannot be used."""
    return FileNotary(settings.erasure.signing_key_file, settings.erasure.hash_key_file)


def bucket_config(
    settings: Settings, on_request: Callable[[str, str, float], None] | None = None
) -> BucketConfig:
    return BucketConfig(
        name=settings.bucket.name,
        quarantine=settings.quarantine.bucket,
        endpoint_url=settings.bucket.endpoint_url,
        region=settings.bucket.region,
        addressing_style=settings.bucket.style,
        listing_concurrency=settings.listing_concurrency,
        delete_concurrency=settings.delete_concurrency,
        copy_concurrency=settings.copy_concurrency,
        request_timeout=settings.bucket.request_timeout,
        on_request=on_request,
    )


def catalog_config(settings: DatabaseSettings) -> CatalogConfig:
    url, wait = split_timeout(settings.database_url.get_secret_value())
    now = database_url_now(
        settings,
        warn=lambda reason: log.error("the database's new address is not followed", reason=reason),
    )
    config = CatalogConfig(
        database_url=url,
        url_now=None if now is None else lambda: split_timeout(now())[0],
        tables=_tables(settings),
    )
    return config if wait is None else replace(config, connect_timeout=wait)


def _tables(settings: SchemaSettings) -> TableMapping:
    mapped = settings.catalog
    return TableMapping(
        media_table=mapped.media_table,
        keys_table=mapped.keys_table,
        media=MediaColumns(**mapped.media_columns.model_dump()),
        keys=KeyColumns(**mapped.key_columns.model_dump()),
        media_where=tuple(mapped.media_where.items()),
        variants=mapped.variant_columns,
        also_referenced=mapped.also_referenced,
        time_zone=mapped.time_zone,
        epoch_unit=mapped.epoch_unit,
        by_group_policy=isinstance(settings, Settings) and settings.retention.source == "conduit",
    )


def offline(settings: SchemaSettings) -> CatalogConfig:
    """The configuration for SQL that is only written out: the gateway's names, and no database."""
    return CatalogConfig(database_url="postgresql:///", tables=_tables(settings))


def limits_of(settings: Settings) -> Limits:
    return _handed_on(
        Limits, settings, lease_ttl=settings.lease.lasts, request_timeout=settings.bucket.request_timeout
    )


def _handed_on(kind: type[T], settings: Settings, **others: object) -> T:
    """A value of that kind: `others`, and under their own names the settings."""
    names = [each.name for each in fields(kind) if each.name not in others]  # type: ignore[arg-type]  # they are
    return kind(**others, **{name: getattr(settings, name) for name in names})


def in_force_of(source: SettingsSource, ports: Ports) -> SettingsInForce:
    """Read the settings at each call, so a changed runtime file takes effect at its next read.

    Rules that no row of these tables can match are refused. Raises ConfigError.
    """
    found = ports.capabilities
    source.require(lambda settings: ports.records.misfits(settings.policy()))
    settings = source.look()
    known = (settings, runtime_settings(settings, found))

    def in_force() -> RuntimeSettings:
        nonlocal known
        settings = source.look()
        if settings is not known[0]:
            known = (settings, runtime_settings(settings, found))
        return known[1]

    return in_force


def mode_of(source: SettingsSource) -> Callable[[], Mode]:
    return lambda: source.look().mode()


def runtime_settings(settings: Settings, found: Capabilities) -> RuntimeSettings:
    rate = settings.max_deletes_per_second
    return _handed_on(
        RuntimeSettings,
        settings,
        mode=settings.mode(),
        policy=replace(
            settings.policy(),
            rewrites_keys=found.rewrites_keys,
            delete_mode=delete_mode_of(settings, found),
            quarantine=QUARANTINE_PREFIX if found.quarantine is None else found.quarantine.bucket.folder,
        ),
        limits=settings.limits(),
        config_hash=settings.config_hash(),
        rate=math.inf if rate is None else rate,
        adoption=settings.adoption.of_model() if settings.adoption.enabled else None,
        by_group_policy=settings.retention.source == "conduit",
    )


def delete_mode_of(settings: Settings, found: Capabilities) -> DeleteMode:
    """The mode that `auto` stands for; the other modes stand for themselves."""
    if settings.delete_mode != "auto":
        return DeleteMode(settings.delete_mode)
    return DeleteMode.VERSIONED if found.versioned and found.undelete else DeleteMode.QUARANTINE


def check_delete_mode(settings: Settings, found: Capabilities) -> None:
    """Raises ConfigError where the bucket cannot delete in the configured mode, or would never shrink."""
    if settings.delete_mode == "versioned" and not found.versioned:
        raise ConfigError(
            "RECONCILER_DELETE_MODE versioned: the bucket keeps no versions; switch versioning on, or take"
            " auto or quarantine"
        )
    if settings.delete_mode == "quarantine" and found.versioned:
        raise ConfigError(
            "RECONCILER_DELETE_MODE quarantine: the bucket keeps versions, so that what is deleted would stay"
            " as a version next to its copy; take auto or versioned"
        )
