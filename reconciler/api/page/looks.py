"""What the first page shows, looked at once for all who look at it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.api.page.kept import Kept
from reconciler.api.site import Admin
from reconciler.catalog.open import Catalog
from reconciler.model import Job, JobKind, JobState, LedgerFilter, LedgerLine, PassDetail, PassState
from reconciler.operations import history, jobs, passes, status, trends
from reconciler.operations.media import Stats
from reconciler.operations.passes import Progress

NEWEST = 8
"""Lines of the ledger on the first page."""

READ = 10
"""Times as many are read for that: intents, which say only what was to come, are left out."""

STATUS_SECONDS = 2.0
TRENDS_SECONDS = 60.0

PASSES = {JobKind.SWEEP, JobKind.RETENTION}

STREAMS = 32
"""Live updates at once in one replica."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """How things stand. `running` are the passes under way, `asked` those that are asked for and wait."""

    status: status.Status
    running: Sequence[tuple[PassDetail, Progress]]
    asked: Sequence[Job]
    went: Sequence[LedgerLine]


class Looks:
    """Of one replica."""

    def __init__(self, admin: Admin) -> None:
        async def now() -> Now:
            return await _now(admin.site().catalog)

        async def over_time() -> trends.OverTime:
            return await trends.over_time(admin.site().catalog, admin.loaded().settings.policy())

        async def stored() -> Stats:
            return await admin.recent.look(admin.site().catalog)

        self.now = Kept(now, STATUS_SECONDS, time.monotonic)
        self.over_time = Kept(over_time, TRENDS_SECONDS, time.monotonic)
        self.stored = Kept(stored, 0, time.monotonic)
        self.streams = 0

    def forget(self) -> None:
        """Something was changed: who looks next sees it."""
        self.now.forget()
        self.over_time.forget()


async def _now(catalog: Catalog) -> Now:
    under_way = await passes.page(catalog, state=PassState.RUNNING, size=len(PassState))
    progress = [(each, await passes.progress(catalog, each.current)) for each in under_way]
    asked = await jobs.page(catalog)
    lines = await newest(catalog, LedgerFilter(), NEWEST * READ)
    return Now(
        status=await status.status(catalog),
        running=[(each, so_far) for each, so_far in progress if so_far is not None],
        asked=[each for each in asked if each.state is JobState.WAITING and each.kind in PASSES],
        went=[each for each in lines if each.event != "intent"][:NEWEST],
    )


async def newest(catalog: Catalog, wanted: LedgerFilter, size: int) -> Sequence[LedgerLine]:
    """The newest lines of the ledger that match, the newest first."""
    after = await catalog.history.before(wanted, size)
    async for page in history.ledger(catalog, wanted, size, after=after):
        return [*reversed(page)]
    return []
