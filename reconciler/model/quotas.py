"""Quotas: how much an owner may keep, and what one keeps."""

from dataclasses import dataclass
from enum import StrEnum

QUOTA_REACHED = (0.8, 1.0)
"""The shares of a quota at which its owners are told of."""


class QuotaOwner(StrEnum):
    """Whose media are added up."""

    VIRTUAL_KEY = "virtual_key"
    KEY_GROUP = "key_group"


class Evict(StrEnum):
    """Which media of an owner beyond its quota go first; NEVER: none goes, and it is only told."""

    NEVER = "never"
    OLDEST = "oldest"
    LEAST_RECENTLY_ACCESSED = "least_recently_accessed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """The most that one owner may keep of the media under it: bytes, objects, or both.

    `name` is that of the rule that sets it; "" is the global one, of all media whose rule sets none.
    """

    name: str
    max_bytes: int | None
    max_objects: int | None
    owner: QuotaOwner
    evict: Evict

    @property
    def evicts(self) -> bool:
        return self.evict is not Evict.NEVER


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the owner of a row keeps under the row's quota, and what of it is evicted before that row.

    `size` is the row's own part in bytes, 0 where it is unknown. Rows that go for another reason are in none
    of these. `counting` is the `Policy.counting` under which it was added up.
    """

    counting: object
    owner: str
    size: int
    bytes: int
    objects: int
    bytes_before: int
    objects_before: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaUse:
    """What one owner keeps under a quota. `share` is of the limit that it is nearer to: 1 is all of it."""

    owner: str
    objects: int
    bytes: int
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaStanding:
    """How many owners have reached each share of `QUOTA_REACHED` of a quota, and those nearest to it."""

    quota: Quota
    reached: tuple[int, ...]
    nearest: tuple[QuotaUse, ...]
