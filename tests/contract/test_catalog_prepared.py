"""A migration beside a working replica: what it has prepared does not fit any more."""

from __future__ import annotations

import asyncpg
import pytest

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
