"""Probe what could be brought back: versions behind delete markers, copies, and details of both."""

from dataclasses import dataclass
from typing import Final

from reconciler.model import Versioning
from reconciler.stores.s3.faults import Refusal
from reconciler.stores.s3.probing.parts import Parts, probe_parts
from reconciler.stores.s3.probing.scratch import Scratch, ScratchKey

_WRONG_ETAG: Final = "00000000000000000000000000000000"
_SOURCE: Final = "copy/from a+b%20\u00e9"
"""A header names the source, encoded; not every store decodes it."""
_UNVERSIONED: Final = "null"
"""The version id of an object stored while versions were not kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copying:
    """Whether CopyObject copies and compares, and how the store treats objects in parts."""

    copy: bool
    copy_conditional: bool
    copy_only_new: bool
    parts: Parts


# --- versions ------------------------------------------------------------------------------------------


async def probe_versioning(scratch: Scratch, reported: Versioning | None) -> tuple[Versioning, bool]:
    """The bucket's versioning, and whether an object hidden by a plain delete came back.

    `reported` is what the bucket says about itself. None where it will not say: then the version in the
    answer to a PUT shows it.
    """
    key = f"{scratch.root}version"
    stored = await scratch.put(key)
    if reported is None:
        kept = stored.version_id not in {None, _UNVERSIONED}
        reported = Versioning.ENABLED if kept else Versioning.OFF
    return reported, reported is Versioning.ENABLED and await _undeletes(scratch, key)


async def _undeletes(scratch: Scratch, key: str) -> bool:
    try:
        await scratch.delete(Key=key)
        hidden = not await scratch.exists(key)
        found = await scratch.versions(key)
        markers = [each.version_id for each in found if each.marker and each.key == key]
        if not hidden or len(markers) != 1:
            return False
        await scratch.delete(Key=key, VersionId=markers[0])
        return await scratch.exists(key)
    except Refusal:
        return False


async def undeletes_in(scratch: Scratch) -> bool:
    """Whether undelete works in a managed prefix: a policy may forbid there what it allows elsewhere.

    It first tries to delete a version that never existed. Where versions may not be deleted, a scratch key
    could not be cleaned up either, so none is put.
    """
    key = f"{scratch.root}version"
    try:
        await scratch.delete(Key=key, VersionId=_UNVERSIONED)
    except Refusal as refusal:
        if refusal.denied:
            return False
    try:
        await scratch.put(key)
        return await _undeletes(scratch, key)
    except Refusal:
        return False


# --- copies --------------------------------------------------------------------------------------------


async def probe_copying(scratch: Scratch, into: Scratch) -> Copying:
    """Probe copies, in about thirty successive requests: from `scratch` into the bucket of `into`, and back.

    Both are the same where copies stay in the bucket.
    """
    source = scratch.key(_SOURCE)
    stored = await scratch.put(source.name)
    copies = await _copies(source, into, "copy/plain")
    if into is not scratch:
        copies = copies and await _copies(into.key("copy/plain"), scratch, "copy/back", source.name)
    compares = copies and await _copies(source, into, "copy/right", CopySourceIfMatch=f'"{stored.etag}"')
    compares = compares and await _refuses_another(source, into)
    return Copying(
        copy=copies,
        copy_conditional=compares,
        copy_only_new=copies and await _spares_what_is_there(into.key("copy/plain"), scratch),
        parts=await probe_parts(scratch, source.name, into),
    )


async def _copies(source: ScratchKey, into: Scratch, name: str, body: str = "", **condition: str) -> bool:
    """Whether the copy exists afterwards with the source's bytes: its name, unless `body` says another."""
    try:
        await into.copy(source, into.root + name, **condition)
        return await into.read(into.root + name) == (body or source.name).encode()
    except Refusal:
        return False


async def _refuses_another(source: ScratchKey, into: Scratch) -> bool:
    """Whether the store answers a wrong ETag with 412 and makes no copy."""
    target = f"{into.root}copy/wrong"
    try:
        await into.copy(source, target, CopySourceIfMatch=f'"{_WRONG_ETAG}"')
    except Refusal as refusal:
        return refusal.changed and not await into.exists(target)
    return False


async def _spares_what_is_there(source: ScratchKey, into: Scratch) -> bool:
    """Whether the store answers If-None-Match with 412 and leaves the target unchanged: moto ignores it."""
    target = f"{into.root}copy/taken"
    try:
        await into.put(target)
        await into.copy(source, target, IfNoneMatch="*")
    except Refusal as refusal:
        return refusal.changed and await into.read(target) == target.encode()
    return False
