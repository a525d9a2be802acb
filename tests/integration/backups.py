"""A database as it was: what a restore brings back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import anyio
import anyio.to_thread

from reconciler.embedded.postgres import EmbeddedPostgres
from tests.integration.site import Site
from tests.servers import fresh_database


@asynccontextmanager
async def backup(site: Site, postgres: EmbeddedPostgres) -> AsyncIterator[Site]:
    """The site with a copy of its database as it is now, oids of tables and all."""
    copy = fresh_database(postgres, urlsplit(site.database).path[1:])
    url = await anyio.to_thread.run_sync(copy.__enter__)
    environment = {**site.environment, "RECONCILER_DATABASE_URL": url}
    try:
        yield replace(site, database=url, environment=environment)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(copy.__exit__, None, None, None)
