"""The whole probe: what the bucket says about itself, then what it does, in three concurrent parts.

It takes about 90 requests in some 20 rounds. It reads and writes only below `.reconciler/probe/`, and one
scratch key in each managed prefix of a bucket that keeps versions, where the configuration names them.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeVar, cast

from reconciler.errors import Halt
from reconciler.model import (
    SCRATCH_FOLDER,
    Capabilities,
    ListingOrder,
    QuarantineBucket,
    QuarantineFound,
    Versioning,
)
from reconciler.stores.s3.concurrency import side_by_side
from reconciler.stores.s3.faults import Refusal
from reconciler.stores.s3.lifecycle import lifecycle_rules
from reconciler.stores.s3.listing import BucketListing
from reconciler.stores.s3.probing.deleting import probe_deleting
from reconciler.stores.s3.probing.ordering import probe_ordering
from reconciler.stores.s3.probing.recovery import probe_copying, probe_versioning, undeletes_in
from reconciler.stores.s3.probing.scratch import SCRATCH_PREFIX, reported_versioning, scratch_keys
from reconciler.stores.s3.probing.writing import probe_writing
from reconciler.stores.s3.refusals import NOT_S3
from reconciler.stores.s3.retries import Calls

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")

_UNKNOWN: Final = Capabilities(
    order=ListingOrder.NONE, conditional_batch_delete=False, conditional_delete=False, probed=False
)


class BucketProber:
    """`ports.Prober` of one bucket, and of the one that copies go to, if it is another."""

    def __init__(
        self,
        calls: Calls,
        listing: BucketListing,
        managed: Callable[[], Sequence[str]] = tuple,
        quarantine: tuple[QuarantineBucket, Calls] | None = None,
    ) -> None:
        self._calls = calls
        self._listing = listing
        self._managed = managed
        self._quarantine = quarantine

    async def probe(self, declared: ListingOrder | None = None) -> Capabilities:
        """Probe what the store does. A capability that could not be found out counts as absent.

        A declared order is not tried, which saves some requests; whether keys are rewritten still is.
        Raises StoreUnavailable where the store does not answer, and Halt where nothing could work (no
        such bucket, wrong credentials, no S3 at all): neither says anything about the store's capabilities.
        """
        await self._recognise()
        reported, locks = await _both(self._versioning, self._object_lock)
        kept = None if self._quarantine is None else await _quarantine(*self._quarantine)
        try:
            found = await self._find_out(reported, declared, kept)
        except Refusal as refusal:
            if refusal.fatal:
                raise self._calls.place.explain("PutObject", refusal, Halt) from None
            why = "" if refusal.denied else f"PutObject was refused with {refusal}"
            found = replace(_UNKNOWN, versioning=reported or Versioning.OFF, refusal=why)
        rules = await lifecycle_rules(self._calls)
        return replace(found, object_lock=locks, lifecycle=rules, quarantine=kept)

    async def _find_out(
        self, reported: Versioning | None, declared: ListingOrder | None, kept: QuarantineFound | None
    ) -> Capabilities:
        """Probe three subjects concurrently, each on its own keys. Raises Refusal where no key can be put."""
        async with AsyncExitStack() as stack:
            scratch = into = await stack.enter_async_context(scratch_keys(self._calls, reported))
            if self._quarantine is not None and kept is not None:
                there = scratch_keys(self._quarantine[1], kept.versioning)
                into = await stack.enter_async_context(there)
            writing = await probe_writing(scratch, self._listing)
            versioning, undelete = await probe_versioning(scratch, reported)
            ordering, deleting, copying = await _all_three(
                partial(probe_ordering, scratch, self._listing, declared),
                partial(probe_deleting, scratch),
                partial(probe_copying, scratch, into),
            )
        unseen = await self._not_undeleting() if undelete else ()
        return Capabilities(
            order=ordering.order,
            start_after=ordering.start_after,
            rewrites_keys=ordering.rewrites_keys,
            lists=writing.lists,
            etags=writing.etags,
            conditional_put=writing.condition,
            batch_digest=deleting.batches.digest,
            batch_size=deleting.batches.size,
            conditional_batch_delete=deleting.conditional_batch_delete,
            conditional_delete=deleting.conditional_delete,
            versioning=versioning,
            undelete=undelete and not unseen,
            undelete_unseen=unseen,
            copy=copying.copy,
            copy_conditional=copying.copy_conditional,
            copy_only_new=copying.copy_only_new,
            multipart_copy=copying.parts.copied,
            multipart_copy_encoded=copying.parts.copied_encoded,
            multipart_listing=copying.parts.listed,
            compares_parts=copying.parts.compared,
        )

    async def _not_undeleting(self) -> tuple[str, ...]:
        """The managed prefixes in which the probe did not see a deleted object come back."""
        unseen = []
        for prefix in self._managed():
            folder = f"{prefix}{SCRATCH_FOLDER}"
            async with scratch_keys(self._calls, Versioning.ENABLED, folder) as scratch:
                if not await undeletes_in(scratch):
                    unseen.append(prefix)
        return tuple(unseen)

    # --- what the bucket says about itself ---------------------------------------------------------

    async def _recognise(self) -> None:
        """Raises Halt where the endpoint is not S3: a console, a proxy, a web server."""
        try:
            await self._calls.send("ListObjectsV2", _require_s3, Prefix=SCRATCH_PREFIX, MaxKeys=1)
        except Refusal as refusal:
            if refusal.fatal or refusal.foreign:
                raise self._calls.place.explain("ListObjectsV2", refusal, Halt) from None

    async def _versioning(self) -> Versioning | None:
        """The bucket's versioning; None where it will not say."""
        return await _versioning(self._calls)

    async def _object_lock(self) -> bool:
        return await _object_lock(self._calls)


async def _quarantine(bucket: QuarantineBucket, calls: Calls) -> QuarantineFound:
    """What another bucket for copies says about itself. Raises Halt, StoreUnavailable."""
    versioning = await _versioning(calls)
    return QuarantineFound(
        bucket=bucket,
        # Where it will not say, versions are looked for: what is deleted by name may leave some.
        versioning=Versioning.SUSPENDED if versioning is None else versioning,
        object_lock=await _object_lock(calls),
        lifecycle=await lifecycle_rules(calls),
    )


async def _versioning(calls: Calls) -> Versioning | None:
    try:
        return await reported_versioning(calls)
    except Refusal as refusal:
        raise calls.place.explain("GetBucketVersioning", refusal, Halt) from None


async def _object_lock(calls: Calls) -> bool:
    """Whether the bucket has object lock; False where it will not say."""
    try:
        return await calls.send("GetObjectLockConfiguration", _locks)
    except Refusal:
        return False


def _require_s3(answer: Mapping[str, Any]) -> None:
    """Raises Refusal for a body that no S3 store would send."""
    body = bytes(answer["Body"]).lstrip(b"\xef\xbb\xbf \t\r\n")
    if b"<ListBucketResult" not in body and b"<Error" not in body:
        raise Refusal(NOT_S3, "the answer is no listing", status=200)


def _locks(answer: Mapping[str, Any]) -> bool:
    return bool(answer.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled")


async def _both(first: Callable[[], Awaitable[A]], second: Callable[[], Awaitable[B]]) -> tuple[A, B]:
    return cast("tuple[A, B]", tuple(await side_by_side([first, second])))


async def _all_three(
    first: Callable[[], Awaitable[A]], second: Callable[[], Awaitable[B]], third: Callable[[], Awaitable[C]]
) -> tuple[A, B, C]:
    return cast("tuple[A, B, C]", tuple(await side_by_side([first, second, third])))
