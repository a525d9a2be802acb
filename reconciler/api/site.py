"""What endpoints work on, and how they get it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, TypeAlias

import anyio
from fastapi import Depends
from starlette.requests import Request

from reconciler.api.answers import Answers
from reconciler.api.gate import Gate
from reconciler.catalog.open import Catalog
from reconciler.model import Caller, Explained
from reconciler.operations.media import Stats, stats
from reconciler.settings import Loaded, Settings

STATS_SECONDS = 60.0
"""How old statistics may be: to add them up reads the whole media table."""

SHARE = 100
"""Adding them up takes at most this part of the time: of a large table they are older."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What is open while the database can be reached. `explain` looks at the store as well."""

    catalog: Catalog
    explain: Callable[[str], Awaitable[Explained]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """What the replica that answers knows of itself. `halted` is what a person has to do, None for nothing.

    `unmet` are conditions of readiness that do not hold yet, `stuck` loops that are silent for too long.
    """

    name: str
    leading: bool
    halted: str | None
    unmet: Sequence[str]
    stuck: Sequence[str]


class RecentStats:
    """The statistics, added up once a minute or less often where that takes long, and never twice at once."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._alone = anyio.Lock()
        self._made: Stats | None = None
        self._good_until = 0.0

    async def look(self, catalog: Catalog) -> Stats:
        """Raises as `operations.media.stats` does."""
        async with self._alone:
            begun = self._monotonic()
            if self._made is None or begun >= self._good_until:
                self._made = await stats(catalog)
                self._good_until = begun + max(STATS_SECONDS, SHARE * (self._monotonic() - begun))
            return self._made


@dataclass(frozen=True, slots=True, kw_only=True)
class Admin:
    """What the application works on. `site` raises Retryable or ConfigError while the database is away."""

    gate: Gate
    site: Callable[[], Site]
    replica: Callable[[], Replica]
    loaded: Callable[[], Loaded[Settings]]
    recent: RecentStats
    answers: Answers = field(default_factory=Answers)


async def admin_of(request: Request) -> Admin:
    admin: Admin = request.app.state.admin
    return admin


TheAdmin: TypeAlias = Annotated[Admin, Depends(admin_of)]


async def _site(admin: TheAdmin) -> Site:
    return admin.site()


TheSite: TypeAlias = Annotated[Site, Depends(_site)]


async def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


TheCaller: TypeAlias = Annotated[Caller, Depends(_caller)]
