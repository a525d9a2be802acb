"""Open a bucket: the clients, their pools, and the parts that use them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import aioboto3
import anyio
from aiobotocore.config import AioConfig
from botocore.exceptions import BotoCoreError

from reconciler import __version__
from reconciler.errors import ConfigError
from reconciler.model import Capabilities
from reconciler.stores.s3 import hooks
from reconciler.stores.s3.clock import BucketClock
from reconciler.stores.s3.config import BucketConfig
from reconciler.stores.s3.deletion import SINGLES_AT_ONCE, BucketObjects
from reconciler.stores.s3.direct import DirectClient
from reconciler.stores.s3.identity import BucketIdentity
from reconciler.stores.s3.listing import BucketListing
from reconciler.stores.s3.locks import BucketLocks
from reconciler.stores.s3.probing.prober import BucketProber
from reconciler.stores.s3.quarantine import BucketCopies
from reconciler.stores.s3.retries import Calls
from reconciler.stores.s3.uploads import BucketUploads
from reconciler.stores.s3.versions import BucketVersions
from reconciler.stores.s3.witness import Witness

CONNECT_SECONDS: Final = 5.0
"""The longest wait for a connection; shorter where the request's time-out is shorter."""
_ANY_REGION: Final = "us-east-1"
"""The region sent to stores with an endpoint of their own, where none is set."""


class _Session(aioboto3.Session):  # type: ignore[misc]  # without types
    """Without the methods for files that a client would get, whose imports take 2 MiB and 50 ms."""

    def _register_default_handlers(self) -> None:
        pass


class Bucket:
    """One bucket of one store. Listing has its own connections, so it never waits for a deletion."""

    def __init__(self, config: BucketConfig, lister: Any, client: Any) -> None:  # noqa: ANN401 - made at run time
        self._calls = calls = Calls(client, config)
        self._singles = anyio.CapacityLimiter(SINGLES_AT_ONCE)
        self._witness = witness = Witness(calls)
        self.listing = BucketListing(Calls(lister, config))
        self.identity = BucketIdentity(calls)
        self.clock = BucketClock(calls)
        limiter = anyio.CapacityLimiter(config.copy_concurrency)
        self.copies = BucketCopies(calls, limiter, config.copy_sizes, witness)
        self.uploads = BucketUploads(calls, limiter, witness)
        self.versions = BucketVersions(calls, limiter, witness)
        self.locks = BucketLocks(calls, limiter)
        self.prober = BucketProber(calls, self.listing, config.managed)

    def store(self, capabilities: Capabilities) -> BucketObjects:
        """The objects. Deletion uses only what the probe found the store to do."""
        return BucketObjects(self._calls, capabilities, self._singles, self._witness)


@asynccontextmanager
async def open_bucket(config: BucketConfig) -> AsyncIterator[Bucket]:
    """Open the bucket until the context ends. No request is sent; the first use shows whether it exists.

    Raises ConfigError for an endpoint, region or profile that cannot be used.
    """
    async with AsyncExitStack() as stack:
        try:
            session = _Session(botocore_session=hooks.raw_session())
            lister = await stack.enter_async_context(_client(session, config, config.listing_concurrency))
            connections = config.delete_concurrency + SINGLES_AT_ONCE + config.copy_concurrency
            client = await stack.enter_async_context(_client(session, config, connections))
        except (BotoCoreError, ValueError) as error:
            raise ConfigError(f"the bucket {config.name!r} cannot be opened: {error}") from None
        hooks.tune(lister)
        hooks.tune(client)
        yield Bucket(config, DirectClient(lister, config.name), DirectClient(client, config.name))


def _client(session: aioboto3.Session, config: BucketConfig, connections: int) -> Any:  # noqa: ANN401
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
