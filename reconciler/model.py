"""The values that every part of the program shares. Frozen, without behaviour that does I/O."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TypeAlias, TypeVar
from uuid import UUID

K = TypeVar("K")

RESERVED_PREFIX = ".reconciler/"
"""Our own corner of the bucket (identity marker, scratch keys): never managed, never counted."""

QUARANTINE_PREFIX = f"{RESERVED_PREFIX}quarantine/"
"""Where objects lie that were deleted and can still be brought back."""

REPLACEMENT_CHARACTER = "\ufffd"
"""What a key that is not UTF-8 decodes to; such a key has lost its identity and is never deleted."""


class Verdict(StrEnum):
    """Why something ought to go (or, for ADOPT, to be made)."""

    ORPHAN = "orphan"
    DANGLING = "dangling"
    EXPIRED = "expired"
    STALE = "stale"
    REVOKED = "revoked"
    OWNERLESS = "ownerless"
    ADOPT = "adopt"


RETENTION_VERDICTS = (Verdict.OWNERLESS, Verdict.REVOKED, Verdict.EXPIRED, Verdict.STALE)
"""In the order in which the first that applies wins."""


class KeepReason(StrEnum):
    """Why something that looks like drift stays."""

    PENDING = "pending"
    HOLD = "hold"
    OUTSIDE_PREFIX = "outside_prefix"
    UNKNOWN_SHAPE = "unknown_shape"
    FOLDER_MARKER = "folder_marker"
    REPLACEMENT_CHARACTER = "replacement_character"
    DISABLED = "disabled"


class Mode(StrEnum):
    """Whether the write gateway lets writes through."""

    LIVE = "live"
    DRY_RUN = "dry_run"


class DeleteMode(StrEnum):
    """How an object is deleted, and so whether it can be brought back."""

    DIRECT = "direct"
    """For good."""
    QUARANTINE = "quarantine"
    """After a copy of it was made under `QUARANTINE_PREFIX`."""
    VERSIONED = "versioned"
    """By a delete marker of the bucket's."""


class Outcome(StrEnum):
    """How a pass, or a run of all of them, ended. In order of precedence."""

    FAILED = "failed"
    HALTED = "halted"
    TRIPPED = "tripped"
    PENDING = "pending"
    CONVERGED = "converged"


class Marker(StrEnum):
    """The two kinds of pass that write marks."""

    SWEEP = "sweep"
    RETENTION = "retention"


class ListingOrder(StrEnum):
    """How the bucket's listing is joined with the rows."""

    BYTES = "bytes"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """One object as the store lists it. `etag` without quotes, `size` in bytes."""

    key: str
    size: int
    etag: str
    last_modified: datetime | None
    version_id: str | None = None
    """Where HEAD named one: a listing does not."""


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
    """One multipart upload that nobody has completed."""

    key: str
    id: str
    begun_at: datetime | None


@dataclass(frozen=True, slots=True)
class ObjectPage:
    """One page of a listing, in columns: a million keys must not become a million objects.

    The four columns have the same length. `modified` is the store's own text (ISO 8601), parsed
    only for the few objects that become findings; `etags` and `modified` may be read out of the page
    as late as that. `next_token` is None on the last page.
    """

    keys: list[str]
    sizes: list[int]
    etags: Sequence[str]
    modified: Sequence[str]
    next_token: str | None = None

    def object_at(self, index: int) -> StoredObject:
        """The object at `index`; an unreadable Last-Modified becomes None, which protects it."""
        return StoredObject(
            key=self.keys[index],
            size=self.sizes[index],
            etag=self.etags[index],
            last_modified=parse_timestamp(self.modified[index]),
        )

    def only(self, kept: Sequence[int]) -> ObjectPage:
        """The page's objects at these indices; itself where those are all."""
        if len(kept) == len(self.keys):
            return self
        return ObjectPage(
            keys=[self.keys[index] for index in kept],
            sizes=[self.sizes[index] for index in kept],
            etags=[self.etags[index] for index in kept],
            modified=[self.modified[index] for index in kept],
            next_token=self.next_token,
        )


def parse_timestamp(text: str) -> datetime | None:
    """An ISO 8601 time; without zone it is UTC; None where it cannot be read."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualKey:
    """The state of a record's owner, as far as a verdict reads it.

    `disabled_since` is the first pass that saw it disabled; None while enabled or never seen so.
    """

    id: str
    enabled: bool
    expires_at: datetime | None
    disabled_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One row of the media table, as far as a verdict reads it.

    `id` and `virtual_key_id` are the columns' text form. `owner` is None where no such virtual
    key exists. `version` is a hash of the columns that a verdict reads.
    """

    id: str
    storage_key: str
    virtual_key_id: str | None
    owner: VirtualKey | None
    size_bytes: int | None
    created_at: datetime | None
    expires_at: datetime | None
    last_accessed_at: datetime | None
    deleted_at: datetime | None
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRange:
    """The keys of one managed prefix in `(after, upto]`, in byte order.

    `after` "" is the start of the prefix, `upto` None its end.
    """

    prefix: str
    after: str = ""
    upto: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The desired state: what may stay, for how long, and which kinds of clean-up are on."""

    prefixes: tuple[str, ...]
    grace_period: timedelta
    delete_delay: timedelta
    media_retention: timedelta
    recent_access: timedelta
    key_grace: timedelta
    delete_revoked: bool
    auto_cleanup: bool = True
    orphan_cleanup: bool = True
    dangling_cleanup: bool = True
    key_shape: re.Pattern[str] | None = None
    rewrites_keys: bool = False
    """Of the store rather than the settings: see `Capabilities`."""
    delete_mode: DeleteMode = DeleteMode.DIRECT
    """What a claim that is made now does; a claim that was made keeps its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerLimits:
    """Above any of them a pass trips. The fraction is asked from `min_count` findings on."""

    max_fraction: float
    max_count: int
    max_dangling: int
    min_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One classified drift. `kept` says why nothing is done about it (then no mark is written).

    `bytes` is the listed size, else the row's, else 0. The object's fields are None where the
    marker did not list it, `record_created_at` where there is no row. `newly`: the settings of the
    last released pass would have kept it.
    """

    verdict: Verdict
    storage_key: str
    bytes: int
    reason: str
    kept: KeepReason | None = None
    virtual_key_id: str | None = None
    record_created_at: datetime | None = None
    object_etag: str | None = None
    object_last_modified: datetime | None = None
    newly: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What a stretch of a pass saw. Adds up over ranges and pages.

    `missing` counts every row beyond its grace without an object, whatever its verdict: it is
    what the dangling cap is compared with. `found_bytes` goes with `found`. `newly` are findings
    that the settings of the last released pass would have kept. `by_prefix` is the same by managed
    prefix, where it was told apart.
    """

    objects: int = 0
    records: int = 0
    bytes: int = 0
    missing: int = 0
    found: Mapping[Verdict, int] = field(default_factory=dict)
    found_bytes: Mapping[Verdict, int] = field(default_factory=dict)
    kept: Mapping[KeepReason, int] = field(default_factory=dict)
    newly: Mapping[Verdict, int] = field(default_factory=dict)
    by_prefix: Mapping[str, Tally] = field(default_factory=dict)

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            objects=self.objects + other.objects,
            records=self.records + other.records,
            bytes=self.bytes + other.bytes,
            missing=self.missing + other.missing,
            found=_sum(self.found, other.found),
            found_bytes=_sum(self.found_bytes, other.found_bytes),
            kept=_sum(self.kept, other.kept),
            newly=_sum(self.newly, other.newly),
            by_prefix=_sum_tallies(self.by_prefix, other.by_prefix),
        )


def _sum(left: Mapping[K, int], right: Mapping[K, int]) -> dict[K, int]:
    return {key: left.get(key, 0) + right.get(key, 0) for key in (*left, *right)}


def _sum_tallies(left: Mapping[str, Tally], right: Mapping[str, Tally]) -> dict[str, Tally]:
    return {key: left.get(key, Tally()) + right.get(key, Tally()) for key in (*left, *right)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One spell of leadership: the fencing token that every claiming transaction compares.

    `seal` is the nonce last read from the bucket's marker, for a claim to compare as well. `vanished`:
    the term before was not released, so that whoever held it may still be alive somewhere.
    """

    epoch: int
    nonce: UUID
    holder: str
    seal: UUID | None = field(default=None, compare=False)
    vanished: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBy:
    """Somebody else's lease, the server's time at which it ends unless renewed, and how far off that was."""

    holder: str
    expires_at: datetime
    remaining: timedelta


class PassState(StrEnum):
    """RUNNING until its last range; then ARMED or TRIPPED; FAILED where it could not be finished.

    A TRIPPED one stays so until a person approves it, which arms it, or has it DISCARDED.
    """

    RUNNING = "running"
    ARMED = "armed"
    TRIPPED = "tripped"
    FAILED = "failed"
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One run of a marker. `cutoff` is the server's time at its start, frozen for all its verdicts.

    `policy` is what it judged by, None where that was not kept. `decided_by` and `decided_at` tell
    of a person's decision: an armed pass that has them was approved.
    """

    id: int
    marker: Marker
    cutoff: datetime
    config_hash: str
    mode: Mode
    order: ListingOrder | None
    state: PassState = PassState.RUNNING
    tally: Tally = field(default_factory=Tally)
    finished_at: datetime | None = None
    trip_reason: str | None = None
    both_sides: bool = False
    policy: Policy | None = None
    decided_by: str | None = None
    decided_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PassDetail:
    """A pass with the marks that it would release, or has released, and that are still there.

    Of a tripped pass these take in the marks of older tripped passes of its marker: they are decided
    together. `marks` counts them by prefix ("" where the prefixes are not known) and verdict;
    `examples` are the first few of each verdict, by key. `together` are the ids of those passes.
    """

    current: Pass
    marks: Mapping[tuple[str, Verdict], int]
    examples: Sequence[Mark]
    together: Sequence[int] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeProgress:
    """A key range of a pass and how far it got: everything up to `watermark` is compared and marked."""

    ordinal: int
    range: KeyRange
    watermark: str
    done: bool
    tally: Tally = field(default_factory=Tally)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What the breaker adds to a pass: marks not yet collected, and what went in the last 24 h.

    `pending` includes the marks that the pass itself wrote; `gone` counts storage keys of live
    deletions by verdict. Neither holds what a person has approved: that is in `approved` and
    `approved_gone`, and `approved_missing` is how many rows without an object were approved with it.
    `by_prefix` is the same by managed prefix.
    """

    pending: Mapping[Verdict, int]
    gone: Mapping[Verdict, int]
    approved: Mapping[Verdict, int] = field(default_factory=dict)
    approved_gone: Mapping[Verdict, int] = field(default_factory=dict)
    approved_missing: int = 0
    by_prefix: Mapping[str, Backlog] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trip:
    """Why a pass was not released, in plain words. `both_sides`: the join itself looks wrong."""

    reason: str
    both_sides: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TrippedPass:
    """A pass that was released and tripped when its marks were to be claimed."""

    pass_id: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The durable intention to delete one storage key, with what was seen of it."""

    storage_key: str
    verdict: Verdict
    reason: str
    bytes: int
    pass_id: int
    object_etag: str | None
    object_last_modified: datetime | None
    first_seen_at: datetime
    last_seen_at: datetime
    sightings: int
    due_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRef:
    """A row that a claim decided to remove, and the version it decided on."""

    id: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    """Decision: the key goes. `delete_object` False where another row still needs the object.

    `verify_absence` True: there must be no object (dangling); the rows go only after a HEAD 404.
    """

    records: tuple[RecordRef, ...] = ()
    delete_object: bool = True
    verify_absence: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Decision: the mark no longer holds; it is removed and the ledger says why."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Postpone:
    """Decision: not now; the mark is looked at again later. It neither moves the due time nor disarms."""

    reason: str


Decision: TypeAlias = Remove | Cancel | Postpone


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedKey:
    """One key of a claim: the mark as it was, and what was decided about it."""

    mark: Mark
    decision: Remove
    attempts: int = 0
    mode: DeleteMode = DeleteMode.DIRECT
    quarantine_key: str | None = None
    """Where the copy goes, named by the operation that claimed the key first: a repetition finds it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Up to 1,000 keys claimed under one operation id; its intent is in the ledger.

    `xid` was given out after the claim's commit: without triggers the delete waits until the
    horizon has passed it, when every writer that could not see the claim has ended. `taken` is how
    many marks the claim looked at, those cancelled or put off included: 0 means that nothing is
    due, and only then is the collector at its end. `tripped` are passes whose marks it would not
    take, because they were above the caps.
    """

    operation_id: UUID
    epoch: int
    xid: int
    keys: tuple[ClaimedKey, ...]
    taken: int = 0
    cancelled: int = 0
    postponed: int = 0
    tripped: tuple[TrippedPass, ...] = ()


class ObjectResult(StrEnum):
    """What became of one key of a claim, as the store confirmed it."""

    DELETED = "deleted"
    MISSING = "missing"
    """404 NoSuchKey: gone already, which counts as done."""
    CHANGED = "changed"
    """The object is not the one that was marked; it stays, and so do its rows."""
    PRESENT = "present"
    """A dangling record's object is there after all: the row stays."""
    SPARED = "spared"
    """A row appeared or changed between claim and delete: nothing was sent for this key."""
    UNTOUCHED = "untouched"
    """Another row needs the object: only the rows of the decision go."""
    RECOVERABLE = "recoverable"
    """A dangling record's object is not lost: it is hidden, or on its way. The row stays."""
    HELD = "held"
    """It cannot be deleted (object lock), or not so that it could come back (no copy of it can be made),
    however often that is asked: it stays, on hold, with its rows."""
    FAILED = "failed"
    """The store refused it or nothing is known: the claim stays and is repeated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DueKey:
    """A due mark as a dry run sees it: what would go. `seen` True where a dry run reported it before."""

    mark: Mark
    decision: Remove
    seen: bool


GONE = frozenset({ObjectResult.DELETED, ObjectResult.MISSING})
"""Results after which the object is known to be gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """What the store is asked to delete. `etag` None: unconditionally."""

    key: str
    etag: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletionResult:
    """The store's answer for one key. `detail` is its code and message where it FAILED.

    `held_until`: when what is HELD is free again, where the store says so. `denied`: it FAILED because
    the store forbids it.
    """

    key: str
    result: ObjectResult
    detail: str = ""
    held_until: datetime | None = None
    denied: bool = False
    marker_id: str | None = None
    """Of the delete marker that the store made instead of deleting anything."""


def quarantine_key(operation_id: UUID, key: str) -> str:
    """Where a copy goes. Hashed, since a key may have as many bytes as a name can; the ledger knows it."""
    return f"{QUARANTINE_PREFIX}{operation_id}/{hashlib.sha256(key.encode()).hexdigest()}"


class CopyResult(StrEnum):
    """What became of one server-side copy."""

    COPIED = "copied"
    MISSING = "missing"
    """The source is not there."""
    CHANGED = "changed"
    """The source is another object than the one that was asked for."""
    OCCUPIED = "occupied"
    """Something lies at the target, which was to be new."""
    IMPOSSIBLE = "impossible"
    """The store cannot or will not copy this object, however often it is asked."""
    FAILED = "failed"
    """Nothing was copied this time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """The outcome of one server-side copy. `etag` and `size` are the source's, where it was seen."""

    result: CopyResult
    etag: str | None = None
    size: int = 0
    last_modified: datetime | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hidden:
    """An object that was deleted and can be brought back: what it was, and where it is now.

    `quarantine_key` where a copy of it lies; else the versions that delete markers hide, and those
    markers, newest first. `size` in bytes, `etag` and `last_modified` as they were at its own key.
    """

    mode: DeleteMode
    size: int
    etag: str | None = None
    last_modified: datetime | None = None
    quarantine_key: str | None = None
    version_ids: tuple[str, ...] = ()
    marker_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoScope:
    """What to undo: the deletions of these keys, of one pass, or from `since` on and before `until`.

    What is None, or empty, does not narrow it. Times are the server's.
    """

    keys: tuple[str, ...] = ()
    pass_id: int | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HiddenObject:
    """One object that can be brought back. `erased`: it must not be, on request."""

    id: int
    storage_key: str
    operation_id: UUID
    verdict: Verdict
    hidden: Hidden
    hidden_at: datetime
    erased: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedRow:
    """One row that was removed and not put back. `ledger_id` is its line of the ledger, which keeps it."""

    ledger_id: int
    record_id: str
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """What was deleted under one key and can be brought back: the newest object, and rows, newest first."""

    storage_key: str
    object: HiddenObject | None = None
    rows: tuple[RemovedRow, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """A key that has to be looked at: its object, or its row, may have to come back."""

    storage_key: str
    queued_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """What an erasure met: hidden objects, removed rows, and keys that are being deleted just now."""

    objects: int
    rows: int
    claimed: tuple[str, ...] = ()


class Return(StrEnum):
    """What became of one object or row that was to be brought back."""

    RESTORED = "restored"
    PRESENT = "present"
    """It was there already."""
    REFUSED = "refused"
    """It cannot be brought back as things stand; the reason says what stands in the way."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What a claim's confirmation counted: what store *and* database confirmed. Adds up.

    `lost` are rows that became live after their object had gone: recorded, kept, and alarming.
    """

    objects: int = 0
    records: int = 0
    bytes: int = 0
    failed: int = 0
    lost: int = 0

    def __add__(self, other: Removed) -> Removed:
        return Removed(
            objects=self.objects + other.objects,
            records=self.records + other.records,
            bytes=self.bytes + other.bytes,
            failed=self.failed + other.failed,
            lost=self.lost + other.lost,
        )


class Versioning(StrEnum):
    """What a plain delete leaves of an object."""

    ENABLED = "enabled"
    """Its bytes, as a version behind a delete marker."""
    SUSPENDED = "suspended"
    """Nothing of what was stored since versions were suspended; what is older stays."""
    OFF = "off"


class Digest(StrEnum):
    """How the body of a batch is vouched for; stores differ in which they demand, and which they know."""

    CRC32 = "crc32"
    MD5 = "md5"


class HoldKind(StrEnum):
    """What a hold names: one storage key, all keys under a prefix, or all that rows of a virtual key name."""

    KEY = "key"
    PREFIX = "prefix"
    VIRTUAL_KEY = "virtual_key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A deliberate keep. In force until `until` by the server's clock; None: until somebody removes it.

    Of one author there is one hold on a target, with the reason and end that were given last; those of
    several authors stand side by side. `added_at` is the server's time, None in what is to be added.
    """

    kind: HoldKind
    target: str
    reason: str
    author: str
    until: datetime | None = None
    added_at: datetime | None = None


class MarkState(StrEnum):
    """How a mark stands, as an operator sees it. The first that applies."""

    CLAIMED = "claimed"
    """In the collector's hands: it goes, and nothing holds it back any more."""
    HELD = "held"
    """Kept for as long as a hold is in force."""
    UNRELEASED = "unreleased"
    """Its pass is running, or the breaker did not let it through."""
    WAITING = "waiting"
    """Not yet due, put off, or a dangling record that a second sweep has to see."""
    DUE = "due"
    """The next claim may take it, once every transaction that was open at its pass's end has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedMark:
    """A mark with its surroundings, for people. `hold` is one of those in force on its key.

    `not_before` is until when it is put off, or when its claim is repeated; `attempts` counts those.
    """

    mark: Mark
    state: MarkState
    marker: Marker
    pass_state: PassState
    hold: Hold | None = None
    not_before: datetime | None = None
    attempts: int = 0
    operation_id: UUID | None = None
    epoch: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkFilter:
    """Which marks to list: those to which all of it applies; None applies to every mark."""

    verdict: Verdict | None = None
    state: MarkState | None = None
    prefix: str = ""
    pass_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What the store was seen to do, on scratch keys of ours. What could not be found out is not there."""

    order: ListingOrder
    conditional_batch_delete: bool
    """DeleteObjects compares a key's ETag, and refuses that key where it differs."""
    conditional_delete: bool
    """DeleteObject honours If-Match."""
    rewrites_keys: bool = False
    """The store takes `a//b`, or one with a backslash, for `a/b`: what a row names is not what is listed."""
    start_after: bool = False
    """StartAfter begins where it says."""
    batch_digest: Digest | None = Digest.MD5
    """What DeleteObjects takes; None where it deletes nothing, and each key goes in a call of its own."""
    batch_size: int = 1000
    """Keys of one DeleteObjects that were all answered for, in time; 1 without batches."""
    versioning: Versioning = Versioning.OFF
    undelete: bool = False
    """Without its delete marker, taken away by VersionId, a deleted object is there again."""
    object_lock: bool = False
    """Versions in this bucket may be locked: then they cannot be deleted for good."""
    copy: bool = False
    """CopyObject makes a copy with the same bytes."""
    copy_conditional: bool = False
    """CopyObject compares the source's ETag, and makes no copy of another object."""
    multipart_copy: bool = False
    """UploadPartCopy, without which nothing above 5 GB can be copied."""
    multipart_listing: bool = False
    """ListMultipartUploads names an unfinished upload, and AbortMultipartUpload ends it."""
    probed: bool = True
    """False where no scratch key could be written, so that nothing at all could be found out."""

    @property
    def versioned(self) -> bool:
        """The bucket keeps versions: a plain delete only hides."""
        return self.versioning is Versioning.ENABLED

    def order_under(self, declared: ListingOrder | None) -> ListingOrder:
        """How the listing is joined: a declared order is believed, and still asserted.

        But not of a store that rewrites keys: its listing cannot be merged with the rows in any order.
        """
        return self.order if self.rewrites_keys or declared is None else declared


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """Which term last wrote the bucket's marker, and a nonce that no copy of the database can know."""

    epoch: int
    nonce: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Seals:
    """What the database knows of the marker's nonce: the last confirmed, and one being written."""

    confirmed: UUID | None = None
    pending: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who owns this bucket: kept in the database and, as JSON, in the bucket's marker object.

    `seal`, `contested` (why two databases dispute the bucket, "" where none do) and `etag` (of the
    marker object, unquoted) are the marker's alone.
    """

    site_id: UUID
    bucket: str
    prefixes: tuple[str, ...]
    created_at: datetime
    seal: Seal | None = None
    contested: str = ""
    etag: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """The stop that lives in the database: whether it is on, and who last changed it, when and why.

    `at` is by the server's clock, None where nobody has ever changed it.
    """

    paused: bool = False
    at: datetime | None = None
    by: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one run of every marker and the collector did: the body of `once --json`.

    `detail` says in one line why the outcome is not `converged`, `notice` what holds whatever the
    outcome; they are for people and not in the JSON.
    """

    mode: Mode
    outcome: Outcome
    objects: int = 0
    records: int = 0
    found: Mapping[Verdict, int] = field(default_factory=dict)
    removed: Removed = field(default_factory=Removed)
    kept: Mapping[KeepReason, int] = field(default_factory=dict)
    duration_seconds: float = 0.0
    detail: str = ""
    notice: str = ""


class CheckStatus(StrEnum):
    """How one check of `doctor` went. Only FAIL makes it exit non-zero."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that `doctor` looked at; `advice` is the command or change that mends it."""

    name: str
    status: CheckStatus
    detail: str
    advice: str = ""
