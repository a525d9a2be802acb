"""The identity object, which says whose bucket this is: `.reconciler/identity.json`."""

import json
from dataclasses import replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from reconciler.errors import Halt, StoreUnavailable
from reconciler.model import Identity, Lineage, PutCondition, Seal, Versioning
from reconciler.stores.s3.faults import Refusal
from reconciler.stores.s3.parsing import bare_etag
from reconciler.stores.s3.probing.scratch import reported_versioning, scratch_keys
from reconciler.stores.s3.probing.writing import probe_condition
from reconciler.stores.s3.retries import Calls
from reconciler.stores.s3.witness import IDENTITY_KEY

FORMAT: Final = 1
"""The version of the identity's JSON. We do not read a newer one: it may mean something else."""

_NO_CONDITIONS: Final = frozenset({"NotImplemented", "InvalidArgument", "InvalidRequest", "501", "400"})

_AT_THE_SAME_TIME: Final = frozenset({"ConditionalRequestConflict", "409"})


class BucketIdentity:
    """`ports.IdentityObject` of one bucket, at this key."""

    def __init__(self, calls: Calls, key: str = IDENTITY_KEY) -> None:
        self._calls = calls
        self._key = key
        self._compared = PutCondition.COMPARED
        """What the store does with If-Match on a PUT, as far as we know."""

    async def read(self) -> Identity | None:
        """The identity, or None where there is none. Raises Halt where the object cannot be read as one."""
        try:
            body, etag = await self._calls.carry_out("GetObject", self._fetch, lambda got: got)
        except Refusal as refusal:
            if refusal.missing:
                return None
            raise self._calls.place.explain("GetObject", refusal, Halt) from None
        try:
            return replace(decode(body), etag=etag)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Halt(
                f"{self._key} in {self._calls.place} is no identity that this version reads ({error!r}): "
                "find out who wrote it before anything here is deleted"
            ) from None

    async def write(self, identity: Identity) -> None:
        """Write the first identity. An existing one is left as it is: read it back to know whose it is.

        Two sites that meet an unmarked bucket at once must not both believe that it is theirs. A site that
        was suspended at its first contact must not remove the seal of the one that went on meanwhile.
        """
        body = encode(identity)
        if await self.exists():  # Ceph 16 overwrites it despite the condition, where it keeps versions
            return
        try:
            try:
                await self._put(body, IfNoneMatch="*")
            except Refusal as refusal:
                if _came_before(refusal):
                    return
                if refusal.code not in _NO_CONDITIONS:
                    raise
                if await self.read() is None:
                    await self._put(body)
        except Refusal as refusal:
            raise self._calls.place.explain("PutObject", refusal, Halt) from None

    async def exchange(self, identity: Identity, seen: Identity) -> bool:
        """Write the identity over the one that was seen; see `ports.IdentityObject.exchange`.

        We send the condition and never trust it: a store that ignores it says yes (I-24). The writer reads
        the identity back, and again before each batch. A store that refuses even the right ETag says no for
        ever, so once a no contradicts the stored identity, scratch keys show what the store really does.
        """
        body = encode(identity)
        try:
            written = await self._put_over(body, seen, self._compared)
            if not written and (otherwise := await self._contradicted(seen)):
                written = await self._put_over(body, seen, otherwise)
        except Refusal as refusal:
            raise self._calls.place.explain("PutObject", refusal, Halt) from None
        return written

    async def _put_over(self, body: bytes, seen: Identity, compared: PutCondition) -> bool:
        """Write with the condition that the store compares; False where it says that the identity differs."""
        try:
            version = await self._put(body, **_condition(compared, seen.etag))
        except Refusal as refusal:
            if _came_before(refusal) or refusal.missing:
                return False
            if refusal.code not in _NO_CONDITIONS:
                raise
            version = await self._put(body)
        if version not in {"", "null"}:
            await self._remove_superseded()
        return True

    async def _contradicted(self, seen: Identity) -> PutCondition | None:
        """Another way to write if the stored identity is still the one seen; None if a retry may succeed.

        SeaweedFS refuses every ETag of an object put before versions were suspended. New keys do not show it.
        """
        there = await self.read()
        if there is None or (there, there.etag) != (seen, seen.etag):
            return None
        before = self._compared
        reported = await reported_versioning(self._calls)
        async with scratch_keys(self._calls, reported) as scratch:
            self._compared = await probe_condition(scratch)
        if self._compared is not before:
            return self._compared
        return PutCondition.REFUSED if reported is Versioning.SUSPENDED else None

    async def exists(self) -> bool:
        """Whether HEAD gives 200, which proves that a 404 on another key came from the right bucket."""
        try:
            return await self._calls.send("HeadObject", lambda _: True, Key=self._key)
        except Refusal as refusal:
            if refusal.missing:
                return False
            raise self._calls.place.explain("HeadObject", refusal) from None

    async def _fetch(self) -> tuple[bytes, str]:
        answer = await self._calls.client.get_object(Bucket=self._calls.bucket, Key=self._key)
        async with answer["Body"] as stream:
            return bytes(await stream.read()), bare_etag(answer.get("ETag", ""))

    async def _remove_superseded(self) -> None:
        """Remove old versions of the identity, which pile up by one per renewal. Best effort each time."""
        try:
            answer: dict[str, Any] = await self._calls.send("ListObjectVersions", dict, Prefix=self._key)
            entries = (*answer.get("Versions", ()), *answer.get("DeleteMarkers", ()))
            for entry in entries:
                if entry["Key"] == self._key and not entry["IsLatest"]:
                    version = {"Key": self._key, "VersionId": entry["VersionId"]}
                    await self._calls.send("DeleteObject", lambda _: None, **version)
        except (Refusal, StoreUnavailable):
            return

    async def _put(self, body: bytes, **conditions: str) -> str:
        """Put the identity and return its version; "" where the bucket keeps none."""
        asked = {"Key": self._key, "Body": body, "ContentType": "application/json", **conditions}
        return await self._calls.send("PutObject", lambda answer: str(answer.get("VersionId") or ""), **asked)


def _condition(compared: PutCondition, etag: str) -> dict[str, str]:
    if not etag or compared is PutCondition.REFUSED:
        return {}
    return {"IfMatch": etag if compared is PutCondition.UNQUOTED else f'"{etag}"'}


def _came_before(refusal: Refusal) -> bool:
    """Whether another write came first, or at the same time."""
    return refusal.changed or refusal.code in _AT_THE_SAME_TIME


def encode(identity: Identity) -> bytes:
    """The identity's JSON, which people can read too."""
    fields: dict[str, Any] = {
        "format": FORMAT,
        "site_id": str(identity.site_id),
        "bucket": identity.bucket,
        "prefixes": list(identity.prefixes),
        "created_at": identity.created_at.isoformat(),
    }
    if identity.seal is not None:
        fields |= {"epoch": identity.seal.epoch, "nonce": str(identity.seal.nonce)}
    if identity.lineage is not None:
        fields["lineage"] = identity.lineage.written()
    if identity.contested:
        fields["contested"] = identity.contested
    return json.dumps(fields, ensure_ascii=False, indent=2).encode() + b"\n"


def decode(body: bytes) -> Identity:
    """The identity in an identity's JSON. Raises ValueError, KeyError or TypeError for any other content."""
    fields = json.loads(body)
    if fields["format"] != FORMAT:
        raise ValueError(f"format {fields['format']!r}, expected {FORMAT}")
    if not isinstance(fields["prefixes"], list):
        raise TypeError("prefixes are not a list")
    return Identity(
        site_id=UUID(fields["site_id"]),
        bucket=str(fields["bucket"]),
        prefixes=tuple(map(str, fields["prefixes"])),
        created_at=datetime.fromisoformat(fields["created_at"]),
        seal=Seal(epoch=int(fields["epoch"]), nonce=UUID(fields["nonce"])) if "nonce" in fields else None,
        lineage=Lineage.read(fields["lineage"]) if "lineage" in fields else None,
        contested=str(fields.get("contested", "")),
    )
