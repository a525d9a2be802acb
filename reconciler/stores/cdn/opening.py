"""Opens the channel to the provider that the settings name."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal, assert_never

from reconciler.model import CdnProvider, CloudflarePlan
from reconciler.ports import Clock
from reconciler.stores.cdn import bunny, cloudflare, fastly
from reconciler.stores.cdn.bunny import Bunny
from reconciler.stores.cdn.channel import CdnChannel, Owners
from reconciler.stores.cdn.cloudflare import Cloudflare
from reconciler.stores.cdn.fastly import Fastly
from reconciler.stores.cdn.provider import Api, Provider
from reconciler.stores.cdn.webhook import Webhook
from reconciler.stores.http import Http, open_http


@dataclass(frozen=True, slots=True, kw_only=True)
class CdnConfig:
    """Which provider, and what it knows us by. `zone` is its id of what is purged: a zone, a distribution, a
    service or a pull zone. `token` reads the token, and raises OSError; None where none is needed.
    `api_url` is another address of the provider's API, or the webhook's.
    """

    provider: CdnProvider
    zone: str
    plan: CloudflarePlan
    token: Callable[[], str] | None
    api_url: str | None
    template: str | None
    url_column: str | None
    tags: bool


@asynccontextmanager
async def open_cdn(config: CdnConfig, owners: Owners, clock: Clock) -> AsyncIterator[CdnChannel]:
    """Open it until the context ends. No request is sent."""
    async with _opened(config) as provider:
        yield CdnChannel(
            provider,
            owners,
            clock,
            template=config.template,
            url_column=config.url_column,
            tags=config.tags,
        )


async def verify(config: CdnConfig) -> str:
    """What the provider says of our token, asked without purging anything. Raises Untold."""
    async with _opened(config) as provider:
        return await provider.verify()


@asynccontextmanager
async def _opened(config: CdnConfig) -> AsyncIterator[Provider]:
    if config.provider is CdnProvider.CLOUDFRONT:
        # botocore's descriptions of it take memory that nobody else needs.
        from reconciler.stores.cdn.cloudfront import open_cloudfront  # noqa: PLC0415

        async with open_cloudfront(config.zone, config.api_url) as cloudfront:
            yield cloudfront
        return
    async with open_http() as http:
        yield _over_http(config, config.provider, http)


def _over_http(
    config: CdnConfig,
    provider: Literal[CdnProvider.CLOUDFLARE, CdnProvider.FASTLY, CdnProvider.BUNNY, CdnProvider.WEBHOOK],
    http: Http,
) -> Provider:
    match provider:
        case CdnProvider.CLOUDFLARE:
            return Cloudflare(_api(config, http, cloudflare.API), config.zone, config.plan)
        case CdnProvider.FASTLY:
            return Fastly(_api(config, http, fastly.API, "Fastly-Key", ""), config.zone)
        case CdnProvider.BUNNY:
            return Bunny(_api(config, http, bunny.API, "AccessKey", ""), config.zone)
        case CdnProvider.WEBHOOK:
            return Webhook(_api(config, http, ""))
        case _:
            assert_never(provider)


def _api(
    config: CdnConfig, http: Http, base: str, header: str = "Authorization", scheme: str = "Bearer "
) -> Api:
    def headers() -> Mapping[str, str]:
        return {} if config.token is None else {header: scheme + config.token()}

    return Api(http, config.api_url or base, headers)
