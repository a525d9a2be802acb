"""A media table of any shape with the triggers on it, and writers who meet marks and tombstones there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from reconciler.catalog.db.config import MediaColumns, TableMapping
from reconciler.catalog.media_tables import triggers
from reconciler.catalog.media_tables.guard import REFUSED

MEDIA = "gate.media"
TABLES = TableMapping(
    media_table=MEDIA,
    media=MediaColumns(
        id="id",
        storage_key="path",
        virtual_key_id="owner",
        size_bytes="",
        created_at="made",
        expires_at="expires",
        last_accessed_at="",
        deleted_at="",
    ),
)
COLUMNS = "id int PRIMARY KEY, path {key}, owner text, made timestamptz, expires timestamptz, note text"

CLAIM = """
WITH pass AS (
    INSERT INTO reconciler.passes (kind, cutoff, config_hash, mode, state, epoch, tally)
    VALUES ('sweep', now(), '', 'live', 'released', 1, '{}') RETURNING id
)
INSERT INTO reconciler.marks (storage_key, verdict, reason, bytes, pass_id, first_seen_at, last_seen_at,
                              last_pass_id, sightings, due_at, state)
SELECT $1, 'orphan', '', 0, id, now(), now(), id, 1, now(), 'claimed' FROM pass
"""
"""A claimed mark, as a writer meets it."""

INSERT_TOMBSTONE = """
INSERT INTO reconciler.tombstones (storage_key, verdict, operation_id, gone_at, ends_at, recoverable)
VALUES ($1, 'orphan', gen_random_uuid(), now(), now() + interval '1 hour', $2)
"""


@asynccontextmanager
async def refused() -> AsyncIterator[None]:
    """The statement is refused by the triggers."""
    with pytest.raises(asyncpg.PostgresError) as caught:
        yield
    assert caught.value.sqlstate == REFUSED, repr(caught.value)


@dataclass
class Gate:
    """The table, seen by the test and by a writer."""

    sql: Any
    writer: Any
    rows: int = 0

    async def insert(self, key: str, **values: str) -> int:
        """Returns the row's id. `values` are SQL expressions by column."""
        self.rows += 1
        columns = {
            "id": str(self.rows),
            "path": f"convert_from(decode('{key.encode().hex()}', 'hex'), 'UTF8')",
            **values,
        }
        statement = f"INSERT INTO {MEDIA} ({', '.join(columns)}) VALUES ({', '.join(columns.values())})"
        await self.writer.execute(statement)
        return self.rows

    async def update(self, row: int, **values: str) -> None:
        changes = ", ".join(f"{name} = {value}" for name, value in values.items())
        assert await self.writer.execute(f"UPDATE {MEDIA} SET {changes} WHERE id = {row}") == "UPDATE 1"

    async def claim(self, key: str) -> None:
        await self.sql.execute(CLAIM, key)

    async def entomb(self, key: str, *, recoverable: bool = False) -> None:
        await self.sql.execute(INSERT_TOMBSTONE, key, recoverable)

    async def restores(self) -> set[str]:
        return {row["storage_key"] for row in await self.sql.fetch("SELECT * FROM reconciler.restores")}


@asynccontextmanager
async def gate(
    url: str, *setup: str, columns: str = COLUMNS.format(key="text"), suffix: str = ""
) -> AsyncIterator[Gate]:
    """`setup` is run before the table is made of these columns."""
    sql, writer = await asyncpg.connect(url), await asyncpg.connect(url)
    try:
        await sql.execute("CREATE SCHEMA gate")
        for statement in setup:
            await sql.execute(statement)
        await sql.execute(f"CREATE TABLE {MEDIA} ({columns}) {suffix}")
        await triggers.install(sql, TABLES)
        yield Gate(sql, writer)
    finally:
        await writer.close()
        await sql.close()
