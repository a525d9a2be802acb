"""What could be brought back: versions behind delete markers, copies, and what hides in between."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import anyio

from reconciler.bucket.faults import CHANGED, Refusal
from reconciler.bucket.probing.scratch import CLEANUP_SECONDS, Scratch
from reconciler.model import Versioning

_WRONG_ETAG: Final = "00000000000000000000000000000000"
_SOURCE: Final = "copy/from a+b%20\u00e9"
"""The source is named in a header, encoded; not every store decodes it."""
_UNVERSIONED: Final = "null"
"""The version of what was stored while versions were not kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copying:
    """Whether CopyObject copies and compares, and whether large objects can be copied in parts."""

    copy: bool
    copy_conditional: bool
    multipart_copy: bool
    multipart_listing: bool


# --- versions ------------------------------------------------------------------------------------------


async def probe_versioning(scratch: Scratch, told: Versioning | None) -> tuple[Versioning, bool]:
    """What a plain delete leaves, and whether it was brought back.

    `told` is what the bucket says of itself, None where it will not say: then the version that a PUT is
    answered with tells it.
    """
    key = f"{scratch.root}version"
    stored = await scratch.put(key)
    if told is None:
        kept = stored.version_id not in {None, _UNVERSIONED}
        told = Versioning.ENABLED if kept else Versioning.OFF
    return told, told is Versioning.ENABLED and await _undeletes(scratch, key, stored.version_id)


async def _undeletes(scratch: Scratch, key: str, version_id: str | None) -> bool:
    try:
        await scratch.delete(Key=key)
        hidden = not await scratch.exists(key)
        versions = await scratch.versions(key)
        markers = [each.version_id for each in versions if each.marker and each.key == key]
        kept = [each.version_id for each in versions if not each.marker and each.key == key]
        if not hidden or len(markers) != 1 or kept != [version_id]:
            return False
        await scratch.delete(Key=key, VersionId=markers[0])
        return await scratch.exists(key)
    except Refusal:
        return False


# --- copies --------------------------------------------------------------------------------------------


async def probe_copying(scratch: Scratch) -> Copying:
    """About a dozen requests, one after the other."""
    source = scratch.root + _SOURCE
    stored = await scratch.put(source)
    copies = await _copies(scratch, source, "copy/plain")
    compares = copies and await _copies(scratch, source, "copy/right", CopySourceIfMatch=f'"{stored.etag}"')
    compares = compares and await _refuses_another(scratch, source)
    in_parts, listed = await _multipart(scratch, source)
    return Copying(copy=copies, copy_conditional=compares, multipart_copy=in_parts, multipart_listing=listed)


async def _copies(scratch: Scratch, source: str, name: str, **condition: str) -> bool:
    """Whether the copy is there afterwards, with the source's bytes."""
    try:
        await _copy(scratch, source, name, **condition)
        return await scratch.read(scratch.root + name) == source.encode()
    except Refusal:
        return False


async def _refuses_another(scratch: Scratch, source: str) -> bool:
    """Whether a wrong ETag is answered with 412, and no copy is made."""
    name = "copy/wrong"
    try:
        await _copy(scratch, source, name, CopySourceIfMatch=f'"{_WRONG_ETAG}"')
    except Refusal as refusal:
        return refusal.code in CHANGED and not await scratch.exists(scratch.root + name)
    return False


async def _copy(scratch: Scratch, source: str, name: str, **condition: str) -> None:
    target = scratch.root + name
    scratch.expect(target)
    call = partial(
        scratch.client.copy_object,
        Bucket=scratch.bucket,
        Key=target,
        CopySource={"Bucket": scratch.bucket, "Key": source},
        **condition,
    )
    await scratch.calls.send("CopyObject", call, lambda _: None)


# --- uploads in parts ----------------------------------------------------------------------------------


async def _multipart(scratch: Scratch, source: str) -> tuple[bool, bool]:
    """Whether a part can be a copy, and whether an unfinished upload is listed, and gone once aborted."""
    key = f"{scratch.root}copy/parts"
    asked = {"Bucket": scratch.bucket, "Key": key}
    scratch.expect(key)
    try:
        call = partial(scratch.client.create_multipart_upload, **asked)
        asked["UploadId"] = await scratch.calls.send("CreateMultipartUpload", call, _upload_id)
    except Refusal:
        return False, False
    aborted = False
    try:
        copied = await _or_false(_copy_part(scratch, source, asked))
        listed = await _or_false(_lists(scratch, key))
    finally:
        with anyio.move_on_after(CLEANUP_SECONDS, shield=True):
            aborted = await _or_false(_abort(scratch, asked))
    gone = aborted and not await _or_false(_lists(scratch, key))
    return copied, listed and gone


async def _copy_part(scratch: Scratch, source: str, asked: Mapping[str, str]) -> bool:
    call = partial(
        scratch.client.upload_part_copy,
        **asked,
        PartNumber=1,
        CopySource={"Bucket": scratch.bucket, "Key": source},
    )
    return await scratch.calls.send("UploadPartCopy", call, lambda answer: "CopyPartResult" in answer)


async def _lists(scratch: Scratch, key: str) -> bool:
    call = partial(scratch.client.list_multipart_uploads, Bucket=scratch.bucket, Prefix=scratch.root)
    answer: Mapping[str, Any] = await scratch.calls.send("ListMultipartUploads", call, dict)
    return key in {upload.get("Key") for upload in answer.get("Uploads", ())}


async def _abort(scratch: Scratch, asked: Mapping[str, str]) -> bool:
    call = partial(scratch.client.abort_multipart_upload, **asked)
    return await scratch.calls.send("AbortMultipartUpload", call, lambda _: True)


def _upload_id(answer: Mapping[str, Any]) -> str:
    try:
        return str(answer["UploadId"])
    except KeyError:
        raise Refusal("Unreadable", "the answer names no upload", status=0) from None


async def _or_false(call: Awaitable[bool]) -> bool:
    try:
        return await call
    except Refusal:
        return False
