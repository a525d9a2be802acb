"""Cloudflare: `purge_cache` of a zone, by URLs or by `Cache-Tag`. Limits as published in July 2026."""

import json
from collections.abc import Mapping, Sequence
from typing import Final

from reconciler.model import CloudflarePlan, Purge
from reconciler.stores.cdn.pace import Limit
from reconciler.stores.cdn.provider import Api, not_purged, purged
from reconciler.stores.http import Answer

API: Final = "https://api.cloudflare.com/client/v4"

AT_ONCE: Final = 100
AT_ONCE_ENTERPRISE: Final = 500

URLS: Mapping[CloudflarePlan, Limit] = {
    CloudflarePlan.FREE: Limit(800, 800),
    CloudflarePlan.PRO: Limit(1_500, 1_500),
    CloudflarePlan.BUSINESS: Limit(1_500, 1_500),
    CloudflarePlan.ENTERPRISE: Limit(3_000, 3_000),
}
"""URLs a second."""

TAGS: Mapping[CloudflarePlan, Limit] = {
    CloudflarePlan.FREE: Limit(5 / 60, 25),
    CloudflarePlan.PRO: Limit(5, 25),
    CloudflarePlan.BUSINESS: Limit(10, 50),
    CloudflarePlan.ENTERPRISE: Limit(50, 500),
}
"""Requests by tag a second. We count tags, which is stricter."""


class Cloudflare:
    """`provider.Provider` for one zone."""

    name = "cloudflare"

    def __init__(self, api: Api, zone: str, plan: CloudflarePlan) -> None:
        self._api = api
        self._path = f"/zones/{zone}/purge_cache"
        self.urls_at_once = AT_ONCE_ENTERPRISE if plan is CloudflarePlan.ENTERPRISE else AT_ONCE
        self.tags_at_once = AT_ONCE
        self.url_limit, self.tag_limit = URLS[plan], TAGS[plan]

    async def urls(self, urls: Sequence[str]) -> Purge:
        return await self._purge("files", urls)

    async def tags(self, tags: Sequence[str]) -> Purge:
        return await self._purge("tags", tags)

    async def _purge(self, what: str, targets: Sequence[str]) -> Purge:
        answer = await self._api.ask("POST", self._path, json.dumps({what: targets}).encode())
        told = answer.json
        if answer.well and not (isinstance(told, dict) and told.get("success") is True):
            # Its other endpoints are known to put errors into a 200.
            return Purge(refused=dict.fromkeys(targets, str(answer)))
        return purged(answer, targets, _identity(answer)) if answer.well else not_purged(answer, targets)

    async def verify(self) -> str:
        told = await self._api.verified("GET", "/user/tokens/verify")
        status = told["result"]["status"] if isinstance(told, dict) and told.get("success") else "unknown"
        return f"the token is {status}"


def _identity(answer: Answer) -> str:
    """The zone that the result names, and the request's own id."""
    result = answer.json.get("result")
    named = str(result.get("id", "")) if isinstance(result, dict) else ""
    return " ".join(filter(None, (named, answer.headers.get("cf-ray", ""))))
