"""Who may act, on which bucket, how fast, and whether at all."""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol
from uuid import UUID

from reconciler.model import (
    HeldBy,
    Identity,
    Lineage,
    Mode,
    Pause,
    Seals,
    Term,
)


class Lease(Protocol):
    """One row in Postgres, on a connection of its own; times by the server's clock."""

    async def acquire(self, holder: str, ttl: timedelta) -> Term | HeldBy:
        """Take it if it is free or expired: a new epoch each time."""
        ...

    async def renew(self, term: Term, ttl: timedelta) -> None:
        """Raises LeaseLost where the term is no longer current."""
        ...

    async def release(self, term: Term) -> None:
        """By expiring it, never by deleting the row."""
        ...

    async def observe_mode(self, term: Term, mode: Mode) -> None:
        """Remember the mode; from dry run to live, every due time is at least a delay from now."""
        ...


class Site(Protocol):
    """Which bucket this database is tied to."""

    async def identity(self) -> Identity | None: ...

    async def bind(self, identity: Identity) -> None:
        """At first contact, or when the prefixes changed. The site id never changes."""
        ...

    async def new_id(self) -> UUID:
        """The site id of this database, made once."""
        ...

    async def seals(self) -> Seals: ...

    async def lineage(self) -> Lineage:
        """What the database is now, as far as it tells; `identity` has what it was at the last seal."""
        ...

    async def propose(self, term: Term, confirmed: UUID | None, pending: UUID) -> None:
        """Before the marker is written: what it says now, and what it will say. Raises LeaseLost."""
        ...

    async def confirm(self, term: Term, nonce: UUID, lineage: Lineage) -> None:
        """The marker was seen to say so, of this lineage. Raises LeaseLost."""
        ...

    async def withdraw(self, term: Term, dead_after: timedelta, upload_window: timedelta) -> int:
        """Withdraw every mark, claimed or not, and end what passes are running. Returns how many.

        What was claimed may be gone: it leaves a tombstone for the window, and its copy can be undone.

        Raises Retryable where a claim's requests may still be on their way, LeaseLost.
        """
        ...

    async def adopt(self, term: Term, identity: Identity) -> None:
        """Tie the database to the bucket as its marker now says, under that site id. Raises LeaseLost."""
        ...


class Budget(Protocol):
    """Keys a second over all replicas, and over everything that deletes, copies or aborts."""

    async def reserve(self, keys: float, rate: float, saved: int) -> float:
        """Take `keys` at `rate` keys a second; returns the seconds to wait before they may be used.

        By the server's clock. An idle time saves up `saved` keys and no more. What was taken is given
        back by nobody but who has it, with fewer than 0 keys at the same rate. An infinite rate asks
        nobody and waits for nothing. Raises CatalogUnavailable.
        """
        ...


class PauseSwitch(Protocol):
    """The stop that an operator sets in the database, for every replica. On a connection of its own."""

    async def read(self) -> Pause:
        """How it stands. Raises CatalogUnavailable."""
        ...

    async def pause(self, by: str, reason: str) -> Pause:
        """Stop. Returns the pause that stands, which may be an earlier one."""
        ...

    async def resume(self, by: str) -> Pause:
        """Go on. Returns how it stood before."""
        ...
