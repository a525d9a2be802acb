"""What the demo's gateway looks like before anything is reconciled: every kind of drift, and what must stay.

A scene is imagined in full before anything is stored, so what must be left in the end is known from
here alone and does not depend on the reconciler's own idea of it.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from uuid import UUID

from reconciler.errors import ConfigError

MANAGED = ("audio/", "image/", "other/", "video/")
MIN_OBJECTS = 100
LONGEST_KEY = 1024  # bytes: the longest that S3 allows, and twice what the gateway's column holds

DAY = timedelta(days=1)
RETENTION_DAYS = 90
RECENT_ACCESS_DAYS = 30
LIMITED = "other/gallery/"
"""Where a key may keep no more than `Scene.quota` objects."""


class Owner(StrEnum):
    """The virtual keys of the scene. The id of ABSENT is one that no row of the keys' table has."""

    ACTIVE = "active"
    DISABLED = "disabled"
    EXPIRED = "expired"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of the media table, its times as ages (negative: still to come)."""

    owner: Owner = Owner.ACTIVE
    created: timedelta = 5 * DAY
    accessed: timedelta | None = None
    expired: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of media: how much of it there is, and what becomes of it.

    `share` is a fraction of the objects asked for, `least` the smallest number whatever that
    fraction says. `goes` names the verdict under which it is deleted, None where it stays. `fresh` media
    is stored last, so that it is younger than the grace period. The row of what `leaves` is deleted again.
    """

    name: str
    share: float
    goes: str | None = None
    row: Row | None = None
    has_object: bool = True
    fresh: bool = False
    leaves: bool = False
    least: int = 2
    where: str = ""


KINDS = (
    Kind(name="old, but read last week", share=0.05, row=Row(created=200 * DAY, accessed=7 * DAY)),
    Kind(name="expiring tomorrow", share=0.02, row=Row(expired=-1 * DAY)),
    Kind(name="expired yesterday", share=0.06, goes="expired", row=Row(expired=1 * DAY)),
    Kind(name="old and never read", share=0.03, goes="stale", row=Row(created=120 * DAY)),
    Kind(name="old and long unread", share=0.03, goes="stale", row=Row(created=300 * DAY, accessed=45 * DAY)),
    Kind(name="its key disabled", share=0.02, goes="revoked", row=Row(owner=Owner.DISABLED)),
    Kind(name="its key expired", share=0.02, goes="revoked", row=Row(owner=Owner.EXPIRED)),
    Kind(name="its key gone", share=0.02, goes="ownerless", row=Row(owner=Owner.ABSENT)),
    Kind(name="object without a row", share=0.10, goes="orphan"),
    Kind(name="its row just deleted", share=0.02, goes="departed", row=Row(), leaves=True),
    Kind(name="upload in flight", share=0.003, fresh=True),
    Kind(name="row without its object", share=0.02, goes="dangling", row=Row(), has_object=False),
    Kind(name="row ahead of its object", share=0.002, row=Row(created=0 * DAY), has_object=False, fresh=True),
    Kind(name="within its key's quota", share=0.01, row=Row(created=20 * DAY), where=LIMITED),
    Kind(name="beyond it", share=0.01, goes="over_quota", row=Row(created=40 * DAY), where=LIMITED),
    Kind(name="outside the managed prefixes", share=0.01, where="images/"),
    Kind(name="row outside them", share=0.002, row=Row(created=300 * DAY), has_object=False, where="backup/"),
)
ODD_KINDS = {
    "kept": Kind(name="odd key, kept", share=0, row=Row()),
    "expired": Kind(name="odd key, expired", share=0, goes="expired", row=Row(expired=1 * DAY)),
    "orphan": Kind(name="odd key without a row", share=0, goes="orphan"),
}
KEPT = Kind(name="in order", share=0, row=Row())
PROTECTED = Kind(name="key that is never deleted", share=0)

# What the embedded store cannot hold is not here: it turns `\` and `//` into `/`, refuses `..` and any
# part of a key between slashes that is longer than 255 bytes.
ODD_NAMES = (
    "two words",
    " leading and trailing ",
    "plus+plus",
    "100%",
    "%2Fno%2Fslash",
    "this&that",
    "<tag>",
    "'single' \"double\"",
    "#hash?query;part=1",
    "line\nbreak",
    "tab\there",
    "*~@$!(){}[]^`|,:",
    "ünïcödé",
    "u\u0308 decomposed",
    "fox 🦊",
)
PROTECTED_KEYS = ("image/an empty folder/", "other/not UTF-8 \ufffd.bin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """An object, a row, or both, under one storage key. `size` in bytes."""

    id: UUID
    key: str
    kind: Kind
    size: int


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that is to be stored."""

    media: Sequence[Media]

    def objects(self, *, fresh: bool) -> list[Media]:
        """What has an object, orphans first: they have to outlive the grace period."""
        chosen = [media for media in self.media if media.kind.has_object and media.kind.fresh is fresh]
        return sorted(chosen, key=lambda media: media.kind.goes != "orphan")

    def rows(self, *, fresh: bool) -> list[Media]:
        return [media for media in self.media if media.kind.row and media.kind.fresh is fresh]

    def leaving(self) -> list[Media]:
        return [media for media in self.media if media.kind.leaves]

    def objects_in_the_end(self) -> set[str]:
        return {media.key for media in self.media if media.kind.has_object and not media.kind.goes}

    def rows_in_the_end(self) -> set[str]:
        return {media.key for media in self.media if media.kind.row and not media.kind.goes}

    def going(self) -> list[Media]:
        return [media for media in self.media if media.kind.goes]

    @property
    def quota(self) -> int:
        """How many objects a key may keep under LIMITED: all that do not go."""
        return sum(media.key.startswith(LIMITED) and not media.kind.goes for media in self.media)

    def to_undo(self) -> str:
        """The key of an expired record with its object. Rows whose virtual key is gone do not come back."""
        return min(media.key for media in self.going() if media.kind.goes == "expired")


def imagine(objects: int, seed: int | None = None) -> Scene:
    """A scene of about that many objects (exactly, but for rounding). Raises ConfigError if too few."""
    if objects < MIN_OBJECTS:
        raise ConfigError(f"--objects {objects}: needs at least {MIN_OBJECTS}, to hold every kind of drift")
    draw = random.Random(seed)
    media = [*_special(draw)]
    for kind in KINDS:
        media += [_ordinary(kind, draw) for _ in range(max(kind.least, round(kind.share * objects)))]
    missing = objects - sum(one.kind.has_object for one in media)
    media += [_ordinary(KEPT, draw) for _ in range(missing)]
    return Scene(media)


def _special(draw: random.Random) -> Iterator[Media]:
    """Keys that have gone wrong elsewhere: each odd name in three roles, and those never deleted."""
    for role, kind in ODD_KINDS.items():
        for name in ODD_NAMES:
            yield _media(f"other/odd/{role}/{name}.png", kind, draw)
    yield _media(_longest("other/odd/"), ODD_KINDS["orphan"], draw)
    for key in PROTECTED_KEYS:
        yield _media(key, PROTECTED, draw)


def _longest(prefix: str) -> str:
    folders = prefix + "/".join("x" * 200 for _ in range(4)) + "/"
    return folders + "y" * (LONGEST_KEY - len(folders))


def _ordinary(kind: Kind, draw: random.Random) -> Media:
    """A key in the gateway's own layout, `image/2026/08/14/<uuid>.png`."""
    folder, extension = draw.choice(
        (("image/", ".png"), ("image/", ".webp"), ("video/", ".mp4"), ("audio/", ".mp3"))
    )
    day = f"2026/{draw.randint(1, 12):02}/{draw.randint(1, 28):02}"
    name = UUID(int=draw.getrandbits(128), version=4)
    return _media(f"{kind.where or folder}{day}/{name}{extension}", kind, draw)


def _media(key: str, kind: Kind, draw: random.Random) -> Media:
    size = 0 if key.endswith("/") else draw.randint(200, 6_000)
    return Media(id=UUID(int=draw.getrandbits(128), version=4), key=key, kind=kind, size=size)
