"""Probe how the store deletes: the ladder of batches, and which calls compare ETags.

The ladder is CRC32, Content-MD5, smaller batches, single DELETEs: older stores answer MissingContentMD5 to
a CRC32 (I-22), some time out at 1,000 keys, some leave keys out of their answer. MinIO ignored If-Match and
deleted (I-24); moto ignores the ETag in a batch and deletes. No answer is trusted alone: the probe also
checks which keys still exist.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

import anyio

from reconciler.errors import StoreUnavailable
from reconciler.model import Deletion, Digest, ObjectResult
from reconciler.stores.s3.answers import DeleteAnswer, result_of
from reconciler.stores.s3.faults import Refusal
from reconciler.stores.s3.probing.scratch import Scratch

SIZES: Final = (1000, 250, 50)
"""Keys per batch, from the most that S3 allows down to a size that still saves most of the requests."""
PATIENCE: Final = 10.0
"""Seconds that a batch may take; fewer where the time-out of a request is shorter."""

_WRONG_ETAG: Final = "00000000000000000000000000000000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batches:
    """The largest size at which DeleteObjects answers for every key; `digest` None where no size does."""

    digest: Digest | None
    size: int


NO_BATCHES: Final = Batches(digest=None, size=1)
PRESUMED: Final = Batches(digest=Digest.MD5, size=1000)
"""Presumed where deletion under `.reconciler/` is denied: every store takes it unless known to differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleting:
    """The highest rung that worked, and which calls compare ETags."""

    batches: Batches
    conditional_batch_delete: bool
    conditional_delete: bool


async def probe_deleting(scratch: Scratch) -> Deleting:
    """Probe deletion, in about 12 requests where the first rung works."""
    root = f"{scratch.root}delete/"
    stored = await scratch.put_all([root + name for name in ("1", "2", "3", "4")])
    pairs = [Deletion(key=key, etag=each.etag) for key, each in stored.items()]
    batches = await _climb_down(scratch, root)
    scratch.digest = batches.digest
    return Deleting(
        batches=batches,
        conditional_batch_delete=await _compares_in_batch(scratch, pairs[:2], batches.digest),
        conditional_delete=await _compares_alone(scratch, pairs[2:]),
    )


# --- the ladder ----------------------------------------------------------------------------------------


class _Rung(Enum):
    HELD = auto()
    BROKE = auto()
    """Refused, or answered in part: another digest or another size may work."""
    SLOW = auto()
    """No answer in time, or only "try again": another digest will not help."""


async def _climb_down(scratch: Scratch, root: str) -> Batches:
    try:
        for size in SIZES:
            for digest in (Digest.CRC32, Digest.MD5):
                rung = await _try(scratch, root, digest, size)
                if rung is _Rung.SLOW:  # a slow store, or a slow moment?
                    rung = await _try(scratch, root, digest, size)
                if rung is _Rung.HELD:
                    return Batches(digest=digest, size=size)
                if rung is _Rung.SLOW:
                    break
    except Refusal as refusal:
        if refusal.denied:
            return PRESUMED
        raise
    return NO_BATCHES


async def _try(scratch: Scratch, root: str, digest: Digest, size: int) -> _Rung:
    """Try one batch: a key that exists, filled up with keys that never did."""
    real = f"{root}batch"
    await scratch.put(real)
    # Where versions are kept, deleting a missing key would leave a delete marker.
    absent = {"VersionId": "null"} if scratch.versioned else {}
    entries = [{"Key": real}, *({"Key": f"{root}absent/{n:04}", **absent} for n in range(1, size))]
    try:
        with anyio.fail_after(min(PATIENCE, 0.8 * scratch.calls.timeout)):
            answer = await scratch.delete_batch(entries, digest)
    except (TimeoutError, StoreUnavailable):
        return _Rung.SLOW
    except Refusal as refusal:
        if refusal.fatal or refusal.denied:
            raise
        return _Rung.BROKE
    complete = answer.deleted | answer.refused.keys() >= {entry["Key"] for entry in entries}
    gone = real not in answer.deleted or not await scratch.exists(real)
    return _Rung.HELD if complete and gone else _Rung.BROKE


# --- conditions ----------------------------------------------------------------------------------------

_COMPARED: Final = [ObjectResult.CHANGED, ObjectResult.DELETED]
"""The results for a wrong ETag and then a right one, where the store compares."""


async def _compares_in_batch(scratch: Scratch, pair: Sequence[Deletion], digest: Digest | None) -> bool:
    if digest is None:
        return False
    wrong, right = pair
    entries = [
        {"Key": wrong.key, "ETag": _WRONG_ETAG},
        {"Key": right.key, "ETag": right.etag or ""},
    ]
    try:
        answer = await scratch.delete_batch(entries, digest)
    except Refusal:
        return False
    return await _compared(scratch, pair, answer)


async def _compares_alone(scratch: Scratch, pair: Sequence[Deletion]) -> bool:
    wrong, right = pair
    deleted, refusals = set[str](), dict[str, Refusal]()
    for key, etag in ((wrong.key, _WRONG_ETAG), (right.key, right.etag)):
        try:
            await scratch.delete(Key=key, IfMatch=f'"{etag}"')
            deleted.add(key)
        except Refusal as refusal:
            refusals[key] = refusal
    return await _compared(scratch, pair, DeleteAnswer(deleted=frozenset(deleted), refused=refusals))


async def _compared(scratch: Scratch, pair: Sequence[Deletion], answer: DeleteAnswer) -> bool:
    """Whether the answer is right, and the keys confirm it."""
    if [result_of(each.key, answer).result for each in pair] != _COMPARED:
        return False
    return [await scratch.exists(each.key) for each in pair] == [True, False]
