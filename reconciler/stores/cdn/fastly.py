"""Fastly: surrogate keys of a service, up to 256 in a request, and single URLs."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from time import time
from typing import Final

from reconciler.model import Purge
from reconciler.stores.cdn.pace import Limit
from reconciler.stores.cdn.provider import Api, not_purged, purged
from reconciler.stores.http import LONGEST_REST, Answer

API: Final = "https://api.fastly.com"

LIMIT: Final = Limit(100_000 / 3_600, 256)
"""100,000 purges an hour."""


class Fastly:
    """`provider.Provider` for one service."""

    name = "fastly"
    urls_at_once = 1
    tags_at_once = 256
    url_limit = tag_limit = LIMIT

    def __init__(self, api: Api, service: str) -> None:
        self._api = api
        self._service = service

    async def urls(self, urls: Sequence[str]) -> Purge:
        (url,) = urls
        answer = await self._api.ask("POST", f"/purge/{url.partition('://')[2]}")
        told = answer.json
        identity = str(told.get("id", "")) if isinstance(told, dict) else ""
        return _resting(answer, purged(answer, urls, identity))

    async def tags(self, tags: Sequence[str]) -> Purge:
        body = json.dumps({"surrogate_keys": list(tags)}).encode()
        answer = await self._api.ask("POST", f"/service/{self._service}/purge", body)
        if not answer.well:
            return _resting(answer, not_purged(answer, tags))
        told = answer.json if isinstance(answer.json, dict) else {}
        return Purge(
            done={tag: str(told[tag]) for tag in tags if tag in told},
            refused={tag: "Fastly's answer does not name this key" for tag in tags if tag not in told},
        )

    async def verify(self) -> str:
        told = await self._api.verified("GET", "/tokens/self")
        name = told.get("name", "") if isinstance(told, dict) else ""
        return f"the token is {name or 'known'}"


def _resting(answer: Answer, purge: Purge) -> Purge:
    """With the end of the limit's period, which Fastly gives in seconds since 1970."""
    reset = answer.headers.get("fastly-ratelimit-reset", "")
    if not purge.away or purge.after is not None or not (reset.isascii() and reset.isdigit()):
        return purge
    seconds = min(max(float(reset) - time(), 0.0), LONGEST_REST.total_seconds())
    return replace(purge, after=timedelta(seconds=seconds))
