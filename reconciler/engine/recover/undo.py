"""Undo: bring back the objects and rows that a pass, a stretch of time or some keys lost.

It runs next to the leader and without a lease: each object is claimed by itself, so that no purge can take
it. Results are reported key by key, and repeating is harmless; so after a crash anywhere, undo again.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

import structlog

from reconciler.engine.recover.bring_back import bring_back
from reconciler.engine.runtime.context import Ports, SettingsInForce
from reconciler.engine.runtime.pace import Pace
from reconciler.engine.runtime.tasks import for_each
from reconciler.engine.runtime.write_guard import WriteGuard
from reconciler.errors import BadValue, KeyRefused, ListingBroken, ReconcilerError, StoreUnavailable
from reconciler.model import (
    HiddenObject,
    Hold,
    HoldKind,
    Mode,
    Removal,
    Return,
    Returned,
    StoredObject,
    UndoScope,
    Verdict,
)

log = structlog.get_logger(__name__)

FRESH = 600.0
"""Seconds for which a claim on a page's objects is good."""

LISTED = 10
"""Copies wanted from one folder, from which on a listing of it costs less than a HEAD for each."""
LISTINGS_AT_ONCE = 4

BACK = frozenset({Return.RESTORED, Return.PRESENT})

REASON = "brought back by undo"

Emit = Callable[[Returned], None]


@dataclass(slots=True)
class Undone:
    """The result, or in dry run the expected one. `gone`: objects deleted for good, or purged since.

    `refused` lists what is not back, and rows that are back in part. `unknown` are parts of the scope, key by
    key, for which the ledger has no deletion. `held_until`: when the first hold on what came back ends.
    """

    objects: int = 0
    records: int = 0
    bytes: int = 0
    present: int = 0
    gone: int = 0
    refused: list[Returned] = field(default_factory=list)
    unknown: list[UndoScope] = field(default_factory=list)
    held_until: datetime | None = None

    @property
    def complete(self) -> bool:
        return not self.refused and not self.gone and not self.unknown

    @property
    def touched(self) -> bool:
        """Whether there was anything to bring back, whether or not it came."""
        return bool(self.objects or self.records or self.present or self.gone or self.refused)

    def count(self, returned: Returned) -> None:
        if returned.outcome is Return.PRESENT:
            self.present += 1
            return
        if returned.outcome is not Return.RESTORED:
            self.refused.append(returned)
        if returned.outcome not in {Return.RESTORED, Return.PARTIAL}:
            return
        if returned.record_id is not None:
            self.records += 1
        else:
            self.objects += 1
            self.bytes += returned.size


class _Claims:
    """What an undo has claimed of one page. A purge takes a claim for abandoned after an hour."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    async def take(self, objects: Sequence[HiddenObject]) -> None:
        self._since = self._ports.clock.monotonic()
        self._ids = await self._ports.recovery.claim_returns([each.id for each in objects])

    async def fresh(self, one: HiddenObject) -> Collection[int]:
        """The claimed ids; an old claim on this object is taken again first."""
        if self._ports.clock.monotonic() < self._since + FRESH:
            return self._ids
        return await self._ports.recovery.claim_returns([one.id])


class Undo:
    """One undo, by one author, who is named in the ledger and by the holds on what came back."""

    def __init__(
        self, ports: Ports, guard: WriteGuard, in_force: SettingsInForce, author: str, emit: Emit
    ) -> None:
        self._ports = ports
        self._guard = guard
        self._in_force = in_force
        self._author = author
        self._emit = emit
        self._pace = Pace(ports.budget, ports.clock, ports.throttles.deleting, lambda: in_force().rate)

    async def run(self, scope: UndoScope) -> Undone:
        """Bring back everything in the scope; in dry run, only report it. Raises Halt, Retryable."""
        undone = Undone(gone=await self._ports.recovery.gone(scope), unknown=await self._unknown(scope))
        after = ""
        while page := await self._next(scope, after):
            if self._in_force().mode is Mode.LIVE:
                await self._bring_back(page, undone)
            else:
                for returned in await self._would(page):
                    self._report(undone, returned)
            after = page[-1].storage_key
        return undone

    async def _unknown(self, scope: UndoScope) -> list[UndoScope]:
        parts = [replace(scope, keys=(key,)) for key in dict.fromkeys(scope.keys)] or [scope]
        return [part for part in parts if not await self._ports.recovery.knows(part)]

    async def _next(self, scope: UndoScope, after: str) -> Sequence[Removal]:
        limit = self._pace.batch_size(self._in_force().rate)
        return await self._ports.recovery.removals(scope, after, limit)

    async def _bring_back(self, page: Sequence[Removal], undone: Undone) -> None:
        """Place the holds first: a pass that ran in between would mark what has just come back."""
        end = await self._ports.records.now() + self._in_force().hold_for
        holds = [
            Hold(
                kind=HoldKind.KEY,
                target=each.storage_key,
                reason=REASON,
                author=self._author,
                until=end,
                pass_id=each.pass_id,
            )
            for each in page
        ]
        undone.held_until = undone.held_until or end
        await self._ports.holds.add(holds)
        await self._pace.take(len(page), self._in_force().rate)
        objects = [each.object for each in page if each.object is not None]
        listed, claims = await self._listed(objects), _Claims(self._ports)
        await claims.take(objects)
        back: list[tuple[Removal, Returned]] = []

        async def restore(removal: Removal) -> None:
            returned = await self._careful([removal], partial(self._restore, removal, claims, listed))
            if not removal.rows and returned and returned[0].outcome in BACK:
                back.append((removal, returned[0]))
            else:
                self._report(undone, returned)

        await for_each(page, restore, concurrency=self._ports.throttles.copying.in_flight)
        alone = [removal for removal, _ in back]
        came = {each.storage_key for _, each in back if each.outcome is Return.RESTORED}
        noting = partial(self._ports.recovery.put_back, alone, self._author, came=came)
        self._report(undone, await self._careful(alone, noting) or [returned for _, returned in back])

    async def _listed(self, objects: Sequence[HiddenObject]) -> Mapping[str, StoredObject]:
        """Copies as a listing has them, by their own keys, where that saves a HEAD for each."""
        found: dict[str, StoredObject] = {}

        async def look(folder: str) -> None:
            with suppress(ListingBroken, StoreUnavailable):
                page = await self._ports.listing.list_page(folder)
                if page.plain:
                    found.update((key, page.object_at(place)) for place, key in enumerate(page.keys))

        copies = (each.hidden.quarantine_key for each in objects)
        folders = Counter(f"{copy.rpartition('/')[0]}/" for copy in copies if copy is not None)
        often = [folder for folder, number in folders.items() if number >= LISTED]
        if self._ports.capabilities.copy_only_new:
            await for_each(often, look, concurrency=LISTINGS_AT_ONCE)
        return found

    async def _careful(
        self, removals: Sequence[Removal], act: Callable[[], Awaitable[Sequence[Returned]]]
    ) -> Sequence[Returned]:
        """The results of `act`. An error about these keys is reported for each, and the others come back."""
        try:
            return await act()
        except (KeyRefused, StoreUnavailable, BadValue) as error:
            reason = str(error)
        except ReconcilerError:
            raise
        except Exception as error:
            log.exception("a key was not brought back on a fault of the program")
            reason = f"a fault of the program: {error!r}"
        return [
            Returned(storage_key=each.storage_key, outcome=Return.FAILED, reason=reason) for each in removals
        ]

    async def _restore(
        self, removal: Removal, claims: _Claims, listed: Mapping[str, StoredObject]
    ) -> Sequence[Returned]:
        """Restore the object, and its rows if it has any; else the caller has to note that it is back."""
        returned: list[Returned] = []
        if (one := removal.object) is not None:
            claimed, copy = await claims.fresh(one), listed.get(one.hidden.quarantine_key or "")
            returned.append(await bring_back(self._ports, self._guard, one, claimed, copy))
            if not removal.rows or returned[0].outcome not in BACK:
                return returned
        elif await self._lacks_object(removal):
            return _without_object(removal)
        came = [each.storage_key for each in returned if each.outcome is Return.RESTORED]
        return [*returned, *await self._ports.recovery.put_back([removal], self._author, came=came)]

    async def _would(self, page: Sequence[Removal]) -> Sequence[Sequence[Returned]]:
        """The results of bringing each of them back, if nothing stands in its object's way."""
        missing: set[str] = set()

        async def look(removal: Removal) -> None:
            if await self._lacks_object(removal):
                missing.add(removal.storage_key)

        alone = [each for each in page if each.rows and each.object is None]
        await for_each(alone, look, concurrency=self._ports.throttles.copying.in_flight)
        rows: dict[str, list[Returned]] = {}
        tried = [each for each in page if each.rows and each.storage_key not in missing]
        for returned in await self._careful(tried, partial(self._ports.recovery.rehearse, tried)):
            rows.setdefault(returned.storage_key, []).append(returned)
        return [_would(each, rows.get(each.storage_key), lost=each.storage_key in missing) for each in page]

    async def _lacks_object(self, removal: Removal) -> bool:
        """Whether rows would point to an object that is gone for good; dangling ones never had an object."""
        if all(row.verdict is Verdict.DANGLING for row in removal.rows):
            return False
        return await self._ports.store.head(removal.storage_key) is None

    def _report(self, undone: Undone, returned: Sequence[Returned]) -> None:
        for each in returned:
            undone.count(each)
            self._emit(each)


def _alone(verdict: Verdict) -> str:
    """Why a row does not come back without an object."""
    if verdict is Verdict.DANGLING:
        return "its object was already missing when the row was removed, so the row alone would name nothing"
    return "its object was missing, deleted for good or purged since, so the row alone would name nothing"


def _without_object(removal: Removal) -> Sequence[Returned]:
    return [
        Returned(
            storage_key=removal.storage_key,
            record_id=row.record_id,
            outcome=Return.REFUSED,
            reason=_alone(row.verdict),
        )
        for row in removal.rows
    ]


def _would(removal: Removal, rows: Sequence[Returned] | None, *, lost: bool) -> Sequence[Returned]:
    """What its rows said in a rehearsal, behind the object, which is assumed to come back."""
    told = _without_object(removal) if lost else rows or ()
    if removal.object is None:
        return told
    size = removal.object.hidden.size
    return [Returned(storage_key=removal.storage_key, outcome=Return.RESTORED, size=size), *told]
