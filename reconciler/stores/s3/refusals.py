"""The closed list: what each error code or HTTP status of a store is about.

=============  ==================================  ====================================================
about          kinds                               what is done
=============  ==================================  ====================================================
one object     LOCKED, OBJECT, NAME                it is settled alone: on hold, with an end
the store      FULL, KEYLESS                       put off, never on hold; a halt with advice when it is
                                                   refused for the bucket's identity too, or many in a row
the store      THROTTLED, TRANSIENT                the call is repeated, then the loop backs off
us             DENIED, CREDENTIALS, REGION, CLOCK, a halt with advice, if the identity is refused as well;
               ADDRESSING, BUCKET                  else it is about the key
not known      none                                about the key, if the identity is answered; else the
                                                   store is taken to be away
an answer      MISSING, CHANGED                    no refusal: there is no such object, or another one
=============  ==================================  ====================================================

A code takes precedence over a status, since stores use statuses as they like. HEAD answers have no body, so
they have only a status; `witness` asks for more then.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

TIMED_OUT: Final = "TimedOut"
"""A code of ours: the store was silent."""
NOT_S3: Final = "NotS3"
"""A code of ours: the server that answered does not speak S3."""


class Kind(StrEnum):
    """What a refusal is about, as far as its code says."""

    MISSING = "missing"
    CHANGED = "changed"
    LOCKED = "locked"
    OBJECT = "object"
    NAME = "name"
    FULL = "full"
    KEYLESS = "keyless"
    THROTTLED = "throttled"
    TRANSIENT = "transient"
    DENIED = "denied"
    CREDENTIALS = "credentials"
    REGION = "region"
    CLOCK = "clock"
    ADDRESSING = "addressing"
    BUCKET = "bucket"


_TABLE: Final[Mapping[Kind, tuple[str, ...]]] = {
    # There is no such object, or no such version of it. A missing bucket is not meant.
    Kind.MISSING: ("NoSuchKey", "NotFound", "404", "NoSuchVersion"),
    # The object is not the one that the condition names.
    Kind.CHANGED: ("PreconditionFailed", "412"),
    # Object lock, retention, legal hold: codes of MinIO, R2 and Google. Amazon says it in the message.
    Kind.LOCKED: (
        "ObjectLocked",
        "ObjectLockedByBucketPolicy",
        "RetentionPolicyNotMet",
        "ObjectUnderActiveHold",
    ),
    # The object itself: archived, sealed, damaged, or in its own way. A repeated request changes nothing.
    Kind.OBJECT: (
        "InvalidObjectState",  # archived: it has to be restored first
        "ObjectNotInActiveTierError",
        "ObjectTampered",  # MinIO: it cannot be decrypted
        "XMinioObjectTampered",
        "XMinioInvalidEncryptionParameters",
        "ObjectNotAppendable",
        "ParentIsObject",  # stores over a file system
        "XMinioParentIsObject",
        "ObjectExistsAsDirectory",
        "XMinioObjectExistsAsDirectory",
        "FileAlreadyExists",
        "MetadataTooLarge",
        "InvalidTag",
        "InvalidStorageClass",
        "UnavailableForLegalReasons",
        "451",
    ),
    # The key itself: the store takes no such key.
    Kind.NAME: (
        "KeyTooLongError",
        "KeyTooLong",
        "InvalidObjectName",
        "XMinioInvalidObjectName",
        "InvalidKey",
        "InvalidURI",
        "414",
    ),
    # No room: a full disk, or a quota of the bucket, the user or the account.
    Kind.FULL: (
        "QuotaExceeded",  # Ceph, Scaleway
        "QuotaExceededException",
        "BucketQuotaExceeded",
        "UserQuotaExceeded",
        "ServiceQuotaExceeded",
        "XMinioAdminBucketQuotaExceeded",
        "XMinioStorageFull",
        "StorageFull",
        "StorageCapExceeded",  # Backblaze
        "StorageLimitExceeded",
        "ExceedsStorageLimit",
        "InsufficientStorage",
        "InsufficientStorageSpace",
        "InsufficientCapacity",
        "NoSpaceLeft",
        "DiskFull",
        "507",
    ),
    # The key service: disabled, unreachable, forbidden, throttled. Every code of Amazon's begins with KMS.
    Kind.KEYLESS: (
        "KMSDisabledException",
        "KMSNotConfigured",
        "XMinioKMSNotConfigured",
        "XMinioKMSKeyNotFoundException",
        "XMinioKMSDefaultKeyNotFound",
        "InvalidKmsKey",
    ),
    # Fewer requests, please.
    Kind.THROTTLED: (
        "SlowDown",
        "SlowDownRead",
        "SlowDownWrite",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "RequestRateLimitExceeded",  # Wasabi sends it as a 400
        "BandwidthLimitExceeded",
        "ServiceUnavailable",  # of S3: "reduce your request rate"
        "429",
    ),
    # The same request may succeed a moment later.
    Kind.TRANSIENT: (
        "InternalError",
        "InternalServerError",
        "RequestTimeout",
        "OperationAborted",
        "XMinioServerNotInitialized",
        # The request arrived damaged: bytes of it were changed or lost in transit.
        "BadDigest",
        "XAmzContentSHA256Mismatch",
        "XAmzContentChecksumMismatch",
        "IncompleteBody",
        "408",
        "425",
        "499",
    ),
    # The credentials are known, and this operation is not allowed to them.
    Kind.DENIED: ("AccessDenied", "AllAccessDisabled", "AccountProblem", "Forbidden", "401", "403"),
    # The credentials are not known, or no longer.
    Kind.CREDENTIALS: (
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "InvalidSecurity",
        "InvalidToken",
        "ExpiredToken",
        "TokenRefreshRequired",
        "UnrecognizedClientException",
        "NotSignedUp",
    ),
    # Another region's store.
    Kind.REGION: (
        "AuthorizationHeaderMalformed",
        "PermanentRedirect",
        "IllegalLocationConstraintException",
        "301",
    ),
    # Our clock, or the store's.
    Kind.CLOCK: ("RequestTimeTooSkewed", "RequestExpired"),
    # No bucket in the path: Alibaba's OSS, Tencent's COS, Volcengine's TOS.
    Kind.ADDRESSING: ("SecondLevelDomainForbidden", "PathStyleDomainForbidden", "InvalidPathAccess"),
    # No such bucket here.
    Kind.BUCKET: ("NoSuchBucket",),
}

KNOWN: Final[Mapping[str, Kind]] = {code: kind for kind, codes in _TABLE.items() for code in codes}

FATAL: Final = frozenset({Kind.CREDENTIALS, Kind.REGION, Kind.CLOCK, Kind.BUCKET})
"""Nothing at all works until a person acts, unless the refusal is about one key alone: some stores compute
the signature of an odd key differently from us."""
OF_ONE: Final = frozenset({Kind.LOCKED, Kind.OBJECT, Kind.NAME})
OF_THE_STORE: Final = frozenset({Kind.FULL, Kind.KEYLESS})

_FULL_MESSAGE: Final = re.compile(
    r"(?i)\bquota\b.{0,40}\bexceeded|exceed\w* (the |its |your )?(\w+ )?quota"
    r"|no space left on|storage cap exceeded|disk (is )?full|out of disk space"
)
_LOCK_MESSAGE: Final = re.compile(r"(?i)protected by object lock|WORM protected|under (a )?legal hold")
"""Not looser: messages of denied requests name the bucket and the key, which may contain such words."""


def kind_of(code: str, status: int, message: str) -> Kind | None:
    """What a refusal is about; None where neither its code nor its status is known.

    `status` 0 means that there was no answer at all.
    """
    if code.startswith(("KMS.", "Kms.")):
        return Kind.KEYLESS
    kind = KNOWN.get(code) or _by_status(status)
    if kind is Kind.DENIED and _LOCK_MESSAGE.search(message):
        return Kind.LOCKED
    if kind in {None, Kind.DENIED} and _FULL_MESSAGE.search(message):
        return Kind.FULL
    return kind


def _by_status(status: int) -> Kind | None:
    """The kind for an unknown code: statuses say enough only about a server's own faults."""
    if status == 507:  # noqa: PLR2004 - Insufficient Storage
        return Kind.FULL
    if status in {429, 503}:
        return Kind.THROTTLED
    # Statuses from 520 on come from proxies: the store was not reached.
    outage = status in {0, 408, 425, 499, 500, 502, 504, 509, 529, 598, 599} or 520 <= status <= 530  # noqa: PLR2004
    return Kind.TRANSIENT if outage else None
