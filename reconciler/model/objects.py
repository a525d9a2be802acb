"""The bucket's side: objects, pages of a listing, key ranges, and our own part of the bucket."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from reconciler.model.sanity import believable

RESERVED_PREFIX = ".reconciler/"
"""Our own part of the bucket (identity object, scratch keys): never managed, never counted."""


SCRATCH_FOLDER = ".reconciler-probe/"
"""Where scratch keys are in a managed prefix during a probe; no key that contains it is managed."""


QUARANTINE_PREFIX = f"{RESERVED_PREFIX}quarantine/"
"""Where deleted objects are that can still be brought back."""


REPLACEMENT_CHARACTER = "\ufffd"
"""The decoded form of bytes that are not UTF-8; such a key has lost its identity and is never deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """One object as the store lists it. `etag` without quotes, `size` in bytes."""

    key: str
    size: int
    etag: str
    last_modified: datetime | None
    version_id: str | None = None
    """As named by HEAD; a listing does not name it."""
    plain: bool = field(default=False, compare=False)
    """HEAD showed the standard storage class. A listing says so of a whole page."""


@dataclass(frozen=True, slots=True)
class ObjectPage:
    """One page of a listing, in columns: a million keys must not become a million objects.

    The four columns have the same length. `modified` is the store's own text (ISO 8601), parsed only for
    the few objects that become findings; `etags` and `modified` may be read from the page as late as that.
    `next_token` is None on the last page. `plain`: every object is of the standard storage class, as is a
    copy for which no class is named.
    """

    keys: list[str]
    sizes: list[int]
    etags: Sequence[str]
    modified: Sequence[str]
    next_token: str | None = None
    plain: bool = field(default=False, compare=False)

    def object_at(self, index: int) -> StoredObject:
        """The object at `index`; a meaningless Last-Modified becomes None, which protects the object."""
        return StoredObject(
            key=self.keys[index],
            size=self.sizes[index],
            etag=self.etags[index],
            last_modified=parse_timestamp(self.modified[index]),
        )

    def only(self, kept: Sequence[int]) -> ObjectPage:
        """The page's objects at these indices; the page itself if those are all."""
        if len(kept) == len(self.keys):
            return self
        return ObjectPage(
            keys=[self.keys[index] for index in kept],
            sizes=[self.sizes[index] for index in kept],
            etags=[self.etags[index] for index in kept],
            modified=[self.modified[index] for index in kept],
            next_token=self.next_token,
            plain=self.plain,
        )


def parse_timestamp(text: str) -> datetime | None:
    """An ISO 8601 time, in UTC if it has no zone; None if it cannot be read, or cannot have been meant."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return None
    return believable(parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC))


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRange:
    """The keys of one managed prefix in `(after, upto]`, in byte order.

    `after` "" is the start of the prefix, `upto` None its end.
    """

    prefix: str
    after: str = ""
    upto: str | None = None
