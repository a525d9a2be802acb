"""The stop that lives in the database: one row, read and changed on a connection of its own."""

from __future__ import annotations

import anyio

from reconciler.catalog import connections
from reconciler.catalog.calls import called
from reconciler.catalog.config import CatalogConfig
from reconciler.catalog.connections import Connection, Row
from reconciler.catalog.schema import SCHEMA
from reconciler.model import Pause

PATIENCE_SECONDS = 5
"""Who cannot read the switch for that long has to be told so rather than wait."""

READ = f"SELECT paused, changed_at, changed_by, reason FROM {SCHEMA}.pause"

# A pause that stands keeps who set it, and why.
PAUSE = f"""
INSERT INTO {SCHEMA}.pause (paused, changed_at, changed_by, reason)
VALUES (true, clock_timestamp(), $1, $2)
ON CONFLICT (singleton) DO UPDATE
SET paused = true, changed_at = excluded.changed_at, changed_by = excluded.changed_by,
    reason = excluded.reason
WHERE NOT pause.paused
"""

RESUME = f"""
UPDATE {SCHEMA}.pause SET paused = false, changed_at = clock_timestamp(), changed_by = $1, reason = NULL
WHERE paused
"""


class PostgresPauseSwitch:
    """`ports.PauseSwitch` on Postgres: neither a busy pool nor a pooler's lack of sessions is in its way."""

    def __init__(self, config: CatalogConfig) -> None:
        self._config = config
        self._connection: Connection | None = None
        self._alone = anyio.Lock()

    async def read(self) -> Pause:
        return await self._asked()

    async def pause(self, by: str, reason: str) -> Pause:
        await self._asked(PAUSE, by, reason)
        return await self._asked()

    async def resume(self, by: str) -> Pause:
        before = await self._asked()
        await self._asked(RESUME, by)
        return before

    async def close(self) -> None:
        """Drop the connection; the next use opens another."""
        connection, self._connection = self._connection, None
        if connection is not None and not connection.is_closed():
            connection.terminate()

    async def _asked(self, statement: str = READ, *arguments: str) -> Pause:
        with called(self._config):
            async with self._alone:
                try:
                    # By our own clock too: a network that is gone does not even time out.
                    with anyio.fail_after(PATIENCE_SECONDS):
                        connection = await self._connected()
                        return _pause(await connection.fetchrow(statement, *arguments))
                except BaseException:
                    await self.close()
                    raise

    async def _connected(self) -> Connection:
        if self._connection is None or self._connection.is_closed():
            limit = str(PATIENCE_SECONDS * 1000)
            self._connection = await connections.connect(
                self._config, statement_timeout=limit, lock_timeout=limit
            )
        return self._connection


def _pause(row: Row | None) -> Pause:
    if row is None:
        return Pause()
    return Pause(
        paused=row["paused"], at=row["changed_at"], by=row["changed_by"] or "", reason=row["reason"] or ""
    )
