"""The fencing token, compared by every transaction that writes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from reconciler.catalog.connections import AnyConnection
from reconciler.catalog.schema import SCHEMA
from reconciler.errors import LeaseLost
from reconciler.model import Mode, Term


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the term's row says besides: the mode last observed, and the server's time."""

    mode: Mode | None
    now: datetime


async def stand(connection: AnyConnection, term: Term) -> Standing:
    """Lock the term's row against an acquisition for the rest of the transaction, and compare.

    Raises LeaseLost where another term is current. Others that write under this term are not held up.
    """
    row = await connection.fetchrow(
        f"SELECT epoch, nonce, mode, clock_timestamp() AS now FROM {SCHEMA}.term FOR SHARE"
    )
    if row is None or (row["epoch"], row["nonce"]) != (term.epoch, term.nonce):
        raise LeaseLost(f"epoch {term.epoch} of {term.holder} is over; another replica has led since")
    return Standing(mode=Mode(row["mode"]) if row["mode"] else None, now=row["now"])
