from __future__ import annotations

import asyncpg
import pytest

from tests.servers import Bucket


@pytest.mark.anyio
async def test_an_empty_database_has_no_tables_and_byte_order(empty_database: str) -> None:
    connection = await asyncpg.connect(empty_database)
    try:
        assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
        assert await connection.fetchval("SELECT 'B' < 'a'")
    finally:
        await connection.close()


@pytest.mark.anyio
@pytest.mark.debian("postgresql-15")
async def test_the_icu_database_does_not_sort_by_bytes(icu_empty_database: str) -> None:
    connection = await asyncpg.connect(icu_empty_database)
    try:
        assert not await connection.fetchval("SELECT 'B' < 'a'")
    finally:
        await connection.close()


def test_a_fresh_bucket_takes_objects(bucket: Bucket) -> None:
    bucket.put("image/a b+%&<\"'>😀.png")
    assert bucket.keys() == {"image/a b+%&<\"'>😀.png"}
