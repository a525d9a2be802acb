"""A dedicated connection, which depends neither on a busy pool nor on a pooler's free sessions."""

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
"""A renewal that takes longer would come too late; a failure to read the pause switch must be reported."""


class DedicatedConnection:
    """Opened when it is needed, used by one caller at a time, and reopened after a failure."""

    def __init__(self, config: CatalogConfig) -> None:
        self._config = config
        self._connection: Connection | None = None
        self._alone = anyio.Lock()

    async def use(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """The result of `work`. Raises CatalogUnavailable where it takes longer than PATIENCE_SECONDS."""
        with called(self._config):
            async with self._alone:
                try:
                    # By our own clock too: a broken network does not even time out.
                    with anyio.fail_after(PATIENCE_SECONDS):
                        return await work(await self._connected())
                except LeaseLost:
                    raise
                except BaseException:
                    # The connection's state is unknown, so the next call opens another.
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
