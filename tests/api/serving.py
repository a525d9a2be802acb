"""The admin API as tests serve it: on a real socket, over a real database and a real store."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import httpx

from reconciler.api.answers import Answers
from reconciler.api.app import build
from reconciler.api.gate import Gate
from reconciler.api.site import Admin, RecentStats, Replica
from reconciler.api.site import Site as ApiSite
from reconciler.app.first_look import sight
from reconciler.app.wiring import bucket_config, catalog_config
from reconciler.catalog.open import open_catalog
from reconciler.model import Explained, Role
from reconciler.operations import tokens
from reconciler.operations.explain import explain
from reconciler.settings import SettingsSource
from reconciler.stores.s3 import open_bucket
from reconciler.web.server import serve
from tests.integration.daemons import free_port
from tests.integration.site import Site


@dataclass(frozen=True, slots=True)
class Tokens:
    """A file with a token of each role, by the role's name as the caller's."""

    file: Path
    by_role: dict[Role, str] = field(default_factory=dict)

    def make(self) -> Tokens:
        for role in Role:
            self.by_role[role] = tokens.issue(self.file, role.value, role)
        return self

    def revoke(self, role: Role) -> None:
        """Take its line out, as an operator does."""
        kept = [line for line in self.file.read_text().splitlines() if not line.startswith(f"{role.value} ")]
        self.file.write_text("".join(f"{line}\n" for line in kept))


@dataclass(slots=True)
class Api:
    """A client of the API, and what its server was told."""

    client: httpx.AsyncClient
    tokens: Tokens
    refusals: list[str]
    replica: Replica
    clock: list[float]

    async def ask(
        self, method: str, path: str, role: Role | None = Role.APPROVER, **options: object
    ) -> httpx.Response:
        """The answer to a caller with that role; None for one without a token."""
        headers = dict(options.pop("headers", {}))  # type: ignore[call-overload]  # a mapping, where given
        if role is not None:
            headers["Authorization"] = f"Bearer {self.tokens.by_role[role]}"
        return await self.client.request(method, path, headers=headers, **options)  # type: ignore[arg-type]

    async def get(self, path: str, role: Role | None = Role.VIEWER, **options: object) -> httpx.Response:
        return await self.ask("GET", path, role, **options)


REPLICA = Replica(name="here/1", leading=False, halted=None, unmet=(), stuck=())


@asynccontextmanager
async def serving(site: Site, directory: Path, *, seconds: float = 0.0, **changes: str) -> AsyncIterator[Api]:
    """The API over this site's database and store."""
    source = SettingsSource(site.settings(**changes))
    settings = source.current()
    async with (
        open_catalog(catalog_config(settings)) as catalog,
        open_bucket(bucket_config(settings)) as bucket,
    ):

        async def look(key: str) -> Explained:
            return await explain(sight(settings, catalog, bucket), key)

        over = ApiSite(catalog=catalog, explain=look)
        async with served(over, source, directory, seconds=seconds) as api:
            yield api


@asynccontextmanager
async def served(
    over: ApiSite, source: SettingsSource, directory: Path, *, seconds: float = 0.0
) -> AsyncIterator[Api]:
    """The same over anything; answers are given again for so many seconds of its clock."""
    made = Tokens(directory / f"tokens-{secrets.token_hex(4)}").make()
    refusals: list[str] = []
    clock = [time.monotonic()]
    admin = Admin(
        gate=Gate(tokens.TokensFile(str(made.file), lambda _: None), refusals.append, lambda: clock[0]),
        site=lambda: over,
        replica=lambda: api.replica,
        loaded=lambda: source.loaded,
        recent=RecentStats(lambda: clock[0]),
        answers=Answers(lambda: clock[0], seconds),
    )
    port, started = free_port(), anyio.Event()
    async with anyio.create_task_group() as group:

        async def run() -> None:
            await serve(build(admin), "127.0.0.1", port, section="ADMIN", started=started)

        group.start_soon(run)
        with anyio.fail_after(20):
            await started.wait()
        address = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=30) as client:
            api = Api(client, made, refusals, REPLICA, clock)
            yield api
        group.cancel_scope.cancel()
