"""Requests to whoever is told of something: aiohttp, which comes with aioboto3, and trust of its own."""

import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from reconciler import __version__
from reconciler.errors import Untold

SECONDS: Final = 30.0
"""The longest that one request may take."""

LARGEST: Final = 1 << 20
"""Bytes of an answer that are read."""

LONGEST_REST: Final = timedelta(hours=1)
"""The longest rest that a receiver may ask for."""

SHOWN: Final = 200
"""Characters of an answer that an error shows."""

OK: Final = 200
SERVER_ERROR: Final = 500
AWAY: Final = frozenset({408, 425, 429})
"""Statuses below those of servers' errors that say nothing of what was asked."""


class Unreachable(Untold):
    """Nobody answered, or not in time. The message says who and why, and no secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def well(self) -> bool:
        return OK <= self.status < OK + 100

    @property
    def away(self) -> bool:
        """Whether it takes no request at the moment, whatever that asks."""
        return self.status in AWAY or self.status >= SERVER_ERROR

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever was sent
        """The body as JSON; None where it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    @property
    def after(self) -> timedelta | None:
        """How long the receiver asks to wait (`Retry-After`, in seconds or as a date), an hour at most."""
        given = self.headers.get("retry-after", "").strip()
        if given.isascii() and given.isdigit():
            seconds = float(given)
        else:
            try:
                seconds = (parsedate_to_datetime(given) - datetime.now(UTC)).total_seconds()
            except (ValueError, TypeError):
                return None
        return timedelta(seconds=min(max(seconds, 0.0), LONGEST_REST.total_seconds()))

    def __str__(self) -> str:
        text = self.body.decode("utf-8", "replace")
        shown = "".join(each if each.isprintable() else " " for each in text)[:SHOWN].strip()
        return f"{self.status} {shown}".strip()


class Http:
    """Sends requests, follows no redirection, and keeps connections for the next one."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def ask(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Answer:
        """Send one request. Raises Unreachable."""
        try:
            # As it is: aiohttp would spell it anew, and a cache knows `%2A` and `*` apart.
            exact = URL(url, encoded=True)
            async with self._session.request(
                method, exact, headers=headers, data=body, allow_redirects=False
            ) as response:
                read = await response.content.read(LARGEST)
                named = {name.lower(): value for name, value in response.headers.items()}
                return Answer(status=response.status, headers=named, body=read)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            why = "no answer in time" if isinstance(error, TimeoutError) else str(error) or repr(error)
            raise Unreachable(f"{urlsplit(url).hostname} cannot be reached: {why}") from error


@asynccontextmanager
async def open_http(seconds: float = SECONDS) -> AsyncIterator[Http]:
    """Open it until the context ends. A proxy of the environment is used (`HTTPS_PROXY`)."""
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(), limit=8)
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=seconds),
        headers={"User-Agent": f"media-reconciler/{__version__}"},
        trust_env=True,
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        yield Http(session)
