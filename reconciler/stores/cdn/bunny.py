"""Bunny: single URLs, and the tags of a pull zone, one in a request."""

import json
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from reconciler.model import Purge
from reconciler.stores.cdn.pace import Limit
from reconciler.stores.cdn.provider import Api, purged

API: Final = "https://api.bunny.net"


class Bunny:
    """`provider.Provider` for one pull zone."""

    name = "bunny"
    urls_at_once = tags_at_once = 1
    url_limit = Limit(5, 120)
    tag_limit = Limit(0.5, 20)
    """The limit of prefixes; none is published for tags."""

    def __init__(self, api: Api, zone: str) -> None:
        self._api = api
        self._zone = zone

    async def urls(self, urls: Sequence[str]) -> Purge:
        (url,) = urls
        answer = await self._api.ask("POST", f"/purge?url={quote(url, safe='')}&async=false")
        return purged(answer, urls, answer.headers.get("cdn-requestid", ""))

    async def tags(self, tags: Sequence[str]) -> Purge:
        (tag,) = tags
        body = json.dumps({"CacheTag": tag}).encode()
        answer = await self._api.ask("POST", f"/pullzone/{self._zone}/purgeCache", body)
        return purged(answer, tags, answer.headers.get("cdn-requestid", ""))

    async def verify(self) -> str:
        told = await self._api.verified("GET", f"/pullzone/{self._zone}")
        name = told.get("Name", "") if isinstance(told, dict) else ""
        return f"the token opens pull zone {name or self._zone}"
