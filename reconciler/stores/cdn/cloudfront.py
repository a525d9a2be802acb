"""CloudFront: invalidations of a distribution, by path or by cache tag, with the usual AWS credentials."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

import aioboto3
from aiobotocore.config import AioConfig
from botocore.exceptions import BotoCoreError, ClientError

from reconciler.model import Purge
from reconciler.stores.cdn.pace import Limit
from reconciler.stores.cdn.provider import REFUSED_TOKEN, Refused
from reconciler.stores.http import AWAY, SECONDS, SERVER_ERROR, Unreachable

IN_PROGRESS: Final = 3_000
"""Paths of one distribution that may be in progress at once."""

REST: Final = timedelta(seconds=15)
"""An invalidation takes seconds to a minute."""

FULL: Final = frozenset({"TooManyInvalidationsInProgress"})
THROTTLED: Final = frozenset(
    {"Throttling", "ThrottlingException", "TooManyRequestsException", "RequestLimitExceeded"}
)
NOT_US: Final = frozenset(
    {"AccessDenied", "InvalidClientTokenId", "SignatureDoesNotMatch", "ExpiredToken", "NoSuchDistribution"}
)

NO_PURGE: Final = AWAY | REFUSED_TOKEN


class CloudFront:
    """`provider.Provider` for one distribution."""

    name = "cloudfront"
    urls_at_once = 1_000
    tags_at_once = 15
    """As many as wildcards may be in progress; none is published for tags."""
    url_limit = Limit(1_000, IN_PROGRESS)
    tag_limit = Limit(1, 15)

    def __init__(self, client: Any, distribution: str) -> None:  # noqa: ANN401 - made at run time
        self._client = client
        self._distribution = distribution
        self._running: dict[str, int] = {}

    async def urls(self, urls: Sequence[str]) -> Purge:
        return await self._invalidate({url: _path(url) for url in urls})

    async def tags(self, tags: Sequence[str]) -> Purge:
        return await self._invalidate({tag: f"#{tag}" for tag in tags})

    async def _invalidate(self, items: dict[str, str]) -> Purge:
        try:
            await self._end(len(items))
            if sum(self._running.values()) + len(items) > IN_PROGRESS:
                return Purge(away="3,000 paths are being invalidated already", after=REST)
            answer = await self._client.create_invalidation(
                DistributionId=self._distribution,
                # Of its own each time: CloudFront takes an equal one for the earlier invalidation.
                InvalidationBatch={
                    "Paths": {"Quantity": len(items), "Items": list(items.values())},
                    "CallerReference": str(uuid4()),
                },
            )
        except ClientError as error:
            return _refusal(error, items)
        except (BotoCoreError, OSError, TimeoutError) as error:
            raise Unreachable(f"CloudFront cannot be asked: {error}") from error
        made = answer["Invalidation"]
        if made.get("Status") != "Completed":
            self._running[made["Id"]] = len(items)
        return Purge(done=dict.fromkeys(items, made["Id"]))

    async def _end(self, more: int) -> None:
        """Forget those that have ended, where there is no room for more."""
        for identity in list(self._running):
            if sum(self._running.values()) + more <= IN_PROGRESS:
                return
            found = await self._client.get_invalidation(DistributionId=self._distribution, Id=identity)
            if found["Invalidation"]["Status"] == "Completed":
                del self._running[identity]

    async def verify(self) -> str:
        try:
            await self._client.list_invalidations(DistributionId=self._distribution, MaxItems="1")
        except ClientError as error:
            raise Refused(_said(error)) from error
        except (BotoCoreError, OSError, TimeoutError) as error:
            raise Unreachable(f"CloudFront cannot be asked: {error}") from error
        return f"the credentials may list invalidations of {self._distribution}"


@asynccontextmanager
async def open_cloudfront(distribution: str, endpoint_url: str | None) -> AsyncIterator[CloudFront]:
    """Open it until the context ends, with credentials from the usual AWS chain. Its API is in one region."""
    config = AioConfig(
        connect_timeout=5, read_timeout=SECONDS, retries={"total_max_attempts": 1, "mode": "standard"}
    )
    opened: AbstractAsyncContextManager[Any] = aioboto3.Session().client(
        "cloudfront", region_name="us-east-1", endpoint_url=endpoint_url, config=config
    )
    async with opened as client:
        yield CloudFront(client, distribution)


def _path(url: str) -> str:
    """A URL's path and query. A `*` of its own would stand for anything."""
    parts = urlsplit(url)
    return f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}".replace("*", "%2A")


def _refusal(error: ClientError, items: dict[str, str]) -> Purge:
    code = error.response.get("Error", {}).get("Code", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in FULL | THROTTLED:
        return Purge(away=_said(error), after=REST)
    if code in NOT_US or status in NO_PURGE or status >= SERVER_ERROR:
        return Purge(away=_said(error))
    return Purge(refused=dict.fromkeys(items, _said(error)))


def _said(error: ClientError) -> str:
    told, metadata = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
    said = f"{told.get('Code', '')}: {told.get('Message', '')}".strip(": ")
    return said or f"CloudFront answered {metadata.get('HTTPStatusCode', 'nothing')}"
