"""Errors, grouped by what the daemon does about them.

::

    ReconcilerError
    ├── Retryable            the loop backs off and tries again
    │   ├── StoreUnavailable       the bucket's endpoint did not answer, or throttles
    │   │   └── StoreFull          no room, or no key to encrypt with: a person may have to act
    │   ├── QueueUnavailable       the queue of the store's events did not answer, or refuses us
    │   ├── KeyRefused             the store refuses one key, and answers for its neighbours
    │   ├── CatalogUnavailable     Postgres did not answer, or cut the connection
    │   ├── ListingBroken          a page that cannot be trusted: the pass fails, nothing is released
    │   │   ├── OrderViolated      keys not strictly ascending: the sweep starts over without order
    │   │   ├── ListingContradicted  rows and HEADs know of more: the sweep starts over in other pages
    │   │   └── InventoryRefused     an inventory that is not to be used: the sweep waits for the next one
    │   ├── Untold                 a CDN or another receiver cannot be told, or refuses our token
    │   ├── LeaseLost              another replica leads, or the lease could not be renewed
    │   └── PassEnded              a person discarded what the running pass had built on: a new one begins
    ├── NotDone              what an operator asked for cannot be done, or not like this (exit 1 or 2)
    ├── Halt                 stay alive, idle, and say so; a person has to act (exit 3)
    │   ├── LoginRefused           the store does not take the credentials, or has no such bucket (exit 1)
    │   └── BadValue               a value in the tables that a statement of ours trips over
    └── ConfigError          settings or surroundings that cannot work (exit 2)
        └── LoginMissing           no credentials, or the database refuses the login or is not there (exit 1)

A message is one line that says what is wrong and what to do about it.
"""

from enum import StrEnum

from reconciler.model import Blame


class ReconcilerError(Exception):
    """Base of every error that the program raises on purpose."""


class Retryable(ReconcilerError):
    """Transient: the same call may succeed later."""


class StoreUnavailable(Retryable):
    """The object store did not answer in time, refused the connection, throttles or answers 5xx."""


class StoreFull(StoreUnavailable):
    """The store is full, over its quota, or its encryption key is away: the message says what to do."""


class QueueUnavailable(Retryable):
    """The queue of the store's events cannot be read. Only freshness suffers: the sweep sees everything."""


class KeyRefused(Retryable):
    """The store refuses this key, but not the bucket's own identity; the key is settled alone.

    `nameless`: the store takes no such key, so there can be no object under it.
    """

    def __init__(self, message: str, blame: Blame, *, nameless: bool = False) -> None:
        super().__init__(message)
        self.blame = blame
        self.nameless = nameless


class CatalogUnavailable(Retryable):
    """Postgres is away, starting, or ended the connection."""


class ListingBroken(Retryable):
    """A listing that cannot be complete: an error inside a 200, a missing or repeated token."""


class OrderViolated(ListingBroken):
    """A stream that promised byte order is not strictly ascending."""


class ListingContradicted(ListingBroken):
    """A listing that lacks most of the objects that rows name and HEAD finds."""


class InventoryRefused(ListingBroken):
    """An inventory that is damaged, incomplete, out of date or of something else; nothing of it is used."""


class LeaseLost(Retryable):
    """The term is no longer the current one; nothing may be claimed under it."""


class PassEnded(Retryable):
    """The running pass was ended from outside; nothing of it is released."""

    def __init__(self, pass_id: int) -> None:
        super().__init__(
            f"pass {pass_id} is no longer running: an earlier one was discarded meanwhile, or a newer one"
            " has begun; nothing of it is released, the next pass looks at everything again"
        )


class ErrorKind(StrEnum):
    """What is wrong with a request of an operator."""

    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    """The target exists, but its state does not allow this."""
    INVALID = "invalid"
    """The request makes no sense, and the same request never will."""
    NOT_READY = "not_ready"
    """Something has to be set up first."""


class Untold(Retryable):
    """Whoever is to be told of what has happened does not answer, or takes no word from us."""


class NotDone(ReconcilerError):
    """What an operator asked for cannot be done, or not like this.

    `code` is stable, and names the reason for programs; `fields` hold the values in the message. The message
    names no command, option or setting: the interface that shows it adds its own.
    """

    def __init__(self, kind: ErrorKind, code: str, message: str, **fields: object) -> None:
        super().__init__(message)
        self.kind = kind
        self.code = code
        self.fields = fields


class Halt(ReconcilerError):
    """Going on could delete what is live: stop until a person has acted."""


class ConfigError(ReconcilerError):
    """Settings, permissions or schema that cannot work. The message may have several lines, one a fault."""


class NoLogin(ReconcilerError):
    """Mixed into errors about credentials that are missing or refused, and about a database or bucket that is
    not there. A command ends as where the server is away (exit 1); the daemon does as the other base says.
    """


class LoginRefused(Halt, NoLogin):
    """The store does not take these credentials, or has no such bucket."""


class LoginMissing(ConfigError, NoLogin):
    """There are no credentials, or the database refuses the login."""


class BadValue(Halt):
    """Postgres refuses a value in the tables (22…). A caller with a batch finds the value, and goes on."""
