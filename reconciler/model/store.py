"""What the store can do, and who owns the bucket."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from reconciler.model.enums import ListingOrder
from reconciler.model.lineage import Lineage
from reconciler.model.quarantine import QuarantineBucket


class Versioning(StrEnum):
    """What a plain delete leaves of an object."""

    ENABLED = "enabled"
    """Its bytes, as a version behind a delete marker."""
    SUSPENDED = "suspended"
    """Nothing of what was stored since versions were suspended; older objects stay."""
    OFF = "off"


class Digest(StrEnum):
    """The checksum of a batch's body; stores differ in which they demand, and which they know."""

    CRC32 = "crc32"
    MD5 = "md5"


class PutCondition(StrEnum):
    """How the store treats If-Match on a PUT; a seal that changes hands is written with it if possible."""

    COMPARED = "compared"
    """Compared as HTTP writes it, with the ETag in quotes."""
    UNQUOTED = "unquoted"
    """Compared only without quotes: with them, the right ETag is refused like a wrong one."""
    REFUSED = "refused"
    """Every ETag is refused, even the right one; or the condition is not known."""
    IGNORED = "ignored"
    """The object is written, whatever is there."""


BY_STORE = "expired by the store: "
"""How the reason of a dangling record begins whose object went by a rule of the bucket's lifecycle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LifecycleRule:
    """What the store does by itself to keys that begin with `prefix`, and after how long; None for never.

    Zero stands for a date as well. `archives`: it moves them to where nothing can be read at once.
    """

    id: str
    prefix: str
    expires: timedelta | None = None
    expires_all: timedelta | None = None
    """The same where it looks at nothing else: no tag, no size, no date. Every key of that age goes."""
    archives: timedelta | None = None
    noncurrent_expires: timedelta | None = None
    noncurrent_archives: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineFound:
    """What was found of another bucket for copies. `lifecycle` as in `Capabilities`, as are the others."""

    bucket: QuarantineBucket
    versioning: Versioning
    object_lock: bool
    lifecycle: tuple[LifecycleRule, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What the store was seen to do, on our scratch keys. What could not be found out is left out."""

    order: ListingOrder
    conditional_batch_delete: bool
    """DeleteObjects compares a key's ETag, and refuses the key if it differs."""
    conditional_delete: bool
    """DeleteObject honours If-Match."""
    compares_parts: bool = True
    """Where ETags are compared, so are those of objects uploaded in parts."""
    conditional_put: PutCondition = PutCondition.COMPARED
    etags: bool = True
    """Objects have an ETag. Without one, only size and time reveal that an object was uploaded again."""
    lists: bool = True
    """The listing shows what was put. Buckets without an index show nothing, without reporting it."""
    rewrites_keys: bool = False
    """Some keys do not come back as put (`a//b` as `a/b`): what a row names is not what is listed."""
    start_after: bool = False
    """StartAfter begins where it says."""
    batch_digest: Digest | None = Digest.MD5
    """What DeleteObjects takes; None if it deletes nothing, so that each key needs a call of its own."""
    batch_size: int = 1000
    """Keys of one DeleteObjects that were all answered for, in time; 1 without batches."""
    versioning: Versioning = Versioning.OFF
    undelete: bool = False
    """Once its delete marker is removed by VersionId, a deleted object is there again: under
    `.reconciler/`, and in the managed prefixes as far as it was tried there.
    """
    undelete_unseen: tuple[str, ...] = ()
    """The managed prefixes where it was tried and not seen."""
    object_lock: bool = False
    """Versions in this bucket may be locked: then they cannot be deleted for good."""
    copy: bool = False
    """CopyObject makes a copy with the same bytes."""
    copy_conditional: bool = False
    """CopyObject compares the source's ETag, and makes no copy of another object."""
    copy_only_new: bool = False
    """CopyObject honours If-None-Match: a copy never replaces what lies at the target."""
    multipart_copy: bool = False
    """UploadPartCopy, without which nothing above 5 GB can be copied."""
    multipart_copy_encoded: bool = True
    """It also copies sources with a percent sign in their key; else it takes them for another object."""
    multipart_listing: bool = False
    """ListMultipartUploads names an unfinished upload, and AbortMultipartUpload ends it."""
    lifecycle: tuple[LifecycleRule, ...] | None = ()
    """The bucket's rules that are in force; None if they may not be read."""
    quarantine: QuarantineFound | None = None
    """The other bucket that copies go to; copies were then tried from this bucket to that one and back."""
    probed: bool = True
    """False if no scratch key could be written, so that nothing at all could be found out."""
    refusal: str = field(default="", compare=False)
    """The store's answer to that, unless it was for lack of a permission."""

    @property
    def versioned(self) -> bool:
        """The bucket keeps versions: a plain delete only hides."""
        return self.versioning is Versioning.ENABLED

    @property
    def rules_for_copies(self) -> tuple[LifecycleRule, ...] | None:
        """The rules of the bucket that copies go to; None if they may not be read."""
        return self.lifecycle if self.quarantine is None else self.quarantine.lifecycle

    def may_keep_versions(self, copy: str) -> bool:
        """Whether deleting this copy by name is known to leave something of it behind."""
        bucket = QuarantineBucket.of_key(copy)
        if bucket is None:
            return self.versioning is not Versioning.OFF
        found = self.quarantine
        return found is not None and found.bucket == bucket and found.versioning is not Versioning.OFF

    def compares_etag(self, etag: str) -> bool:
        """Whether the store recognises an object's own ETag: not every store does for objects in parts."""
        return self.compares_parts or "-" not in etag

    @property
    def copies_nothing(self) -> bool:
        """It was seen to make no copies. If nothing could be probed, it may make them all the same."""
        return self.probed and not self.copy

    def order_under(self, declared: ListingOrder | None) -> ListingOrder:
        """How the listing is joined: a declared order is believed, and still asserted.

        Not so for a store that rewrites keys: its listing cannot be merged with the rows in any order.
        """
        return self.order if self.rewrites_keys or declared is None else declared


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """Which term last wrote the bucket's identity, and a nonce that no copy of the database can know."""

    epoch: int
    nonce: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Seals:
    """What the database knows of the identity's nonce: the last confirmed, and one being written."""

    confirmed: UUID | None = None
    pending: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who owns this bucket: kept in the database and, as JSON, in the bucket's identity object.

    `seal`, `contested` (why two databases dispute the bucket, "" if none do) and `etag` (of the
    identity object, unquoted) are the identity's alone. `lineage` is the database's at the last seal.
    """

    site_id: UUID
    bucket: str
    prefixes: tuple[str, ...]
    created_at: datetime
    seal: Seal | None = None
    lineage: Lineage | None = None
    contested: str = ""
    etag: str = field(default="", compare=False)
