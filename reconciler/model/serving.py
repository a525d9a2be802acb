"""Media as they are served: what the table says of one, and what the store does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A virtual key, and the group that it belongs to; either may be unknown."""

    id: str | None
    group: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveRow:
    """A row that names a key, and is neither soft-deleted nor past its expiry.

    `seconds_left` until its expiry, None where it has none. `owner_valid`: its virtual key exists, is enabled
    and has not expired. `links` is the number that good links to its media are signed with.
    `marked`: the key is marked for deletion.
    """

    owner: Owner
    owner_valid: bool
    links: int = 0
    marked: bool = False
    seconds_left: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What one look at the tables found of a storage key, and of the virtual key that was presented.

    `caller` is None where that is unknown, disabled or expired, or where no row is live.
    """

    rows: Sequence[LiveRow]
    caller: Owner | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMedium:
    """An object as the store describes it, by the headers of its answer; texts are the writer's own.

    `etag` with its quotes, as the store writes it.
    """

    size: int
    etag: str
    modified: datetime | None
    content_type: str
    content_encoding: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Presigned:
    """A URL to make: of which key, by which method, for how long; `answer` are headers that the store is to
    send, by the names of S3's parameters, such as `response-content-type`.
    """

    method: str
    key: str
    seconds: int
    answer: Mapping[str, str]


PREFETCHING = ("sec-purpose", "purpose", "x-moz")
"""Headers by which a browser says that nobody looks yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncounted:
    """What asks for media without anybody looking: by parts of its name, in any case, and by what it says."""

    agents: Sequence[str] = ()
    prefetch: bool = False

    def asks(self, headers: Mapping[str, str]) -> bool:
        """Whether a request with these headers, by their lower-case names, does not count."""
        if self.prefetch and any("prefetch" in headers.get(name, "").lower() for name in PREFETCHING):
            return True
        return self.matches(headers.get("user-agent", ""))

    def matches(self, agent: str) -> bool:
        """Whether what calls itself so does not count."""
        name = agent.lower()
        return any(part.lower() in name for part in self.agents)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How often a key was accessed since that was last written, and how long ago for the last time."""

    key: str
    count: int
    seconds_ago: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedUpload:
    """A URL to make, by which one object can be put: of that size in bytes and that type, for so long.

    `sha256` of its bytes is in Base64, as S3 wants it; None where it is not known.
    """

    key: str
    content_type: str
    size: int
    sha256: str | None
    seconds: int
