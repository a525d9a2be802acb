"""What a store's refusal means to us, and the one line that a person reads about it."""

from dataclasses import dataclass
from typing import Final

from reconciler.errors import Halt, LoginRefused, ReconcilerError, StoreFull, StoreUnavailable
from reconciler.stores.s3.refusals import FATAL, NOT_S3, OF_THE_STORE, TIMED_OUT, Kind, kind_of

_LISTINGS: Final = frozenset({"ListObjectsV2"})
_NO_STORE: Final = (
    "This is not how an S3 store answers: correct RECONCILER_BUCKET__ENDPOINT_URL (a store's console has"
    " another port than its S3)."
)


LONGEST_MESSAGE: Final = 1_000
"""Characters of a store's message that we repeat."""


class TimedOut(StoreUnavailable):
    """No answer in time: the request may have asked for too much at once."""


class Refusal(Exception):
    """The store refused the request, or did not answer at all.

    `code` is the S3 error code (an HTTP status in digits where the answer had no body, as for HEAD;
    `Unreachable` or TIMED_OUT where there was no answer), `status` the HTTP status, 0 without an answer.
    An error document inside a 200 comes with status 200.
    """

    def __init__(self, code: str, message: str, *, status: int) -> None:
        super().__init__(code, message, status)
        self.code = _one_line(code)
        self.message = _one_line(message)
        self.status = status

    @property
    def kind(self) -> Kind | None:
        """What the refusal is about, by the closed list; None where the list does not have it."""
        return kind_of(self.code, self.status, self.message)

    @property
    def transient(self) -> bool:
        """Whether the same request may succeed a moment later."""
        return self.kind in {Kind.THROTTLED, Kind.TRANSIENT}

    @property
    def timed_out(self) -> bool:
        return self.code == TIMED_OUT or self.status == 504  # noqa: PLR2004 - Gateway Timeout

    @property
    def missing(self) -> bool:
        """Whether the key does not exist. A missing *bucket* is not meant."""
        return self.kind is Kind.MISSING

    @property
    def changed(self) -> bool:
        """Whether the object is not the one that the condition names."""
        return self.kind is Kind.CHANGED

    @property
    def fatal(self) -> bool:
        """Whether nothing at all will work until a person acts: wrong bucket, wrong credentials."""
        return self.kind in FATAL

    @property
    def foreign(self) -> bool:
        """Whether no S3 store answers a GET like this: an error without a document that names it.

        One example is an HTML page from a console, a proxy or a web server. This proves nothing for HEAD.
        """
        if self.code == NOT_S3:
            return True
        known = self.transient or self.denied or self.fatal or self.kind in OF_THE_STORE
        return self.code.isdigit() and not known

    @property
    def denied(self) -> bool:
        """Whether the store knows the credentials and does not allow them this operation, by its answer."""
        return self.kind is Kind.DENIED

    @property
    def locked(self) -> bool:
        """Whether object lock, a retention or a legal hold keeps this key, as far as the answer says."""
        return self.kind is Kind.LOCKED

    @property
    def outcome(self) -> str:
        """One of `config.OUTCOMES`."""
        if self.missing:
            return "missing"
        if self.kind is Kind.THROTTLED:
            return "throttled"
        return "unavailable" if self.transient else "refused"

    def __str__(self) -> str:
        message = self.message.rstrip(".")
        if self.status == 0 and message:  # no answer, so the store sent no code either
            return message
        return f"{self.code}: {message}" if message else self.code


def _one_line(text: str) -> str:
    """A store's message as one line that a log and a database can take."""
    plain = "".join(each if each.isprintable() else " " for each in text[:LONGEST_MESSAGE])
    return " ".join(plain.split())


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketAddress:
    """The bucket, where it is and which setting names it, for messages."""

    bucket: str
    endpoint_url: str | None
    setting: str = "RECONCILER_BUCKET__NAME"

    def __str__(self) -> str:
        return f"bucket {self.bucket!r} at {self.endpoint_url or 'AWS'}"

    def unavailable(self, operation: str, why: Refusal, tries: int) -> StoreUnavailable:
        """The error after the last retry."""
        times = "once" if tries == 1 else f"{tries} times"
        return (TimedOut if why.timed_out else StoreUnavailable)(
            f"{operation} on {self} failed {times}, last with: {why}. "
            "Check that the store is up and RECONCILER_BUCKET__ENDPOINT_URL is right."
        )

    def explain(
        self,
        operation: str,
        refusal: Refusal,
        otherwise: type[ReconcilerError] = StoreUnavailable,
    ) -> ReconcilerError:
        """The error for a refusal that no retry can change; `otherwise` is its type for unknown refusals."""
        if refusal.foreign and operation in _LISTINGS:
            # At the first contact this is a Halt. Later it may be a proxy's page, which is temporary.
            return otherwise(f"{operation} on {self} was refused with {refusal}. {_NO_STORE}")
        message = f"{operation} on {self} was refused with {refusal}"
        advice = None if refusal.kind is None else self._advice(operation, refusal.kind)
        if advice is None:
            return otherwise(message)
        full = refusal.kind in OF_THE_STORE and otherwise is StoreUnavailable
        stopped = LoginRefused if refusal.kind in {Kind.CREDENTIALS, Kind.BUCKET} else Halt
        return (StoreFull if full else stopped)(f"{message}. {advice}")

    def _advice(self, operation: str, kind: Kind) -> str | None:
        if kind is Kind.DENIED:
            return f"Allow these credentials {_permission(operation)} on this bucket, or use others."
        if kind is Kind.BUCKET:
            return f"Create the bucket, or correct {self.setting} and RECONCILER_BUCKET__ENDPOINT_URL."
        return _ADVICE.get(kind)


_ADVICE: Final = {
    Kind.CREDENTIALS: "Correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile or role in use.",
    Kind.REGION: "Set RECONCILER_BUCKET__REGION to the region that the bucket lies in.",
    Kind.ADDRESSING: (
        "Set RECONCILER_BUCKET__ADDRESSING_STYLE=virtual: this store takes no bucket in the path."
    ),
    Kind.CLOCK: "Set this machine's clock: it differs too much from the store's.",
    Kind.FULL: (
        "Free space or raise the quota; or shorten RECONCILER_UNDO_WINDOW, or name"
        " RECONCILER_DELETE_MODE=direct, which makes no copies and deletes for good."
    ),
    Kind.KEYLESS: (
        "See that the encryption key is enabled and these credentials may use it (kms:Decrypt,"
        " kms:GenerateDataKey)."
    ),
}


def _permission(operation: str) -> str:
    return {
        "ListObjectsV2": "s3:ListBucket",
        "ListObjectVersions": "s3:ListBucketVersions",
        "HeadObject": "s3:GetObject and s3:ListBucket",
        "GetObject": "s3:GetObject",
        "GetObjectTagging": "s3:GetObjectTagging",
        "GetBucketInventoryConfiguration": "s3:GetInventoryConfiguration",
        "GetBucketMetadataConfiguration": "s3:GetBucketMetadataTableConfiguration",
        "LoadTable": "s3tables:GetTableBucket, s3tables:GetTableMetadataLocation and s3tables:GetTableData",
        "PutObject": "s3:PutObject",
        "CopyObject": "s3:PutObject and s3:PutObjectTagging",
    }.get(operation, "s3:DeleteObject")
