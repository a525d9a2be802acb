"""Adoption: look at each object without a row, and make its row where its owner is known."""

from collections.abc import Callable, Sequence
from datetime import datetime

import anyio
import structlog

from reconciler.engine.runtime.context import Ports
from reconciler.engine.runtime.tasks import for_each, task_group
from reconciler.engine.runtime.write_guard import WriteGuard
from reconciler.errors import KeyRefused, Retryable
from reconciler.model import (
    Adoptable,
    Adopted,
    AdoptionTerms,
    BegunAdoption,
    Candidate,
    Left,
    OwnerSource,
    Policy,
    Record,
)
from reconciler.planning import adoption as planning
from reconciler.planning.retention import judge_record

log = structlog.get_logger(__name__)

PAGE = 500
"""Rows made in one transaction."""

PAGES = 4
"""Pages under way at once: while one is written, the objects of others are looked at."""

HEADS = 16
"""Objects of a page that are looked at at once."""

TRIES = 5
"""How often a page is tried where store or table are busy, before the adoption ends; it is resumed later."""

Settled = Callable[[Sequence[Adopted]], None]


class Adopter:
    """Carries out one adoption whose candidates are known."""

    def __init__(
        self,
        ports: Ports,
        guard: WriteGuard,
        policy: Policy,
        terms: AdoptionTerms,
        settled: Settled,
        *,
        dry_run: bool,
    ) -> None:
        self._ports = ports
        self._guard = guard
        self._policy = policy
        self._terms = terms
        self._settled = settled
        self._dry_run = dry_run
        self._after = ""
        self._next_at = 0.0
        self._turn = anyio.Lock()

    async def run(self, adoption: BegunAdoption) -> None:
        """Until every candidate is settled. Raises Retryable, Halt: what is settled by then stays settled."""

        async def work() -> None:
            while page := await self._next_page(adoption):
                await self._settle(adoption, page)

        async with task_group() as group:
            for _ in range(PAGES):
                group.start_soon(work)

    async def _next_page(self, adoption: BegunAdoption) -> Sequence[Candidate]:
        """The next page, at its time under the rate."""
        async with self._turn:
            page = await self._ports.adoptions.page(adoption, self._after, PAGE)
            if not page:
                return page
            self._after = page[-1].storage_key
            throttle, clock = self._ports.throttles.deleting, self._ports.clock
            now = clock.monotonic()
            begins = max(now, self._next_at)
            self._next_at = begins + len(page) / throttle.rate(self._terms.rate)
            if begins > now:
                await clock.sleep(begins - now)
            throttle.taken(len(page))
        return page

    async def _settle(self, adoption: BegunAdoption, page: Sequence[Candidate]) -> None:
        for attempt in range(1, TRIES + 1):
            try:
                self._settled(await self._adopt(adoption, page))
            except Retryable as error:
                if attempt == TRIES:
                    raise
                log.warning("a page of an adoption is tried again", reason=str(error))
                await self._ports.clock.sleep(2.0 ** (attempt - 1))
            else:
                return

    async def _adopt(self, adoption: BegunAdoption, page: Sequence[Candidate]) -> Sequence[Adopted]:
        now = await self._ports.records.now()
        rows: list[Adoptable] = []
        left: dict[str, str] = {}

        async def look(candidate: Candidate) -> None:
            key = candidate.storage_key
            made = await self._row_of(key, now)
            if isinstance(made, Adoptable):
                rows.append(made)
            else:
                left[key] = made

        await for_each(page, look, concurrency=HEADS)
        rows.sort(key=lambda row: row.storage_key)
        return await self._guard.adopt(
            adoption, rows, left, self._terms, self._policy.prefixes, self._judge, dry_run=self._dry_run
        )

    async def _row_of(self, key: str, now: datetime) -> Adoptable | str:
        owner = self._terms.owner
        tags = owner is not None and owner.source is OwnerSource.TAG
        try:
            found = await self._ports.descriptions.of(key, tags=tags)
        except KeyRefused as error:
            return f"{Left.UNREADABLE}: {error}"
        return planning.row_of(key, found, self._terms, self._policy, now, owned=self._ports.adoptions.owned)

    def _judge(self, row: Record, now: datetime) -> str:
        finding = judge_record(row, self._policy, now)
        return "" if finding is None or finding.kept is not None else finding.verdict.value
