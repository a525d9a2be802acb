"""What deletion leaves so that it can be undone, and what was brought back."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from reconciler.model.control import Hold
from reconciler.model.enums import DeleteMode
from reconciler.model.verdicts import Verdict

UNVERSIONED = "null"
"""The id of a version put while the bucket kept none; the next such PUT replaces it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version of a key, or one of its delete markers (without ETag and size)."""

    key: str
    id: str
    marker: bool
    latest: bool
    last_modified: datetime | None
    etag: str | None = None
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One multipart upload that has not been completed."""

    key: str
    id: str
    begun_at: datetime | None


@dataclass(frozen=True, slots=True)
class CopyRequest:
    """One server-side copy.

    `etag` None takes whatever is there. `only_new` never overwrites the target, as far as the store honours
    If-None-Match and a look just before finds it free. `version` takes that source version. `listed_size`,
    with an `etag`: the size in bytes, from a listing that had it in the standard storage class; if the store
    compares the ETag itself, the source is not looked at first then.
    """

    source: str
    target: str
    _: KW_ONLY
    etag: str | None = None
    only_new: bool = False
    version: str | None = None
    listed_size: int | None = None


class CopyResult(StrEnum):
    """The result of one server-side copy."""

    COPIED = "copied"
    MISSING = "missing"
    """The source is not there."""
    CHANGED = "changed"
    """The source is not the object that was requested."""
    OCCUPIED = "occupied"
    """The target, which had to be new, is taken."""
    FAILED = "failed"
    """Nothing was copied this time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """The outcome of one server-side copy. `etag` and `size` are the source's, if it was seen."""

    result: CopyResult
    etag: str | None = None
    size: int = 0
    last_modified: datetime | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hidden:
    """An object that was deleted and can be brought back: what it was, and where it is now.

    `quarantine_key` if a copy of it exists; else the versions that delete markers hide, and those
    markers, newest first. `size` in bytes, `etag` and `last_modified` as they were at its own key.
    """

    mode: DeleteMode
    size: int
    etag: str | None = None
    last_modified: datetime | None = None
    quarantine_key: str | None = None
    version_ids: tuple[str, ...] = ()
    marker_ids: tuple[str, ...] = ()

    def hides(self, version: Version) -> bool:
        """Whether that version is the hidden one. One without an id of its own is recognised by its ETag."""
        if version.marker or version.id not in self.version_ids:
            return False
        return version.id != UNVERSIONED or self.etag in {None, version.etag}


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoScope:
    """What to undo: the deletions of these keys, of one pass, or from `since` on and before `until`.

    A field that is None or empty does not narrow it. Times are the server's. A pass also stands for the
    tripped passes that it took in, which were approved with it.
    """

    keys: tuple[str, ...] = ()
    pass_id: int | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HiddenObject:
    """One object that can be brought back. `erased`: on request, it must not be. `pass_id`: what found it.

    `needed`: a row might need it; else it is a copy of what lies at its own key, or erased. `holdable`: a
    hold keeps it, that is, if it is needed, or was erased but not despite a hold.
    """

    id: int
    storage_key: str
    operation_id: UUID
    verdict: Verdict
    hidden: Hidden
    hidden_at: datetime
    erased: bool = False
    pass_id: int | None = None
    needed: bool = True
    holdable: bool = True
    despite_hold: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedRow:
    """One row that was removed and not put back. `ledger_id` is its line in the ledger, which keeps it."""

    ledger_id: int
    record_id: str
    verdict: Verdict
    pass_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """What was deleted under one key and can be brought back: the newest object, and rows, newest first."""

    storage_key: str
    object: HiddenObject | None = None
    rows: tuple[RemovedRow, ...] = ()

    @property
    def pass_id(self) -> int | None:
        """The pass that deleted it; the object's before the rows'."""
        return self.object.pass_id if self.object else next((row.pass_id for row in self.rows), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """A key that has to be looked at: its object, or its row, may have to come back.

    `vouched`: a trigger let a row in on the promise that the newest hidden object comes back.
    """

    storage_key: str
    queued_at: datetime
    vouched: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """What an erasure found: hidden objects, removed rows, and keys that are just being deleted, or whose
    object is being brought back (`returning`). `held`: what is on hold, so that nothing was erased.
    `unknown`: keys of which nothing is recorded; nothing is written down about them either.
    """

    objects: int
    rows: int
    claimed: tuple[str, ...] = ()
    returning: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    held: Mapping[str, Hold] = field(default_factory=dict)


class Return(StrEnum):
    """The result for one object or row that was to be brought back."""

    RESTORED = "restored"
    PRESENT = "present"
    """It was there already."""
    PARTIAL = "partial"
    """The row is there again, but not all of it; the reason names what it lacks."""
    REFUSED = "refused"
    """It cannot be brought back as things stand; the reason says what prevents it."""
    FAILED = "failed"
    """Not this time: the store did not do it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """One object or row (`record_id`) that was to be brought back, and why it was not. `size` in bytes."""

    storage_key: str
    outcome: Return
    record_id: str | None = None
    reason: str = ""
    size: int = 0
