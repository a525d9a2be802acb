"""The fencing token, which every transaction that writes compares."""

from dataclasses import dataclass
from datetime import datetime

from reconciler.catalog.db.connections import AnyConnection
from reconciler.catalog.db.schema import SCHEMA
from reconciler.errors import Halt, LeaseLost
from reconciler.model import Mode, Term

TERM_BEGAN = f"(SELECT l.acquired_at FROM {SCHEMA}.lease l)"
"""SQL: when the current term began. A former term sent all its requests before that. So its claims are taken
over once the longest call to the store must have ended since then, however old the claim (R-87, R-90).
"""

UNKNOWN_SEAL = (
    "the bucket's identity bears a nonce that this database does not know: the database was restored, failed"
    " over to a replica that lagged, or is a copy; decide with `reconciler adopt-bucket` which one goes on"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """State read with the term: the mode last observed, whether all is paused, and the server's time."""

    mode: Mode | None
    paused: bool
    now: datetime


async def stand(connection: AnyConnection, term: Term) -> Standing:
    """Lock the term's row against an acquisition for the rest of the transaction, and compare the term.

    Raises LeaseLost where another term is current. Raises Halt where the bucket's identity, as the term
    last saw it, has a nonce that this database never wrote: the database is a copy, or went back in time.
    Other writers under this term are not held up.
    """
    row = await connection.fetchrow(
        "SELECT t.epoch, t.nonce, t.mode, clock_timestamp() AS now, s.nonce AS confirmed, s.pending_nonce,"
        f" EXISTS (SELECT FROM {SCHEMA}.pause WHERE paused) AS paused"
        f" FROM {SCHEMA}.term t LEFT JOIN {SCHEMA}.site s ON true FOR SHARE OF t"
    )
    if row is None or (row["epoch"], row["nonce"]) != (term.epoch, term.nonce):
        raise LeaseLost(f"epoch {term.epoch} of {term.holder} is over; another replica has led since")
    if term.seal is not None and term.seal not in (row["confirmed"], row["pending_nonce"]):
        raise Halt(UNKNOWN_SEAL)
    return Standing(mode=Mode(row["mode"]) if row["mode"] else None, paused=row["paused"], now=row["now"])
