"""The lease: one row to renew, and one to compare (the fence). All times are by the server's clock."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

from reconciler.catalog.db import connections
from reconciler.catalog.db.config import CatalogConfig
from reconciler.catalog.db.connections import Connection
from reconciler.catalog.db.dedicated import DedicatedConnection
from reconciler.catalog.db.schema import SCHEMA
from reconciler.errors import Halt, LeaseLost
from reconciler.model import HeldBy, Mode, Term

T = TypeVar("T")

SILENT = timedelta(seconds=1)
"""Longer than any pause of a live transaction of ours: its messages are milliseconds apart."""

# Sessions of ours that hold the lease's rows although the lease has ended, and wait for a silent client: a
# process that was stopped, or cut off by the network, in mid-transaction. No time-out of the server's runs
# between the preparation of a statement and its execution.
CUT_OFF = f"""
SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a
WHERE a.pid IN (SELECT l.pid FROM pg_locks l
                WHERE l.relation IN ('{SCHEMA}.lease'::regclass, '{SCHEMA}.term'::regclass)
                  AND l.database = a.datid AND l.mode IN ('RowShareLock', 'RowExclusiveLock'))
  AND a.datname = current_database() AND a.application_name = $1 AND a.pid <> pg_backend_pid()
  AND a.wait_event = 'ClientRead' AND a.state_change < clock_timestamp() - $2::interval
  AND EXISTS (SELECT FROM {SCHEMA}.lease WHERE expires_at <= clock_timestamp())
"""

HELD = f"""
SELECT holder, expires_at, expires_at - clock_timestamp() AS remaining FROM {SCHEMA}.lease
WHERE expires_at > clock_timestamp() AND $1 = (SELECT version_num::text FROM {SCHEMA}.alembic_version)
"""


class PostgresLease:
    """`ports.Lease` on a connection of its own."""

    def __init__(self, config: CatalogConfig) -> None:
        self._own = DedicatedConnection(config)
        self._fits: str | None = None
        """The revision of the schema when this program was last seen to fit it."""

    async def acquire(self, holder: str, ttl: timedelta) -> Term | HeldBy:
        # A standby asks each second: while nothing has changed, one statement is the whole answer.
        fits, self._fits = self._fits, None

        async def ask(connection: Connection) -> HeldBy | None:
            row = await connection.fetchrow(HELD, fits)
            return _held_by(row) if row else None

        if fits and (held := await self._own.use(ask)):
            self._fits = fits
            return held

        async def work(connection: Connection) -> Term | HeldBy:
            self._fits = await _require_schema(connection)
            await connection.execute(CUT_OFF, connections.APPLICATION, SILENT)
            # This waits for a renewal in flight, and for nothing else.
            row = await connection.fetchrow(
                "SELECT holder, epoch, expires_at, expires_at > clock_timestamp() AS held, released,"
                " greatest(expires_at, clock_timestamp()) - clock_timestamp() AS remaining"
                f" FROM {SCHEMA}.lease FOR UPDATE"
            )
            assert row is not None, "the migration made the row"
            if row["held"]:
                return _held_by(row)
            term = await self._begin(connection, holder, row["epoch"] + 1, ttl)
            return replace(term, vanished=not row["released"])

        return await self._transaction(work)

    async def _begin(self, connection: Connection, holder: str, epoch: int, ttl: timedelta) -> Term:
        # The fence: this waits for writes in progress under the last term, and shuts out later ones.
        nonce = await connection.fetchval(
            f"UPDATE {SCHEMA}.term SET epoch = $1, nonce = gen_random_uuid() RETURNING nonce", epoch
        )
        await connection.execute(
            f"UPDATE {SCHEMA}.lease SET holder = $1, epoch = $2, nonce = $3, released = false,"
            " acquired_at = clock_timestamp(), expires_at = clock_timestamp() + $4::interval",
            holder,
            epoch,
            nonce,
            ttl,
        )
        await self._stamp_anew(connection)
        return Term(epoch=epoch, nonce=nonce, holder=holder)

    @staticmethod
    async def _stamp_anew(connection: Connection) -> None:
        """Stamp passes released in another cluster again: its transaction ids mean nothing here (R-14).

        Such a stamp may lie in the future and never be reached, or in the past and prove nothing.
        """
        known = await connection.fetchval("SELECT has_function_privilege('pg_control_system()', 'EXECUTE')")
        moved = known and await connection.fetchval(
            f"UPDATE {SCHEMA}.term SET cluster = system_identifier FROM pg_control_system()"
            " WHERE cluster IS DISTINCT FROM system_identifier RETURNING true"
        )
        await connection.execute(
            f"UPDATE {SCHEMA}.passes SET released_xid = pg_current_xact_id()"
            " WHERE released_xid >= pg_snapshot_xmax(pg_current_snapshot())"
            f" OR $1 AND released_xid IS NOT NULL AND id IN (SELECT pass_id FROM {SCHEMA}.marks)",
            bool(moved),
        )

    async def renew(self, term: Term, ttl: timedelta) -> None:
        async def work(connection: Connection) -> None:
            await _require_schema(connection)
            # An expired lease is not renewed: another replica may have seen that, and be about to take it.
            renewed = await connection.fetchval(
                f"UPDATE {SCHEMA}.lease SET expires_at = clock_timestamp() + $3::interval"
                " WHERE epoch = $1 AND nonce = $2 AND expires_at > clock_timestamp() RETURNING true",
                term.epoch,
                term.nonce,
                ttl,
            )
            if not renewed:
                raise LeaseLost(f"epoch {term.epoch} of {term.holder} has expired or was taken over")

        await self._transaction(work)

    async def release(self, term: Term) -> None:
        async def work(connection: Connection) -> None:
            # The row stays, and so does the epoch, which only ever rises.
            await connection.execute(
                f"UPDATE {SCHEMA}.lease"
                " SET released = true, expires_at = least(expires_at, clock_timestamp())"
                " WHERE epoch = $1 AND nonce = $2",
                term.epoch,
                term.nonce,
            )

        await self._transaction(work)

    async def observe_mode(self, term: Term, mode: Mode) -> None:
        async def work(connection: Connection) -> None:
            row = await connection.fetchrow(f"SELECT epoch, nonce, mode FROM {SCHEMA}.term")
            if row is None or (row["epoch"], row["nonce"]) != (term.epoch, term.nonce):
                raise LeaseLost(f"epoch {term.epoch} of {term.holder} is over; another replica has led since")
            if row["mode"] == mode.value:
                return
            # The delay of every mark restarts when dry run turns into live. A database that has never been
            # in dry run has no marks from one.
            await connection.execute(
                f"UPDATE {SCHEMA}.term SET live_since = CASE WHEN $1::text = 'dry_run' THEN NULL"
                " WHEN mode IS NULL THEN '-infinity' ELSE clock_timestamp() END, mode = $1"
                " WHERE epoch = $2",
                mode.value,
                term.epoch,
            )

        await self._transaction(work)

    async def close(self) -> None:
        """Drop the connection; the lease ends when it expires, unless it was released."""
        await self._own.close()

    async def _transaction(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        async def within(connection: Connection) -> T:
            async with connection.transaction():
                return await work(connection)

        return await self._own.use(within)


def _held_by(row: connections.Row) -> HeldBy:
    return HeldBy(holder=row["holder"], expires_at=row["expires_at"], remaining=row["remaining"])


async def _require_schema(connection: Connection) -> str | None:
    """The schema's revision. Raises Halt where a migration has made this program too old meanwhile."""
    version = await connections.schema_version(connection)
    if version.misfit:
        raise Halt(version.misfit)
    return version.revision
