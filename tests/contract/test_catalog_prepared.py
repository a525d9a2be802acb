"""What the driver prepares: beside a migration, where it does not fit any more, and without questions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from reconciler.catalog.db.config import CatalogConfig
from reconciler.catalog.db.connections import connect
from reconciler.catalog.db.errors import translated
from reconciler.errors import CatalogUnavailable

pytestmark = pytest.mark.anyio


async def test_a_table_that_changed_under_a_prepared_statement_is_tried_again(database: str) -> None:
    connection, migration = await asyncpg.connect(database), await asyncpg.connect(database)
    try:
        await connection.fetch("SELECT * FROM reconciler.pause")
        await migration.execute("ALTER TABLE reconciler.pause ADD COLUMN further integer")
        with (
            pytest.raises(CatalogUnavailable, match="cached statement plan"),
            translated("here"),
        ):
            async with connection.transaction():
                await connection.fetch("SELECT * FROM reconciler.pause")
    finally:
        await connection.close()
        await migration.close()


async def test_no_connection_asks_for_the_array_types_of_our_statements(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {
        "boolean[]": [True, False],
        "int2[]": [-1],
        "int[]": [7, None],
        "bigint[]": [1 << 40],
        "timestamptz[]": [datetime(2026, 1, 1, tzinfo=UTC)],
        "interval[]": [timedelta(days=2, seconds=3)],
    }
    # Else the test could not fail.
    assert hasattr(asyncpg.Connection, "_introspect_types")
    monkeypatch.delattr(asyncpg.Connection, "_introspect_types")
    connection = await connect(CatalogConfig(database_url=database))
    try:
        for kind, value in values.items():
            assert await connection.fetchval(f"SELECT $1::{kind}", value) == value
    finally:
        await connection.close()
