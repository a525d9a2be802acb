"""Undo: bring back the objects and rows that a pass, a stretch of time or some keys lost.

It runs next to the leader and without a lease: each object is claimed by itself, so that no purge can take
it. Results are reported key by key, and repeating is harmless; so after a crash anywhere, undo again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import structlog

from reconciler.engine.recover.bring_back import bring_back
from reconciler.engine.runtime.context import Ports, SettingsInForce
from reconciler.engine.runtime.pace import Pace
from reconciler.engine.runtime.tasks import for_each
from reconciler.engine.runtime.write_guard import WriteGuard
from reconciler.errors import BadValue, KeyRefused, ReconcilerError, StoreUnavailable
from reconciler.model import Hold, HoldKind, Mode, Removal, Return, Returned, UndoScope, Verdict

log = structlog.get_logger(__name__)

AT_ONCE = 16

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
                for removal in page:
                    for returned in _would(removal):
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

        async def restore(removal: Removal) -> None:
            for returned in await self._restored(removal):
                self._report(undone, returned)

        await for_each(page, restore, concurrency=AT_ONCE)

    async def _restored(self, removal: Removal) -> Sequence[Returned]:
        """Restore one key. An error about it is reported for that key, and the others come back."""
        try:
            return await self._restore(removal)
        except (KeyRefused, StoreUnavailable, BadValue) as error:
            reason = str(error)
        except ReconcilerError:
            raise
        except Exception as error:
            log.exception("a key was not brought back on a fault of the program")
            reason = f"a fault of the program: {error!r}"
        return [Returned(storage_key=removal.storage_key, outcome=Return.FAILED, reason=reason)]

    async def _restore(self, removal: Removal) -> Sequence[Returned]:
        returned, back = [], False
        if removal.object is not None:
            returned.append(await bring_back(self._ports, self._guard, removal.object))
            if returned[0].outcome not in {Return.RESTORED, Return.PRESENT}:
                return returned
            back = returned[0].outcome is Return.RESTORED
        elif await self._lacks_object(removal):
            reason = "its object was deleted for good: the row alone would name nothing"
            return [
                Returned(
                    storage_key=removal.storage_key,
                    record_id=row.record_id,
                    outcome=Return.REFUSED,
                    reason=reason,
                )
                for row in removal.rows
            ]
        recovery = self._ports.recovery
        return [*returned, *await recovery.put_back(removal, self._author, object_back=back)]

    async def _lacks_object(self, removal: Removal) -> bool:
        """Whether rows would point to an object that is gone for good; dangling ones never had an object."""
        if all(row.verdict is Verdict.DANGLING for row in removal.rows):
            return False
        return await self._ports.store.head(removal.storage_key) is None

    def _report(self, undone: Undone, returned: Returned) -> None:
        undone.count(returned)
        self._emit(returned)


def _would(removal: Removal) -> Sequence[Returned]:
    """The results of bringing it back, if nothing stands in the way."""
    results = [
        Returned(storage_key=removal.storage_key, record_id=row.record_id, outcome=Return.RESTORED)
        for row in removal.rows
    ]
    if removal.object is not None:
        size = removal.object.hidden.size
        results.insert(0, Returned(storage_key=removal.storage_key, outcome=Return.RESTORED, size=size))
    return results
