"""Free what is hidden, with every version of it. Nothing counts as gone while a version of it is listed.

Versioning may have been switched on, off or suspended since. So a copy that was deleted by name may now be
a version, and the object's own key may hold a version from before (R-62).
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

import structlog

from reconciler.engine.collect.holds import hold_locked
from reconciler.engine.runtime.context import Ports, SettingsInForce
from reconciler.engine.runtime.tasks import for_each
from reconciler.engine.runtime.write_guard import WriteGuard
from reconciler.errors import KeyRefused
from reconciler.model import GONE, UNVERSIONED, DeleteMode, Deletion, HiddenObject, Term, Version, Versioning

LOOKS_AT_ONCE = 8
Found = Mapping[int, Sequence[Version]]
"""Versions and markers at the objects' own keys, by the id of the hidden object."""

log = structlog.get_logger(__name__)


class Freeing:
    """Frees the hidden objects it is given. Raises Refused, LeaseLost, Halt, Retryable."""

    def __init__(self, ports: Ports, guard: WriteGuard, in_force: SettingsInForce) -> None:
        self._ports = ports
        self._guard = guard
        self._in_force = in_force

    async def free(self, term: Term, due: Sequence[HiddenObject]) -> list[HiddenObject]:
        """Free copies first, then what is left at the own keys. Returns what a second look found gone."""
        gone = await self._copies([each for each in due if each.hidden.mode is DeleteMode.QUARANTINE])
        keys = [each for each in due if each.hidden.mode is DeleteMode.VERSIONED or each.id in gone]
        gone = await self._own_keys(term, keys)
        return [each for each in due if each.id in gone]

    # --- copies ------------------------------------------------------------------------------------

    async def _copies(self, due: Sequence[HiddenObject]) -> set[int]:
        """Delete by name, which is enough in a bucket without versions; versions are deleted by their id.

        While versioning is suspended nothing is deleted by name: that leaves a marker without an id of its
        own, which SeaweedFS claims to delete and keeps. Such a marker holds no bytes; one left by an earlier
        attempt is ignored once its deletion was requested.
        """
        names = {each.hidden.quarantine_key or "": each.id for each in due}
        refused = set[str]()
        plain = [name for name in names if not self._ports.capabilities.may_keep_versions(name)]
        if plain:
            answers = await self._guard.delete([Deletion(key=name) for name in plain])
            refused = {answer.key for answer in answers if answer.result not in GONE}
        left = await self._left(names)
        if to_delete := [each for versions in left.values() for each in versions]:
            await self._guard.purge(to_delete)
            left = {
                name: versions
                for name, versions in (await self._left(left)).items()
                if not versions or not all(each.marker and each.id == UNVERSIONED for each in versions)
            }
        return {number for name, number in names.items() if name not in refused and name not in left}

    async def _left(self, names: Iterable[str]) -> dict[str, list[Version]]:
        """The versions and markers still there for these copies. If the store lists no versions: the copies
        that a HEAD finds, with nothing that could be deleted by id.
        """
        left: dict[str, list[Version]] = {}
        wanted = set(names)

        async def look(folder: str) -> None:
            found = await self._ports.versions.under(folder)
            if found is None:
                for name in (name for name in wanted if name.startswith(folder)):
                    if await self._is_there(name):
                        left[name] = []
            for each in found or ():
                if each.key in wanted:
                    left.setdefault(each.key, []).append(each)

        folders = sorted({name.rpartition("/")[0] + "/" for name in wanted})
        await for_each(folders, look, concurrency=LOOKS_AT_ONCE)
        return left

    async def _is_there(self, name: str) -> bool:
        """Whether the object is there; True also if the store does not say."""
        try:
            return await self._ports.store.head(name) is not None
        except KeyRefused:
            return True

    # --- own keys ----------------------------------------------------------------------------------

    async def _own_keys(self, term: Term, due: Sequence[HiddenObject]) -> set[int]:
        """Judge by what is at the key now: a marker may have been removed by other means than our undo."""
        kept = self._ports.capabilities.versioning is not Versioning.OFF
        looked = [each for each in due if each.hidden.mode is DeleteMode.VERSIONED or kept]
        there = await self._look(looked)
        seen = [each for each in looked if each.id in there]
        back = {each.id for each in seen if _lies_open(each, there[each.id])}
        if back:
            await self._ports.purges.back(term, sorted(back))
            log.warning("hidden object is visible again, and is not purged", objects=len(back))
        hidden = [each for each in seen if each.id not in back]
        left = await self._by_id(
            [(each, await self._safe(_versions(each, there[each.id]))) for each in hidden]
        )
        left = await self._by_id([(each, self._markers(each, there[each.id])) for each in left])
        asked = [each for each in left if there[each.id]]
        again = await self._look(asked)
        unseen = {each.id for each in asked} - again.keys()
        gone = {
            each.id for each in left if each.id not in unseen and not _versions(each, again.get(each.id, ()))
        }
        return gone | {each.id for each in due} - {each.id for each in looked}

    async def _look(self, due: Sequence[HiddenObject]) -> dict[int, Sequence[Version]]:
        """The hidden objects that the store answers for; those it refuses wait for another round."""
        there: dict[int, Sequence[Version]] = {}

        async def look(each: HiddenObject) -> None:
            try:
                there[each.id] = await self._ports.versions.of(each.storage_key)
            except KeyRefused as error:
                log.warning("hidden object not purged", reason=str(error))

        await for_each(due, look, concurrency=LOOKS_AT_ONCE)
        return there

    async def _safe(self, versions: list[Version]) -> list[Version]:
        """Leave out versions whose id the next PUT takes over, where the bucket keeps no versions now: such a
        PUT may just have come.
        """
        if self._ports.capabilities.versioned:
            return versions
        return [
            one
            for one in versions
            if one.id != UNVERSIONED or one.marker or not await self._is_there(one.key)
        ]

    def _markers(self, each: HiddenObject, found: Sequence[Version]) -> list[Version]:
        """Our markers, or all markers if nothing lies behind any. Leave out a marker that the next PUT
        replaces: by then its id would be the object's.
        """
        markers = _markers(each, found)
        if self._ports.capabilities.versioned:
            return markers
        return [one for one in markers if one.id != UNVERSIONED]

    async def _by_id(self, wanted: Sequence[tuple[HiddenObject, Sequence[Version]]]) -> list[HiddenObject]:
        """Delete these versions or markers by id. Returns the objects for which all of them are now gone."""
        batch = [(each, version) for each, versions in wanted for version in versions]
        answers = await self._guard.purge([version for _, version in batch]) if batch else ()
        await hold_locked(self._ports, answers, self._in_force().hold_for)
        kept = {
            each.id for (each, _), answer in zip(batch, answers, strict=True) if answer.result not in GONE
        }
        return [each for each, _ in wanted if each.id not in kept]


def _lies_open(each: HiddenObject, found: Sequence[Version]) -> bool:
    """Whether the version is the key's current object again, and so not hidden."""
    return any(one.latest and each.hidden.hides(one) for one in found)


def _versions(each: HiddenObject, found: Sequence[Version]) -> list[Version]:
    """The versions of the hidden object that are still there; if it was erased, all that a marker hides."""
    data = [one for one in found if not one.marker]
    lives = any(one.latest for one in data)
    if each.erased and not lives:
        return data
    if each.hidden.mode is DeleteMode.VERSIONED:
        return [one for one in data if each.hidden.hides(one)]
    return [] if lives else [one for one in data if _is_what_was_copied(one, each)]


def _is_what_was_copied(one: Version, each: HiddenObject) -> bool:
    """Whether a deletion by name left this version, in a bucket that kept versions when it was put."""
    before = each.hidden.last_modified
    if one.last_modified is None or before is None or one.etag != each.hidden.etag:
        return False
    return abs(one.last_modified - before) < timedelta(seconds=1)


def _markers(each: HiddenObject, found: Sequence[Version]) -> list[Version]:
    """Our markers; none if removing them would expose an older version, which nothing has asked for.

    A newer version came while we deleted and was hidden by mistake: it may be exposed. In front of an object
    that lies at the key no marker hides anything, whatever the times say: they may be of one second.
    """
    ours = _versions(each, found)
    rest = [one for one in found if not one.marker and one not in ours]
    if rest and not any(one.latest or _newer(one, ours, each) for one in rest):
        return []
    markers = [one for one in found if one.marker]
    if not rest and (each.erased or each.hidden.mode is DeleteMode.QUARANTINE):
        return markers
    return [one for one in markers if one.id in each.hidden.marker_ids]


def _newer(one: Version, ours: Sequence[Version], each: HiddenObject) -> bool:
    """Newer than ours. If an earlier attempt removed ours: to the second, which is all that a HEAD gives."""
    if one.last_modified is None:
        return False
    if ours:
        return all(mine.last_modified is None or one.last_modified > mine.last_modified for mine in ours)
    before = each.hidden.last_modified
    return before is not None and one.last_modified >= before + timedelta(seconds=1)
