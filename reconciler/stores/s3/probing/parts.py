"""Probe multipart uploads: whether a part can be a copy, and of what; whether uploads are listed, and whether
the ETag of their object is compared. Ceph 16 decodes the source of a part twice: for `x%20y` it copies the
bytes of `x y`. Swift answers 412 to the right ETag of an object that was uploaded in parts.
"""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote_plus

import anyio

from reconciler.stores.s3.faults import Refusal
from reconciler.stores.s3.probing.scratch import CLEANUP_SECONDS, Scratch, ScratchKey

_PLAIN: Final = "copy/parts-plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """`copied_encoded`: a part can also be copied from a source with a percent sign in its key."""

    copied: bool
    copied_encoded: bool
    listed: bool
    compared: bool


async def probe_parts(scratch: Scratch, source: str, into: Scratch) -> Parts:
    """Probe parts in about 25 successive requests. `source` is a scratch key with a percent sign."""
    plain = scratch.key(_PLAIN)
    await scratch.put(plain.name)
    # A store that decodes once too often copies this key. Without it, such a store would find no source.
    await scratch.write(unquote_plus(source), b"?" * len(source.encode()))
    there = ScratchKey(plain.bucket, source)
    encoded = await _or_false(_copies(there, into, "copy/parts-1"))
    copied = encoded or await _or_false(_copies(plain, into, "copy/parts-2"))
    listed = await _or_false(_is_listed_until_aborted(scratch, f"{scratch.root}copy/parts-3"))
    compared = await _or_false(_compares(scratch, f"{scratch.root}copy/parts-4"))
    return Parts(copied=copied, copied_encoded=encoded or not copied, listed=listed, compared=compared)


async def _copies(source: ScratchKey, into: Scratch, name: str) -> bool:
    """Whether an object whose one part is a copy of the source has the source's bytes."""
    key = into.root + name

    async def copy(asked: Mapping[str, str]) -> str:
        part = {"PartNumber": 1, "CopySource": {"Bucket": source.bucket, "Key": source.name}}
        return await into.calls.send("UploadPartCopy", _copied_etag, **asked, **part)

    await _complete(into, key, copy)
    return await into.read(key) == source.name.encode()


async def _compares(scratch: Scratch, key: str) -> bool:
    """Whether a copy and a DELETE accept the ETag that HEAD gives for an object in parts.

    A store that ignores conditions counts as accepting it: it refuses nothing.
    """

    async def put(asked: Mapping[str, str]) -> str:
        body = key.encode()
        return await scratch.calls.send("UploadPart", _part_etag, **asked, PartNumber=1, Body=body)

    try:
        await _complete(scratch, key, put)
        etag = f'"{await scratch.etag(key)}"'
    except (Refusal, KeyError):
        return True  # no object in parts can exist
    copy = scratch.copy(ScratchKey(scratch.calls.bucket, key), f"{key}-copy", CopySourceIfMatch=etag)
    return await _not_refused(copy) and await _not_refused(scratch.delete(Key=key, IfMatch=etag))


async def _not_refused(call: Awaitable[None]) -> bool:
    """Whether the call ends in anything but a 412."""
    try:
        await call
    except Refusal as refusal:
        return not refusal.changed
    return True


async def _complete(scratch: Scratch, key: str, part: Any) -> None:  # noqa: ANN401 - a function that awaits
    """Make an object of the one part that `part` puts or copies; abort an upload that cannot be completed."""
    asked = await _begin(scratch, key)
    try:
        made = {"Parts": [{"PartNumber": 1, "ETag": await part(asked)}]}
        await scratch.calls.send("CompleteMultipartUpload", lambda _: None, **asked, MultipartUpload=made)
    except BaseException:
        with anyio.move_on_after(CLEANUP_SECONDS, shield=True):
            await _or_false(_abort(scratch, asked))
        raise


async def _is_listed_until_aborted(scratch: Scratch, key: str) -> bool:
    asked = await _begin(scratch, key)
    aborted = False
    try:
        listed = await _or_false(_lists(scratch, key))
    finally:
        with anyio.move_on_after(CLEANUP_SECONDS, shield=True):
            aborted = await _or_false(_abort(scratch, asked))
    return listed and aborted and not await _or_false(_lists(scratch, key))


async def _begin(scratch: Scratch, key: str) -> dict[str, str]:
    scratch.expect(key)
    # Shielded: an upload whose id we never received cannot be aborted.
    with anyio.move_on_after(CLEANUP_SECONDS, shield=True):
        upload = await scratch.calls.send("CreateMultipartUpload", _upload_id, Key=key)
        return {"Key": key, "UploadId": upload}
    raise Refusal("RequestTimeout", f"no answer within {CLEANUP_SECONDS:.0f} s", status=0)


async def _lists(scratch: Scratch, key: str) -> bool:
    asked = {"Prefix": scratch.root}
    answer: Mapping[str, Any] = await scratch.calls.send("ListMultipartUploads", dict, **asked)
    return key in {upload.get("Key") for upload in answer.get("Uploads", ())}


async def _abort(scratch: Scratch, asked: Mapping[str, str]) -> bool:
    return await scratch.calls.send("AbortMultipartUpload", lambda _: True, **asked)


def _part_etag(answer: Mapping[str, Any]) -> str:
    return str(answer["ETag"])


def _copied_etag(answer: Mapping[str, Any]) -> str:
    return str(answer["CopyPartResult"]["ETag"])


def _upload_id(answer: Mapping[str, Any]) -> str:
    try:
        return str(answer["UploadId"])
    except KeyError:
        raise Refusal("Unreadable", "the answer names no upload", status=0) from None


async def _or_false(call: Awaitable[bool]) -> bool:
    try:
        return await call
    except (Refusal, KeyError):  # an answer may lack the field that is read
        return False
