"""The lease and the term, on a real Postgres."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import anyio
import asyncpg
import pytest

from reconciler.catalog.db.config import CatalogConfig
from reconciler.catalog.db.schema import HEAD_REVISION, declaration
from reconciler.catalog.open import Catalog, open_catalog
from reconciler.errors import CatalogUnavailable, ConfigError, Halt, LeaseLost, PassEnded
from reconciler.model import HeldBy, Mode, Tally, Term
from tests.contract.catalog import NOTHING, TTL, Stage, finding, staged

pytestmark = pytest.mark.anyio

WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"


@pytest.fixture
async def catalog(database: str) -> AsyncIterator[Catalog]:
    async with open_catalog(CatalogConfig(database_url=database)) as opened:
        yield opened


@pytest.fixture
async def sql(database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


async def _acquired(catalog: Catalog, holder: str) -> Term:
    term = await catalog.lease.acquire(holder, TTL)
    assert isinstance(term, Term)
    return term


async def test_a_held_lease_is_refused_naming_the_holder(catalog: Catalog, database: str) -> None:
    term = await _acquired(catalog, "first")
    async with open_catalog(CatalogConfig(database_url=database)) as other:
        held = await other.lease.acquire("second", TTL)
    assert isinstance(held, HeldBy)
    assert held.holder == "first"
    assert held.expires_at > datetime.now(UTC)
    await catalog.lease.renew(term, TTL)


async def test_a_standby_that_has_asked_before_takes_the_lease_once_it_is_free(
    catalog: Catalog, sql: asyncpg.Connection, database: str
) -> None:
    """From the second time on it asks with one statement, which is the answer only while nothing changes."""
    term = await _acquired(catalog, "first")
    async with open_catalog(CatalogConfig(database_url=database)) as other:
        for _ in range(2):
            held = await other.lease.acquire("second", TTL)
            assert isinstance(held, HeldBy)
            assert (held.holder, held.remaining > timedelta(0)) == ("first", True)
        await catalog.lease.release(term)
        assert (await _acquired(other, "second")).epoch == 2
        await sql.execute("UPDATE reconciler.lease SET expires_at = clock_timestamp()")
        assert (await _acquired(catalog, "first")).epoch == 3
        assert isinstance(await other.lease.acquire("second", TTL), HeldBy)
        await sql.execute(
            f"UPDATE reconciler.alembic_version SET version_num = '9001'; {declaration('9001')}"
        )
        with pytest.raises(Halt, match="run a newer version"):
            await other.lease.acquire("second", TTL)


async def test_every_acquisition_has_a_new_epoch_and_nonce(catalog: Catalog) -> None:
    terms = []
    for holder in ("one", "one", "two"):
        terms.append(await _acquired(catalog, holder))
        await catalog.lease.release(terms[-1])
    assert [term.epoch for term in terms] == [1, 2, 3]
    assert len({term.nonce for term in terms}) == 3


async def test_an_expired_lease_is_taken_and_its_former_holder_cannot_renew(
    catalog: Catalog, sql: asyncpg.Connection
) -> None:
    first = await _acquired(catalog, "first")
    await sql.execute("UPDATE reconciler.lease SET expires_at = clock_timestamp()")
    with pytest.raises(LeaseLost, match="expired"):
        await catalog.lease.renew(first, TTL)
    second = await _acquired(catalog, "second")
    with pytest.raises(LeaseLost, match="epoch 1 of first"):
        await catalog.lease.renew(first, TTL)
    await catalog.lease.release(first)
    await catalog.lease.renew(second, TTL)


@asynccontextmanager
async def _frozen(database: str, application: str) -> AsyncIterator[asyncpg.Connection]:
    """A session stopped in mid-transaction, between the preparation of a statement and its execution."""
    settings = {"application_name": application}
    session = await asyncpg.connect(database, server_settings=settings)
    await session.execute("BEGIN; SELECT FROM reconciler.term FOR SHARE")
    await session.prepare("SELECT 1 AS frozen")
    yield session
    session.terminate()


async def _silent_for(sql: asyncpg.Connection, seconds: float) -> None:
    silent = "SELECT clock_timestamp() - state_change > $1 FROM pg_stat_activity WHERE query LIKE '%frozen'"
    asked = f"{silent} AND pid <> pg_backend_pid()"
    while not await sql.fetchval(asked, timedelta(seconds=seconds)):  # noqa: ASYNC110 - of another session
        await anyio.sleep(0.05)


@pytest.mark.attack(39)
async def test_a_leader_frozen_in_mid_transaction_does_not_hold_its_successor_up(
    catalog: Catalog, sql: asyncpg.Connection, database: str
) -> None:
    """Nothing else would end its session for a minute: no time-out runs there."""
    await _acquired(catalog, "first")
    async with _frozen(database, "media-reconciler") as session:
        await _silent_for(sql, 1.1)
        assert isinstance(await catalog.lease.acquire("second", TTL), HeldBy)
        assert await session.fetchval("SELECT 'of a leader in office, and left alone'")
    async with _frozen(database, "media-reconciler") as session:
        await _silent_for(sql, 1.1)
        await sql.execute("UPDATE reconciler.lease SET expires_at = clock_timestamp()")
        assert (await _acquired(catalog, "second")).epoch == 2
        # What asyncpg raises depends on whether it has read yet that the server ended the session.
        ended = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
        with pytest.raises(ended):
            await session.execute("COMMIT")


async def test_a_transaction_that_is_still_spoken_in_is_waited_for(
    catalog: Catalog, sql: asyncpg.Connection, database: str
) -> None:
    """Its leader is late, and not frozen: what it writes is written before the term ends."""
    await _acquired(catalog, "first")
    await sql.execute("UPDATE reconciler.lease SET expires_at = clock_timestamp()")
    async with _frozen(database, "media-reconciler") as session, anyio.create_task_group() as group:
        group.start_soon(_acquired, catalog, "second")
        while not await sql.fetchval(WAITING):
            await session.fetchval("SELECT 'still here'")
        await session.execute("COMMIT")
    assert await sql.fetchval("SELECT holder FROM reconciler.lease") == "second"


async def test_a_session_of_somebody_else_is_left_alone(
    catalog: Catalog, sql: asyncpg.Connection, database: str
) -> None:
    await _acquired(catalog, "first")
    await sql.execute("UPDATE reconciler.lease SET expires_at = clock_timestamp()")
    async with _frozen(database, "psql") as session:
        await _silent_for(sql, 1.1)
        with pytest.raises(CatalogUnavailable):
            await catalog.lease.acquire("second", TTL)
        await session.execute("COMMIT")
    assert (await _acquired(catalog, "second")).epoch == 2


async def test_a_release_keeps_the_row_and_so_the_epoch(catalog: Catalog, sql: asyncpg.Connection) -> None:
    await catalog.lease.release(await _acquired(catalog, "first"))
    assert await sql.fetchval("SELECT epoch FROM reconciler.lease") == 1


async def test_of_many_at_once_one_gets_it(catalog: Catalog, database: str) -> None:
    got: list[Term | HeldBy] = []

    async def contend(number: int) -> None:
        async with open_catalog(CatalogConfig(database_url=database)) as other:
            got.append(await other.lease.acquire(f"holder {number}", TTL))

    async with anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(contend, number)
    assert [type(each) for each in got].count(Term) == 1


@pytest.mark.incident(12)
async def test_an_acquisition_waits_for_what_is_being_written_under_the_last_term(database: str) -> None:
    async with staged(database) as stage:
        current = await stage.begin()
        writer = await asyncpg.connect(database)
        order: list[str] = []
        try:
            transaction = writer.transaction()
            await transaction.start()
            await writer.execute("SELECT FROM reconciler.term FOR SHARE")
            await stage.catalog.lease.release(stage.term)

            async def acquire() -> None:
                await _acquired(stage.catalog, "next")
                order.append("acquired")

            async with anyio.create_task_group() as group:
                group.start_soon(acquire)
                while not await stage.sql.fetchval(WAITING):  # noqa: ASYNC110  # Postgres sends no event
                    await anyio.sleep(0.005)
                order.append("committed")
                await transaction.commit()
        finally:
            await writer.close()
        assert order == ["committed", "acquired"]
        with pytest.raises(LeaseLost):
            await stage.catalog.passes.record(stage.term, current, [finding("image/a")], NOTHING)


async def test_a_claim_does_not_hold_up_a_renewal(database: str) -> None:
    async with staged(database) as stage:
        writer = await asyncpg.connect(database)
        try:
            async with writer.transaction():
                await writer.execute("SELECT FROM reconciler.term FOR SHARE")
                await stage.catalog.lease.renew(stage.term, TTL)
        finally:
            await writer.close()


async def test_a_lost_connection_is_made_anew(catalog: Catalog, sql: asyncpg.Connection) -> None:
    term = await _acquired(catalog, "first")
    await sql.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    # Whether we are told before we ask, or by the answer, is chance.
    with suppress(CatalogUnavailable):
        await catalog.lease.renew(term, TTL)
    await catalog.lease.renew(term, TTL)


async def test_the_mode_and_since_when_it_is_live_outlive_a_term(database: str) -> None:
    async with staged(database) as stage:
        lease = stage.catalog.lease
        since = "SELECT live_since FROM reconciler.term WHERE live_since > '-infinity'"
        assert await stage.sql.fetchval(since) is None, "no dry run came before"
        await lease.observe_mode(stage.term, Mode.DRY_RUN)
        assert await stage.sql.fetchval("SELECT live_since FROM reconciler.term") is None
        await lease.observe_mode(stage.term, Mode.LIVE)
        began = await stage.sql.fetchval(since)
        assert began is not None
        await lease.release(stage.term)
        await lease.observe_mode(await _acquired(stage.catalog, "next"), Mode.LIVE)
        assert await stage.sql.fetchval(since) == began


@pytest.mark.attack(3)
async def test_a_claim_halts_where_the_marker_says_what_the_database_never_wrote(database: str) -> None:
    async with staged(database) as stage:
        await stage.mark(finding("image/a"))
        site, term = stage.catalog.site, stage.term
        await site.new_id()
        confirmed, pending = uuid4(), uuid4()
        await site.propose(term, confirmed, pending)
        stage.term = replace(term, seal=uuid4())
        with pytest.raises(Halt, match="adopt-bucket"):
            await stage.claim()
        for known in (confirmed, pending):
            stage.term = replace(term, seal=known)
            await stage.claim()
        await site.confirm(term, pending, await site.lineage())
        stage.term = replace(term, seal=confirmed)
        with pytest.raises(Halt):
            await stage.claim()


@pytest.mark.attack(22)
async def test_a_term_knows_whether_the_one_before_was_released(
    catalog: Catalog, sql: asyncpg.Connection
) -> None:
    first = await _acquired(catalog, "first")
    await sql.execute("UPDATE reconciler.lease SET expires_at = clock_timestamp()")
    second = await _acquired(catalog, "second")
    await catalog.lease.release(second)
    third = await _acquired(catalog, "third")
    assert [term.vanished for term in (first, second, third)] == [False, True, False]


@pytest.mark.attack(14)
async def test_in_another_cluster_armed_passes_are_stamped_anew(database: str) -> None:
    async with staged(database) as stage:
        released = await stage.mark(finding("image/a"))
        stamp = "SELECT released_xid::text::bigint FROM reconciler.passes WHERE id = $1"
        await stage.sql.execute("UPDATE reconciler.passes SET released_xid = '3'")
        await stage.catalog.lease.release(stage.term)
        await stage.catalog.lease.release(await _acquired(stage.catalog, "next"))
        assert await stage.sql.fetchval(stamp, released.id) == 3
        await stage.sql.execute("UPDATE reconciler.term SET cluster = 7")
        await _acquired(stage.catalog, "elsewhere")
        assert await stage.sql.fetchval(stamp, released.id) > 3


# --- passes ----------------------------------------------------------------------------------------


async def test_a_newer_pass_ends_the_one_that_a_crash_left(stage: Stage) -> None:
    old = await stage.begin()
    await stage.begin()
    with pytest.raises(PassEnded, match=f"pass {old.id} is no longer running"):
        await stage.catalog.passes.record(stage.term, old, [finding("image/a")], NOTHING)
    with pytest.raises(PassEnded, match="a newer one has begun"):
        await stage.catalog.passes.arm(stage.term, old, Tally())
    assert await stage.marks() == {}


@pytest.mark.parametrize(("oldest", "may"), [(HEAD_REVISION, True), ("9001", False), (None, False)])
async def test_a_schema_that_has_left_this_program_behind_ends_and_refuses_its_terms(
    catalog: Catalog, sql: asyncpg.Connection, oldest: str | None, may: bool
) -> None:
    """A newer version may migrate it while this one leads, which leads on where that one lets it."""
    term = await _acquired(catalog, "older")
    await sql.execute("UPDATE reconciler.alembic_version SET version_num = '9001'")
    await sql.execute(declaration(oldest))
    halts = nullcontext() if may else pytest.raises(Halt, match="run a newer version of the program")
    with halts:
        await catalog.lease.renew(term, TTL)
    await catalog.lease.release(term)
    with halts:
        await catalog.lease.acquire("older", TTL)
    with nullcontext() if may else pytest.raises(ConfigError, match="run a newer version of the program"):
        await catalog.require_schema()
