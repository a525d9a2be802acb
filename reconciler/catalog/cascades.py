"""Rows of other tables that go with a row of the media table, by the database's own doing."""

from __future__ import annotations

from reconciler.catalog.connections import AnyConnection

# 'c' is ON DELETE CASCADE. Of a partition its parent's constraint is told, and not its own.
CASCADES = """
SELECT DISTINCT n.nspname || '.' || c.relname AS name
FROM pg_constraint f JOIN pg_class c ON c.oid = f.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE f.confrelid = $1::oid AND f.contype = 'f' AND f.confdeltype = 'c' AND f.conparentid = 0
ORDER BY name
"""


async def warning(connection: AnyConnection, table: str, oid: int) -> str | None:
    """One line for an operator where rows of other tables go too, which no undo brings back."""
    names = [row["name"] for row in await connection.fetch(CASCADES, oid)]
    if not names:
        return None
    return (
        f"{table}: rows of {', '.join(names)} go with a removed row (ON DELETE CASCADE), and the ledger does"
        " not keep them, so no undo brings them back; make it ON DELETE RESTRICT or SET NULL where"
        " they matter"
    )
