"""Reservations: an object that is put is ours from before its first byte until its row is there.

An object under a live reservation is no orphan: sweeps and claims read reservations with the columns that
name objects (`media_tables.references`). Reserving and recording are writers like any other, so they do what
the triggers do (`media_tables.guard`), whether or not these are installed: first a transaction id, then the
mark, locked. So a claim that has not seen the reservation, or the row, waits for it; and where the claim came
first, the writer is refused.
"""

from collections.abc import Collection
from datetime import timedelta
from typing import NoReturn
from uuid import UUID, uuid4

from reconciler.catalog.db.connections import AnyConnection, Database, Row, by_index
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.media_tables import quotas
from reconciler.catalog.media_tables.new_rows import NewRows
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.errors import ErrorKind, NotDone
from reconciler.model import (
    NewReservation,
    Owner,
    Policy,
    QuotaOwner,
    Reservation,
    ReservationState,
    Stored,
    kind_of,
)

KEPT_FOR = timedelta(days=1)
"""How long a recorded reservation is kept for a request that is repeated."""

COLUMNS = """
id, storage_key, owner, owner_group, content_type, size, content_hash, fingerprint, created_at, expires_at,
state, expires_at > clock_timestamp() AS live
"""

# Each reservation sweeps up some that have ended, so that nobody else has to; and those in its own way.
FORGET = f"""
DELETE FROM {SCHEMA}.reservations WHERE id IN (
    SELECT id FROM {SCHEMA}.reservations WHERE expires_at <= clock_timestamp()
    ORDER BY expires_at LIMIT 20 FOR UPDATE SKIP LOCKED)
"""
FORGET_OWN = f"""
DELETE FROM {SCHEMA}.reservations WHERE expires_at <= clock_timestamp()
  AND (storage_key = $1 AND state = 'open' OR owner = $2 AND idempotency_key = $3)
"""

# Conflicts with what is live, and with what another transaction is inserting.
RESERVE = f"""
INSERT INTO {SCHEMA}.reservations
    (id, storage_key, owner, owner_group, content_type, size, content_hash, idempotency_key, fingerprint,
     expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, clock_timestamp() + $10::interval)
ON CONFLICT DO NOTHING RETURNING {COLUMNS}
"""

FIND = f"SELECT {COLUMNS} FROM {SCHEMA}.reservations WHERE id = $1 AND expires_at > clock_timestamp()"

REPEATED = f"""
SELECT {COLUMNS} FROM {SCHEMA}.reservations
WHERE owner = $1 AND idempotency_key = $2 AND expires_at > clock_timestamp()
"""

EXTEND = f"""
UPDATE {SCHEMA}.reservations SET expires_at = clock_timestamp() + $2::interval
WHERE id = $1 AND state = 'open' AND expires_at > clock_timestamp() RETURNING true
"""

RELEASE = f"DELETE FROM {SCHEMA}.reservations WHERE id = $1 AND state = 'open'"

LOCK = f"SELECT {COLUMNS} FROM {SCHEMA}.reservations WHERE id = $1 FOR UPDATE"

RECORDED = f"""
UPDATE {SCHEMA}.reservations
SET state = 'recorded', size = $2, content_type = $3, content_hash = $4,
    fingerprint = coalesce($5, fingerprint), expires_at = clock_timestamp() + $6::interval
WHERE id = $1 RETURNING {COLUMNS}
"""

MARK = f"SELECT state FROM {SCHEMA}.marks WHERE storage_key = $1 FOR SHARE"
GONE = f"""
SELECT EXISTS (SELECT FROM {SCHEMA}.tombstones WHERE storage_key = $1 AND ends_at > clock_timestamp())
"""

ONE_OWNER = "SELECT pg_advisory_xact_lock(hashtextextended('reconciler.reservations ' || $1, 0))"
"""Uploads of one owner are counted one after the other."""

ON_THEIR_WAY = f"""
SELECT count(*) AS objects, coalesce(sum(size), 0)::bigint AS bytes FROM {SCHEMA}.reservations
WHERE state = 'open' AND expires_at > clock_timestamp() AND id IS DISTINCT FROM $3::uuid
  AND CASE WHEN $2::text IS NULL THEN owner = $1 ELSE owner_group = $2 END
"""


class Reservations:
    """Reservations in one database."""

    def __init__(self, database: Database, media: MediaTables) -> None:
        self._database = database
        self._media = media
        self._rows = NewRows(media, database.config.tables)

    async def require_columns(self, further: Collection[str], setting: str) -> None:
        """Raises ConfigError, naming the setting, where no row can be made with these further columns."""
        async with self._database.connection() as connection:
            await self._rows.require(connection, further, setting)

    async def reserve(self, new: NewReservation, policy: Policy | None = None) -> Reservation:
        """Reserve a key, before its object is put. With a policy its quotas count, `over_quota`.

        Raises NotDone: `reserved` where the key is reserved or has a row, `being_deleted` where its former
        object is being deleted or has been lately, `still_under_way` where the owner has reserved something
        else with that idempotency key. CatalogUnavailable.
        """

        async def work(connection: AnyConnection) -> Reservation:
            await by_index(connection)
            await connection.execute(FORGET)
            await connection.execute(FORGET_OWN, new.key, new.owner.id, new.idempotency_key)
            await self._guard(connection, new.key)
            row = await connection.fetchrow(
                RESERVE,
                uuid4(),
                new.key,
                new.owner.id,
                new.owner.group,
                new.content_type,
                new.size,
                new.content_hash,
                new.idempotency_key,
                new.fingerprint,
                new.lasts,
            )
            if row is None:
                await self._refuse(connection, new)
            if await connection.fetchval(
                f"SELECT EXISTS (SELECT FROM {self._media.table} WHERE {self._media.equal_key} = $1::text)",
                new.key,
            ):
                raise NotDone(ErrorKind.CONFLICT, "reserved", f"{new.key!r} has a row", key=new.key)
            made = _reservation(row)
            if policy is not None:
                await self._count(connection, made, policy, new.size or 0)
            return made

        return await self._database.transaction(work)

    async def find(self, reservation: UUID) -> Reservation | None:
        """The reservation, until it ends. Raises CatalogUnavailable."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(FIND, reservation)
        return None if row is None else _reservation(row)

    async def repeated(self, owner: Owner, idempotency_key: str) -> Reservation | None:
        """What the owner has reserved with that key, until it ends. Raises CatalogUnavailable."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(REPEATED, owner.id, idempotency_key)
        return None if row is None else _reservation(row)

    async def extend(self, reservation: Reservation, lasts: timedelta) -> bool:
        """Have it last so long from now on; False where it has ended. Raises CatalogUnavailable."""
        async with self._database.connection() as connection:
            return bool(await connection.fetchval(EXTEND, reservation.id, lasts))

    async def release(self, reservation: Reservation) -> None:
        """End it without a row: an object that was put is an orphan then. Raises CatalogUnavailable."""
        async with self._database.connection() as connection:
            await connection.execute(RELEASE, reservation.id)

    async def record(
        self,
        reservation: Reservation,
        stored: Stored,
        *,
        fingerprint: str | None = None,
        policy: Policy | None = None,
    ) -> Reservation:
        """Make the row of an object that is there, and end the reservation, in one transaction. Done
        twice, it is done once.

        Raises NotDone: `reservation_ended`, `being_deleted`, `row_refused`, and with a policy `over_quota`.
        CatalogUnavailable: it may be done or not, and may be repeated.
        """

        async def work(connection: AnyConnection) -> Reservation:
            await by_index(connection)
            await self._guard(connection, reservation.key)
            row = await connection.fetchrow(LOCK, reservation.id)
            if row is None or not row["live"]:
                message = f"the reservation of {reservation.key!r} has ended: put the object again"
                raise NotDone(ErrorKind.CONFLICT, "reservation_ended", message, key=reservation.key)
            found = _reservation(row)
            if found.state is ReservationState.RECORDED:
                return found
            if policy is not None and found.size != stored.size:
                await self._count(connection, found, policy, stored.size)
            await self._rows.insert(connection, found, stored)
            told = (stored.size, stored.content_type, stored.content_hash, fingerprint, KEPT_FOR)
            ended = await connection.fetchrow(RECORDED, found.id, *told)
            assert ended is not None, "it is locked"
            return _reservation(ended)

        return await self._database.transaction(work)

    async def _guard(self, connection: AnyConnection, key: str) -> None:
        """As the triggers do. Raises NotDone where the key's object is being deleted, or was lately."""
        await connection.execute("SELECT pg_current_xact_id()")
        state = await connection.fetchval(MARK, key)
        if state == "claimed" or await connection.fetchval(GONE, key):
            message = f"the former object of {key!r} is being deleted, or was lately: take another key"
            raise NotDone(ErrorKind.CONFLICT, "being_deleted", message, key=key)

    async def _refuse(self, connection: AnyConnection, new: NewReservation) -> NoReturn:
        if new.idempotency_key is not None and await connection.fetchrow(
            REPEATED, new.owner.id, new.idempotency_key
        ):
            message = "what was asked for with this idempotency key is still under way, or done"
            raise NotDone(ErrorKind.CONFLICT, "still_under_way", message)
        raise NotDone(ErrorKind.CONFLICT, "reserved", f"{new.key!r} is reserved already", key=new.key)

    async def _count(
        self, connection: AnyConnection, reservation: Reservation, policy: Policy, size: int
    ) -> None:
        """Raises NotDone where the owner would keep too much with so many bytes more."""
        quota = quotas.quota_for(
            policy, reservation.key, reservation.owner, kind_of(reservation.content_type)
        )
        if quota is None:
            return
        group = reservation.owner.group if quota.owner is QuotaOwner.KEY_GROUP else None
        owner = group or reservation.owner.id
        if owner is None or (group is None and quota.owner is QuotaOwner.KEY_GROUP):
            return
        if quota.evicts:
            too_much = quota.max_bytes is not None and size > quota.max_bytes
        else:
            await connection.execute(ONE_OWNER, owner)
            kept = await quotas.kept_by(connection, self._media, policy, quota, owner, reservation.created_at)
            coming = await connection.fetchrow(ON_THEIR_WAY, reservation.owner.id, group, reservation.id)
            assert coming is not None, "a sum has a row"
            too_much = (
                quota.max_bytes is not None and kept[1] + coming["bytes"] + size > quota.max_bytes
            ) or (quota.max_objects is not None and kept[0] + coming["objects"] + 1 > quota.max_objects)
        if too_much:
            message = "the owner keeps as much as its quota allows"
            raise NotDone(ErrorKind.CONFLICT, "over_quota", message, owner=owner)


def _reservation(row: Row) -> Reservation:
    return Reservation(
        id=row["id"],
        key=row["storage_key"],
        owner=Owner(id=row["owner"], group=row["owner_group"]),
        content_type=row["content_type"],
        size=row["size"],
        content_hash=row["content_hash"],
        fingerprint=row["fingerprint"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        state=ReservationState(row["state"]),
        live=row["live"],
    )
