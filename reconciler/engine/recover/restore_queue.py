"""Healing: bring back a hidden object that a row needs, and a removed row whose object is there.

Three sources fill the queue: the triggers, for a row that was written while its object was being deleted;
every sweep that sees one of the two without the other; and the last looks of the collector and the purge.
"""

from collections import defaultdict

import structlog

from reconciler.engine.recover.bring_back import bring_back
from reconciler.engine.runtime.context import Ports, SettingsInForce
from reconciler.engine.runtime.tasks import for_each
from reconciler.engine.runtime.write_guard import Refused, WriteGuard
from reconciler.errors import BadValue, KeyRefused, ReconcilerError
from reconciler.model import HiddenObject, Mode, Queued, Removal, Return, UndoScope, Verdict
from reconciler.planning.healing import object_for

log = structlog.get_logger(__name__)

AT_ONCE = 16
AUTHOR = "healing"
BATCH = 1000

OBJECTS_BACK = "objects that records need were brought back"
ROWS_BACK = "removed records came back with their objects"
LOST = "records have lost their objects"
NOT_YET = "keys could not be healed, and are tried again"


class Healer:
    """Works through the queue. A key that cannot be healed stays in it, and is reported each time."""

    def __init__(self, ports: Ports, guard: WriteGuard, in_force: SettingsInForce) -> None:
        self._ports = ports
        self._guard = guard
        self._in_force = in_force
        self._described: dict[str, list[tuple[str, str]]] = defaultdict(list)

    async def run(self) -> int:
        """Run one round. Returns how many keys were healed. Raises LeaseLost, Halt, Retryable."""
        if self._in_force().mode is not Mode.LIVE:
            return 0
        healed = 0
        self._described.clear()

        async def heal(queued: Queued) -> None:
            nonlocal healed
            outcome = await self._heal_alone(queued)
            if outcome is not None:
                healed += outcome
                await self._ports.recovery.dequeue(queued)

        try:
            while batch := await self._ports.recovery.queued(BATCH):
                await for_each(batch, heal, concurrency=AT_ONCE)
                if len(batch) < BATCH:
                    break
        except Refused as refusal:
            log.info("healing stopped", reason=str(refusal))
        finally:
            self._report()
        return healed

    def _report(self) -> None:
        """Log a line for each kind of result, with one key to look at; the others go to the debug level."""
        for event, keys in self._described.items():
            say = log.error if event is LOST else log.warning
            say(event, keys=len(keys), first=keys[0][0], reason=keys[0][1])
            for key, reason in keys:
                log.debug(event, storage_key=key, reason=reason)

    async def _heal_alone(self, queued: Queued) -> bool | None:
        """Heal one key. An error about it leaves that key in the queue, and the others are healed."""
        try:
            return await self._heal(queued)
        except (KeyRefused, BadValue) as error:
            reason = str(error)
        except ReconcilerError:
            raise
        except Exception as error:
            log.exception("a key was not healed on a fault of the program", storage_key=queued.storage_key)
            reason = f"a fault of the program: {error!r}"
        await self._alarm(queued.storage_key, reason, NOT_YET)
        return None

    async def _heal(self, queued: Queued) -> bool | None:
        """Whether something came back; None if the key has to be looked at again."""
        key, settings = queued.storage_key, self._in_force()
        rows = await self._ports.records.lookup([key], rewritten=settings.policy.rewrites_keys)
        if await self._ports.store.head(key) is not None:
            return False if rows else await self._rows_back(key)
        others = () if rows else await self._ports.near_misses.named_by(key)
        if others:
            rows = await self._ports.records.lookup(others)
        # A further column gives no size or time, so the newest is meant.
        vouched = queued.vouched or not rows
        if not rows and not await self._ports.records.referenced([key]):
            return False
        hidden = await self._ports.recovery.hidden(key)
        meant = object_for(hidden, rows, settings.upload_window, vouched=vouched)
        if meant is not None:
            return await self._object_back(meant)
        if others:
            return False  # The row of another object. It is a near miss as long as this one is hidden.
        await self._alarm(key, "nothing that is hidden matches its row in size and time")
        return None

    async def _object_back(self, hidden: HiddenObject) -> bool | None:
        claimed = await self._ports.recovery.claim_returns([hidden.id])
        returned = await bring_back(self._ports, self._guard, hidden, claimed)
        if returned.outcome not in {Return.RESTORED, Return.PRESENT}:
            await self._alarm(hidden.storage_key, returned.reason)
            return None
        removal = Removal(storage_key=hidden.storage_key, object=hidden)
        came = {hidden.storage_key} if returned.outcome is Return.RESTORED else set[str]()
        await self._ports.recovery.put_back([removal], AUTHOR, came=came)
        self._described[OBJECTS_BACK].append((hidden.storage_key, "a record names it"))
        return True

    async def _rows_back(self, key: str) -> bool | None:
        """The object is there without its row: bring back rows that we removed for lack of the object."""
        found = False
        for removal in await self._ports.recovery.removals(UndoScope(keys=(key,))):
            lost = tuple(row for row in removal.rows if row.verdict is Verdict.DANGLING)
            rows = Removal(storage_key=key, rows=lost)
            for returned in await self._ports.recovery.put_back([rows], AUTHOR):
                if returned.outcome is Return.FAILED:
                    await self._alarm(key, returned.reason)
                    return None
                found |= returned.outcome in {Return.RESTORED, Return.PARTIAL}
        if found:
            self._described[ROWS_BACK].append((key, "it was removed for want of the object"))
        return found

    async def _alarm(self, key: str, reason: str, event: str = LOST) -> None:
        """Report a record without its object that we cannot mend by ourselves: a person should know."""
        self._described[event].append((key, reason))
        await self._ports.recovery.postpone(key)
