"""A plain webhook, for whatever cache there is: it gets URLs or tags, and says which it could not purge."""

import json
from collections.abc import Sequence

from reconciler.model import Purge
from reconciler.stores.cdn.pace import Limit
from reconciler.stores.cdn.provider import Api, not_purged


class Webhook:
    """`provider.Provider` for one address: `POST {"urls": […]}` or `{"tags": […]}`.

    Of its answer, `id` names the purge, and `failed` has the reason for each of those that were not purged.
    """

    name = "webhook"
    urls_at_once = tags_at_once = 100
    url_limit = tag_limit = Limit(1_000, 1_000)

    def __init__(self, api: Api) -> None:
        self._api = api

    async def urls(self, urls: Sequence[str]) -> Purge:
        return await self._purge("urls", urls)

    async def tags(self, tags: Sequence[str]) -> Purge:
        return await self._purge("tags", tags)

    async def _purge(self, what: str, targets: Sequence[str]) -> Purge:
        answer = await self._api.ask("POST", "", json.dumps({what: list(targets)}).encode())
        if not answer.well:
            return not_purged(answer, targets)
        told = answer.json if isinstance(answer.json, dict) else {}
        failed = told.get("failed")
        refused = {each: str(failed[each]) for each in targets if isinstance(failed, dict) and each in failed}
        done = dict.fromkeys([each for each in targets if each not in refused], str(told.get("id", "")))
        return Purge(done=done, refused=refused)

    async def verify(self) -> str:
        await self._api.verified("POST", "")
        return "the webhook answers"
