"""Look at objects and delete them: HeadObject, DeleteObjects, DeleteObject."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, TypeVar

import anyio

from reconciler.errors import KeyRefused, ReconcilerError, StoreUnavailable
from reconciler.model import (
    Blame,
    Capabilities,
    Deletion,
    DeletionResult,
    ObjectResult,
    StoredObject,
    believable,
)
from reconciler.stores.s3.answers import DeleteAnswer, failed, held, read_answer, refused, result_of
from reconciler.stores.s3.batching import BatchSize
from reconciler.stores.s3.concurrency import side_by_side
from reconciler.stores.s3.faults import Refusal
from reconciler.stores.s3.locks import look_for_lock
from reconciler.stores.s3.parsing import STANDARD, bare_etag
from reconciler.stores.s3.refusals import OF_THE_STORE, TIMED_OUT
from reconciler.stores.s3.retries import ATTEMPTS, Calls, pause_after
from reconciler.stores.s3.single import TOO_LATE
from reconciler.stores.s3.witness import Witness

T = TypeVar("T")

SINGLES_AT_ONCE: Final = 8
"""Single DELETE and HEAD requests in flight for one bucket. Their connections are not those of batches."""

_UNFIT_FOR_XML: Final = re.compile("[\x00-\x08\x0b-\x1f\ufffe\uffff]|^/|^\\s+$")
"""Keys that are sent as single DELETEs. Control characters break the XML of a whole batch, or fail silently
(SeaweedFS reports such a key deleted and leaves it); a carriage return may come back as a newline; MinIO
strips a leading slash in a batch, so `/a` would delete `a`; XML readers drop text that is all white space."""

MOST_SPLITS: Final = 32
"""How often one call halves batches that are refused as a whole: enough to find a key or two in a
thousand, and few where the store refuses every batch."""


def unfit_for_xml(key: str) -> bool:
    if key.isascii() and key.isprintable() and key[:1] not in {"", " ", "/"}:
        return False  # Nearly every key, in a fifth of the time that the pattern takes.
    return _UNFIT_FOR_XML.search(key) is not None


@dataclass(slots=True)
class _Call:
    """One call of `delete`: until when requests may begin, and the refusal of each refused key.

    `splits` counts how often a batch was halved because it was refused as a whole.
    """

    until: float
    refusals: dict[str, Refusal] = field(default_factory=dict)
    splits: int = 0


class BucketObjects:
    """`ports.ObjectStore` of one bucket. It uses only what the probe found the store to honour."""

    def __init__(
        self, calls: Calls, capabilities: Capabilities, singles: anyio.CapacityLimiter, witness: Witness
    ) -> None:
        self._calls = calls
        self._capabilities = capabilities
        self._singles = singles
        self._witness = witness
        self._batch_size = BatchSize(capabilities.batch_size)

    async def head(self, key: str) -> StoredObject | None:
        """The object, or None on 404. Raises KeyRefused, StoreUnavailable, Halt (access denied)."""
        async with self._singles:
            try:
                return await self._calls.send("HeadObject", partial(_stored, key), Key=key)
            except Refusal as refusal:
                if refusal.missing:
                    return None
                raise await self._witness.blame("HeadObject", key, refusal) from None
            except StoreUnavailable as error:
                raise await self._witness.blame("HeadObject", key, error) from None

    async def delete(self, batch: Sequence[Deletion]) -> Sequence[DeletionResult]:
        """Delete up to 1,000 keys; one result for each, in the order asked.

        The store compares an ETag: per key in the batch where it honours that, else in single DELETEs
        with If-Match. A key that the answer does not mention is FAILED. An object that is gone is MISSING
        even where the store refuses its condition, so a repeated delete succeeds (I-37).

        Raises ValueError for a key given twice and for an ETag that this store cannot compare (HEAD
        first, then delete without one); StoreUnavailable or Halt only where nothing is known of any key.
        """
        self._check(batch)
        call = _Call(until=self._calls.deadline())
        alone: list[Deletion] = []
        together: list[Deletion] = []
        for entry in batch:
            (alone if self._goes_alone(entry) else together).append(entry)
        results = await self._delete_together(together, call) if together else {}
        results |= await self._delete_alone(alone, call, known=bool(results))
        await self._separate_missing_from_changed(results, batch)
        await self._separate_locked_from_denied(results, call)
        await self._separate_keys_from_store(results, call)
        return [results[entry.key] for entry in batch]

    def _check(self, batch: Sequence[Deletion]) -> None:
        if len({entry.key for entry in batch}) != len(batch):
            raise ValueError("a key is named twice in one batch")
        known = self._capabilities
        if known.conditional_delete or known.conditional_batch_delete:
            return
        if any(entry.etag is not None for entry in batch):
            raise ValueError("this store compares no ETag when it deletes: HEAD first, then ask without")

    def _goes_alone(self, entry: Deletion) -> bool:
        known = self._capabilities
        if known.batch_digest is None:
            return True
        if entry.etag is not None and not known.conditional_batch_delete:
            return True
        # A key that XML cannot carry, with an ETag that only batches compare, fails with that as its reason.
        return unfit_for_xml(entry.key)

    # --- batches -----------------------------------------------------------------------------------

    async def _delete_together(self, batch: Sequence[Deletion], call: _Call) -> dict[str, DeletionResult]:
        """Send as many keys per request as the store takes. Raises only where no key's result is known."""
        chunks = self._batch_size.split(batch)
        if len(chunks) == 1:
            return await self._delete_chunk(batch, call)
        unanswered: list[ReconcilerError] = []
        unsent = 0

        async def delete(chunk: Sequence[Deletion]) -> dict[str, DeletionResult]:
            nonlocal unsent
            async with self._singles:
                if anyio.current_time() >= call.until:
                    unsent += 1
                    return {entry.key: failed(entry.key, TOO_LATE) for entry in chunk}
                try:
                    return await self._delete_chunk(chunk, call)
                except ReconcilerError as error:
                    unanswered.append(error)
                    return {entry.key: failed(entry.key, str(error)) for entry in chunk}

        results = await side_by_side([partial(delete, chunk) for chunk in chunks])
        if unanswered and len(unanswered) + unsent == len(chunks):
            raise unanswered[0]
        return {key: result for chunk in results for key, result in chunk.items()}

    async def _delete_chunk(self, batch: Sequence[Deletion], call: _Call) -> dict[str, DeletionResult]:
        """Send rounds of DeleteObjects: keys refused with a transient code are sent again."""
        results: dict[str, DeletionResult] = {}
        waiting = batch
        for failures in range(1, ATTEMPTS + 1):
            try:
                answer = await self._ask(waiting, call)
            except StoreUnavailable as error:
                self._batch_size.learn(len(waiting), error)
                if results:  # the results of earlier rounds still hold
                    return results
                raise
            results |= {entry.key: result_of(entry.key, answer) for entry in waiting}
            # The answer to a garbled request names a key that was not in it.
            asked = {entry.key for entry in waiting}
            call.refusals |= {key: why for key, why in answer.refused.items() if key in asked}
            waiting = [entry for entry in waiting if _may_succeed(entry.key, answer)]
            pause = pause_after(failures)
            if not waiting or failures == ATTEMPTS or anyio.current_time() + pause >= call.until:
                return results
            await anyio.sleep(pause)
        return results

    async def _ask(self, batch: Sequence[Deletion], call: _Call) -> DeleteAnswer:
        entries = [
            {"Key": entry.key} if entry.etag is None else {"Key": entry.key, "ETag": entry.etag}
            for entry in batch
        ]
        to_delete = {"Objects": entries, "Digest": self._capabilities.batch_digest}
        try:
            answer = await self._send("DeleteObjects", read_answer, call, Delete=to_delete)
            return replace(answer, unasked=answer.deleted - {entry.key for entry in batch})
        except Refusal as refusal:
            if refusal.fatal and not await self._witness.answers("HeadObject"):
                raise self._calls.place.explain("DeleteObjects", refusal) from None
            self._batch_size.learn(len(batch), refusal)
            if await self._one_key_spoils(batch, call):
                return await self._ask_in_halves(batch, call)
            return DeleteAnswer(deleted=frozenset(), refused={entry.key: refusal for entry in batch})

    async def _one_key_spoils(self, batch: Sequence[Deletion], call: _Call) -> bool:
        """Whether one key may be why the whole batch was refused: the store deletes other keys."""
        if len(batch) == 1 or call.splits == MOST_SPLITS:
            return False
        return await self._witness.answers("DeleteObject")

    async def _ask_in_halves(self, batch: Sequence[Deletion], call: _Call) -> DeleteAnswer:
        call.splits += 1
        both = DeleteAnswer(deleted=frozenset(), refused={})
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            try:
                both = both.and_of(await self._ask(half, call))
            except StoreUnavailable as error:
                why = Refusal(TIMED_OUT, str(error), status=0)
                both = both.and_of(
                    DeleteAnswer(deleted=frozenset(), refused={entry.key: why for entry in half})
                )
        return both

    # --- single keys -------------------------------------------------------------------------------

    async def _delete_alone(
        self, entries: Sequence[Deletion], call: _Call, *, known: bool
    ) -> dict[str, DeletionResult]:
        """Send one DELETE per key, a few at once. Raises only where no key's result is known in this call."""
        unanswered: list[ReconcilerError] = []

        async def delete(entry: Deletion) -> DeletionResult:
            try:
                return await self._delete_one(entry, call)
            except ReconcilerError as error:
                unanswered.append(error)
                return failed(entry.key, str(error))

        results = await side_by_side([partial(delete, entry) for entry in entries])
        if unanswered and len(unanswered) == len(entries) and not known:
            raise unanswered[0]
        return {result.key: result for result in results}

    async def _delete_one(self, entry: Deletion, call: _Call) -> DeletionResult:
        asked = {"Key": entry.key}
        if entry.etag is not None:
            if not self._capabilities.conditional_delete:
                return failed(
                    entry.key, "this store compares ETags in batches alone, which cannot carry the key"
                )
            asked["IfMatch"] = f'"{entry.etag}"'
        async with self._singles:
            if anyio.current_time() >= call.until:
                return failed(entry.key, TOO_LATE)
            try:
                marker = await self._send("DeleteObject", _marker_id, call, **asked)
            except Refusal as refusal:
                if refusal.fatal and not await self._witness.answers("HeadObject"):
                    raise self._calls.place.explain("DeleteObject", refusal) from None
                call.refusals[entry.key] = refusal
                return refused(entry.key, refusal)
        return DeletionResult(key=entry.key, result=ObjectResult.DELETED, marker_id=marker)

    async def _send(self, operation: str, read: Callable[[Any], T], call: _Call, **asked: Any) -> T:  # noqa: ANN401
        return await self._calls.send_until(call.until, self._calls.may_delete, operation, read, **asked)

    # --- afterwards --------------------------------------------------------------------------------

    async def _separate_missing_from_changed(
        self, results: dict[str, DeletionResult], batch: Sequence[Deletion]
    ) -> None:
        """HEAD each key reported as changed: stores also answer 412 for an object that is gone.

        OpenStack Swift answers 412 even to the right ETag of an object that was uploaded in parts.
        """
        asked = {entry.key: entry.etag for entry in batch}

        async def look(key: str) -> None:
            try:
                found = await self.head(key)
            except KeyRefused as error:
                results[key] = failed(key, str(error), error.blame)
            except ReconcilerError as error:
                results[key] = failed(key, str(error))
            else:
                if found is None:
                    results[key] = DeletionResult(key=key, result=ObjectResult.MISSING)
                elif found.etag == asked[key]:
                    results[key] = failed(key, "the store answers 412 to the object's own ETag", Blame.KEY)

        changed = [key for key, result in results.items() if result.result is ObjectResult.CHANGED]
        await side_by_side([partial(look, key) for key in changed])

    async def _separate_locked_from_denied(self, results: dict[str, DeletionResult], call: _Call) -> None:
        """HEAD locked keys for the lock's end, and denied keys where the bucket can lock objects."""

        async def look(result: DeletionResult) -> None:
            async with self._singles:
                lock = await look_for_lock(self._calls, result.key)
            if lock is not None:
                results[result.key] = held(result.key, lock.reason, lock.until)

        denied = {key for key, refusal in call.refusals.items() if refusal.denied}
        suspects = [
            result
            for result in results.values()
            if result.result is ObjectResult.HELD
            or (
                result.result is ObjectResult.FAILED
                and result.key in denied
                and self._capabilities.object_lock
            )
        ]
        await side_by_side([partial(look, result) for result in suspects])

    async def _separate_keys_from_store(self, results: dict[str, DeletionResult], call: _Call) -> None:
        """Blame a key for its refusal where other keys were deleted, or the witness' scratch key can be.

        Raises what the refusal means for all keys where nothing is known of any key.
        """
        refusals = {
            key: refusal
            for key, refusal in call.refusals.items()
            if results[key].result is ObjectResult.FAILED and not (refusal.transient or refusal.changed)
        }
        suspects = {key: why for key, why in refusals.items() if results[key].blame is Blame.MOMENT}
        refusals = suspects | {key: why for key, why in refusals.items() if why.kind in OF_THE_STORE}
        if not refusals:
            return
        went = any(result.result is ObjectResult.DELETED for result in results.values())
        if not went and not await self._witness.answers("DeleteObject"):
            if len(refusals) == len(results):
                raise self._calls.place.explain("DeleteObject", next(iter(refusals.values())))
            return
        for key, refusal in suspects.items():
            results[key] = failed(key, str(refusal), Blame.KEY)


def _stored(key: str, answer: Mapping[str, Any]) -> StoredObject:
    return StoredObject(
        key=key,
        size=answer["ContentLength"],
        etag=bare_etag(answer.get("ETag", "")),
        last_modified=believable(answer.get("LastModified")),
        version_id=answer.get("VersionId"),
        # Stores name the standard class, or no class.
        plain=answer.get("StorageClass", STANDARD) == STANDARD,
    )


def _marker_id(answer: Mapping[str, Any]) -> str | None:
    """The delete marker that a single DELETE made, if any. Its answer says nothing else."""
    return str(answer.get("VersionId", "")) if answer.get("DeleteMarker") else None


def _may_succeed(key: str, answer: DeleteAnswer) -> bool:
    refusal = answer.refused.get(key)
    return refusal is not None and refusal.transient
