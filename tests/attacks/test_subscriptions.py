"""Logical replication: a subscriber is no primary, and no trigger of ours stops its subscription."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import anyio
import anyio.lowlevel
import asyncpg
import pytest

from reconciler.catalog.db.config import CatalogConfig, TableMapping
from reconciler.catalog.media_tables import triggers
from reconciler.catalog.media_tables.inspection import inspect
from reconciler.embedded.client import Supervisor
from reconciler.errors import Halt
from tests.attacks.clusters import Cluster, start_cluster
from tests.attacks.scene import open_scene
from tests.conftest import DEBIAN_POSTGRES, TEMPLATE, _make_template
from tests.contract.guarded import CLAIM, INSERT_TOMBSTONE
from tests.servers import fresh_database

pytestmark = pytest.mark.anyio

MEDIA = 'public."MediaRecords"'


@pytest.fixture(scope="module")
def on_18(supervisor: Supervisor) -> Cluster:
    started = start_cluster(supervisor, "replicated-postgres")
    _make_template(started.server)
    return started


@pytest.fixture(scope="module")
def on_15(supervisor: Supervisor) -> Cluster:
    started = start_cluster(supervisor, "replicated-postgres-15", binaries=DEBIAN_POSTGRES)
    _make_template(started.server)
    return started


@pytest.fixture(params=["on_18", pytest.param("on_15", marks=pytest.mark.debian("postgresql-15"))])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    started: Cluster = request.getfixturevalue(request.param)
    return started


@pytest.fixture
def sides(cluster: Cluster) -> Iterator[tuple[str, str]]:
    """Two databases of one server: the publisher's and the subscriber's."""
    with fresh_database(cluster.server, TEMPLATE) as one, fresh_database(cluster.server, TEMPLATE) as other:
        yield one, other


@asynccontextmanager
async def subscribed(
    publisher: str, subscriber: str, table: str = MEDIA, enabled: str = "true"
) -> AsyncIterator[tuple[Any, Any]]:
    """Connections to both; what is written to the table here comes to be written there."""
    here, there = await asyncpg.connect(publisher), await asyncpg.connect(subscriber)
    name, place = f"s{uuid4().hex[:8]}", urlsplit(publisher)
    dsn = f"host={place.hostname} port={place.port} user={place.username} password={place.password}"
    await here.execute(f"CREATE PUBLICATION {name} FOR TABLE {table}")
    # Before it is subscribed to: in one cluster the slot would wait for the very subscription.
    await here.execute("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", name)
    await there.execute(
        f"CREATE SUBSCRIPTION {name} CONNECTION '{dsn} dbname={place.path.lstrip('/')}' PUBLICATION {name}"
        f" WITH (create_slot = false, copy_data = false, enabled = {enabled})"
    )
    try:
        yield here, there
    finally:
        await there.execute(f"ALTER SUBSCRIPTION {name} DISABLE")
        await there.execute(f"ALTER SUBSCRIPTION {name} SET (slot_name = NONE)")
        await there.execute(f"DROP SUBSCRIPTION {name}")
        with anyio.fail_after(30):
            while await here.fetchval("SELECT active FROM pg_replication_slots WHERE slot_name = $1", name):
                await anyio.lowlevel.checkpoint()
        await here.execute("SELECT pg_drop_replication_slot($1)", name)
        await here.close()
        await there.close()


async def publish(sql: Any, owner: Any, *keys: str) -> None:
    for key in keys:
        await sql.execute(
            f'INSERT INTO {MEDIA} ("Id", "StorageKey", "VirtualKeyId", "MediaType") VALUES ($1, $2, $3, $4)',
            uuid4(),
            key,
            owner,
            "image",
        )


@pytest.mark.attack(67)
async def test_a_replicated_row_of_a_key_that_is_gone_stops_no_subscription(sides: tuple[str, str]) -> None:
    """It was committed by the publisher; refused, it would come again until the tombstone ends."""
    async with subscribed(*sides) as (here, there):
        await triggers.install(there, TableMapping())
        await there.execute(CLAIM, "image/claimed")
        await there.execute(INSERT_TOMBSTONE, "image/gone", False)
        await there.execute(INSERT_TOMBSTONE, "image/back", True)
        owner = await here.fetchval(
            'INSERT INTO public."VirtualKeys" ("KeyName", "KeyHash") VALUES (\'k\', \'k\') RETURNING "Id"'
        )
        keys = {"image/claimed", "image/gone", "image/back", "image/behind"}
        await publish(here, owner, "image/claimed", "image/gone", "image/back", "image/behind")
        with anyio.fail_after(60):
            while await there.fetchval(f"SELECT count(*) FROM {MEDIA}") < len(keys):
                await anyio.lowlevel.checkpoint()
        queued = await there.fetch("SELECT storage_key FROM reconciler.restores")
        assert {row["storage_key"] for row in queued} == keys - {"image/behind"}


async def test_a_replicated_deletion_is_noted_where_it_was_decided(sides: tuple[str, str]) -> None:
    async with subscribed(*sides) as (here, there):
        for each in (here, there):
            await triggers.install(each, TableMapping())
        owner = await here.fetchval(
            'INSERT INTO public."VirtualKeys" ("KeyName", "KeyHash") VALUES (\'k\', \'k\') RETURNING "Id"'
        )
        await publish(here, owner, "image/a")
        for statement, left in (("SELECT", 1), (f"DELETE FROM {MEDIA}", 0)):
            await here.execute(statement)
            with anyio.fail_after(60):
                while await there.fetchval(f"SELECT count(*) FROM {MEDIA}") != left:
                    await anyio.lowlevel.checkpoint()
        noted = [await each.fetchval("SELECT count(*) FROM reconciler.departures") for each in (here, there)]
        assert noted == [1, 0]


@pytest.mark.attack(64)
@pytest.mark.parametrize("table", [MEDIA, 'public."VirtualKeys"'])
async def test_a_subscriber_is_no_primary(sides: tuple[str, str], table: str) -> None:
    """Its subscription may be disabled, or lag: live objects would look like orphans."""
    one, other = sides
    async with open_scene(other, guarded=False) as scene:
        scene.put("image/a")
        await scene.mark("image/a")
        async with subscribed(one, other, table, "false"):
            (fault,) = (await inspect(CatalogConfig(database_url=other))).faults
            assert "logical subscription" in fault
            with pytest.raises(Halt, match="logical subscription"):
                await scene.claim()
            assert (await inspect(CatalogConfig(database_url=one))).faults == (), "the publisher is one"
        assert (await scene.claim()).taken == 1
