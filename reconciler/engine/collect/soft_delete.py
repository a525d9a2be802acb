"""Recoverable deletion: copy each object to quarantine and verify it, or hide versions behind a delete
marker.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import anyio

from reconciler import model
from reconciler.engine.collect.answers import Answers, for_each_alone
from reconciler.engine.runtime.context import Ports
from reconciler.engine.runtime.tasks import task_group
from reconciler.engine.runtime.write_guard import WriteGuard
from reconciler.errors import CatalogUnavailable, Halt, ListingBroken
from reconciler.planning.lifecycle import too_early

LOOKS_AT_ONCE = 32
EXTEND_SECONDS = 30.0
"""How often a claim in hand is extended."""

_MISSING = (model.ObjectResult.MISSING, "")

RESULTS = {
    model.CopyResult.MISSING: model.ObjectResult.MISSING,
    model.CopyResult.CHANGED: model.ObjectResult.CHANGED,
    model.CopyResult.FAILED: model.ObjectResult.FAILED,
    model.CopyResult.OCCUPIED: model.ObjectResult.FAILED,
}


def without_copies(mode: model.DeleteMode, found: model.Capabilities) -> str:
    """Why no object at all could be deleted: each would end on hold and stay there. "" if nothing says so."""
    if mode is not model.DeleteMode.QUARANTINE or not found.copies_nothing:
        return ""
    return (
        "what is deleted is copied into quarantine first, and the store makes no copies, or is full, or"
        f" the credentials may not{_where(found)}: nothing is deleted; free space, allow CopyObject under"
        " .reconciler/, switch versioning on, or name RECONCILER_DELETE_MODE=direct, which deletes for good"
    )


def _where(found: model.Capabilities) -> str:
    return "" if found.quarantine is None else f" copy into bucket {found.quarantine.bucket.name!r}"


def require_time(policy: model.Policy, undo_window: timedelta, found: model.Capabilities) -> None:
    """Raises Halt if the bucket's lifecycle rules remove what an undo within the window needs (R-61)."""
    early = too_early(found, policy.prefixes, policy.delete_mode, undo_window)
    if early:
        raise Halt(f"{early[0]}: nothing is deleted until one of the two is changed")


async def make_copies(
    ports: Ports,
    guard: WriteGuard,
    keys: Sequence[model.ClaimedKey],
    answers: Answers,
    lists_plainly: Callable[[int], bool],
) -> dict[str, str]:
    """Copy into quarantine the objects that are deleted in that mode; settle those that cannot be copied.

    What a pass listed plainly is not looked at first: its mark holds all that a copy needs to know.

    Returns the ETags of what was copied, by storage key: nothing else may be deleted. If a source is gone,
    the copy of an earlier attempt is noted. Raises StoreUnavailable.
    """
    seen: dict[str, str] = {}

    async def copy(claimed: model.ClaimedKey) -> None:
        mark, target = claimed.mark, claimed.quarantine_key
        assert target is not None
        size = mark.bytes if lists_plainly(mark.pass_id) else None
        wanted = model.CopyRequest(mark.storage_key, target, etag=mark.object_etag, listed_size=size)
        copied = await guard.copy(wanted)
        if copied.result is model.CopyResult.COPIED:
            assert copied.etag is not None
            seen[mark.storage_key] = copied.etag
            answers.hidden[mark.storage_key] = _in_quarantine(mark, target, copied)
        else:
            answers.settle(mark.storage_key, RESULTS[copied.result], copied.detail)

    wanted = [key for key in keys if key.quarantine_key is not None]
    await for_each_alone(wanted, copy, answers, concurrency=ports.throttles.copying.in_flight)
    await _prove(ports, [key for key in wanted if key.mark.storage_key in seen], answers, seen)
    await look_for_copies(ports, [key for key in wanted if key.attempts], answers)
    return seen


async def _prove(
    ports: Ports, keys: Sequence[model.ClaimedKey], answers: Answers, seen: dict[str, str]
) -> None:
    """Look whether the copies in another bucket are there: what has none in full is not deleted (R-115).

    Others may have that bucket's rights, rules and clean-ups in hand. A listing shows a whole batch at once.
    """
    copied = {
        key.quarantine_key: key
        for key in keys
        if key.quarantine_key is not None and model.QuarantineBucket.of_key(key.quarantine_key)
    }
    there: dict[str, int] = {}
    for folder in sorted({f"{name.rpartition('/')[0]}/" for name in copied}):
        with suppress(ListingBroken):
            page = await ports.listing.list_page(folder)
            there.update(zip(page.keys, page.sizes, strict=True))

    async def look(claimed: model.ClaimedKey) -> None:
        key, name = claimed.mark.storage_key, claimed.quarantine_key
        assert name is not None
        stored = await ports.store.head(name)
        if stored is None or stored.size != answers.hidden[key].size:
            bucket = model.QuarantineBucket.of_key(name)
            assert bucket is not None
            del seen[key], answers.hidden[key]
            answers.settle(key, model.ObjectResult.FAILED, f"its copy is not in bucket {bucket.name!r}")

    unseen = [
        key for name, key in copied.items() if there.get(name) != answers.hidden[key.mark.storage_key].size
    ]
    await for_each_alone(unseen, look, answers, concurrency=LOOKS_AT_ONCE)


async def look_for_copies(ports: Ports, repeated: Sequence[model.ClaimedKey], answers: Answers) -> None:
    """Note what earlier attempts at these keys have hidden whose confirmation was lost."""

    async def look(claimed: model.ClaimedKey) -> None:
        key, target = claimed.mark.storage_key, claimed.quarantine_key
        assert target is not None
        copy = await ports.store.head(target)
        if copy is not None:
            answers.hidden[key] = model.Hidden(
                mode=model.DeleteMode.QUARANTINE,
                size=copy.size,
                etag=claimed.mark.object_etag or copy.etag,
                last_modified=claimed.mark.object_last_modified,
                quarantine_key=target,
            )

    await look_behind_markers(ports, repeated, answers)
    # A bucket that is not there answers 404 for a copy as well.
    await ports.quarantines.require(key.quarantine_key or "" for key in repeated)
    unknown = [
        key
        for key in repeated
        if key.quarantine_key is not None and key.mark.storage_key not in answers.hidden
    ]
    await for_each_alone(unknown, look, answers, concurrency=LOOKS_AT_ONCE)


async def look_at_versions(
    ports: Ports, keys: Sequence[model.ClaimedKey], answers: Answers
) -> dict[str, str]:
    """Note the versions to be hidden; settle keys whose object is gone or is not the marked one.

    Returns the ETags, by storage key: nothing else may be deleted. Raises Halt if the bucket no longer
    keeps versions: what is deleted there is gone.
    """
    seen: dict[str, str] = {}

    async def look(claimed: model.ClaimedKey) -> None:
        mark = claimed.mark
        stored = await ports.store.head(mark.storage_key)
        if stored is None:
            answers.settle(mark.storage_key, model.ObjectResult.MISSING, "HEAD 404")
        elif mark.object_etag is not None and stored.etag != mark.object_etag:
            answers.settle(mark.storage_key, model.ObjectResult.CHANGED, "not the object that was marked")
        else:
            note(stored, stored.version_id or await _id_of(ports, stored))

    def note(found: model.StoredObject | model.Version, version_id: str) -> None:
        assert found.etag is not None, "only a delete marker has none"
        seen[found.key] = found.etag
        answers.hidden[found.key] = model.Hidden(
            mode=model.DeleteMode.VERSIONED,
            size=found.size,
            etag=found.etag,
            last_modified=found.last_modified,
            version_ids=(version_id,),
        )

    wanted = _in_versions(keys)
    if wanted and not await ports.versions.kept():
        raise Halt(
            "the bucket does not keep versions any more, and these keys were claimed to be deleted by a"
            " delete marker; nothing is deleted until versioning is on again"
        )
    listed = await ports.versions.latest(sorted(key.mark.storage_key for key in wanted))
    for claimed in wanted:
        version = listed.get(claimed.mark.storage_key)
        # A HEAD has the last word on all else.
        if version is not None and version.etag == claimed.mark.object_etag:
            note(version, version.id)
    left = [key for key in wanted if key.mark.storage_key not in seen]
    await for_each_alone(left, look, answers, concurrency=LOOKS_AT_ONCE)
    return seen


def note_marker(answer: model.DeletionResult, answers: Answers) -> None:
    """Note the delete marker that now hides the version. Without one it is gone, and cannot come back."""
    hidden = answers.hidden.get(answer.key)
    if hidden is None or hidden.mode is not model.DeleteMode.VERSIONED:
        return
    if answer.result is not model.ObjectResult.DELETED:
        del answers.hidden[answer.key]
        if answer.result is model.ObjectResult.MISSING:
            answers.unsure.add(answer.key)
    elif answer.marker_id in {None, "", "null"}:
        # In a batch Swift makes a marker without saying so: only the versions show whether there is one.
        del answers.hidden[answer.key]
        answers.unmarked.add(answer.key)
    else:
        answers.hidden[answer.key] = replace(hidden, marker_ids=(str(answer.marker_id),))


async def look_behind_markers(ports: Ports, keys: Sequence[model.ClaimedKey], answers: Answers) -> None:
    """Note which delete markers hide which object, if the answer to us or to an earlier attempt was lost.

    All markers above the marked version count: a repeated request may have made several. A first attempt
    that finds nothing has hidden nothing itself.
    """

    async def look(claimed: model.ClaimedKey) -> None:
        key, etag = claimed.mark.storage_key, claimed.mark.object_etag
        found = await ports.versions.of(key)
        versions = [each for each in found if not each.marker and etag in {None, each.etag}]
        markers = [each for each in found if each.marker]
        if not versions or not any(each.latest for each in markers):
            return
        newest = max(versions, key=_modified)
        answers.hidden[key] = model.Hidden(
            mode=model.DeleteMode.VERSIONED,
            size=newest.size,
            etag=newest.etag,
            last_modified=newest.last_modified,
            version_ids=(newest.id,),
            marker_ids=tuple(each.id for each in markers if _modified(each) >= _modified(newest)),
        )

    unsure = [
        key
        for key in _in_versions(keys)
        if key.mark.storage_key in answers.unmarked
        or (
            (key.attempts or key.mark.storage_key in answers.unsure)
            and key.mark.storage_key not in answers.hidden
            and answers.results.get(key.mark.storage_key, _MISSING)[0] is model.ObjectResult.MISSING
        )
    ]
    await for_each_alone(unsure, look, answers, concurrency=LOOKS_AT_ONCE)
    for key in sorted(answers.unmarked - answers.hidden.keys()):
        answers.halt = (
            f"the store deleted {key!r} without a delete marker: it keeps no versions, whatever it says; set"
            " RECONCILER_DELETE_MODE to quarantine, or find out why, before anything else goes"
        )


async def _id_of(ports: Ports, stored: model.StoredObject) -> str:
    """The version at the key, if HEAD names none, as Ceph does for objects older than versioning."""
    found = await ports.versions.of(stored.key)
    ids = (each.id for each in found if each.latest and not each.marker and each.etag == stored.etag)
    return next(ids, model.UNVERSIONED)


def _in_versions(keys: Sequence[model.ClaimedKey]) -> list[model.ClaimedKey]:
    return [key for key in keys if key.mode is model.DeleteMode.VERSIONED and key.decision.delete_object]


def _modified(version: model.Version) -> datetime:
    return version.last_modified or datetime.min.replace(tzinfo=UTC)


def _in_quarantine(mark: model.Mark, target: str, copied: model.Copied) -> model.Hidden:
    return model.Hidden(
        mode=model.DeleteMode.QUARANTINE,
        size=copied.size,
        etag=copied.etag,
        last_modified=copied.last_modified or mark.object_last_modified,
        quarantine_key=target,
    )


@asynccontextmanager
async def extended(ports: Ports, claim: model.Claim) -> AsyncIterator[None]:
    """While the body runs, the claim is not taken for an abandoned one, however slow the store is (R-37)."""

    async def pulse() -> None:
        while True:
            await anyio.sleep(EXTEND_SECONDS)
            try:
                await ports.marks.extend(claim)
            except CatalogUnavailable:
                continue

    async with task_group() as group:
        group.start_soon(pulse)
        yield
        group.cancel_scope.cancel()
