"""Spare rows that only look lost: the object is hidden or still being uploaded, or it arrived late."""

from collections.abc import Container, Sequence

import structlog

from reconciler.engine.collect.answers import Answers, for_each_alone
from reconciler.engine.runtime.context import Ports
from reconciler.engine.runtime.tasks import for_each
from reconciler.errors import KeyRefused
from reconciler.model import ClaimedKey, ObjectResult, Verdict, Versioning

log = structlog.get_logger(__name__)

AT_ONCE = 8


async def keep_what_is_not_lost(
    ports: Ports, absent: Sequence[ClaimedKey], nameless: Container[str], answers: Answers
) -> None:
    """Settle the keys that answer 404 but whose rows must stay; queue those that can be brought back.

    A row stays if the object has a copy in quarantine, any version behind a delete marker (no matter who made
    the marker), or an upload under way. The store rejects keys in `nameless`, so it is not asked about them.
    """
    keys = [key.mark.storage_key for key in absent]
    hidden = await ports.recovery.recoverable(keys) if keys else set()
    if hidden:
        await ports.recovery.queue(sorted(hidden), "a record names it, and it is hidden")
    for key in hidden:
        answers.settle(key, ObjectResult.RECOVERABLE, "its object is hidden, and is brought back")

    async def look(claimed: ClaimedKey) -> None:
        key = claimed.mark.storage_key
        if ports.capabilities.versioning is not Versioning.OFF and any(
            not each.marker for each in await ports.versions.of(key)
        ):
            reason = "a delete marker that is not ours hides it: its versions are still there"
            answers.settle(key, ObjectResult.RECOVERABLE, reason)
        elif ports.capabilities.multipart_listing and await _under_way(ports, key):
            answers.settle(key, ObjectResult.RECOVERABLE, "a multipart upload to it is under way")

    asked = [key for key in answers.unsettled(absent) if key.mark.storage_key not in nameless]
    await for_each_alone(asked, look, answers, concurrency=AT_ONCE)


async def _under_way(ports: Ports, key: str) -> bool:
    async for page in ports.uploads.pages(key):
        if any(each.key == key for each in page):
            return True
    return False


async def row_missing(ports: Ports, to_delete: Sequence[ClaimedKey]) -> set[str]:
    """Orphans whose row we removed because the object was missing: they are kept, and the row is queued."""
    orphans = [key.mark.storage_key for key in to_delete if key.mark.verdict is Verdict.ORPHAN]
    found = await ports.recovery.row_missing(orphans) if orphans else set()
    if found:
        await ports.recovery.queue(sorted(found), "its row was removed, and its object is there")
    return found


async def look_once_more(
    ports: Ports, keys: Sequence[ClaimedKey], results: dict[str, tuple[ObjectResult, str]]
) -> None:
    """HEAD the keys just removed as dangling again. If an object has arrived meanwhile, queue its row."""
    came: list[str] = []

    async def look(key: str) -> None:
        try:
            if await ports.store.head(key) is not None:
                came.append(key)
        except KeyRefused as error:
            log.warning("object of a removed record was not checked again", reason=str(error))

    gone = [
        key.mark.storage_key
        for key in keys
        if key.decision.verify_absence and results[key.mark.storage_key][0] is ObjectResult.MISSING
    ]
    await for_each(gone, look, concurrency=AT_ONCE)
    if came:
        await ports.recovery.queue(sorted(came), "its object appeared while its row was deleted")
