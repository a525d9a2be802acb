"""Scratch keys for probes. They are removed at the end, whatever happened."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

import anyio

from reconciler.errors import StoreUnavailable
from reconciler.model import RESERVED_PREFIX, Digest, Versioning
from reconciler.stores.s3.answers import DeleteAnswer, read_answer
from reconciler.stores.s3.concurrency import side_by_side
from reconciler.stores.s3.faults import Refusal
from reconciler.stores.s3.parsing import bare_etag
from reconciler.stores.s3.retries import Calls

T = TypeVar("T")

SCRATCH_PREFIX: Final = f"{RESERVED_PREFIX}probe/"
CLEANUP_SECONDS: Final = 10.0
_DELETES_AT_ONCE: Final = 8
_VERSION_PAGES: Final = 5
"""Pages of versions that the clean-up goes through: more than a probe can have left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The answer to a PUT. `version_id` is None where the bucket never kept versions."""

    etag: str
    version_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version of a key; `marker` says whether it is a delete marker."""

    key: str
    version_id: str
    marker: bool


@dataclass(frozen=True, slots=True)
class ScratchKey:
    """A scratch key, with its bucket: what is copied may be in another one than the copy."""

    bucket: str
    name: str


class Scratch:
    """The scratch keys of one probe, all under `root`. Every call may raise Refusal and StoreUnavailable."""

    def __init__(self, calls: Calls, reported: Versioning | None, folder: str = SCRATCH_PREFIX) -> None:
        self.calls = calls
        self.root = f"{folder}{secrets.token_hex(16)}/"
        self.versioned = reported not in {None, Versioning.OFF}
        """Whether a plain delete leaves bytes or a marker behind: if the bucket says so, suspended included,
        or the answer to a PUT had a version. Ceph names none while versions are suspended."""
        self.digest: Digest | None = None
        """The digest with which the store accepts batches; None until it is known."""
        self._written: set[str] = set()

    async def put(self, key: str) -> Stored:
        """Put a few bytes, different for each key."""
        return await self.write(key, key.encode())

    async def write(self, key: str, body: bytes, **conditions: str) -> Stored:
        self._written.add(key)
        stored = await self.calls.send("PutObject", _stored, Key=key, Body=body, **conditions)
        self.versioned = self.versioned or stored.version_id is not None
        return stored

    async def try_put(self, key: str) -> bool:
        """Whether the store takes the key. Only a plain key shows that a store takes no key at all."""
        try:
            await self.put(key)
        except StoreUnavailable:
            return False
        except Refusal as refusal:
            if refusal.fatal or refusal.denied:
                raise
            return False
        return True

    async def put_all(self, keys: Sequence[str]) -> dict[str, Stored]:
        stored = await side_by_side([partial(self.put, key) for key in keys])
        return dict(zip(keys, stored, strict=True))

    def expect(self, key: str) -> None:
        """Register a key that the store may make by itself, so that it is deleted at the end too."""
        self._written.add(key)

    async def exists(self, key: str) -> bool:
        return await self.etag(key) is not None

    async def etag(self, key: str) -> str | None:
        """The ETag that HEAD gives, "" where it gives none; None on 404."""
        try:
            return await self.calls.send("HeadObject", _etag, Key=key)
        except Refusal as refusal:
            if refusal.missing:
                return None
            raise

    async def read(self, key: str) -> bytes:
        async def fetch() -> bytes:
            answer = await self.calls.client.get_object(Bucket=self.calls.bucket, Key=key)
            async with answer["Body"] as stream:
                return bytes(await stream.read())

        return await self.calls.carry_out("GetObject", fetch, bytes)

    def key(self, name: str) -> ScratchKey:
        return ScratchKey(self.calls.bucket, self.root + name)

    async def copy(self, source: ScratchKey, target: str, **conditions: str) -> None:
        self.expect(target)
        place = {"Bucket": source.bucket, "Key": source.name}
        await self.calls.send("CopyObject", lambda _: None, Key=target, CopySource=place, **conditions)

    async def delete(self, **asked: str) -> None:
        """Send one DELETE of `Key`, with `IfMatch` or `VersionId` where given."""
        await self.calls.send("DeleteObject", lambda _: None, **asked)

    async def delete_batch(self, entries: Sequence[Mapping[str, str]], digest: Digest) -> DeleteAnswer:
        """Send one DeleteObjects like those of the collector."""
        to_delete = {"Objects": entries, "Digest": digest}
        return await self.calls.send("DeleteObjects", read_answer, Delete=to_delete)

    async def versions(self, prefix: str) -> list[Version]:
        """The versions and delete markers under the prefix, up to one page."""
        answer: Mapping[str, Any] = await self.calls.send("ListObjectVersions", dict, Prefix=prefix)
        return [
            Version(key=entry["Key"], version_id=entry["VersionId"], marker=marker)
            for name, marker in (("Versions", False), ("DeleteMarkers", True))
            for entry in answer.get(name, ())
        ]

    async def remove(self) -> None:
        """Delete the remaining keys with every version. Best effort: at most a few bytes stay."""
        if not (self.versioned and await self._remove_versions()):
            await self._delete_all([{"Key": key} for key in sorted(self._written)])

    async def _remove_versions(self) -> bool:
        """Delete by version id, which leaves no delete markers; False where listing or deleting fails."""
        before = None
        for _ in range(_VERSION_PAGES):
            left = await _or_none(self.versions(self.root))
            if not left or left == before:
                return left == []
            before = left
            await self._delete_all([{"Key": each.key, "VersionId": each.version_id} for each in left])
        return True

    async def _delete_all(self, entries: Sequence[Mapping[str, str]]) -> None:
        if self.digest is not None:
            await _or_none(self.delete_batch(entries, self.digest))
            return
        limiter = anyio.CapacityLimiter(_DELETES_AT_ONCE)

        async def delete(entry: Mapping[str, str]) -> None:
            async with limiter:
                await _or_none(self.delete(**entry))

        await side_by_side([partial(delete, entry) for entry in entries])


@asynccontextmanager
async def scratch_keys(
    calls: Calls, reported: Versioning | None, folder: str = SCRATCH_PREFIX
) -> AsyncIterator[Scratch]:
    """Separate scratch keys for one probe, deleted at the end, also when the probe is cancelled.

    `reported` is what the bucket says about its versions, None where it will not say.
    """
    scratch = Scratch(calls, reported, folder)
    try:
        yield scratch
    finally:
        with anyio.move_on_after(CLEANUP_SECONDS, shield=True):
            await scratch.remove()


async def reported_versioning(calls: Calls) -> Versioning | None:
    """The versioning that the bucket declares; None where it will not say. Raises Refusal for a fatal one."""
    try:
        return await calls.send("GetBucketVersioning", _versioning_of)
    except Refusal as refusal:
        if refusal.fatal:
            raise
        return None


def _versioning_of(answer: Mapping[str, Any]) -> Versioning:
    return {"Enabled": Versioning.ENABLED, "Suspended": Versioning.SUSPENDED}.get(
        answer.get("Status", ""), Versioning.OFF
    )


def _etag(answer: Mapping[str, Any]) -> str:
    return bare_etag(answer.get("ETag", ""))


def _stored(answer: Mapping[str, Any]) -> Stored:
    return Stored(etag=_etag(answer), version_id=answer.get("VersionId"))


async def _or_none(call: Awaitable[T]) -> T | None:
    """The call's result, or None where it fails: for the clean-up."""
    try:
        return await call
    except Exception:  # noqa: BLE001 - a few bytes under .reconciler/ stay behind
        return None
