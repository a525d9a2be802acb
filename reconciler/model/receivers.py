"""Receivers of events, as an operator sees them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchedOff:
    """A channel whose receiver wants no more."""

    channel: str
    at: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """How many events of the ledger are told again (those that wait still are counted too), and where to."""

    events: int
    channels: Sequence[str]
