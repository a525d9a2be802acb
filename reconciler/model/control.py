"""What a person sets, holds and the pause, and what a person may do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from reconciler.model.enums import Word


class HoldKind(Word):
    """What a hold names: one storage key, all keys under a prefix, or all that rows of a virtual key name."""

    KEY = "key"
    PREFIX = "prefix"
    VIRTUAL_KEY = "virtual_key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A deliberate keep. In force until `until` by the server's clock; None: until it is removed.

    An author has at most one hold on a target, with the reason and end given last; holds of several
    authors coexist. `added_at` is the server's time, None before it is added. `pass_id`, if the program
    made it: the pass whose deletion was undone, or refused by the store.
    """

    kind: HoldKind
    target: str
    reason: str
    author: str
    until: datetime | None = None
    added_at: datetime | None = None
    pass_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldFilter:
    """Selects holds: those that match all of it; None matches every hold.

    `prefix` is the beginning of the target, `reason` a part of the reason. A pass also stands for the passes
    that it took in.
    """

    kind: HoldKind | None = None
    prefix: str = ""
    author: str | None = None
    pass_id: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """The pause in the database: whether it is on, and who last changed it, when and why.

    `at` is by the server's clock, None if it has never been changed.
    """

    paused: bool = False
    at: datetime | None = None
    by: str = ""
    reason: str = ""


class Role(StrEnum):
    """What a caller of the admin API may do. Each role may do what those before it may."""

    VIEWER = "viewer"
    """Look."""
    OPERATOR = "operator"
    """Pause, set holds, ask for passes, withdraw marks."""
    APPROVER = "approver"
    """Decide about tripped passes, undo and erase."""

    def may(self, needed: Role) -> bool:
        """Whether this role is enough where `needed` is asked for."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls the admin API, as far as a token proves it. `name` is what is written down about orders."""

    name: str
    role: Role
