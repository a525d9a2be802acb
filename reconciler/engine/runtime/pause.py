"""The pause that an operator sets in the database, seen by every replica within a second."""

import math

import anyio
import structlog

from reconciler.errors import Retryable, StoreUnavailable
from reconciler.model import Pause
from reconciler.planning import formatting
from reconciler.ports import Clock, Observer, PauseSwitch

log = structlog.get_logger(__name__)

FRESH_SECONDS = 0.5
"""How old a reading may be to allow a write: half of what is promised; the rest is for the round trip."""

WATCH_SECONDS = 0.9
"""How often a replica without work reads the switch: it is to notice within a second."""


class PauseWatch:
    """The state of the pause switch, never older than FRESH_SECONDS when asked for."""

    def __init__(self, switch: PauseSwitch, clock: Clock, observer: Observer) -> None:
        self._switch = switch
        self._clock = clock
        self._observer = observer
        self._alone = anyio.Lock()
        self._asked = -math.inf
        self.last = Pause()
        """The state as last read, however long ago."""

    async def look(self) -> Pause:
        """The current state. Raises CatalogUnavailable: without seeing the switch, nothing may be written."""
        async with self._alone:
            asked = self._clock.monotonic()
            if asked - self._asked >= FRESH_SECONDS:
                self._note(await self._switch.read())
                self._asked = asked
        return self.last

    def require_running(self) -> None:
        """Raise StoreUnavailable if paused at the last reading: before each repetition of one call."""
        if self.last.paused:
            raise StoreUnavailable(f"{formatting.pause(self.last)}: no further request is sent")

    async def watch(self) -> None:
        """Read until cancelled, so that a replica without work notices and reports a pause too."""
        reachable = True
        while True:
            self._observer.alive("pause")
            try:
                await self.look()
            except Retryable as error:
                if reachable:
                    log.warning("the pause switch cannot be read; nothing is written", reason=str(error))
                reachable = False
            else:
                reachable = True
            await self._clock.sleep(WATCH_SECONDS)

    def _note(self, seen: Pause) -> None:
        before, self.last = self.last, seen
        self._observer.paused(paused=seen.paused, since=seen.at if seen.paused else None)
        if seen.paused and seen != before:
            log.warning("paused: nothing is deleted", by=seen.by, reason=seen.reason, since=str(seen.at))
        elif before.paused and not seen.paused:
            log.warning("resumed", by=seen.by, at=str(seen.at), was=formatting.pause(before))


def notice_of(pause: Pause) -> str:
    """What a person has to know about a pause, whatever else the result is; empty if not paused."""
    return f"{formatting.pause(pause)}: nothing is deleted until `reconciler resume`" if pause.paused else ""
