"""The ordered join: merge listing and rows over key ranges."""

from __future__ import annotations

import dataclasses
from bisect import bisect_right
from collections.abc import Sequence

import structlog

from reconciler.engine.detect.held import keep_held
from reconciler.engine.detect.join.comparison import Comparison, Sink, judge_objects, judge_rows, next_token
from reconciler.engine.runtime.steps import step
from reconciler.engine.runtime.tasks import for_each
from reconciler.model import Finding, KeyRange, ObjectPage, RangeProgress, StoredObject, Tally
from reconciler.planning.compare import WindowJoin
from reconciler.planning.reporting import newly_of
from reconciler.ports import Tracer

log = structlog.get_logger(__name__)

ROWS_A_QUERY = 5_000
"""Keys that one query returns: a page's window in one query, and flat memory if rows abound."""

PAGES_A_QUERY = 3
"""Pages listed before their rows are read: fewer round trips, for two pages more of memory a range."""

PAGES_A_WATERMARK = 20
"""A stretch of this many windows is written with its watermark: the most that a crash can cost."""

LOOKUP_SIZE = 1_000


class OrderedJoin:
    """Merges listing and rows over key ranges, for stores that list in byte order."""

    def __init__(self, comparison: Comparison, sink: Sink, tracer: Tracer) -> None:
        self._with = comparison
        self._sink = sink
        self._tracer = tracer

    async def run(self, ranges: Sequence[RangeProgress], concurrency: int) -> Tally:
        """Compare every range, `concurrency` at once. Returns what they saw, including parts done before.

        Raises OrderViolated or ListingBroken as soon as any page cannot be trusted.
        """
        tallies = [_of_prefix(progress.range, progress.tally) for progress in ranges if progress.done]

        async def compare(progress: RangeProgress) -> None:
            with step(self._tracer, "range", bound={"range": progress.ordinal}):
                tally = await self._compare_range(progress)
                self._tracer.note(objects=tally.objects, records=tally.records)
                log.info("range compared", objects=tally.objects, records=tally.records, bytes=tally.bytes)
            tallies.append(_of_prefix(progress.range, tally))

        await for_each((p for p in ranges if not p.done), compare, concurrency=concurrency)
        return sum(tallies, Tally())

    async def _compare_range(self, progress: RangeProgress) -> Tally:
        join = WindowJoin(progress.range, progress.watermark)
        stretch = _Stretch(self._with, self._sink, progress)
        pages: Sequence[ObjectPage] = ()
        while not join.done:
            pages = await self._list(progress.range, join.watermark, pages)
            rows = _RowsAhead(self._with, progress.range, pages)
            for listed in pages:
                await self._compare_page(join, join.take(listed), rows, stretch)
        return stretch.progress.tally

    async def _list(
        self, span: KeyRange, watermark: str, before: Sequence[ObjectPage]
    ) -> Sequence[ObjectPage]:
        """List the next few pages of the range, after the pages `before`; none beyond its end."""
        token = before[-1].next_token if before else None
        pages: list[ObjectPage] = []
        while len(pages) < PAGES_A_QUERY:
            after = "" if token else watermark
            page = await self._with.listing.list_page(span.prefix, start_after=after, token=token)
            token = next_token(page, token)
            self._with.listed(page)
            pages.append(page)
            if token is None or (span.upto is not None and page.keys and page.keys[-1] >= span.upto):
                break
        return pages

    async def _compare_page(
        self, join: WindowJoin, page: ObjectPage, rows_ahead: _RowsAhead, stretch: _Stretch
    ) -> None:
        """Compare the page with the rows of its window, however many, and note the drift."""
        stretch.add_differing(*await self._with.integrity.of(page))
        compared = 0
        while (window := join.window) is not None:
            rows, complete = await rows_ahead.within(window)
            apart = join.compare(rows, len(rows) + complete)
            upto = len(page.keys) if join.window is None else bisect_right(page.keys, join.watermark)
            size = sum(page.sizes[compared:upto])
            seen = Tally(objects=upto - compared, records=apart.compared, bytes=size)
            compared = upto
            stretch.add(seen, [page.object_at(index) for index in apart.objects], apart.records)
            if join.done or stretch.full:
                await stretch.write(join.watermark, done=join.done)


class _RowsAhead:
    """The rows of a few listed pages, read in one query if they are few enough.

    All of these pages were listed before, so that a row which appears in between still protects.
    """

    def __init__(self, context: Comparison, span: KeyRange, pages: Sequence[ObjectPage]) -> None:
        last = next((page.keys[-1] for page in reversed(pages) if page.keys), None)
        past_end = span.upto is not None and last is not None and last >= span.upto
        ends = past_end or pages[-1].next_token is None
        self._with = context
        self._horizon = span.upto if ends else last
        self._rows: Sequence[str] = ()
        self._after: str | None = None
        self._upto: str | None = ""
        """`_rows` holds all that lies in `(_after, _upto]`; None is the range's end."""

    async def within(self, window: KeyRange) -> tuple[Sequence[str], bool]:
        """The window's first rows, and whether those are all of them."""
        if not self._covers(window.after):
            await self._read(window)
        start = bisect_right(self._rows, window.after)
        if window.upto is None:
            return self._rows[start:], self._upto is None
        stop = bisect_right(self._rows, window.upto, start)
        return self._rows[start:stop], self._upto is None or window.upto <= self._upto

    def _covers(self, after: str) -> bool:
        """Whether the rows that follow `after` are here, or known not to exist."""
        if self._after is None or after < self._after:
            return False
        return self._upto is None or after < self._upto

    async def _read(self, window: KeyRange) -> None:
        beyond = self._horizon is None or (window.upto is not None and self._horizon > window.upto)
        upto = self._horizon if beyond else window.upto
        span = dataclasses.replace(window, upto=upto)
        self._rows = await self._with.records.keys_in(span, ROWS_A_QUERY)
        self._with.observer.records_read(len(self._rows))
        self._after = window.after
        self._upto = self._rows[-1] if len(self._rows) >= ROWS_A_QUERY else upto


class _Stretch:
    """What the windows of a range hold since its last watermark, written together.

    Drift is usually spread thinly: a transaction for each page that has some would cost more than the
    comparison.
    """

    def __init__(self, context: Comparison, sink: Sink, progress: RangeProgress) -> None:
        self.progress = progress
        self._with = context
        self._sink = sink
        self._clear()

    def _clear(self) -> None:
        self._windows = 0
        self._seen = Tally()
        self._findings: list[Finding] = []
        self._unmatched: list[StoredObject] = []
        self._missing: list[str] = []
        self._differing: list[Finding] = []

    @property
    def full(self) -> bool:
        """Long enough, or with so much drift, that it must not wait for more."""
        drift = len(self._unmatched) + len(self._missing)
        return self._windows >= PAGES_A_WATERMARK or drift >= LOOKUP_SIZE

    def add(self, seen: Tally, orphans: Sequence[StoredObject], missing: Sequence[str]) -> None:
        """Add one window: its counts, its objects without a row, and its rows' keys without an object."""
        self._windows += 1
        self._seen += seen
        self._unmatched += orphans
        self._missing += missing

    def add_differing(self, findings: Sequence[Finding], seen: Tally) -> None:
        """Add objects that are not what their rows say: nothing more is asked about them."""
        self._differing += findings
        self._seen += seen

    async def write(self, watermark: str, *, done: bool) -> None:
        """Judge what is on one side only, and pass everything on with the new watermark."""
        self._seen += await judge_objects(self._with, self._unmatched, self._findings)
        for start in range(0, len(self._missing), LOOKUP_SIZE):
            keys = self._missing[start : start + LOOKUP_SIZE]
            recoverable = await self._with.returns.of_rows(keys)
            rows = await self._with.doubt.missing(await self._with.records.lookup(keys))
            self._seen += judge_rows(self._with, rows, recoverable, self._findings)
        self._seen += await self._with.returns.keep_orphans(self._findings)
        self._seen += await keep_held(self._with.holds, self._findings)
        self._seen += newly_of(self._findings)
        await self._with.spelled.note(self._findings, self._missing)
        tally = self.progress.tally + self._seen
        reached = dataclasses.replace(self.progress, watermark=watermark, done=done, tally=tally)
        await self._sink.write([*self._findings, *self._differing], reached)
        self.progress = reached
        self._clear()


def _of_prefix(span: KeyRange, tally: Tally) -> Tally:
    return dataclasses.replace(tally, by_prefix={span.prefix: dataclasses.replace(tally, by_prefix={})})
