"""What every provider's adapter does, and what their answers have in common."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from reconciler.errors import Untold
from reconciler.model import Purge
from reconciler.stores.cdn.pace import Limit
from reconciler.stores.http import Answer, Http, Unreachable

REFUSED_TOKEN: Final = frozenset({401, 403, 407})
"""Statuses that are about who asks, and not about what was asked."""


class Provider(Protocol):
    """One provider's API. `at_once` is how many URLs, or tags, one request takes; limits count these."""

    name: str
    urls_at_once: int
    tags_at_once: int
    url_limit: Limit
    tag_limit: Limit

    async def urls(self, urls: Sequence[str]) -> Purge:
        """Purge these in one request. Raises Unreachable."""
        ...

    async def tags(self, tags: Sequence[str]) -> Purge:
        """Purge everything that bears one of the tags, in one request. Raises Unreachable."""
        ...

    async def verify(self) -> str:
        """Ask, without purging anything, whether we may: who or what answers. Raises Unreachable, Refused."""
        ...


class Refused(Untold):
    """The provider does not take the token, or does not know the zone. The message says what it said."""


class Api:
    """Requests to one provider, with its token, which is read anew for each."""

    def __init__(self, http: Http, base: str, headers: Callable[[], Mapping[str, str]]) -> None:
        self._http = http
        self._base = base.rstrip("/")
        self._headers = headers

    async def ask(
        self, method: str, path: str, body: bytes | None = None, more: Mapping[str, str] | None = None
    ) -> Answer:
        """Raises Unreachable, also where the token cannot be read."""
        try:
            headers = {**self._headers(), **(more or {})}
        except (OSError, UnicodeDecodeError) as error:
            raise Unreachable(f"the token's file cannot be read: {error}") from error
        if body is not None:
            headers["Content-Type"] = "application/json"
        return await self._http.ask(method, self._base + path, headers, body)

    async def verified(self, method: str, path: str) -> Any:  # noqa: ANN401 - the provider's JSON
        """The JSON of an answer that is well. Raises Unreachable, Refused."""
        answer = await self.ask(method, path)
        if answer.away:
            raise Unreachable(str(answer))
        if not answer.well:
            raise Refused(str(answer))
        return answer.json


def purged(answer: Answer, targets: Sequence[str], identity: str) -> Purge:
    """What an answer says of all its targets at once. `identity` is the provider's for the purge."""
    if answer.well:
        return Purge(done=dict.fromkeys(targets, identity))
    return not_purged(answer, targets)


def not_purged(answer: Answer, targets: Sequence[str]) -> Purge:
    """Refused for what was asked, or away. A redirection, too, is no purge."""
    if answer.away:
        return Purge(away=str(answer), after=answer.after)
    if answer.status in REFUSED_TOKEN:
        return Purge(away=f"the token is refused: {answer}")
    return Purge(refused=dict.fromkeys(targets, str(answer)))
