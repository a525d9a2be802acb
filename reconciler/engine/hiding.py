"""How objects go so that they can come back: first a copy of each in quarantine, seen in full."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio

from reconciler.engine.answers import Answers
from reconciler.engine.gateway import WriteGateway
from reconciler.engine.steering import Ports
from reconciler.engine.tasks import for_each, task_group
from reconciler.errors import CatalogUnavailable, StoreUnavailable
from reconciler.model import Claim, ClaimedKey, Copied, CopyResult, DeleteMode, Hidden, ObjectResult

COPIES_AT_ONCE = 32
PATIENCE = 8
"""Copies of one batch that may go unanswered before the store counts as away: one object that it
cannot copy just now must not hold up the others."""

EXTEND_SECONDS = 30.0
"""How often a claim whose copies take long says that it is alive."""

RESULTS = {
    CopyResult.MISSING: ObjectResult.MISSING,
    CopyResult.CHANGED: ObjectResult.CHANGED,
    CopyResult.FAILED: ObjectResult.FAILED,
    CopyResult.OCCUPIED: ObjectResult.FAILED,
    CopyResult.IMPOSSIBLE: ObjectResult.HELD,
}


async def make_copies(
    ports: Ports, gateway: WriteGateway, keys: Sequence[ClaimedKey], answers: Answers
) -> dict[str, str]:
    """Copy into quarantine what is to be deleted in that mode; settle what cannot be.

    Returns the ETag of what was copied, by storage key: nothing else may be deleted. Of a source that is
    gone the copy of an earlier attempt is noted. Raises StoreUnavailable.
    """
    seen: dict[str, str] = {}
    unanswered: list[StoreUnavailable] = []

    async def copy(claimed: ClaimedKey) -> None:
        mark, target = claimed.mark, claimed.quarantine_key
        assert target is not None
        try:
            copied = await gateway.copy(mark.storage_key, target, mark.object_etag)
        except StoreUnavailable as error:
            unanswered.append(error)
            if len(unanswered) == PATIENCE:
                raise
            copied = Copied(result=CopyResult.FAILED, detail=str(error))
        if copied.result is CopyResult.COPIED:
            assert copied.etag is not None
            seen[mark.storage_key] = copied.etag
            answers.hidden[mark.storage_key] = _in_quarantine(target, copied)
        else:
            answers.settle(mark.storage_key, RESULTS[copied.result], copied.detail)

    wanted = [key for key in keys if key.quarantine_key is not None]
    await for_each(wanted, copy, concurrency=COPIES_AT_ONCE)
    await look_for_copies(ports, [key for key in wanted if key.attempts], answers)
    return seen


async def look_for_copies(ports: Ports, repeated: Sequence[ClaimedKey], answers: Answers) -> None:
    """Note the copies that earlier attempts at these keys made, whose confirmation was lost."""

    async def look(claimed: ClaimedKey) -> None:
        key, target = claimed.mark.storage_key, claimed.quarantine_key
        assert target is not None
        copy = await ports.store.head(target)
        if copy is not None:
            answers.hidden[key] = Hidden(
                mode=DeleteMode.QUARANTINE,
                size=copy.size,
                etag=claimed.mark.object_etag or copy.etag,
                last_modified=claimed.mark.object_last_modified,
                quarantine_key=target,
            )

    unknown = [
        key
        for key in repeated
        if key.quarantine_key is not None and key.mark.storage_key not in answers.hidden
    ]
    await for_each(unknown, look, concurrency=COPIES_AT_ONCE)


def _in_quarantine(target: str, copied: Copied) -> Hidden:
    return Hidden(
        mode=DeleteMode.QUARANTINE,
        size=copied.size,
        etag=copied.etag,
        last_modified=copied.last_modified,
        quarantine_key=target,
    )


@asynccontextmanager
async def extended(ports: Ports, claim: Claim) -> AsyncIterator[None]:
    """While the body runs, nobody takes the claim for one that was left, however long its copies take."""

    async def pulse() -> None:
        while True:
            await anyio.sleep(EXTEND_SECONDS)
            try:
                await ports.marks.extend(claim)
            except CatalogUnavailable:
                continue

    if not any(key.quarantine_key for key in claim.keys):
        yield
        return
    async with task_group() as group:
        group.start_soon(pulse)
        yield
        group.cancel_scope.cancel()
