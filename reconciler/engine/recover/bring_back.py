"""Bring one object back from where it was hidden, and prove that it is there."""

from collections.abc import Container, Sequence
from dataclasses import replace
from datetime import timedelta

from reconciler.engine.runtime.context import Ports
from reconciler.engine.runtime.write_guard import WriteGuard
from reconciler.errors import KeyRefused, StoreUnavailable
from reconciler.model import (
    GONE,
    UNVERSIONED,
    Blame,
    Copied,
    CopyRequest,
    CopyResult,
    DeleteMode,
    DeletionResult,
    Hidden,
    HiddenObject,
    Return,
    Returned,
    StoredObject,
    Version,
)

SLACK = timedelta(minutes=1)
"""How far the store's clock may be ahead of the database's."""


async def bring_back(
    ports: Ports,
    guard: WriteGuard,
    hidden: HiddenObject,
    claimed: Container[int],
    listed: StoredObject | None = None,
) -> Returned:
    """Put the object back at its own key, never over another one. Only a HEAD 200 counts as success, or a
    copy that the store proves and would not have made over another object.

    `claimed`: what `claim_returns` gave a moment ago. `listed`: its copy as a plain listing has it. Raises
    Refused, LeaseLost, Halt; if the store does not answer, the outcome is FAILED.
    """
    if hidden.id not in claimed:
        return _described(
            hidden, Return.REFUSED, "it is being purged, or was brought back or erased meanwhile"
        )
    try:
        if hidden.hidden.mode is DeleteMode.VERSIONED:
            return await _from_behind_markers(ports, guard, hidden)
        return await _out_of_quarantine(ports, guard, hidden, listed)
    except KeyRefused as error:
        lasting = error.blame in {Blame.KEY, Blame.OBJECT}
        return _described(hidden, Return.REFUSED if lasting else Return.FAILED, str(error))
    except StoreUnavailable as error:
        return _described(hidden, Return.FAILED, str(error))


async def _out_of_quarantine(
    ports: Ports, guard: WriteGuard, hidden: HiddenObject, listed: StoredObject | None
) -> Returned:
    source, key = hidden.hidden.quarantine_key, hidden.storage_key
    assert source is not None
    wanted = CopyRequest(source, key, only_new=True)
    if listed is not None:
        wanted = replace(wanted, etag=listed.etag, listed_size=listed.size)
    copied = await guard.copy(wanted)
    if copied.result is CopyResult.COPIED and ports.capabilities.copy_only_new:
        return _described(hidden, Return.RESTORED)
    return await _copied(ports, guard, hidden, copied)


async def _copied(ports: Ports, guard: WriteGuard, hidden: HiddenObject, copied: Copied) -> Returned:
    """The outcome of a copy to the object's own key."""
    if copied.result is CopyResult.OCCUPIED:
        return await _what_is_there(ports, hidden)
    if copied.result is CopyResult.MISSING:
        source = hidden.hidden.quarantine_key
        gone = f"its copy {source} is not in the quarantine any more" if source else "its version is gone"
        return _described(hidden, Return.REFUSED, gone)
    if copied.result is not CopyResult.COPIED:
        return _described(hidden, Return.FAILED, copied.detail)
    stored = await ports.store.head(hidden.storage_key)
    if stored is None:
        return _described(hidden, Return.FAILED, "the store says that it copied it, and has nothing there")
    if not ports.capabilities.copy_only_new and (why := await _withdrawn(ports, guard, hidden, stored)):
        return _described(hidden, Return.REFUSED, f"another object came to its key meanwhile, and {why}")
    return _described(hidden, Return.RESTORED)


async def _withdrawn(ports: Ports, guard: WriteGuard, hidden: HiddenObject, stored: StoredObject) -> str:
    """Give its place back to an upload that arrived between the look and our copy. Returns the result, "" if
    no upload did.

    Only possible where versions are kept: elsewhere, what was overwritten is gone (R-60).
    """
    if stored.version_id in {None, UNVERSIONED}:
        return ""
    found = await ports.versions.of(hidden.storage_key)
    mine = [each for each in found if each.id == stored.version_id and each.latest]
    # The first behind the latest: times are whole seconds, and markers and versions come in no order.
    behind = [each for each in found if not each.latest and not each.marker]
    hidden_before = hidden.hidden_at.replace(microsecond=0)
    newer = behind and behind[0].last_modified is not None and behind[0].last_modified >= hidden_before
    if not (mine and newer) or behind[0].id in hidden.hidden.version_ids:
        return ""
    if any(each.marker and _later(each, behind[0]) for each in found):
        return ""
    (answer,) = await guard.withdraw(mine[0])
    if answer.result in GONE:
        return "lies there again"
    return f"is version {behind[0].id} behind what was brought back, which may not go again: {answer.detail}"


def _later(one: Version, other: Version) -> bool:
    return (
        one.last_modified is None or other.last_modified is None or one.last_modified >= other.last_modified
    )


async def _from_behind_markers(ports: Ports, guard: WriteGuard, hidden: HiddenObject) -> Returned:
    """Remove every delete marker of the operation: the known ones, and those that its repetitions made."""
    key, wanted = hidden.storage_key, hidden.hidden
    found = await ports.versions.of(key)
    if not any(wanted.hides(each) for each in found):
        return _described(hidden, Return.REFUSED, "the version is not in the bucket any more")
    if any(each.latest and not each.marker for each in found):
        return await _what_is_there(ports, hidden)
    ours = [each for each in found if each.marker and _made_by(each, hidden)]
    for answer in await guard.reveal(ours):
        if answer.result not in GONE:
            return await _over_the_marker(ports, guard, hidden, found, answer)
    stored = await ports.store.head(key)
    if stored is None:
        return _described(hidden, Return.REFUSED, "a delete marker that is not ours hides it")
    if not _is_what_was_hidden(stored, wanted):
        return _described(hidden, Return.REFUSED, "another version lies at its key, and is not hidden for it")
    return _described(hidden, Return.RESTORED)


def _is_what_was_hidden(stored: StoredObject, wanted: Hidden) -> bool:
    """Compare by version, if HEAD gives one; Ceph gives none for objects older than versioning."""
    if stored.version_id in {None, UNVERSIONED}:
        return wanted.etag in {None, stored.etag}
    return stored.version_id in wanted.version_ids


async def _over_the_marker(
    ports: Ports,
    guard: WriteGuard,
    hidden: HiddenObject,
    found: Sequence[Version],
    answer: DeletionResult,
) -> Returned:
    """Copy the version over the markers, where a policy keeps every version and marker for good."""
    if answer.blame is Blame.STORE:
        return _described(hidden, Return.FAILED, f"its delete marker stays: {answer.detail}")
    key = hidden.storage_key
    newest = next(each for each in found if each.id in hidden.hidden.version_ids)
    wanted = CopyRequest(key, key, etag=newest.etag, only_new=True, version=newest.id)
    copied = await guard.copy(wanted)
    return await _copied(ports, guard, hidden, copied)


def _made_by(marker: Version, hidden: HiddenObject) -> bool:
    """Whether it is known to be ours, or was made during the operation, as by a repeated request."""
    if marker.id in hidden.hidden.marker_ids:
        return True
    made, before = marker.last_modified, hidden.hidden.last_modified
    if made is None or before is None:
        return False
    return before <= made <= hidden.hidden_at + SLACK


async def _what_is_there(ports: Ports, hidden: HiddenObject) -> Returned:
    """Whether the same object is there, as after an interrupted attempt, or one not to be overwritten."""
    there, copy = await ports.store.head(hidden.storage_key), hidden.hidden
    if there is None:
        return _described(hidden, Return.FAILED, "its key is being written to by another writer")
    if there.size == copy.size and (
        there.etag == copy.etag or "-" in there.etag + (copy.etag or "") or await _etags_change(ports, copy)
    ):
        return _described(hidden, Return.PRESENT)
    return _described(hidden, Return.REFUSED, "another object lies at its key, and is not written over")


async def _etags_change(ports: Ports, hidden: Hidden) -> bool:
    """Whether the copy in quarantine has another ETag than the object it was made from.

    This is so for objects that the store encrypts with a key of one's own, and for those copied in parts.
    """
    if hidden.quarantine_key is None:
        return False
    copy = await ports.store.head(hidden.quarantine_key)
    return copy is not None and copy.etag != hidden.etag


def _described(hidden: HiddenObject, outcome: Return, reason: str = "") -> Returned:
    return Returned(storage_key=hidden.storage_key, outcome=outcome, reason=reason, size=hidden.hidden.size)
