"""Tracking: media that a gateway puts into the bucket are known from before their first byte.

Three calls, in this order, and the object between the first and the second::

    async with open_tracker() as tracker:
        reserved = await tracker.reserve("image/2026/11/30/cat.png", owner="42", size=len(body))
        await bucket.put_object(Key=reserved.key, Body=body)
        await tracker.record(reserved, size=len(body), content_type="image/png")

`reserve` keeps the reconciler from taking the object for an orphan, `record` makes its row and ends the
reservation in one transaction. A program that dies in between leaves an object without a row, which is the
reconciler's to collect once the reservation has ended, and never a row without an object. Where the object
cannot be put, `release`; where the gateway writes the row itself, it does so first and releases then.

Configured as the reconciler is: by `RECONCILER_…`, with a database and a bucket. Errors are those of
`reconciler.errors`: `NotDone` with a code for what cannot be, `CatalogUnavailable` where the database is
away. For code without an event loop there is `media_reconciler.tracking_sync`.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta

from reconciler.app import wiring
from reconciler.catalog.open import open_catalog
from reconciler.catalog.reservations import Reservations
from reconciler.errors import ErrorKind, NotDone
from reconciler.model import NewReservation, Owner, Policy, Reservation, Stored
from reconciler.planning.keys import protection
from reconciler.settings import load

__all__ = ["NotDone", "Reservation", "Tracker", "open_tracker"]

HOUR = timedelta(hours=1)


class Tracker:
    """Reserves keys, and records what was put under them. Made by `open_tracker`; any task may use it."""

    def __init__(self, reservations: Reservations, policy: Policy) -> None:
        self._reservations = reservations
        self._policy = policy

    async def reserve(
        self,
        key: str,
        *,
        owner: str,
        size: int | None = None,
        content_type: str = "",
        lasts: timedelta = HOUR,
    ) -> Reservation:
        """Reserve a new key for the virtual key with that id. `lasts` is how long putting and recording may
        take; `size` in bytes counts under the owner's quota.

        Raises NotDone: `not_managed` for a key that the reconciler does not look after, `reserved` for one
        that is reserved or has a row, `being_deleted` where its former object is being deleted or was lately,
        `over_quota`. Raises CatalogUnavailable.
        """
        if (why := protection(key, self._policy)) is not None:
            message = f"{key!r} is not managed ({why.value}): take a key below a managed prefix"
            raise NotDone(ErrorKind.INVALID, "not_managed", message, key=key)
        new = NewReservation(
            key=key, owner=Owner(id=owner), lasts=lasts, size=size, content_type=content_type
        )
        return await self._reservations.reserve(new, self._policy)

    async def record(
        self,
        reservation: Reservation,
        *,
        size: int,
        content_type: str = "",
        content_hash: str | None = None,
        columns: Mapping[str, str | None] | None = None,
    ) -> None:
        """Make the row of the object, which is there by now, and end the reservation. Done twice it is done
        once.

        `columns` are further columns of the media table, by name, with their values as Postgres writes them.
        Raises NotDone: `reservation_ended`, `being_deleted`, `over_quota`, and `row_refused` where a
        constraint or a trigger refuses the row. After CatalogUnavailable, do it again.
        """
        stored = Stored(
            size=size,
            content_type=content_type or reservation.content_type,
            content_hash=content_hash,
            columns=columns or {},
        )
        await self._reservations.record(reservation, stored, policy=self._policy)

    async def release(self, reservation: Reservation) -> None:
        """End the reservation without a row. An object that was put all the same is an orphan then.

        Raises CatalogUnavailable; the reservation then ends by itself.
        """
        await self._reservations.release(reservation)


@asynccontextmanager
async def open_tracker(environ: Mapping[str, str] | None = None) -> AsyncIterator[Tracker]:
    """A tracker with a pool of connections, by the settings in `environ` (the process's own by default).

    Raises ConfigError for settings or tables that cannot work, CatalogUnavailable.
    """
    settings = load(environ)
    async with open_catalog(wiring.catalog_config(settings)) as catalog:
        await catalog.require_schema()
        yield Tracker(catalog.reservations, settings.policy())
