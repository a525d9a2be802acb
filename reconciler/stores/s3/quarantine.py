"""Server-side copies: CopyObject, or a copy in parts where an object is too large for it.

A key says in which bucket it lies (`model.QuarantineBucket`), so source and target may be in two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypeVar
from urllib.parse import unquote_plus, urlencode

import anyio

from reconciler.errors import KeyRefused, ReconcilerError, StoreUnavailable
from reconciler.model import Blame, Capabilities, Copied, CopyRequest, CopyResult, believable
from reconciler.stores.s3.concurrency import side_by_side
from reconciler.stores.s3.config import CopySizes
from reconciler.stores.s3.faults import Refusal
from reconciler.stores.s3.parsing import bare_etag
from reconciler.stores.s3.retries import Calls
from reconciler.stores.s3.witness import Witness

T = TypeVar("T")

MOST_PARTS: Final = 10_000
"""Parts of one multipart upload, at most."""
PARTS_AT_ONCE: Final = 4
CLEANUP_SECONDS: Final = 10.0

_CONTENT: Final = (
    "CacheControl",
    "ContentDisposition",
    "ContentEncoding",
    "ContentLanguage",
    "ContentType",
    "Expires",
    "Metadata",
    "StorageClass",
    "WebsiteRedirectLocation",
)
"""Fields of HEAD that a multipart upload must be given again; CopyObject copies them itself."""

_DIGESTS: Final = tuple(f"Checksum{name}" for name in ("CRC64NVME", "CRC32", "CRC32C", "SHA1", "SHA256"))
"""The digests' names in the answer to HEAD."""

_TOO_LARGE: Final = (
    "it is too large to be copied at once, and the store takes its key for another where it copies parts"
)

_NO_CONDITIONS: Final = frozenset({"NotImplemented", "InvalidArgument", "InvalidRequest", "501"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """The object to copy as HEAD saw it. `content` holds the fields for a multipart upload, `version` the
    version that was asked for.
    """

    key: str
    size: int
    etag: str
    tags: int
    content: Mapping[str, Any]
    modified: Any
    digests: Mapping[str, str]
    """Digests of the whole object, where HEAD was asked for them and the store has any."""
    version: Mapping[str, str]


class BucketCopies:
    """`ports.Copies` of one bucket, and of those in which copies of its objects lie.

    `at` gives the calls to the bucket of a key, `witness` whom to ask about a refused copy.
    """

    def __init__(
        self,
        at: Callable[[str], Calls],
        witness: Callable[[CopyRequest], Witness],
        limiter: anyio.CapacityLimiter,
        sizes: CopySizes,
        found: Capabilities | None = None,
    ) -> None:
        self._at = at
        self._witness = witness
        self._limiter = limiter
        self._sizes = sizes
        self._can = found

    def knowing(self, found: Capabilities) -> BucketCopies:
        """The same adapter, which uses the capabilities that the probe found."""
        return BucketCopies(self._at, self._witness, self._limiter, self._sizes, found)

    async def copy(self, wanted: CopyRequest) -> Copied:
        """See the port. Some stores ignore conditions, so it looks at the source before, unless the probe saw
        this one compare ETags and the size is known, and at a copy whose ETag is another.
        """
        async with self._limiter:
            try:
                return await self._copy(wanted)
            except Refusal as refusal:
                return await self._refused(refusal, wanted)
            except StoreUnavailable as error:
                raise await self._witness(wanted).blame("CopyObject", wanted.source, error) from None

    def _as_listed(self, wanted: CopyRequest) -> _Source | None:
        """The source where HEAD would add nothing: the store compares its ETag, and one request copies it."""
        can, etag, size = self._can, wanted.etag, wanted.listed_size
        if (
            can is None
            or wanted.version is not None
            or not etag
            or size is None
            or size > self._sizes.at_once
        ):
            return None
        if not can.copy_conditional or not can.compares_etag(etag):
            return None
        if wanted.only_new and not can.copy_only_new:
            return None
        return _Source(
            key=wanted.source, size=size, etag=etag, tags=0, content={}, modified=None, digests={}, version={}
        )

    async def _copy(self, wanted: CopyRequest) -> Copied:
        target, only_new = wanted.target, wanted.only_new
        listed = self._as_listed(wanted)
        source = listed or await self._look(wanted.source, wanted.version)
        if source is None:
            return Copied(result=CopyResult.MISSING)
        if wanted.etag is not None and source.etag != wanted.etag:
            return Copied(result=CopyResult.CHANGED, detail="not the object that was marked")
        if only_new and listed is None and await self._look(target) is not None:
            return Copied(result=CopyResult.OCCUPIED)
        try:
            made = await self._made(source, target, only_new=only_new)
        except Refusal as refusal:
            if refusal.changed and only_new and listed is not None:
                # Which of the two conditions failed only looking shows.
                return await self._copy(replace(wanted, listed_size=None))
            if refusal.changed and not only_new:
                await self._require_changed(source, refusal)
            raise
        if made != source.etag and not await self._complete(source, target):
            return Copied(result=CopyResult.FAILED, detail="the copy is not what was to be copied")
        return Copied(
            result=CopyResult.COPIED, etag=source.etag, size=source.size, last_modified=source.modified
        )

    async def _made(self, source: _Source, target: str, *, only_new: bool) -> str:
        """Make the copy and return its ETag. Raises KeyRefused where neither one request nor parts can."""
        in_parts = source.size > self._sizes.at_once
        if in_parts and self._takes_for_another(source.key):
            if source.size > self._sizes.most_at_once:
                raise KeyRefused(_TOO_LARGE, Blame.OBJECT)
            in_parts = False
        copying = self._in_parts if in_parts else self._at_once
        return await copying(source, target, only_new=only_new)

    def _takes_for_another(self, key: str) -> bool:
        """Whether a part copied from the key would come from another object (R-79)."""
        encoded = self._can is None or self._can.multipart_copy_encoded
        return not encoded and unquote_plus(key) != key

    async def _refused(self, refusal: Refusal, wanted: CopyRequest) -> Copied:
        if refusal.missing:
            return Copied(result=CopyResult.MISSING, detail=str(refusal))
        if not refusal.changed:
            raise await self._witness(wanted).blame("CopyObject", wanted.source, refusal) from None
        result = CopyResult.OCCUPIED if wanted.only_new else CopyResult.CHANGED
        return Copied(result=result, detail=str(refusal))

    # --- looking -----------------------------------------------------------------------------------

    async def _require_changed(self, source: _Source, refusal: Refusal) -> None:
        """Raise KeyRefused where a 412 is false: Swift answers it to the right ETag of an object that was
        uploaded in parts.
        """
        now = await self._look(source.key, source.version.get("VersionId"))
        if now is not None and now.etag == source.etag:
            message = f"the store answers 412 to the object's own ETag ({refusal})"
            raise KeyRefused(message, Blame.KEY) from None

    async def _look(self, key: str, version: str | None = None, **asked: str) -> _Source | None:
        of = {} if version is None else {"VersionId": version}
        try:
            return await self._send("HeadObject", partial(_source, key, of), Key=key, **of, **asked)
        except Refusal as refusal:
            if refusal.missing:
                return None
            raise

    async def _complete(self, source: _Source, target: str) -> bool:
        """Whether the copy has every byte; an object made of parts has another ETag.

        The source must be unchanged, because stores ignore the condition of each part. Where the store keeps
        digests of both whole objects, they are compared.
        """
        made = await self._look(target, ChecksumMode="ENABLED")
        now = await self._look(source.key, source.version.get("VersionId"), ChecksumMode="ENABLED")
        if made is None or now is None or (now.etag, now.size) != (source.etag, source.size):
            return False
        return made.size == source.size and not any(
            made.digests[name] != now.digests[name] for name in made.digests.keys() & now.digests.keys()
        )

    # --- copying -----------------------------------------------------------------------------------

    async def _at_once(self, source: _Source, target: str, *, only_new: bool) -> str:
        """Copy with CopyObject, which copies content type, metadata and tags. Returns the copy's ETag."""
        kept = {name: source.content[name] for name in ("StorageClass",) if name in source.content}
        asked = {**self._places(source, target), **kept, **({"IfNoneMatch": "*"} if only_new else {})}
        return await self._conditionally("CopyObject", asked, _copied_etag)

    async def _in_parts(self, source: _Source, target: str, *, only_new: bool) -> str:
        """Copy part by part with UploadPartCopy; abort an upload that cannot be completed."""
        fields = {**source.content, **await self._tagging(source)}
        upload = await self._send("CreateMultipartUpload", _upload_id, Key=target, **fields)
        try:
            parts = await self._copy_parts(source, target, upload)
            # The parts took time, and not every store honours the condition.
            if only_new and await self._look(target) is not None:
                raise Refusal("PreconditionFailed", "something lies at the target by now", status=0)
            asked = {
                "Key": target,
                "UploadId": upload,
                "MultipartUpload": {"Parts": parts},
                **({"IfNoneMatch": "*"} if only_new else {}),
            }
            return await self._conditionally("CompleteMultipartUpload", asked, _completed_etag)
        except BaseException:
            with anyio.move_on_after(CLEANUP_SECONDS, shield=True):
                await self._abort(target, upload)
            raise

    async def _copy_parts(self, source: _Source, target: str, upload: str) -> list[dict[str, Any]]:
        size = max(self._sizes.part, -(-source.size // MOST_PARTS))
        limiter = anyio.CapacityLimiter(PARTS_AT_ONCE)

        async def copy(number: int, first: int) -> dict[str, Any]:
            last = min(first + size, source.size) - 1
            asked = {
                **self._places(source, target),
                "UploadId": upload,
                "PartNumber": number,
                "CopySourceRange": f"bytes={first}-{last}",
            }
            async with limiter:
                etag = await self._send("UploadPartCopy", _part_etag, **asked)
            return {"PartNumber": number, "ETag": etag}

        starts = range(0, source.size, size)
        return await side_by_side([partial(copy, number, first) for number, first in enumerate(starts, 1)])

    def _places(self, source: _Source, target: str) -> dict[str, Any]:
        return {
            "Key": target,
            "CopySource": {"Bucket": self._at(source.key).bucket, "Key": source.key, **source.version},
            **self._condition(source.etag),
        }

    def _condition(self, etag: str) -> dict[str, str]:
        """No condition where the store refuses the object's own ETag: HEAD checks it before and after."""
        if not etag or (self._can is not None and not self._can.compares_etag(etag)):
            return {}
        return {"CopySourceIfMatch": f'"{etag}"'}

    async def _conditionally(
        self, operation: str, asked: Mapping[str, Any], read: Callable[[Any], str]
    ) -> str:
        """Retry without `IfNoneMatch` where the store does not know it: the target was already checked."""
        try:
            return await self._send(operation, read, **asked)
        except Refusal as refusal:
            if "IfNoneMatch" not in asked or refusal.code not in _NO_CONDITIONS:
                raise
        plain = {name: value for name, value in asked.items() if name != "IfNoneMatch"}
        return await self._send(operation, read, **plain)

    async def _send(self, operation: str, read: Callable[[Any], T], /, **asked: Any) -> T:  # noqa: ANN401
        """Send it to the bucket of its key."""
        return await self._at(asked["Key"]).send(operation, read, **asked)

    async def _tagging(self, source: _Source) -> dict[str, str]:
        if not source.tags:
            return {}
        place = {"Key": source.key, **source.version}
        tags = await self._send("GetObjectTagging", lambda answer: answer.get("TagSet", ()), **place)
        return {"Tagging": urlencode([(tag["Key"], tag["Value"]) for tag in tags])}

    async def _abort(self, target: str, upload: str) -> None:
        """Abort, best effort: an upload that remains is aborted later with the other unfinished uploads."""
        try:
            await self._send("AbortMultipartUpload", lambda _: None, Key=target, UploadId=upload)
        except (Refusal, ReconcilerError):
            return


def _source(key: str, version: Mapping[str, str], answer: Mapping[str, Any]) -> _Source:
    return _Source(
        key=key,
        size=answer["ContentLength"],
        etag=bare_etag(answer.get("ETag", "")),
        tags=answer.get("TagCount", 0),
        content={name: answer[name] for name in _CONTENT if answer.get(name)},
        modified=believable(answer.get("LastModified")),
        digests={name: answer[name] for name in _DIGESTS if answer.get(name)}
        if answer.get("ChecksumType") == "FULL_OBJECT"
        else {},
        version=version,
    )


def _upload_id(answer: Mapping[str, Any]) -> str:
    return str(answer["UploadId"])


def _copied_etag(answer: Mapping[str, Any]) -> str:
    return bare_etag(answer.get("CopyObjectResult", {}).get("ETag", ""))


def _part_etag(answer: Mapping[str, Any]) -> str:
    return str(answer["CopyPartResult"]["ETag"])


def _completed_etag(answer: Mapping[str, Any]) -> str:
    return bare_etag(answer.get("ETag", ""))
