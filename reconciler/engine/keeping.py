"""What looks lost and is not: objects that are hidden or on their way, and rows whose object came late."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.engine.steering import Ports
from reconciler.engine.tasks import for_each
from reconciler.model import ClaimedKey, ObjectResult, Verdict, Versioning

AT_ONCE = 8


async def not_lost(ports: Ports, absent: Sequence[str]) -> dict[str, str]:
    """Of keys that answer 404 those whose rows must stay, with the reason; what can come back is queued.

    A copy in quarantine, any version behind a delete marker, whoever made it, or an upload under way.
    """
    hidden = await ports.recovery.recoverable(absent) if absent else set()
    if hidden:
        await ports.recovery.queue(sorted(hidden), "a record names it, and it is hidden")
    kept = dict.fromkeys(hidden, "its object is hidden, and is brought back")

    async def look(key: str) -> None:
        if ports.capabilities.versioning is not Versioning.OFF and any(
            not each.marker for each in await ports.versions.of(key)
        ):
            kept[key] = "a delete marker that is not ours hides it: its versions are still there"
        elif ports.capabilities.multipart_listing and await _under_way(ports, key):
            kept[key] = "a multipart upload to it is under way"

    await for_each([key for key in absent if key not in hidden], look, concurrency=AT_ONCE)
    return kept


async def _under_way(ports: Ports, key: str) -> bool:
    async for page in ports.uploads.pages(key):
        if any(each.key == key for each in page):
            return True
    return False


async def widowed(ports: Ports, doomed: Sequence[ClaimedKey]) -> set[str]:
    """Orphans whose row we removed because they were not there: they stay, and the row is queued."""
    orphans = [key.mark.storage_key for key in doomed if key.mark.verdict is Verdict.ORPHAN]
    found = await ports.recovery.widowed(orphans) if orphans else set()
    if found:
        await ports.recovery.queue(sorted(found), "its row was removed, and its object is there")
    return found


async def look_once_more(
    ports: Ports, keys: Sequence[ClaimedKey], results: dict[str, tuple[ObjectResult, str]]
) -> None:
    """HEAD again what was just removed as dangling: the row of an object that came meanwhile is queued."""
    came: list[str] = []

    async def look(key: str) -> None:
        if await ports.store.head(key) is not None:
            came.append(key)

    gone = [
        key.mark.storage_key
        for key in keys
        if key.decision.verify_absence and results[key.mark.storage_key][0] is ObjectResult.MISSING
    ]
    await for_each(gone, look, concurrency=AT_ONCE)
    if came:
        await ports.recovery.queue(sorted(came), "its object came while its row went")
