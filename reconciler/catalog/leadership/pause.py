"""The pause, kept in the database: one row, read and changed on a dedicated connection."""

from reconciler.catalog.db.config import CatalogConfig
from reconciler.catalog.db.connections import Connection, Row
from reconciler.catalog.db.dedicated import DedicatedConnection
from reconciler.catalog.db.schema import SCHEMA
from reconciler.model import Pause

READ = f"SELECT paused, changed_at, changed_by, reason FROM {SCHEMA}.pause"

# A pause already in force keeps its author and reason.
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
    """`ports.PauseSwitch` on Postgres, on a dedicated connection."""

    def __init__(self, config: CatalogConfig) -> None:
        self._own = DedicatedConnection(config)

    async def read(self) -> Pause:
        return await self._asked(READ)

    async def pause(self, by: str, reason: str) -> Pause:
        await self._asked(PAUSE, by, reason)
        return await self.read()

    async def resume(self, by: str) -> Pause:
        before = await self.read()
        await self._asked(RESUME, by)
        return before

    async def close(self) -> None:
        """Drop the connection; the next use opens another."""
        await self._own.close()

    async def _asked(self, statement: str, *arguments: str) -> Pause:
        async def ask(connection: Connection) -> Pause:
            return _pause(await connection.fetchrow(statement, *arguments))

        return await self._own.use(ask)


def _pause(row: Row | None) -> Pause:
    if row is None:
        return Pause()
    return Pause(
        paused=row["paused"], at=row["changed_at"], by=row["changed_by"] or "", reason=row["reason"] or ""
    )
