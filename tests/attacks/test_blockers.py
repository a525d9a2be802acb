"""Transactions that hold back the horizon, wherever they are: nothing goes, and they are named."""

from __future__ import annotations

import asyncpg
import pytest
import structlog

from reconciler.embedded.postgres import EmbeddedPostgres
from reconciler.model import Removed
from tests.attacks.scene import Scene

pytestmark = [pytest.mark.anyio, pytest.mark.attack(14)]

KEY = "image/a"
TOLD = "an open transaction holds deletions back"


async def told_by(scene: Scene) -> tuple[Removed, list[str]]:
    """A round of the collector, and the blockers that it logged."""
    with structlog.testing.capture_logs() as logs:
        removed = await scene.collect()
    return removed, [line["blocked_by"] for line in logs if line["event"] == TOLD]


async def test_an_open_transaction_in_another_database_is_named(
    scene: Scene, postgres: EmbeddedPostgres
) -> None:
    scene.put(KEY)
    elsewhere = await asyncpg.connect(postgres.url(), server_settings={"application_name": "nightly"})
    try:
        async with elsewhere.transaction():
            await elsewhere.execute("SELECT pg_current_xact_id()")
            await scene.mark(KEY)
            removed, (told,) = await told_by(scene)
            assert removed == Removed()
            assert told.startswith(f"pid {elsewhere.get_server_pid()} (nightly), open since ")
            assert scene.observer.blockers[-1] == told
    finally:
        await elsewhere.close()
    removed, logged = await told_by(scene)
    assert (removed.objects, logged) == (1, [])
    assert scene.observer.blockers[-1:] == [None]


async def test_a_forgotten_prepared_transaction_is_named(scene: Scene) -> None:
    scene.put(KEY)
    await scene.sql.execute("BEGIN; CREATE TABLE public.t (a int); PREPARE TRANSACTION 'forgotten'")
    try:
        await scene.mark(KEY)
        removed, (told,) = await told_by(scene)
        assert removed == Removed()
        assert told.startswith("prepared transaction forgotten, open since ")
        assert scene.observer.blockers[-1] == told
    finally:
        await scene.sql.execute("ROLLBACK PREPARED 'forgotten'")
    assert (await told_by(scene))[0].objects == 1


async def test_a_transaction_that_holds_nothing_back_is_not_told(scene: Scene, database: str) -> None:
    """It began after the pass was released, and nothing is claimed."""
    other = await asyncpg.connect(database)
    try:
        async with other.transaction():
            await other.execute("SELECT pg_current_xact_id()")
            assert (await told_by(scene))[1] == []
    finally:
        await other.close()
    assert scene.observer.blockers == [None]
