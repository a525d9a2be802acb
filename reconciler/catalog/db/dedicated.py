"""A connection of one's own: neither a busy pool nor a pooler's lack of sessions is in its way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from reconciler.catalog.db import connections
from reconciler.catalog.db.calls import called
from reconciler.catalog.db.config import CatalogConfig
from reconciler.catalog.db.connections import Connection
from reconciler.errors import LeaseLost

T = TypeVar("T")

PATIENCE_SECONDS = 5
"""A renewal that takes longer would come too late, and who cannot read the switch has to be told so."""


class DedicatedConnection:
    """Opened when it is needed, used by one caller at a time, and opened anew after a failure."""

    def __init__(self, config: CatalogConfig) -> None:
        self._config = config
        self._connection: Connection | None = None
        self._alone = anyio.Lock()

    async def use(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """What `work` gives. Raises CatalogUnavailable where that takes longer than PATIENCE_SECONDS."""
        with called(self._config):
            async with self._alone:
                try:
                    # By our own clock too: a network that is gone does not even time out.
                    with anyio.fail_after(PATIENCE_SECONDS):
                        return await work(await self._connected())
                except LeaseLost:
                    raise
                except BaseException:
                    # Whatever state it is in: the next call begins with a fresh one.
                    await self.close()
                    raise

    async def close(self) -> None:
        """Drop the connection; the next use opens another."""
        connection, self._connection = self._connection, None
        if connection is not None and not connection.is_closed():
            connection.terminate()

    async def _connected(self) -> Connection:
        if self._connection is None or self._connection.is_closed():
            limit = str(PATIENCE_SECONDS * 1000)
            self._connection = await connections.connect(
                self._config, statement_timeout=limit, lock_timeout=limit
            )
        return self._connection
