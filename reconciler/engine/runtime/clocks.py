"""Compare the clocks of database, store and this machine before anything is decided by them."""

import math
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import anyio
import structlog

from reconciler.errors import Halt, Retryable
from reconciler.planning import clocks
from reconciler.planning.clocks import Ahead, Compared
from reconciler.ports import Clock, Observer, StoreClock

log = structlog.get_logger(__name__)

FRESH_SECONDS = 60.0
"""How long a comparison is valid: clocks drift slowly, and are rarely set in jumps."""

WHOLE_SECONDS = timedelta(seconds=1)
"""The resolution of the header `Date`."""

ADVICE = "keep all three in step with NTP; ages and due times go by the database's clock"


class Clocks:
    """The last comparison, repeated once it is older than FRESH_SECONDS.

    `database` asks the database's clock.
    """

    def __init__(
        self,
        database: Callable[[], Awaitable[datetime]],
        store: StoreClock,
        clock: Clock,
        observer: Observer,
    ) -> None:
        self._database = database
        self._store = store
        self._clock = clock
        self._observer = observer
        self._alone = anyio.Lock()
        self._asked = -math.inf
        self._last = Compared()

    async def look(self) -> Compared:
        """The current comparison. Raises CatalogUnavailable, StoreUnavailable, Halt."""
        async with self._alone:
            if self._clock.monotonic() - self._asked >= FRESH_SECONDS:
                await self._compare()
                self._asked = self._clock.monotonic()
        return self._last

    async def require(self) -> None:
        """Raise Halt if they are so far apart that no age can be trusted."""
        compared = await self.look()
        if compared.halts:
            raise Halt(f"{compared.line}: nothing is claimed; {ADVICE}")

    async def watch(self) -> None:
        """Compare until cancelled, so that a replica without work notices and reports differences too."""
        while True:
            try:
                await self.look()
            except (Retryable, Halt) as error:
                log.debug("clocks not compared", reason=str(error))
            await self._clock.sleep(FRESH_SECONDS)

    async def _compare(self) -> None:
        database = await self._read(self._database)
        assert database is not None, "the database always knows the time"
        store = await self._read(self._store.date, WHOLE_SECONDS)
        before, self._last = self._last, clocks.compare(database, store)
        self._observer.clocks({name: ahead.seconds for name, ahead in self._last.ahead.items()})
        if self._last.warns:
            log.warning("clocks apart", reason=self._last.line, advice=ADVICE)
        elif before.warns:
            log.info("clocks agree again")

    async def _read(
        self, ask: Callable[[], Awaitable[datetime | None]], resolution: timedelta = timedelta(0)
    ) -> Ahead | None:
        before = self._clock.wall_clock()
        time = await ask()
        after = self._clock.wall_clock()
        return None if time is None else clocks.read(before, time, after, resolution)
