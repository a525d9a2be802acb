"""Rules of retention: whose media other terms hold for than the global ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Protocol

from reconciler.model.quotas import Quota
from reconciler.model.records import Record

__all__ = [
    "BALANCES",
    "FOREVER",
    "NO_RULES",
    "PROPERTIES",
    "RULE_COLUMNS",
    "GroupPolicy",
    "Match",
    "Rule",
    "Rules",
    "Terms",
    "folded",
]

FOREVER = timedelta.max
"""The retention of media that is never stale: no age reaches it."""

RULE_COLUMNS = frozenset({"virtual_key_id", "media_type", "provider", "model"})
"""The fields of `MediaColumns`, besides the key, that a rule may read, whatever the verdict."""


class Terms(Protocol):
    """What a rule sets, and the global settings where none matches."""

    @property
    def media_retention(self) -> timedelta: ...
    @property
    def recent_access(self) -> timedelta: ...
    @property
    def key_grace(self) -> timedelta: ...
    @property
    def delete_revoked(self) -> bool: ...
    @property
    def soft_delete_grace(self) -> timedelta | None:
        """How long a soft-deleted row stays; None: for the grace period."""

    @property
    def quota(self) -> Quota | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Which rows: the values of each property, none of them where any will do. All that are given must match.

    Media types, providers and models are in the form of `folded`. A key lies under one of the prefixes.
    """

    virtual_key_id: tuple[str, ...] = ()
    key_group: tuple[str, ...] = ()
    media_type: tuple[str, ...] = ()
    provider: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    prefix: tuple[str, ...] = ()

    @property
    def given(self) -> Mapping[str, tuple[str, ...]]:
        """The properties that it names, with their values."""
        return {name: values for name in PROPERTIES if (values := getattr(self, name))}

    def covers(self, other: Match) -> bool:
        """Whether every row that the other matches is matched by this one too."""
        theirs = other.given
        return all(
            name in theirs
            and all(each.startswith(values) if name == "prefix" else each in values for each in theirs[name])
            for name, values in self.given.items()
        )


PROPERTIES = tuple(each.name for each in fields(Match))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """The terms for the rows that match. `media_retention` and `soft_delete_grace` may be FOREVER,
    and `quota` the global one.

    `says` has in words whose rows they are, where the match does not.
    """

    name: str
    match: Match
    media_retention: timedelta
    recent_access: timedelta
    key_grace: timedelta
    delete_revoked: bool
    soft_delete_grace: timedelta | None = None
    quota: Quota | None = None
    says: str = field(default="", compare=False)


BALANCES = ("positive", "zero", "negative")
"""The states of a group's balance, of which Conduit's policies set days each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPolicy:
    """One of Conduit's retention policies as its table has it; None for what is NULL, or no such column.

    `days` by the state of the balance.
    """

    id: str
    name: str
    days: Mapping[str, int | None]
    respects_access: bool | None
    access_days: int | None
    soft_delete_days: int | None
    is_default: bool | None
    is_active: bool | None


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules in their order: the first that matches a row holds for it."""

    each: tuple[Rule, ...] = ()
    _wanted: Sequence[Mapping[str, frozenset[str]]] = field(init=False, repr=False, compare=False)
    _by_value: Mapping[str, Mapping[str, Sequence[int]]] = field(init=False, repr=False, compare=False)
    _by_prefix: Sequence[int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Sort the rules by one property each, so that a row is compared with few of them."""
        wanted, by_prefix = [], []
        by_value: dict[str, dict[str, list[int]]] = {}
        for place, rule in enumerate(self.each):
            values = {name: frozenset(those) for name, those in rule.match.given.items() if name != "prefix"}
            wanted.append(values)
            if not values:
                by_prefix.append(place)
                continue
            first = next(iter(values))
            for value in values[first]:
                by_value.setdefault(first, {}).setdefault(value, []).append(place)
        object.__setattr__(self, "_wanted", tuple(wanted))
        object.__setattr__(self, "_by_value", by_value)
        object.__setattr__(self, "_by_prefix", tuple(by_prefix))

    def __bool__(self) -> bool:
        return bool(self.each)

    @property
    def read_groups(self) -> bool:
        """Whether any rule reads the group of a row's virtual key."""
        return any(rule.match.key_group for rule in self.each)

    def first_for(self, row: Record) -> Rule | None:
        """The rule that holds for the row; None: the global settings do."""
        if not self.each:
            return None
        places = [*self._by_prefix]
        for name, by_value in self._by_value.items():
            places += by_value.get(_value(row, name) or "", ())
        places.sort()
        for place in places:
            prefix = self.each[place].match.prefix
            if (not prefix or row.storage_key.startswith(prefix)) and all(
                _value(row, name) in values for name, values in self._wanted[place].items()
            ):
                return self.each[place]
        return None


NO_RULES = Rules()


def _value(row: Record, name: str) -> str | None:
    if name == "key_group":
        return row.owner.group if row.owner else None
    value: str | None = getattr(row, name)
    return value


def folded(text: str) -> str:
    """Without blanks around it, ASCII letters in lower case: as the catalog reads types and providers.

    They come in more than one casing. Other letters stay, since databases do not agree about them.
    """
    return "".join(char.lower() if char.isascii() else char for char in text.strip(" "))
