"""Decide whether a refusal is about the key or the store, by trying the same on the bucket's own identity.

Where the identity is answered, the refusal is about the key, whatever its code: a signature that a gateway
computes differently for an odd key, a policy on one prefix, an object whose own encryption key is gone.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

import anyio

from reconciler.errors import KeyRefused, ReconcilerError, StoreUnavailable
from reconciler.model import QUARANTINE_PREFIX, RESERVED_PREFIX, Blame
from reconciler.stores.s3.faults import Refusal
from reconciler.stores.s3.refusals import OF_ONE, OF_THE_STORE, Kind
from reconciler.stores.s3.retries import Calls

IDENTITY_KEY: Final = f"{RESERVED_PREFIX}identity.json"
REMEMBERED_SECONDS: Final = 2.0
"""How long the identity's answer is reused for other keys: a thousand may be refused at once."""
LONGEST_KEY: Final = 1024
"""Bytes of a key, S3's own limit."""
LONGEST_COMPONENT: Final = 255
"""Bytes between two slashes, in stores that keep objects as files."""

_COPY: Final = f"{QUARANTINE_PREFIX}witness"
_SCRATCH: Final = f"{RESERVED_PREFIX}probe/witness"


class Witness:
    """Blames a key, the store or us for a refusal, by the answer for the bucket's identity.

    `copied`: bucket and key of the identity that is copied here, where it is another bucket's.
    """

    def __init__(
        self, calls: Calls, identity_key: str = IDENTITY_KEY, copied: tuple[str, str] | None = None
    ) -> None:
        self._calls = calls
        self._identity_key = identity_key
        self._copied = copied
        self._alone = anyio.Lock()
        self._answered: dict[str, tuple[float, bool]] = {}
        self._questions: dict[str, Callable[[], Awaitable[None]]] = {
            "HeadObject": self._head,
            "CopyObject": self._copy,
            "DeleteObject": self._delete,
            "ListObjectVersions": partial(self._list, "ListObjectVersions"),
            "ListMultipartUploads": partial(self._list, "ListMultipartUploads"),
        }

    async def blame(
        self,
        operation: str,
        key: str,
        why: Refusal | StoreUnavailable,
        otherwise: type[ReconcilerError] = StoreUnavailable,
    ) -> ReconcilerError:
        """The error for a refusal: KeyRefused where it is about the key, else what it means for all keys.

        `operation` must be one that can be tried on the identity. `otherwise` is the type of the error for an
        unknown refusal where the identity is refused too.
        """
        if isinstance(why, StoreUnavailable):
            passing = KeyRefused(f"{operation} of this key: {why}", Blame.MOMENT)
            return passing if await self.answers(operation) else why
        if why.kind in OF_ONE:
            return _key_refused(operation, key, why, Blame.OBJECT)
        if not await self.answers(operation):
            return self._calls.place.explain(operation, why, otherwise)
        if why.kind in OF_THE_STORE:
            return KeyRefused(str(self._calls.place.explain(operation, why)), Blame.STORE)
        return _key_refused(operation, key, await self._reason(operation, key, why), Blame.KEY)

    async def answers(self, operation: str) -> bool:
        """Whether the operation succeeds for the identity just now."""
        async with self._alone:
            at, answered = self._answered.get(operation, (-REMEMBERED_SECONDS, False))
            if anyio.current_time() - at < REMEMBERED_SECONDS:
                return answered
            try:
                await self._questions[operation]()
                answered = True
            except (Refusal, ReconcilerError):
                answered = False
            self._answered[operation] = anyio.current_time(), answered
            return answered

    async def _reason(self, operation: str, key: str, why: Refusal) -> Refusal:
        """The reason for a refusal. HEAD answers have no body, so a GET of one byte finds it out."""
        if operation != "HeadObject":
            return why

        async def fetch() -> None:
            calls = self._calls
            answer = await calls.client.get_object(Bucket=calls.bucket, Key=key, Range="bytes=0-0")
            answer["Body"].close()

        try:
            await self._calls.carry_out("GetObject", fetch, lambda _: None)
        except Refusal as refusal:
            return why if refusal.missing or refusal.code.isdigit() else refusal
        except StoreUnavailable:
            return why
        return why

    # --- the same kind of question -------------------------------------------------------------------

    async def _head(self) -> None:
        await self._calls.send("HeadObject", lambda _: None, Key=self._identity_key)

    async def _copy(self) -> None:
        """Copy into the quarantine, where a quota or a policy may apply. The copy is removed again."""
        bucket, key = self._copied or (self._calls.bucket, self._identity_key)
        source = {"Bucket": bucket, "Key": key}
        made = await self._calls.send("CopyObject", _version, Key=_COPY, CopySource=source)
        await self._clean_up(_COPY, made)

    async def _delete(self) -> None:
        made = await self._calls.send("PutObject", _version, Key=_SCRATCH, Body=b"")
        marker = await self._calls.send("DeleteObject", _version, Key=_SCRATCH)
        if made:
            await self._clean_up(_SCRATCH, made)
            await self._clean_up(_SCRATCH, marker)

    async def _list(self, operation: str) -> None:
        await self._calls.send(operation, lambda _: None, Prefix=self._identity_key)

    async def _clean_up(self, key: str, version: str | None) -> None:
        """Delete by version where there is one, to leave no delete marker. Best effort: a few bytes."""
        named = {"VersionId": version} if version else {}
        try:
            await self._calls.send("DeleteObject", lambda _: None, Key=key, **named)
        except (Refusal, ReconcilerError):
            return


def _key_refused(operation: str, key: str, why: Refusal, blame: Blame) -> KeyRefused:
    nameless = why.kind is Kind.NAME and unnameable(key)
    if nameless:
        return KeyRefused(f"the store takes no such key, so it has no object ({why})", blame, nameless=True)
    return KeyRefused(f"{operation} of this key was refused with {why}; other keys are answered", blame)


def unnameable(key: str) -> bool:
    """Whether we can see ourselves why a store takes no such key: it is too long, or not fit for a path.

    Only then does "invalid name" prove that there is no object: some stores give that answer for more.
    """
    parts = key.split("/")
    return (
        len(key.encode()) > LONGEST_KEY
        or any(len(part.encode()) > LONGEST_COMPONENT for part in parts)
        or any(part in {".", ".."} for part in parts)
        or any(ord(character) < ord(" ") or character in "\x7f\\" for character in key)
    )


def _version(answer: Mapping[str, Any]) -> str | None:
    return answer.get("VersionId")
