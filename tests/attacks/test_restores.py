"""The database is restored, copied or fails over, and no leader has sealed the bucket since the backup."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import anyio
import anyio.to_thread
import asyncpg
import pytest

from reconciler import app
from reconciler.embedded.client import Supervisor
from reconciler.embedded.postgres import EmbeddedPostgres
from reconciler.engine.lead.seal import Sealer
from reconciler.errors import CatalogUnavailable, Halt
from reconciler.model import CheckStatus, Outcome
from reconciler.settings import SettingsSource
from tests.attacks.clusters import Cluster, start_cluster
from tests.attacks.scene import open_scene
from tests.conftest import _make_template
from tests.integration.site import Site, make_site
from tests.servers import Bucket, fresh_database

pytestmark = pytest.mark.anyio

UPLOADS = {f"image/{number}" for number in range(12)}


@pytest.fixture
def site(database: str, moto_bucket: Bucket) -> Site:
    return make_site(database, moto_bucket)


@pytest.fixture(scope="module")
def cluster(supervisor: Supervisor) -> Cluster:
    started = start_cluster(supervisor, "restored-postgres")
    _make_template(started.server)
    return started


@pytest.fixture
def own_database(cluster: Cluster) -> Iterator[str]:
    with fresh_database(cluster.server, "migrated") as url:
        yield url


@pytest.fixture
def own_site(own_database: str, moto_bucket: Bucket) -> Site:
    return make_site(own_database, moto_bucket)


async def identity_check(site: Site) -> tuple[CheckStatus, str]:
    """What `doctor` makes of it."""
    before = dict(os.environ)
    os.environ.update(site.settings())
    try:
        checks = await app.doctor(SettingsSource())
    finally:
        os.environ.clear()
        os.environ.update(before)
    (found,) = [check for check in checks if check.name == "identity"]
    return found.status, found.detail


async def upload(site: Site) -> None:
    """What the gateway writes after the backup, and the backup lacks."""
    for key in UPLOADS:
        await site.tracked(key)


async def halts(site: Site, what: str) -> None:
    """Nothing is deleted until a person has said which database goes on; then it does."""
    report = await site.once()
    assert report.outcome is Outcome.HALTED
    assert what in report.detail
    assert "adopt-bucket" in report.detail
    assert await site.keys() >= UPLOADS
    status, told = await identity_check(site)
    assert status is CheckStatus.FAIL
    assert what in told
    assert what in (await site.ownership()).fault
    await site.adopt()
    assert (await site.once(grace_period="1h")).outcome is not Outcome.HALTED
    assert (await identity_check(site))[0] is CheckStatus.OK


async def check_until_answered(sealer: Sealer) -> None:
    """As the watch does: a connection that the restart has cut fails when it is lent, and is replaced."""
    with anyio.fail_after(60):
        while True:
            try:
                await sealer.check()
            except CatalogUnavailable:
                await anyio.sleep(0.05)
            else:
                return


@asynccontextmanager
async def admin(server: EmbeddedPostgres) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(server.url())
    try:
        yield connection
    finally:
        await connection.close()


@pytest.mark.attack(63)
async def test_a_database_that_is_restored_under_its_name_is_noticed(
    site: Site, postgres: EmbeddedPostgres
) -> None:
    """By a template, or a dump: the last nonce is in the backup as well."""
    name = site.database.rpartition("/")[2]
    await site.once()
    async with admin(postgres) as sql:
        await sql.execute(f'CREATE DATABASE "{name}-backup" TEMPLATE "{name}" STRATEGY file_copy')
        await upload(site)
        await sql.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        await sql.execute(f'ALTER DATABASE "{name}-backup" RENAME TO "{name}"')
    await halts(site, "the database's oid is")


@pytest.mark.attack(63)
@pytest.mark.parametrize(
    ("table", "what"),
    [
        ('public."MediaRecords"', "media table's oid"),
        ('public."VirtualKeys"', "virtual keys table's oid"),
        ("reconciler.site", "the reconciler's own tables"),
    ],
)
async def test_a_table_that_is_restored_alone_is_noticed(site: Site, table: str, what: str) -> None:
    """As `pg_restore --clean --table` makes it again."""
    await site.once()
    before = table.replace('"', "").rpartition(".")[2]
    await upload(site)
    schema = table.rpartition(".")[0]
    await site.sql(f'ALTER TABLE {table} RENAME TO "{before}_former"')
    await site.sql(f'CREATE TABLE {table} (LIKE {schema}."{before}_former" INCLUDING ALL)')
    if what != "media table's oid":
        await site.sql(f'INSERT INTO {table} SELECT * FROM {schema}."{before}_former"')
    await halts(site, what)


@pytest.mark.attack(63)
async def test_a_recovery_to_a_point_in_time_is_noticed(own_site: Site, cluster: Cluster) -> None:
    await own_site.once()
    copy = await anyio.to_thread.run_sync(cluster.back_up)
    await upload(own_site)
    await anyio.to_thread.run_sync(cluster.put_back, copy)
    await anyio.to_thread.run_sync(cluster.recover)
    assert await own_site.sql('SELECT 1 FROM "MediaRecords"') == []
    await halts(own_site, "its timeline is")


@pytest.mark.attack(63)
async def test_a_leader_goes_on_through_a_failover_that_lost_nothing(
    own_database: str, cluster: Cluster
) -> None:
    async with open_scene(own_database, guarded=False) as scene:
        before = scene.bucket.identity
        await anyio.to_thread.run_sync(cluster.recover)
        await check_until_answered(scene.sealer)
        after = scene.bucket.identity
    assert before is not None
    assert before.lineage is not None
    assert after is not None
    assert after.lineage is not None
    assert before.lineage.timeline is not None
    assert after.lineage.timeline == before.lineage.timeline + 1, "the next program finds it sealed"


@pytest.mark.attack(63)
async def test_a_snapshot_that_is_put_back_under_a_leader_is_noticed(
    own_database: str, cluster: Cluster
) -> None:
    """Taken after the last seal, so that no nonce tells: the log ends before where it was seen to be."""
    async with open_scene(own_database, guarded=False) as scene:
        copy = await anyio.to_thread.run_sync(cluster.back_up)
        writer = await asyncpg.connect(own_database)
        await writer.execute("CREATE TABLE public.later AS SELECT generate_series(1, 10000)")
        await scene.sealer.check()
        await anyio.to_thread.run_sync(cluster.put_back, copy)
        with pytest.raises(Halt, match="write-ahead log ends at"):
            await check_until_answered(scene.sealer)
        writer.terminate()


@pytest.mark.attack(63)
async def test_what_a_role_is_not_told_is_not_compared_and_said(own_site: Site, cluster: Cluster) -> None:
    """Functions that a provider revokes; and an identity of an older version, which says nothing."""
    role = "restricted"
    async with admin(cluster.server) as sql:
        await sql.execute(
            f"CREATE ROLE {role} LOGIN PASSWORD 'p' IN ROLE pg_read_all_data, pg_write_all_data"
        )
    await own_site.sql(f"GRANT ALL ON ALL TABLES IN SCHEMA reconciler TO {role}")
    await own_site.sql(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA reconciler TO {role}")
    await own_site.sql(f"GRANT USAGE, CREATE ON SCHEMA reconciler TO {role}")
    for function in ("pg_control_system()", "pg_walfile_name(pg_lsn)", "pg_current_wal_flush_lsn()"):
        await own_site.sql(f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC")
    _, _, place = own_site.database.rpartition("@")
    told = make_site(f"postgresql://{role}:p@{place}", own_site.bucket)
    before = dict(os.environ)
    os.environ.update(told.settings())
    try:
        report = await told.once()
        assert report.outcome is Outcome.CONVERGED, report.detail
        checks = await app.doctor(SettingsSource())
    finally:
        os.environ.clear()
        os.environ.update(before)
    (restores,) = [check for check in checks if check.name == "restores"]
    assert restores.status is CheckStatus.WARN
    for name in ("system identifier", "timeline", "position in the log"):
        assert name in restores.detail
