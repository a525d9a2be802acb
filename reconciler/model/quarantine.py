"""The bucket that copies of deleted objects go to, where it is another one than the objects'."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from uuid import UUID

from reconciler.model.objects import QUARANTINE_PREFIX, RESERVED_PREFIX

_ELSEWHERE = re.compile(rf"{re.escape(QUARANTINE_PREFIX)}([^/]+)/([^/]+)/(?:[0-9a-f-]{{36}}/|$)")


@dataclass(frozen=True, slots=True)
class QuarantineBucket:
    """The bucket `name`, at the same endpoint, for copies of objects of the bucket `of`.

    The key of each such copy names both. So a copy is found where it was made, whatever the settings say by
    now, and several buckets can have their copies in one.
    """

    name: str
    of: str

    @property
    def folder(self) -> str:
        """The prefix of the copies."""
        return f"{QUARANTINE_PREFIX}{self.name}/{self.of}/"

    @property
    def identity_key(self) -> str:
        """The object that says whose copies these are. A lifecycle rule for the copies does not take it."""
        return f"{RESERVED_PREFIX}quarantine-of/{self.of}.json"

    @classmethod
    def of_key(cls, key: str, of: str | None = None) -> QuarantineBucket | None:
        """Where a copy with this key lies, or one under this prefix; None for the objects' own bucket.

        With `of`, only copies from that bucket are looked for elsewhere. A database that was moved to another
        bucket, or a copy of it that was, has keys of copies which are no longer its own (R-120).
        """
        found = _ELSEWHERE.match(key) if key.startswith(QUARANTINE_PREFIX) else None
        return None if found is None or of not in {None, found[2]} else cls(found[1], found[2])


def quarantine_key(operation_id: UUID, key: str, folder: str = QUARANTINE_PREFIX) -> str:
    """The key of a copy. Hashed, as a key may already have the greatest length; the ledger records it."""
    return f"{folder}{operation_id}/{hashlib.sha256(key.encode()).hexdigest()}"
