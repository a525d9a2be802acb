"""Which replica may act, on which bucket, how fast, and whether at all."""

from datetime import timedelta
from typing import Protocol
from uuid import UUID

from reconciler.model import HeldBy, Identity, Lineage, Mode, Pause, Seals, Term


class Lease(Protocol):
    """One row in Postgres, on a connection of its own; times are the server's."""

    async def acquire(self, holder: str, ttl: timedelta) -> Term | HeldBy:
        """Take the lease if it is free or expired: a new epoch each time."""
        ...

    async def renew(self, term: Term, ttl: timedelta) -> None:
        """Renew it. Raises LeaseLost if the term is no longer current."""
        ...

    async def release(self, term: Term) -> None:
        """Expire it; the row is never deleted."""
        ...

    async def observe_mode(self, term: Term, mode: Mode) -> None:
        """Remember the mode. From dry run to live, every due time moves to at least a delay from now."""
        ...


class Site(Protocol):
    """The bucket to which this database is tied."""

    async def identity(self) -> Identity | None: ...

    async def bind(self, identity: Identity) -> None:
        """Record the tie, at first contact or when the prefixes changed. The site id never changes."""
        ...

    async def new_id(self) -> UUID:
        """The site id of this database, made once."""
        ...

    async def seals(self) -> Seals: ...

    async def lineage(self) -> Lineage:
        """The database's current lineage, as far as it says; `identity` has the one of the last seal."""
        ...

    async def propose(self, term: Term, confirmed: UUID | None, pending: UUID) -> None:
        """Before the identity is written, record its present and its next nonce. Raises LeaseLost."""
        ...

    async def confirm(self, term: Term, nonce: UUID, lineage: Lineage) -> None:
        """Record that the identity was seen with this nonce, of this lineage. Raises LeaseLost."""
        ...

    async def on_their_way(self, term: Term, longest_call: timedelta) -> timedelta:
        """Return how long requests for claimed marks may still be on their way.

        Until `longest_call` after the claim, and after this term began. Raises LeaseLost.
        """
        ...

    async def withdraw(self, term: Term, upload_window: timedelta) -> int:
        """Withdraw every mark, claimed or not, and end the running passes. Returns how many marks.

        What was claimed may be gone: it leaves a tombstone for the window, and its copy can be undone.
        Nothing of it may be on its way any more. Raises LeaseLost.
        """
        ...

    async def adopt(self, term: Term, identity: Identity) -> None:
        """Tie the database to the bucket as its identity now says, under that site id. Raises LeaseLost."""
        ...


class Budget(Protocol):
    """Keys a second over all replicas, and over everything that deletes, copies or aborts."""

    async def reserve(self, keys: float, rate: float, saved: int) -> float:
        """Take `keys` at `rate` keys a second. Returns the seconds to wait before they may be used.

        By the server's clock. Idle time saves up `saved` keys and no more. Only the taker may give keys
        back, by taking a negative number at the same rate. With an infinite rate nothing is asked and
        nothing is waited for. Raises CatalogUnavailable.
        """
        ...


class PauseSwitch(Protocol):
    """The pause that an operator sets in the database for every replica. On a connection of its own."""

    async def read(self) -> Pause:
        """The current pause. Raises CatalogUnavailable."""
        ...

    async def pause(self, by: str, reason: str) -> Pause:
        """Pause. Returns the pause in force, which may be an earlier one."""
        ...

    async def resume(self, by: str) -> Pause:
        """Resume. Returns the former state."""
        ...
