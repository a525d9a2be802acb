"""Open a bucket: the clients, their pools, and the parts that use them."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import anyio
from aiobotocore.config import AioConfig
from botocore.exceptions import BotoCoreError

from reconciler import __version__
from reconciler.errors import ConfigError
from reconciler.model import (
    Capabilities,
    CopyRequest,
    InventoryConfiguration,
    MetadataTable,
    QuarantineBucket,
)
from reconciler.stores.s3 import hooks
from reconciler.stores.s3.certificates import BucketCertificates
from reconciler.stores.s3.clock import BucketClock
from reconciler.stores.s3.config import BucketConfig
from reconciler.stores.s3.deletion import SINGLES_AT_ONCE, BucketObjects
from reconciler.stores.s3.describing import BucketDescriptions
from reconciler.stores.s3.direct import DirectClient
from reconciler.stores.s3.exports import BucketExports
from reconciler.stores.s3.identity import BucketIdentity
from reconciler.stores.s3.inventory import BucketFiles, inventory_configuration
from reconciler.stores.s3.lifecycle import BucketLifecycle
from reconciler.stores.s3.listing import BucketListing
from reconciler.stores.s3.locks import BucketLocks
from reconciler.stores.s3.metadata_tables import load_table, metadata_table
from reconciler.stores.s3.probing.prober import BucketProber
from reconciler.stores.s3.quarantine import BucketCopies
from reconciler.stores.s3.reading import BucketReader
from reconciler.stores.s3.retries import Calls
from reconciler.stores.s3.routing import RoutedListing, RoutedObjects, RoutedUploads, RoutedVersions
from reconciler.stores.s3.session import Session
from reconciler.stores.s3.uploads import BucketUploads
from reconciler.stores.s3.versions import BucketVersions
from reconciler.stores.s3.witness import IDENTITY_KEY, Witness
from reconciler.stores.s3.writing import BucketWriter

CONNECT_SECONDS: Final = 5.0
"""The longest wait for a connection; shorter where the request's time-out is shorter."""
_ANY_REGION: Final = "us-east-1"
"""The region sent to stores with an endpoint of their own, where none is set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Clients:
    """The connections, and how many requests use them at once."""

    lister: Any
    client: Any
    singles: anyio.CapacityLimiter
    copying: anyio.CapacityLimiter


class _Asked:
    """What asks one bucket. `identity_key` is where its identity is."""

    def __init__(
        self,
        config: BucketConfig,
        clients: _Clients,
        identity_key: str = IDENTITY_KEY,
        copied: tuple[str, str] | None = None,
    ) -> None:
        self.calls = calls = Calls(clients.client, config)
        self.witness = witness = Witness(calls, identity_key, copied)
        self.listing = BucketListing(Calls(clients.lister, config))
        self.identity = BucketIdentity(calls, identity_key)
        self.uploads = BucketUploads(calls, clients.copying, witness)
        self.versions = BucketVersions(calls, clients.copying, witness)


class Bucket:
    """One bucket of one store, and those in which copies of its objects lie, by their keys.

    Listing has its own connections, so it never waits for a deletion.
    """

    def __init__(self, config: BucketConfig, lister: Any, client: Any) -> None:  # noqa: ANN401 - made at run time
        self.name = config.name
        self._config = config
        self._clients = clients = _Clients(
            lister=lister,
            client=client,
            singles=anyio.CapacityLimiter(SINGLES_AT_ONCE),
            copying=anyio.CapacityLimiter(config.copy_concurrency),
        )
        self._own = own = _Asked(config, clients)
        self._others: dict[QuarantineBucket, _Asked] = {}
        self.listing = RoutedListing(lambda key: self._at(key).listing)
        self.identity = own.identity
        self.certificates = BucketCertificates(own.calls, own.listing)
        self.clock = BucketClock(own.calls)
        self.copies = BucketCopies(
            lambda key: self._at(key).calls, self._witness_of, clients.copying, config.copy_sizes
        )
        self.uploads = RoutedUploads(lambda key: self._at(key).uploads)
        self.versions = RoutedVersions(lambda key: self._at(key).versions)
        self.locks = BucketLocks(own.calls, clients.copying)
        self.lifecycle = BucketLifecycle(own.calls)
        self.reader = BucketReader(own.calls)
        self.descriptions = BucketDescriptions(own.calls, own.witness)
        self.writer = BucketWriter(own.calls)
        self.exports = BucketExports(own.calls, own.listing, own.versions)
        to = None if config.quarantine is None else QuarantineBucket(config.quarantine, config.name)
        self.prober = BucketProber(
            own.calls, own.listing, config.managed, None if to is None else (to, self._other(to).calls)
        )

    def store(self, capabilities: Capabilities) -> RoutedObjects:
        """The objects. Deletion uses only what the probe found the store to do."""
        singles, made = self._clients.singles, dict[_Asked, BucketObjects]()

        def at(key: str) -> BucketObjects:
            asked = self._at(key)
            if asked not in made:
                made[asked] = BucketObjects(asked.calls, capabilities, singles, asked.witness)
            return made[asked]

        return RoutedObjects(at)

    def identity_of(self, bucket: QuarantineBucket) -> BucketIdentity:
        """The object in that bucket which says whose copies lie there."""
        return self._other(bucket).identity

    def own_identity_of(self, bucket: QuarantineBucket) -> BucketIdentity:
        """Where that bucket's own identity would be, if it were managed like this one."""
        return BucketIdentity(self._other(bucket).calls)

    async def inventory_configuration(self, inventory: str) -> InventoryConfiguration | None:
        """How the inventory of that id is configured; None where the bucket has none."""
        return await inventory_configuration(self._own.calls, inventory)

    async def metadata_table(self) -> MetadataTable | None:
        """The live inventory table of S3 Metadata; None where none is configured."""
        return await metadata_table(self._own.calls)

    async def load_table(self, catalog: str | None, table: MetadataTable) -> Mapping[str, Any]:
        """What the Iceberg REST catalog at that address knows of a table; None: S3 Tables' own."""
        return await load_table(self._own.calls, catalog, table)

    def files_of(self, name: str) -> BucketFiles:
        """What is to be read whole in that bucket of the same store."""
        config = replace(self._config, name=name, setting="the inventory's destination")
        return BucketFiles(
            BucketListing(Calls(self._clients.lister, config)),
            BucketReader(Calls(self._clients.client, config)),
        )

    def _at(self, key: str) -> _Asked:
        bucket = QuarantineBucket.of_key(key, self.name)
        return self._own if bucket is None else self._other(bucket)

    def _other(self, bucket: QuarantineBucket) -> _Asked:
        if bucket not in self._others:
            config = replace(self._config, name=bucket.name, setting="RECONCILER_QUARANTINE__BUCKET")
            ours = self._own.calls.bucket, IDENTITY_KEY
            self._others[bucket] = _Asked(config, self._clients, bucket.identity_key, ours)
        return self._others[bucket]

    def _witness_of(self, wanted: CopyRequest) -> Witness:
        """Whom to ask about a refused copy: an identity that is copied between the same two buckets."""
        source = QuarantineBucket.of_key(wanted.source, self.name)
        if source is None:
            return self._at(wanted.target).witness
        return Witness(self._own.calls, copied=(source.name, source.identity_key))


@asynccontextmanager
async def open_bucket(config: BucketConfig) -> AsyncIterator[Bucket]:
    """Open the bucket until the context ends. No request is sent; the first use shows whether it exists.

    Raises ConfigError for an endpoint, region or profile that cannot be used.
    """
    async with AsyncExitStack() as stack:
        try:
            session = Session(botocore_session=hooks.raw_session())
            lister = await stack.enter_async_context(_client(session, config, config.listing_concurrency))
            connections = config.delete_concurrency + SINGLES_AT_ONCE + config.copy_concurrency
            client = await stack.enter_async_context(_client(session, config, connections))
        except (BotoCoreError, ValueError) as error:
            raise ConfigError(f"the bucket {config.name!r} cannot be opened: {error}") from None
        hooks.tune(lister)
        hooks.tune(client)
        yield Bucket(config, DirectClient(lister), DirectClient(client))


def _client(session: Session, config: BucketConfig, connections: int) -> Any:  # noqa: ANN401
    region = config.region or session.region_name or (_ANY_REGION if config.endpoint_url else None)
    return session.client(
        "s3",
        endpoint_url=config.endpoint_url,
        region_name=region,
        # Plain http has nothing to verify, and loading the certificates takes 50 ms per client.
        verify=False if (config.endpoint_url or "").startswith("http://") else None,
        config=_client_config(config, connections),
    )


def _client_config(config: BucketConfig, connections: int) -> AioConfig:
    seconds = config.request_timeout.total_seconds()
    return AioConfig(
        connect_timeout=min(CONNECT_SECONDS, seconds),
        read_timeout=seconds,
        max_pool_connections=connections,
        retries={"total_max_attempts": 1, "mode": "standard"},  # our retries are in `retries`
        # Without it botocore follows the AWS configuration, and uses the path style at an endpoint.
        s3={"addressing_style": config.addressing_style} if config.addressing_style else None,
        # Over https botocore would send it after the body, which Ceph answers with 411; `hooks` sends MD5.
        request_checksum_calculation="when_required",
        # A fixed string saves botocore from building its own for each request.
        user_agent=f"media-reconciler/{__version__}",
        # This package builds every parameter itself; botocore's check of 1,000 entries takes 3 ms a batch.
        parameter_validation=False,
    )
