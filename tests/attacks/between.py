"""A writer that comes in the middle of one of the collector's transactions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

import anyio
import pytest

from reconciler.catalog.media_tables.records import lookup
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.model import Record
from tests.attacks.scene import Refused, Scene, Writer


@asynccontextmanager
async def inserted_in_between(
    scene: Scene, writer: Writer, key: str, looking: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[list[bool]]:
    """Where `looking` next looks rows up, the writer inserts one of `key`, and waits for a lock.

    Yields whether it was refused, which is known behind the body.
    """
    refused: list[bool] = []

    async def insert() -> None:
        try:
            await writer.insert(key)
        except Refused:
            refused.append(True)

    async with anyio.create_task_group() as group:

        async def meanwhile(connection: Any, media: MediaTables, keys: Sequence[str]) -> list[Record]:
            monkeypatch.setattr(looking, "lookup", lookup)
            group.start_soon(insert)
            await scene.waits(writer)
            return await lookup(connection, media, keys)

        monkeypatch.setattr(looking, "lookup", meanwhile)
        yield refused
