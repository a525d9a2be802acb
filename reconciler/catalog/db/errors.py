"""Errors of Postgres and asyncpg, translated into those that the rest of the program knows.

=============================================  ==========================================
connection lost, shut down, too many, time-out CatalogUnavailable: the loop tries again
a table changed under a prepared statement     the same
an answer that the driver cannot read          the same: its bytes were corrupted in transit
an answer without what was asked for           the same: corrupted, or a fault of ours
wrong password, no such role or database       LoginMissing
privilege missing, row-level security, schema  Halt: a person has to act
a value that a statement cannot take (22…)     BadValue: of a batch, its one key is put off
=============================================  ==========================================
"""

import json
import socket
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from reconciler.errors import BadValue, CatalogUnavailable, ConfigError, Halt, LoginMissing, ReconcilerError

DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What asyncpg raises; the last where the server has ended the connection while it was idle."""

AWAY = ("08", "53", "57", "40", "25", "58", "55")
"""Classes of SQLSTATE after which the same call may succeed later: connection, resources, operator
intervention, rollback, read-only (a failover under way), system error, object in use."""

_ROOM = "a sweep without order needs some 300 bytes for each listed object, and nothing of it was released"
FULL = {
    "53100": f". Free space on its disk: {_ROOM}",
    "53200": ". Raise max_locks_per_transaction: a statement locks each partition and its indexes",
    "53400": f". Raise that limit, if it is the one on temporary files: {_ROOM}",
}
"""What to do when Postgres runs out of space, locks or its limit on temporary files."""
MISSING_SCHEMA = frozenset({"3F000", "42P01", "42703", "42883"})


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Turn the driver's exceptions into ours; `where` is `host:port/database`."""
    try:
        yield
    except ReconcilerError:
        raise
    except (*DRIVER_ERRORS, OSError, TimeoutError, ValueError) as error:
        raise (_unreadable(error, where) if garbled(error) else translate(error, where)) from error
    except Exception as error:
        if not garbled(error):
            raise
        raise _unreadable(error, where) from error


_ALL_OF_CATALOG = Path(__file__).parents[1]


def garbled(error: BaseException) -> bool:
    """Whether the driver failed while it read an answer. It verifies no checksums.

    A corrupted answer raises whatever goes wrong first (AssertionError, UnicodeDecodeError, struct's own),
    and the driver's state of the connection is unreliable from then on. An answer that lacks a column named
    by our own statement, or has another, counts as well, and so does JSON that is none: rows are read while
    their connection is lent.
    """
    if isinstance(error, (*DRIVER_ERRORS, OSError, ReconcilerError)):
        return False
    if isinstance(error, json.JSONDecodeError):
        return True
    frames = list(traceback.walk_tb(error.__traceback__))
    if not frames:
        return False
    raised_in = Path(frames[-1][0].f_code.co_filename)
    if _lacks_a_column(error):
        return _ALL_OF_CATALOG in raised_in.parents
    return "asyncpg" in raised_in.parts


def _lacks_a_column(error: BaseException) -> bool:
    return isinstance(error, KeyError) or "unexpected keyword argument" in str(error)


def translate(error: BaseException, where: str) -> ReconcilerError | ValueError:
    """Our error for the driver's; a ValueError that does not come from the driver is returned unchanged."""
    if isinstance(error, asyncpg.PostgresError):
        return _by_state(error, where)
    if isinstance(error, asyncpg.ClientConfigurationError):
        return ConfigError(f"RECONCILER_DATABASE_URL cannot be used: {_line(error)}")
    if isinstance(error, socket.gaierror):
        return CatalogUnavailable(
            f"Postgres at {where}: the host name cannot be resolved; check RECONCILER_DATABASE_URL"
        )
    if isinstance(error, ValueError) and not isinstance(error, asyncpg.InterfaceError):
        return error
    if isinstance(error, TimeoutError):
        return CatalogUnavailable(f"Postgres at {where} did not answer in time")
    return CatalogUnavailable(
        f"Postgres at {where} is not reachable: {_line(error)};"
        " check that it is up and RECONCILER_DATABASE_URL is right"
    )


def _unreadable(error: Exception, where: str) -> CatalogUnavailable:
    """What lacks a column may be our own fault too: a statement and the code that reads its rows differ."""
    what = f"an answer of Postgres at {where} cannot be read ({type(error).__name__})"
    tls = "TLS would have found it (sslmode=require in RECONCILER_DATABASE_URL)"
    if not _lacks_a_column(error):
        return CatalogUnavailable(f"{what}: bytes of it were changed on the way; {tls}")
    frame, line = list(traceback.walk_tb(error.__traceback__))[-1]
    place = f"{Path(frame.f_code.co_filename).name}, line {line}"
    return CatalogUnavailable(
        f"{what}: it has other columns than were asked for, {_line(error)} in {place}. Either bytes of it"
        f" were changed on the way, and {tls}; or, where the same comes again, the program"
        " is wrong: report it"
    )


def _by_state(error: asyncpg.PostgresError, where: str) -> ReconcilerError:
    state = error.sqlstate or ""
    message = _line(error)
    if state.startswith("28") or state == "3D000":
        return LoginMissing(
            f"Postgres at {where} refuses the login: {message}; check RECONCILER_DATABASE_URL"
        )
    if "row-level security" in message or "row security" in message:
        return Halt(f"{message}: rows would be hidden and their objects look orphaned; grant BYPASSRLS")
    if state == "42501":
        return Halt(f"{message} in {where}; {_needed(message)}")
    if state in MISSING_SCHEMA:
        return Halt(f"{message} in {where}; run `reconciler migrate`, then `reconciler doctor`")
    # A migration ran while a replica was at work; inside a transaction asyncpg cannot prepare again.
    outdated = isinstance(error, asyncpg.InvalidCachedStatementError)
    if outdated or state[:2] in AWAY:
        return CatalogUnavailable(f"Postgres at {where}: {message}{FULL.get(state, '')}")
    refused = BadValue if state.startswith("22") else Halt
    return refused(f"Postgres at {where} refused a statement ({state}): {message}")


def _needed(message: str) -> str:
    """What to do about a refusal. `doctor` cannot list missing rights before it may read our own schema."""
    if message.endswith("permission denied for schema reconciler"):
        return "make this role the owner of the schema and all in it, or run `reconciler migrate` as it first"
    return "grant it, `reconciler doctor` lists what is needed"


def _line(error: BaseException) -> str:
    """The first line of the error's message, or the error's type where it has none."""
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
