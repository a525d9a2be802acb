"""A connection for what may take minutes, such as adding up a table."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import anyio

from reconciler.catalog.db import connections
from reconciler.catalog.db.calls import called
from reconciler.catalog.db.config import CatalogConfig
from reconciler.catalog.db.connections import Connection

PATIENCE = timedelta(minutes=10)
"""The longest time that adding up the media table may take."""


@asynccontextmanager
async def patient(config: CatalogConfig) -> AsyncIterator[Connection]:
    """A dedicated connection, whose statements may take that long. Raises CatalogUnavailable, also then."""
    limit = str(int(PATIENCE.total_seconds() * 1000))
    with called(config):
        connection = await connections.connect(config, statement_timeout=limit)
        try:
            yield connection
        finally:
            await _close(connection, config.connect_timeout)


async def _close(connection: Connection, patience: timedelta) -> None:
    with anyio.CancelScope(shield=True), anyio.move_on_after(patience.total_seconds()):
        await connection.close()
    if not connection.is_closed():
        connection.terminate()
