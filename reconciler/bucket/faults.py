"""What a store's refusal means to us, and the one line that a person gets to read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from reconciler.errors import Halt, ReconcilerError, StoreUnavailable

THROTTLING: Final = frozenset(
    {
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
    }
)
TRANSIENT: Final = THROTTLING | {
    "InternalError",
    "InternalServerError",
    "RequestTimeout",
    "OperationAborted",
    "XMinioServerNotInitialized",
    # What we sent is not what arrived: bytes of it were changed or lost on the way.
    "BadDigest",
    "XAmzContentSHA256Mismatch",
    "XAmzContentChecksumMismatch",
    "IncompleteBody",
}
TIMED_OUT: Final = "TimedOut"
"""A code of ours: the store was silent."""
NOT_S3: Final = "NotS3"
"""A code of ours: what answered speaks another language."""
MISSING: Final = frozenset({"NoSuchKey", "NotFound", "404", "NoSuchVersion"})
CHANGED: Final = frozenset({"PreconditionFailed", "412"})

_TRANSIENT_STATUS: Final = frozenset({429, 500, 502, 503, 504})
_TOO_MANY: Final = frozenset({429, 503})
"""A HEAD has no body: its 503 is a SlowDown as likely as anything."""
_DENIED: Final = frozenset({"AccessDenied", "AllAccessDisabled", "AccountProblem", "Forbidden", "403", "401"})
_PATH_STYLE: Final = frozenset(
    {"SecondLevelDomainForbidden", "PathStyleDomainForbidden", "InvalidPathAccess"}
)
"""Of Alibaba's OSS, Tencent's COS and Volcengine's TOS: no bucket in the path."""
_LOCKED: Final = frozenset(
    {"ObjectLocked", "ObjectLockedByBucketPolicy", "RetentionPolicyNotMet", "ObjectUnderActiveHold"}
)
"""MinIO, R2 and Google's store have codes of their own; Amazon says it in the message."""
_LOCK_MESSAGE: Final = re.compile(r"(?i)protected by object lock|WORM protected|under (a )?legal hold")
"""No looser: what is not authorized is told with the names of bucket and key, which may have such words."""
_CREDENTIALS: Final = frozenset(
    {
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "InvalidSecurity",
        "InvalidToken",
        "ExpiredToken",
        "TokenRefreshRequired",
        "UnrecognizedClientException",
    }
)
_REGION: Final = frozenset(
    {"AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException", "301"}
)
_LISTINGS: Final = frozenset({"ListObjectsV2"})
_NO_STORE: Final = (
    "This is not how an S3 store answers: correct RECONCILER_BUCKET__ENDPOINT_URL (a store's console has"
    " another port than its S3)."
)
_CLOCK: Final = frozenset({"RequestTimeTooSkewed", "RequestExpired"})


class TimedOut(StoreUnavailable):
    """No answer in time: what was asked may have been too much at once."""


class Refusal(Exception):
    """The store answered, and the answer is not what was asked for; or it did not answer at all.

    `code` is the S3 error code (an HTTP status in digits where the answer had no body, as for HEAD;
    `Unreachable` or TIMED_OUT where there was no answer), `status` the HTTP status, 0 without an answer.
    An error document inside a 200 comes with status 200.
    """

    def __init__(self, code: str, message: str, *, status: int) -> None:
        super().__init__(code, message, status)
        self.code = code
        self.message = " ".join(message.split())
        self.status = status

    @property
    def transient(self) -> bool:
        """Whether the same request may succeed a moment later."""
        return self.code in TRANSIENT or self.status in _TRANSIENT_STATUS or self.status == 0

    @property
    def timed_out(self) -> bool:
        return self.code == TIMED_OUT or self.status == 504  # noqa: PLR2004 - Gateway Timeout

    @property
    def missing(self) -> bool:
        """A key that is not there. A missing *bucket* is another matter."""
        return self.code in MISSING

    @property
    def fatal(self) -> bool:
        """Whether nothing at all will work until a person has acted: wrong bucket, wrong credentials."""
        return self.code == "NoSuchBucket" or self.code in _CREDENTIALS | _REGION | _CLOCK

    @property
    def foreign(self) -> bool:
        """Whether no S3 store answers a GET in this way: an error, and no document that says which.

        A page of HTML from a console, a proxy or a web server is one. Of HEAD it says nothing.
        """
        if self.code == NOT_S3:
            return True
        return self.code.isdigit() and not (self.transient or self.denied or self.fatal)

    @property
    def denied(self) -> bool:
        """Whether the credentials are known and this operation is not allowed to them."""
        return self.code in _DENIED

    @property
    def locked(self) -> bool:
        """Whether this key is kept by object lock, a retention or a legal hold, as far as the answer says."""
        return self.code in _LOCKED or (self.denied and _LOCK_MESSAGE.search(self.message) is not None)

    @property
    def outcome(self) -> str:
        """One of `config.OUTCOMES`."""
        if self.missing:
            return "missing"
        if self.code in THROTTLING or self.status in _TOO_MANY:
            return "throttled"
        return "unavailable" if self.transient else "refused"

    def __str__(self) -> str:
        message = self.message.rstrip(".")
        if self.status == 0 and message:  # no answer, so no code of the store's either
            return message
        return f"{self.code}: {message}" if message else self.code


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The bucket and where it is, for messages."""

    bucket: str
    endpoint_url: str | None

    def __str__(self) -> str:
        return f"bucket {self.bucket!r} at {self.endpoint_url or 'AWS'}"

    def unavailable(self, operation: str, why: Refusal, tries: int) -> StoreUnavailable:
        """What is left to say after the last retry."""
        times = "once" if tries == 1 else f"{tries} times"
        return (TimedOut if why.timed_out else StoreUnavailable)(
            f"{operation} on {self} failed {times}, last with: {why}. "
            "It will be tried again; check that the store is up and RECONCILER_BUCKET__ENDPOINT_URL is right."
        )

    def explain(
        self,
        operation: str,
        refusal: Refusal,
        otherwise: type[ReconcilerError] = StoreUnavailable,
    ) -> ReconcilerError:
        """The error that a refusal which no retry can mend becomes; `otherwise` for the unforeseen."""
        if refusal.foreign and operation in _LISTINGS:
            # At the first contact a Halt; later it may be a proxy's page, and pass.
            return otherwise(f"{operation} on {self} was refused with {refusal}. {_NO_STORE}")
        advice = _advice(operation, refusal)
        if advice is None:
            return otherwise(f"{operation} on {self} was refused with {refusal}")
        return Halt(f"{operation} on {self} was refused with {refusal}. {advice}")


def _advice(operation: str, refusal: Refusal) -> str | None:
    code = refusal.code
    if refusal.denied:
        return f"Allow these credentials {_permission(operation)} on this bucket, or use others."
    return next((advice for codes, advice in _ADVICE if code in codes), None)


_ADVICE: Final = (
    (
        {"NoSuchBucket"},
        "Create the bucket, or correct RECONCILER_BUCKET__NAME and RECONCILER_BUCKET__ENDPOINT_URL.",
    ),
    (_CREDENTIALS, "Correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile or role in use."),
    (_REGION, "Set RECONCILER_BUCKET__REGION to the region that the bucket lies in."),
    (
        _PATH_STYLE,
        "Set RECONCILER_BUCKET__ADDRESSING_STYLE=virtual: this store takes no bucket in the path.",
    ),
    (_CLOCK, "Set this machine's clock: it differs too much from the store's."),
)


def _permission(operation: str) -> str:
    return {
        "ListObjectsV2": "s3:ListBucket",
        "ListObjectVersions": "s3:ListBucketVersions",
        "HeadObject": "s3:GetObject and s3:ListBucket",
        "GetObject": "s3:GetObject",
        "PutObject": "s3:PutObject",
        "CopyObject": "s3:PutObject and s3:PutObjectTagging",
    }.get(operation, "s3:DeleteObject")
