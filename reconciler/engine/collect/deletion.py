"""Send a claim to the store: look first where that decides, then delete. Protocol step 3."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from reconciler.engine.collect import absence_checks, soft_delete
from reconciler.engine.collect.answers import Answers, for_each_alone
from reconciler.engine.runtime.context import Ports
from reconciler.engine.runtime.write_guard import WriteGuard
from reconciler.errors import Halt, KeyRefused, StoreFull, StoreUnavailable
from reconciler.model import Claim, ClaimedKey, Deletion, DeletionResult, ObjectResult, StoredObject
from reconciler.planning import inventories

HEAD_CONCURRENCY = 32

NEWER = timedelta(minutes=5)
"""How much older than its record's claim a variant has to be, as far as clocks may be apart; or as old as
the grace period, where that is shorter."""


async def delete_claimed(
    ports: Ports,
    guard: WriteGuard,
    claim: Claim,
    spared: Mapping[str, str],
    answers: Answers,
    lists_plainly: Callable[[int], bool],
    grace: timedelta,
) -> Claim:
    """Settle every key of the claim. Nothing is sent for keys in `spared`, which maps them to the reason.

    Returns the claim with what was seen of the objects that no listing has shown: of variants.

    Raises Halt if the bucket is no longer the one that was listed, and Refused in dry run or while paused.
    If the store does not answer, the keys become FAILED and stay claimed. A refusal of one key settles that
    key alone.
    """
    try:
        await _spare(ports, [key for key in claim.keys if key.mark.storage_key in spared], spared, answers)
        claim = await _seen_now(ports, claim, answers, min(grace, NEWER))
        await _settle(ports, guard, answers.unsettled(claim.keys), answers, lists_plainly)
    except StoreUnavailable as error:
        answers.store_away = True
        if isinstance(error, StoreFull):
            answers.full = str(error)
        for key in answers.unsettled(claim.keys):
            answers.settle(key.mark.storage_key, ObjectResult.FAILED, str(error))
    answers.speak_of_room()
    return claim


async def _seen_now(ports: Ports, claim: Claim, answers: Answers, margin: timedelta) -> Claim:
    """The claim with ETags of variants, which no listing has seen: what is put from now on is not theirs.

    What was put since their record was claimed is not theirs either: the sweep judges it, with its own
    grace. One that is not there was not deleted by us, unless this is not the first attempt.

    Raises StoreUnavailable.
    """
    seen: dict[str, StoredObject] = {}

    async def look(claimed: ClaimedKey) -> None:
        mark = claimed.mark
        stored = await ports.store.head(mark.storage_key)
        if stored is None:
            if not claimed.attempts:
                answers.settle(mark.storage_key, ObjectResult.UNTOUCHED, "there is no such object")
            return
        if stored.last_modified is None or stored.last_modified > mark.first_seen_at - margin:
            answers.settle(mark.storage_key, ObjectResult.CHANGED, "put since its record was claimed")
            return
        seen[mark.storage_key] = stored

    unknown = [
        key
        for key in answers.unsettled(claim.keys)
        if key.mark.variant_of is not None and key.mark.object_etag is None
    ]
    await for_each_alone(unknown, look, answers, concurrency=HEAD_CONCURRENCY)
    return replace(claim, keys=tuple(_as_seen(key, seen.get(key.mark.storage_key)) for key in claim.keys))


def _as_seen(claimed: ClaimedKey, stored: StoredObject | None) -> ClaimedKey:
    if stored is None:
        return claimed
    etag, at, size = stored.etag, stored.last_modified, stored.size
    return replace(claimed, mark=replace(claimed.mark, object_etag=etag, object_last_modified=at, bytes=size))


async def _spare(
    ports: Ports, keys: Sequence[ClaimedKey], reasons: Mapping[str, str], answers: Answers
) -> None:
    """Settle the keys that are not to be deleted after all.

    If the claim is a repetition, an earlier request may have reached the store. An object that is gone is
    recorded as gone, so that the rows which need it are known to have lost it.
    """
    missing: list[str] = []

    async def look(claimed: ClaimedKey) -> None:
        if await ports.store.head(claimed.mark.storage_key) is None:
            missing.append(claimed.mark.storage_key)

    repeated = [key for key in keys if key.attempts and key.decision.delete_object]
    await for_each_alone(repeated, look, answers, concurrency=HEAD_CONCURRENCY)
    if missing:
        await _require_marker(ports)
    await soft_delete.look_for_copies(ports, repeated, answers)
    for key in missing:
        answers.settle(key, ObjectResult.MISSING, f"gone before it could be spared: {reasons[key]}")
    for claimed in answers.unsettled(keys):
        key = claimed.mark.storage_key
        answers.settle(key, ObjectResult.SPARED, reasons[key])


async def _settle(
    ports: Ports,
    guard: WriteGuard,
    keys: Sequence[ClaimedKey],
    answers: Answers,
    lists_plainly: Callable[[int], bool],
) -> None:
    can = ports.capabilities
    compares = can.conditional_batch_delete or can.conditional_delete
    await _verify_absence(ports, [key for key in keys if key.decision.verify_absence], answers)

    def by_head(etag: str | None) -> bool:
        """Whether only a HEAD can compare it; also if the call could, but refuses this ETag (R-80)."""
        return not compares or (etag is not None and not can.compares_etag(etag))

    await _confirm_nominated(ports, keys, answers)
    looked_at = [key for key in keys if by_head(key.mark.object_etag) and key.decision.delete_object]
    await _compare_by_head(ports, answers.unsettled(looked_at), answers)
    for key in answers.unsettled(keys):
        if not key.decision.delete_object:
            answers.settle(key.mark.storage_key, ObjectResult.UNTOUCHED, "another record needs the object")
    for orphan in await absence_checks.row_missing(ports, answers.unsettled(keys)):
        answers.settle(orphan, ObjectResult.SPARED, "its row was removed for want of it, and comes back")
    to_delete = answers.unsettled(keys)
    seen = await soft_delete.make_copies(ports, guard, to_delete, answers, lists_plainly)
    seen |= await soft_delete.look_at_versions(ports, to_delete, answers)
    hidden = [key for key in to_delete if key.mark.storage_key in seen]
    looked_at = [key for key in hidden if by_head(seen[key.mark.storage_key])]
    await _compare_by_head(ports, looked_at, answers, seen)
    etags = {key.mark.storage_key: key.mark.object_etag for key in to_delete} | seen
    batch = [
        Deletion(
            key=key.mark.storage_key,
            etag=None if by_head(etags[key.mark.storage_key]) else etags[key.mark.storage_key],
        )
        for key in answers.unsettled(to_delete)
    ]
    answers.sent = bool(batch)
    asked = {key.mark.storage_key: key for key in to_delete}
    copies = [key.quarantine_key for key in to_delete if key.quarantine_key is not None]
    for answer in await guard.delete(batch, copies) if batch else ():
        _take_down(asked[answer.key], answer, answers)
    await soft_delete.look_behind_markers(ports, to_delete, answers)
    if any(key.decision.records for key in to_delete) or len(batch) < len(to_delete):
        await _require_marker(ports)


def _take_down(claimed: ClaimedKey, answer: DeletionResult, answers: Answers) -> None:
    if answer.result is ObjectResult.FAILED:
        answers.refuse(claimed, answer.blame, answer.detail)
    else:
        answers.settle(answer.key, answer.result, answer.detail)
    answers.held_until[answer.key] = answer.held_until
    soft_delete.note_marker(answer, answers)


async def _verify_absence(ports: Ports, keys: Sequence[ClaimedKey], answers: Answers) -> None:
    """HEAD 404 for a key and *then* HEAD 200 for the bucket's identity: only both prove absence.

    A key that the store rejects as invalid has no object either.
    """
    absent: list[ClaimedKey] = []
    nameless: dict[str, str] = {}

    async def look(claimed: ClaimedKey) -> None:
        key = claimed.mark.storage_key
        try:
            found = await ports.store.head(key)
        except KeyRefused as error:
            if not error.nameless:
                raise
            found, nameless[key] = None, str(error)
        if found is None:
            absent.append(claimed)
        else:
            answers.settle(key, ObjectResult.PRESENT, "the object is there after all")

    await for_each_alone(keys, look, answers, concurrency=HEAD_CONCURRENCY)
    if absent:
        await _require_marker(ports)
    await absence_checks.keep_what_is_not_lost(ports, absent, nameless, answers)
    for claimed in answers.unsettled(absent):
        key = claimed.mark.storage_key
        answers.settle(key, ObjectResult.MISSING, nameless.get(key, "HEAD 404"))


async def _require_marker(ports: Ports) -> None:
    """Check that the bucket which just answered is ours; otherwise "gone" says nothing about our objects."""
    if not await ports.identity.exists():
        message = (
            "the bucket answers 404 for its own identity object as well: either this is not the bucket"
            " that was listed, or the marker was deleted. No record is removed; see `reconciler doctor`"
        )
        raise Halt(message)


async def _confirm_nominated(ports: Ports, keys: Sequence[ClaimedKey], answers: Answers) -> None:
    """HEAD what an inventory alone has shown: it must be that object still, in ETag, size and time.

    An object that was put again with the same bytes has the same ETag. One that is not there was not deleted
    by us, unless this is not the first attempt.
    """

    async def look(claimed: ClaimedKey) -> None:
        mark = claimed.mark
        stored = await ports.store.head(mark.storage_key)
        if stored is None:
            if not claimed.attempts:
                answers.settle(mark.storage_key, ObjectResult.UNTOUCHED, "there is no such object any more")
            return
        marked = StoredObject(
            key=mark.storage_key,
            size=mark.bytes,
            etag=mark.object_etag or "",
            last_modified=mark.object_last_modified,
        )
        if not inventories.same(marked, stored):
            answers.settle(mark.storage_key, ObjectResult.CHANGED, "not the object that the inventory lists")

    nominated = [key for key in keys if key.mark.nominated and key.decision.delete_object]
    await for_each_alone(answers.unsettled(nominated), look, answers, concurrency=HEAD_CONCURRENCY)


async def _compare_by_head(
    ports: Ports, keys: Sequence[ClaimedKey], answers: Answers, copied: Mapping[str, str] | None = None
) -> None:
    """HEAD where the delete call cannot compare: it must match the mark, or the ETag of what was `copied`."""

    async def look(claimed: ClaimedKey) -> None:
        mark = claimed.mark
        stored = await ports.store.head(mark.storage_key)
        if stored is None:
            return
        if copied is not None:
            if stored.etag != copied[mark.storage_key]:
                answers.settle(mark.storage_key, ObjectResult.CHANGED, "uploaded again during the copy")
            return
        if stored.etag != mark.object_etag or inventories.second(stored.last_modified) != inventories.second(
            mark.object_last_modified
        ):
            answers.settle(mark.storage_key, ObjectResult.CHANGED, "not the object that was marked")

    listed = [key for key in keys if copied is not None or key.mark.object_etag is not None]
    await for_each_alone(listed, look, answers, concurrency=HEAD_CONCURRENCY)
