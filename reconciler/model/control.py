"""What a person sets: holds and the pause."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from reconciler.model.words import Word


class HoldKind(Word):
    """What a hold names: one storage key, all keys under a prefix, or all that rows of a virtual key name."""

    KEY = "key"
    PREFIX = "prefix"
    VIRTUAL_KEY = "virtual_key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A deliberate keep. In force until `until` by the server's clock; None: until somebody removes it.

    Of one author there is one hold on a target, with the reason and end that were given last; those of
    several authors stand side by side. `added_at` is the server's time, None in what is to be added.
    `pass_id`, where the program made it: the pass whose deletion was undone, or refused by the store.
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
    """Which holds: those to which all of it applies; None applies to every hold.

    `prefix` is how the target begins, `reason` a part of the reason. A pass stands for those that it took in
    as well.
    """

    kind: HoldKind | None = None
    prefix: str = ""
    author: str | None = None
    pass_id: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """The stop that lives in the database: whether it is on, and who last changed it, when and why.

    `at` is by the server's clock, None where nobody has ever changed it.
    """

    paused: bool = False
    at: datetime | None = None
    by: str = ""
    reason: str = ""
