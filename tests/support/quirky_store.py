"""A small S3 store of our own in this event loop, whose quirks a test switches on, one at a time or together.

It keeps objects in memory, lists them in byte order, compares ETags and copies, unless told otherwise. It
knows no versions.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from hashlib import md5
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from reconciler.model import PutCondition
from tests.servers import Bucket, S3Server
from tests.support.faulty_store import NAMESPACE, Answer, Request, error, serving
from tests.support.quirky_parts import Parts

BUCKET = "quirky"
PARTS = {
    "CreateMultipartUpload",
    "ListMultipartUploads",
    "UploadPart",
    "UploadPartCopy",
    "CompleteMultipartUpload",
    "AbortMultipartUpload",
}


@dataclass(frozen=True, slots=True)
class Stored:
    """One object."""

    body: bytes
    modified: datetime
    in_parts: str = ""
    """The ETag of one that was put together from parts."""

    @property
    def etag(self) -> str:
        return self.in_parts or md5(self.body, usedforsecurity=False).hexdigest()


@dataclass(slots=True, kw_only=True)
class Quirks:
    """What the store gets wrong. Nothing unless set; may be changed while it runs."""

    needs_md5: bool = False
    """A batch without Content-MD5 is answered with MissingContentMD5, as older MinIO and OVH do."""
    needs_crc32: bool = False
    """A batch with Content-MD5 alone is refused, as directory buckets of S3 do."""
    no_batches: bool = False
    """DeleteObjects is not implemented, as in Google's store until 2026."""
    silent_above: int | None = None
    """Batches of more keys are never answered, nor carried out."""
    silent_times: int | None = None
    """How many of them at most; None for all."""
    ignores_etag_alone: bool = False
    """If-Match on DELETE is ignored, as MinIO did."""
    ignores_etag_in_batch: bool = False
    """ETags in a batch are ignored, as moto does."""
    ignores_etag_of_source: bool = False
    """x-amz-copy-source-if-match is ignored, as moto does."""
    refuses_etags_of_parts: bool = False
    """The right ETag of an object that was uploaded in parts is refused, as Swift does; HEAD shows it."""
    decodes_part_sources_twice: bool = False
    """UploadPartCopy takes `x%20y` for `x y`, as Ceph 16 does."""
    ends_at_directories: bool = False
    """A full page that ends with a key below which only others lie says that it is the last, as SeaweedFS."""
    token_is_last_key: bool = False
    """The token is the last key, with references that XML forbids where it has such characters, as Ceph's."""
    makes_no_copies: bool = False
    """CopyObject is not implemented, as in small gateways."""
    put_condition: PutCondition = PutCondition.COMPARED
    """What becomes of If-Match on a PUT: Ceph 16 compares it without quotes alone, or refuses all of them."""
    unknown_put_condition: bool = False
    """If-Match on a PUT is not implemented, as in Swift."""
    ignores_if_none_match: bool = False
    """A PUT with `If-None-Match: *` writes over what stands there, as Ceph 16 does with versions."""
    refuses_puts: str = ""
    """The code that every PUT is refused with, without a message."""
    spells: Callable[[str], str] | None = None
    """What the store makes of each key, when it is put and when it is asked for, as file systems do."""
    directories: bool = False
    """A key is a file: none lies below it, and no listing begins outside of its prefix, as in JuiceFS."""
    no_etags: bool = False
    """Neither a PUT nor HEAD nor the listing has an ETag, as in JuiceFS."""
    no_index: bool = False
    """The listing is empty, as of Ceph's buckets without an index."""
    rank: Callable[[str], object] | None = None
    """What the listing is sorted by instead of the key."""
    ignores_start_after: bool = False
    skipped: set[str] = field(default_factory=set)
    """Keys that no listing names."""
    empty_pages: bool = False
    """Every other page is empty, and truncated."""
    repeats_token: bool = False
    """The token is always the same, and leads to the same page."""
    failing: dict[str, str] = field(default_factory=dict)
    """Codes by key, inside of the 200 that a batch is answered with."""
    locked: dict[str, datetime | None] = field(default_factory=dict)
    """Keys that cannot be deleted until then; None is a legal hold. Only HEAD says why, as in SeaweedFS."""
    unmentioned: set[str] = field(default_factory=set)
    """Keys that a batch's answer says nothing of; they stay."""
    says_deleted: set[str] = field(default_factory=set)
    """Keys that are said to be deleted, and stay."""
    error_in_200: dict[str, int] = field(default_factory=dict)
    """How many of the next requests of an operation are answered with an error document inside a 200."""
    virtual_hosted_only: bool = False
    """A bucket named in the path is refused, as Alibaba's OSS does."""
    slow_down: int = 0
    """How many of the next requests are answered with SlowDown."""


class QuirkyStore:
    """The objects, the quirks, and the requests so far, as "METHOD /path?query" and by operation."""

    def __init__(self, quirks: Quirks) -> None:
        self.quirks = quirks
        self.objects: dict[str, Stored] = {}
        self.parts = Parts()
        self.operations: list[str] = []
        self.headers: list[tuple[str, dict[str, str]]] = []
        """Of each request, beside its operation."""
        self.batches: list[int] = []
        """Keys of each batch that was asked for, carried out or not."""
        self.endpoint_url = ""

    def put(self, *keys: str, age: timedelta = timedelta(0)) -> None:
        for key in keys:
            self.objects[key] = Stored(key.encode(), datetime.now(UTC) - age)

    def keys(self) -> set[str]:
        return {key for key in self.objects if not key.startswith(".reconciler/")}

    def bucket(self) -> Bucket:
        """As the real servers' buckets are handed to tests."""
        server = S3Server(
            kind="quirky",
            endpoint_url=self.endpoint_url,
            access_key="any",
            secret_key=secrets.token_hex(8),
            region="us-east-1",
        )
        return Bucket(name=BUCKET, server=server, client=server.client())

    # --- answering -----------------------------------------------------------------------------------

    def answer(self, request: Request) -> Answer:
        path, query = urlsplit(request.target).path, _query(request)
        in_host = request.headers.get("host", "").startswith(f"{BUCKET}.")
        if self.quirks.virtual_hosted_only and not in_host:
            return Answer(error("SecondLevelDomainForbidden"), 403)
        key = self._spelled(unquote(path.removeprefix("" if in_host else f"/{BUCKET}").removeprefix("/")))
        operation = _operation(request, key, query)
        self.operations.append(operation)
        self.headers.append((operation, request.headers))
        if self.quirks.slow_down:
            self.quirks.slow_down -= 1
            return Answer(error("SlowDown"), 503)
        if self.quirks.error_in_200.get(operation):
            self.quirks.error_in_200[operation] -= 1
            return Answer(error("InternalError"))
        answers: dict[str, Callable[[], Answer]] = {
            "ListObjectsV2": lambda: self._list(query),
            "PutObject": lambda: self._put(key, request),
            "CopyObject": lambda: self._copy(key, request),
            "GetObject": lambda: self._get(key),
            "HeadObject": lambda: self._get(key),
            "DeleteObject": lambda: self._delete(key, request.headers.get("if-match", "").strip('"')),
            "DeleteObjects": lambda: self._delete_batch(request),
            "GetObjectLockConfiguration": self._lock_configuration,
            "GetBucketVersioning": lambda: Answer(f"<VersioningConfiguration {NAMESPACE}/>"),
        }
        if operation in PARTS:
            self.parts.decode_twice = self.quirks.decodes_part_sources_twice
            return self.parts.answer(operation, key, query, request, self._body_of, self._write)
        return answers.get(operation, lambda: Answer(error("NotImplemented"), 501))()

    def _body_of(self, key: str) -> bytes | None:
        stored = self.objects.get(self._spelled(key))
        return stored.body if stored else None

    def _write(self, key: str, body: bytes, etag: str = "") -> str:
        self.objects[key] = Stored(body, datetime.now(UTC), etag)
        return self.objects[key].etag

    def _spelled(self, key: str) -> str:
        return self.quirks.spells(key) if self.quirks.spells and key else key

    def _list(self, query: dict[str, str]) -> Answer:
        quirks, prefix, size = self.quirks, query.get("prefix", ""), int(query.get("max-keys", 1000))
        if quirks.directories and not query.get("start-after", prefix).startswith(prefix):
            return Answer(error("NotImplemented"), 501)
        if quirks.no_index:
            return self._page([], None)
        found = sorted(key for key in self.objects if key.startswith(prefix) and key not in quirks.skipped)
        if quirks.rank is not None:
            found.sort(key=quirks.rank)  # type: ignore[arg-type]  # whatever can be compared
        start, empty = 0, False
        token = query.get("continuation-token")
        if token and quirks.token_is_last_key:
            found = [key for key in found if key > token]
        elif token:
            start, empty = int(token.rstrip("e")), token.endswith("e")
        elif (after := query.get("start-after")) and not quirks.ignores_start_after:
            found = [key for key in found if key > after]
        if empty:
            return self._page([], str(start))
        stop = start if quirks.repeats_token else start + size
        more = start + size < len(found)
        page = found[start : start + size]
        if more and quirks.ends_at_directories:
            more = not all(key.startswith(f"{page[-1]}/") for key in found[start + size :])
        if more and quirks.token_is_last_key:
            return self._page(page, "".join(_reference(sign) for sign in page[-1]))
        mark = "e" if quirks.empty_pages else ""
        return self._page(page, f"{stop}{mark}" if more else None)

    def _page(self, keys: list[str], token: str | None) -> Answer:
        entries = "".join(
            f"<Contents><Key>{quote(key, safe='/')}</Key>"
            f"<LastModified>{self.objects[key].modified.isoformat(timespec='milliseconds')}</LastModified>"
            f"{self._listed_etag(key)}<Size>{len(self.objects[key].body)}</Size>"
            "</Contents>"
            for key in keys
        )
        following = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
        return Answer(
            f"<ListBucketResult {NAMESPACE}><EncodingType>url</EncodingType>"
            f"<IsTruncated>{str(token is not None).lower()}</IsTruncated>{following}{entries}"
            "</ListBucketResult>"
        )

    def _listed_etag(self, key: str) -> str:
        return "" if self.quirks.no_etags else f"<ETag>&quot;{self.objects[key].etag}&quot;</ETag>"

    def _put(self, key: str, request: Request) -> Answer:
        if (refusal := self._refusal_of_put(key, request)) is not None:
            return refusal
        self.objects[key] = Stored(request.body, datetime.now(UTC))
        return Answer(headers=self._etag(key))

    def _etag(self, key: str) -> dict[str, str]:
        return {} if self.quirks.no_etags else {"ETag": f'"{self.objects[key].etag}"'}

    def _refusal_of_put(self, key: str, request: Request) -> Answer | None:
        quirks, wanted = self.quirks, request.headers.get("if-match", "")
        if quirks.refuses_puts:
            return Answer(f"<Error><Code>{quirks.refuses_puts}</Code><Message></Message></Error>", 411)
        if quirks.directories and self._in_the_way(key):
            return Answer(error("InternalError", "is a directory"), 500)
        if wanted and quirks.unknown_put_condition:
            return Answer(error("NotImplemented"), 501)
        anew = request.headers.get("if-none-match") == "*" and not quirks.ignores_if_none_match
        if (anew and key in self.objects) or (wanted and not self._agrees(key, wanted)):
            return Answer("<Error><Code>PreconditionFailed</Code><Message></Message></Error>", 412)
        return None

    def _in_the_way(self, key: str) -> bool:
        """Whether there is a file where the key has a directory, or the other way round."""
        parents = {key[:at] for at, sign in enumerate(key) if sign == "/"}
        return bool(parents & self.objects.keys()) or any(each.startswith(f"{key}/") for each in self.objects)

    def _agrees(self, key: str, wanted: str) -> bool:
        etag = self.objects[key].etag if key in self.objects else None
        match self.quirks.put_condition:
            case PutCondition.COMPARED:
                return etag is not None and wanted.strip('"') == etag
            case PutCondition.UNQUOTED:
                return wanted == etag
            case PutCondition.REFUSED:
                return False
            case PutCondition.IGNORED:
                return True

    def _copy(self, key: str, request: Request) -> Answer:
        if self.quirks.makes_no_copies:
            return Answer(error("NotImplemented"), 501)
        source = self.objects.get(
            self._spelled(unquote(request.headers["x-amz-copy-source"]).partition("/")[2])
        )
        if source is None:
            return Answer(error("NoSuchKey"), 404)
        wanted = request.headers.get("x-amz-copy-source-if-match", "").strip('"')
        if wanted and self._refuses(source, wanted) and not self.quirks.ignores_etag_of_source:
            return Answer(error("PreconditionFailed"), 412)
        self.objects[key] = Stored(source.body, datetime.now(UTC), source.in_parts)
        return Answer(f"<CopyObjectResult><ETag>&quot;{source.etag}&quot;</ETag></CopyObjectResult>")

    def _get(self, key: str) -> Answer:
        stored = self.objects.get(key)
        if stored is None:
            return Answer(error("NoSuchKey"), 404)
        headers = {**self._etag(key), "Last-Modified": format_datetime(stored.modified, usegmt=True)}
        headers |= self._lock(key)
        return Answer(stored.body.decode(), headers={"Content-Length": str(len(stored.body)), **headers})

    def _lock_configuration(self) -> Answer:
        enabled = "<ObjectLockEnabled>Enabled</ObjectLockEnabled>" if self.quirks.locked else ""
        return Answer(f"<ObjectLockConfiguration {NAMESPACE}>{enabled}</ObjectLockConfiguration>")

    def _lock(self, key: str) -> dict[str, str]:
        """The headers of a locked object."""
        if key not in self.quirks.locked:
            return {}
        until = self.quirks.locked[key]
        if until is None:
            return {"x-amz-object-lock-legal-hold": "ON"}
        named = {"mode": "GOVERNANCE", "retain-until-date": until.isoformat().replace("+00:00", "Z")}
        return {f"x-amz-object-lock-{name}": value for name, value in named.items()}

    def _delete(self, key: str, etag: str) -> Answer:
        if key in self.quirks.locked:
            return Answer(error("AccessDenied", "Access Denied."), 403)
        if self._differs(key, etag, ignored=self.quirks.ignores_etag_alone):
            return Answer(error("PreconditionFailed"), 412)
        self.objects.pop(key, None)
        return Answer("", 204)

    def _differs(self, key: str, etag: str, *, ignored: bool) -> bool:
        if not etag or ignored:
            return False
        return key not in self.objects or self._refuses(self.objects[key], etag)

    def _refuses(self, stored: Stored, etag: str) -> bool:
        return stored.etag != etag or bool(self.quirks.refuses_etags_of_parts and stored.in_parts)

    def _delete_batch(self, request: Request) -> Answer:
        quirks = self.quirks
        asked = [(_text(each, "Key"), _text(each, "ETag").strip('"')) for each in _objects(request.body)]
        self.batches.append(len(asked))
        if quirks.no_batches:
            return Answer(error("NotImplemented"), 501)
        if quirks.needs_md5 and "content-md5" not in request.headers:
            return Answer(error("MissingContentMD5"), 400)
        if quirks.needs_crc32 and "x-amz-checksum-crc32" not in request.headers:
            return Answer(error("InvalidRequest", "no checksum that is known here"), 400)
        if quirks.silent_above is not None and len(asked) > quirks.silent_above and quirks.silent_times != 0:
            quirks.silent_times = None if quirks.silent_times is None else quirks.silent_times - 1
            return Answer(silent=True)
        results = [self._delete_one(key, etag) for key, etag in asked]
        return Answer(f"<DeleteResult {NAMESPACE}>{''.join(results)}</DeleteResult>")

    def _delete_one(self, key: str, etag: str) -> str:
        """One entry of a batch, as the answer tells it."""
        name, quirks = escape(key), self.quirks
        key = self._spelled(key)
        if key in quirks.unmentioned:
            return ""
        code = "AccessDenied" if key in quirks.locked else quirks.failing.get(key)
        if code is None and self._differs(key, etag, ignored=quirks.ignores_etag_in_batch):
            code = "PreconditionFailed"
        if code is not None:
            return f"<Error><Key>{name}</Key><Code>{code}</Code></Error>"
        if key not in quirks.says_deleted:
            self.objects.pop(key, None)
        return f"<Deleted><Key>{name}</Key></Deleted>"


def _query(request: Request) -> dict[str, str]:
    parsed = parse_qs(urlsplit(request.target).query, keep_blank_values=True)
    return {name: values[0] for name, values in parsed.items()}


def _operation(request: Request, key: str, query: dict[str, str]) -> str:
    if not key:
        asked = ((request.method, name) for name in query)
        return next((_OF_THE_BUCKET[each] for each in asked if each in _OF_THE_BUCKET), "another")
    in_parts, copied = "uploadId" in query, "x-amz-copy-source" in request.headers
    named = {
        "PUT": (("PutObject", "CopyObject"), ("UploadPart", "UploadPartCopy"))[in_parts][copied],
        "POST": ("CreateMultipartUpload", "CompleteMultipartUpload")[in_parts],
        "DELETE": ("DeleteObject", "AbortMultipartUpload")[in_parts],
        "GET": "GetObject",
        "HEAD": "HeadObject",
    }
    return named.get(request.method, "another")


_OF_THE_BUCKET = {
    ("GET", "list-type"): "ListObjectsV2",
    ("GET", "versioning"): "GetBucketVersioning",
    ("GET", "object-lock"): "GetObjectLockConfiguration",
    ("GET", "uploads"): "ListMultipartUploads",
    ("POST", "delete"): "DeleteObjects",
}


def _reference(sign: str) -> str:
    """The character, or what some stores write for one that XML cannot have."""
    return sign if sign >= " " and sign not in "<&" else f"&#x{ord(sign):x};"


def _objects(body: bytes) -> list[ET.Element]:
    return ET.fromstring(body).findall("{*}Object")


def _text(element: ET.Element, name: str) -> str:
    return element.findtext(f"{{*}}{name}") or ""


@asynccontextmanager
async def quirky_store(quirks: Quirks | None = None) -> AsyncIterator[QuirkyStore]:
    store = QuirkyStore(quirks or Quirks())
    async with serving(store.answer) as store.endpoint_url:
        yield store
