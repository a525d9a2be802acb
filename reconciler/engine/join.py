"""Comparing the bucket with the rows: the ordered join, and the one that needs no order.

Both list first and read rows after, so that a row that appears in between protects its object.
Neither writes: what they find goes to a sink, a page at a time, in memory O(page x ranges).
"""

from __future__ import annotations

import dataclasses
from bisect import bisect_right
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import datetime
from typing import Protocol, TypeVar

import anyio
import structlog
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from reconciler.engine.holds import keep_held
from reconciler.engine.steps import step
from reconciler.engine.tasks import for_each, task_group
from reconciler.errors import ListingBroken
from reconciler.model import (
    RESERVED_PREFIX,
    Finding,
    KeepReason,
    KeyRange,
    Marker,
    ObjectPage,
    Phase,
    Policy,
    RangeProgress,
    Record,
    StoredObject,
    Tally,
)
from reconciler.planning import judge, latch
from reconciler.planning.compare import WindowJoin
from reconciler.planning.reporting import found_by_prefix, newly_of, rows_by_prefix, tally_of
from reconciler.ports import Holds, Listing, Observer, Records, Staging, Tracer

log = structlog.get_logger(__name__)

ROWS_A_QUERY = 5_000
"""Keys that one query returns: a page's window in one go, and flat memory where rows abound."""

PAGES_A_QUERY = 3
"""Pages listed before their rows are read: fewer round trips, for two pages more of memory a range."""

PAGES_A_WATERMARK = 20
"""A stretch of this many windows is written with its watermark: what a crash costs at most."""

LOOKUP_SIZE = 1_000

WRITERS = 3
"""Transactions side by side that write what the unordered join finds: one alone waits for each commit."""

Page = TypeVar("Page")


class Sink(Protocol):
    """Where a join's findings go: marks in the database, or an operator's screen."""

    async def write(self, findings: Sequence[Finding], progress: RangeProgress | None) -> None: ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What both joins need: the two sides, and the frozen policy and cutoff they judge by."""

    listing: Listing
    records: Records
    holds: Holds
    observer: Observer
    policy: Policy
    now: datetime
    before: Policy | None = None
    """What the last released pass judged by, where that was something else."""

    def listed(self, page: ObjectPage) -> None:
        """Count a page, and stamp the sweep's progress."""
        self.observer.page_listed(len(page.keys))
        self.observer.alive("sweep")


class OrderedJoin:
    """A merge of listing and rows over key ranges, for stores that list in byte order."""

    def __init__(self, comparison: Comparison, sink: Sink, tracer: Tracer) -> None:
        self._with = comparison
        self._sink = sink
        self._tracer = tracer

    async def run(self, ranges: Sequence[RangeProgress], concurrency: int) -> Tally:
        """Compare every range, `concurrency` at once; what they saw, parts done before included.

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
        """The next few pages of the range, after the pages `before`; none beyond its end."""
        token = before[-1].next_token if before else None
        pages: list[ObjectPage] = []
        while len(pages) < PAGES_A_QUERY:
            after = "" if token else watermark
            page = await self._with.listing.list_page(span.prefix, start_after=after, token=token)
            token = _next_token(page, token)
            self._with.listed(page)
            pages.append(page)
            if token is None or (span.upto is not None and page.keys and page.keys[-1] >= span.upto):
                break
        return pages

    async def _compare_page(
        self, join: WindowJoin, page: ObjectPage, rows_ahead: _RowsAhead, stretch: _Stretch
    ) -> None:
        """Compare the page with the rows of its window, however many, and note the drift."""
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
    """Rows of a few listed pages, read in one query where they are few enough.

    All of the pages were listed before, so that a row which appears in between still protects.
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
        """`_rows` holds all that lies in `(_after, _upto]`, None being the range's end."""

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
        """Whether the rows that follow `after` are here, or known not to be."""
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

    Drift is spread thinly as a rule: a transaction for each page that has some would cost more than
    the comparison.
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
        self._missing: list[str] = []

    @property
    def full(self) -> bool:
        """Long enough, or with enough drift, that it must not wait for more."""
        drift = len(self._findings) + len(self._missing)
        return self._windows >= PAGES_A_WATERMARK or drift >= LOOKUP_SIZE

    def add(self, seen: Tally, orphans: Sequence[StoredObject], missing: Sequence[str]) -> None:
        """One window: its counts, its objects without a row, and its rows' keys without an object."""
        self._windows += 1
        self._seen += seen
        if orphans:
            self._seen += _gather(self._findings, [judge_object(self._with, each) for each in orphans])
        self._missing += missing

    async def write(self, watermark: str, *, done: bool) -> None:
        """Judge the rows without an object, and hand everything on with the new watermark."""
        for start in range(0, len(self._missing), LOOKUP_SIZE):
            rows = await self._with.records.lookup(self._missing[start : start + LOOKUP_SIZE])
            self._seen += judge_rows(self._with, rows, self._findings)
        self._seen += await keep_held(self._with.holds, self._findings)
        self._seen += newly_of(self._findings)
        tally = self.progress.tally + self._seen
        reached = dataclasses.replace(self.progress, watermark=watermark, done=done, tally=tally)
        await self._sink.write(self._findings, reached)
        self.progress = reached
        self._clear()


class UnorderedJoin:
    """The listing, by continuation token alone, copied beside the rows and joined by the database."""

    def __init__(self, comparison: Comparison, sink: Sink, staging: Staging, tracer: Tracer) -> None:
        self._with = comparison
        self._sink = sink
        self._tracer = tracer
        self._staging = staging
        self._listed: Counter[str] = Counter()

    async def run(self, prefixes: Sequence[str], concurrency: int) -> Tally:
        """List every prefix to its end, then judge what the database finds on one side only."""
        self._with.observer.phase(Marker.SWEEP, Phase.LISTING)
        with step(self._tracer, "listing"):
            await self._copy_listing(prefixes, concurrency)
        self._with.observer.phase(Marker.SWEEP, Phase.COMPARING)
        with step(self._tracer, "join"):
            return await self._join(prefixes)

    async def _join(self, prefixes: Sequence[str]) -> Tally:
        objects, size = await self._staging.seal()
        log.info("bucket listed", objects=objects, bytes=size)
        listed = {prefix: Tally(objects=self._listed[prefix]) for prefix in prefixes}
        seen = Tally(objects=objects, bytes=size, by_prefix=listed)
        unmatched, missing = self._staging.objects_without_record, self._staging.records_without_object
        seen += await self._judge(prefixes, unmatched(), self._judge_objects)
        seen += await self._judge(prefixes, missing(prefixes), self._judge_records)
        rows = rows_by_prefix({prefix: await self._with.records.count([prefix]) for prefix in prefixes})
        self._with.observer.records_read(rows.records)
        return seen + rows

    async def _judge(
        self,
        prefixes: Sequence[str],
        pages: AsyncIterator[Page],
        judge: Callable[[Page], tuple[list[Finding], Tally]],
    ) -> Tally:
        """Every page judged and written, a few at once; no page is read ahead of a free writer."""
        tallies: list[Tally] = []
        send, receive = anyio.create_memory_object_stream[Page]()

        async def write(receive: MemoryObjectReceiveStream[Page]) -> None:
            async with receive:
                async for page in receive:
                    findings, seen = judge(page)
                    seen += await keep_held(self._with.holds, findings)
                    seen += newly_of(findings) + found_by_prefix(findings, prefixes)
                    await self._sink.write(findings, None)
                    self._with.observer.alive("sweep")
                    tallies.append(seen)

        async with task_group() as group, receive:
            for _ in range(WRITERS):
                group.start_soon(write, receive.clone())
            async with send:
                async for page in pages:
                    await send.send(page)
        return sum(tallies, Tally())

    def _judge_objects(self, page: Sequence[StoredObject]) -> tuple[list[Finding], Tally]:
        findings: list[Finding] = []
        return findings, _gather(findings, [judge_object(self._with, stored) for stored in page])

    def _judge_records(self, page: Sequence[Record]) -> tuple[list[Finding], Tally]:
        findings: list[Finding] = []
        return findings, judge_rows(self._with, page, findings)

    async def _copy_listing(self, prefixes: Sequence[str], concurrency: int) -> None:
        """Prefixes are listed side by side; one connection copies, so listing overlaps with it."""
        send, receive = anyio.create_memory_object_stream[ObjectPage](2)

        async def list_prefix(prefix: str) -> None:
            await self._list(prefix, send)

        async with task_group() as group, receive:
            group.start_soon(self._copy, receive.clone())
            async with send:
                await for_each(prefixes, list_prefix, concurrency=concurrency)

    async def _list(self, prefix: str, send: MemoryObjectSendStream[ObjectPage]) -> None:
        token: str | None = None
        while True:
            page = await self._with.listing.list_page(prefix, token=token)
            token = _next_token(page, token)
            self._with.listed(page)
            kept = page if prefix else _without_reserved(page)
            self._listed[prefix] += len(kept.keys)
            await send.send(kept)
            if token is None:
                return

    async def _copy(self, receive: MemoryObjectReceiveStream[ObjectPage]) -> None:
        async with receive:
            async for page in receive:
                if page.keys:
                    await self._staging.copy(page)


def judge_object(context: Comparison, stored: StoredObject) -> Finding | KeepReason:
    verdict = judge.judge_object(stored, context.policy, context.now)
    return _told_apart(context, stored, verdict) if isinstance(verdict, Finding) else verdict


def judge_rows(context: Comparison, rows: Iterable[Record], findings: list[Finding]) -> Tally:
    """Judge rows without an object, adding to `findings`.

    Those that retention takes anyway are its findings, but count as missing all the same.
    """
    rows = list(rows)
    policy, now = context.policy, context.now
    verdicts = [
        _told_apart(context, row, verdict) if isinstance(verdict, Finding) else verdict
        for row in rows
        if (verdict := judge.judge_missing(row, policy, now)) is not None
    ]
    missing = sum(judge.counts_as_missing(row, policy, now) for row in rows)
    return _gather(findings, verdicts) + Tally(missing=missing)


def _told_apart(context: Comparison, seen: StoredObject | Record, finding: Finding) -> Finding:
    """The finding, noting whether it is one only since the settings changed."""
    before = context.before
    if before is None or not latch.is_new(seen, before, context.now):
        return finding
    return dataclasses.replace(finding, newly=True)


def _of_prefix(span: KeyRange, tally: Tally) -> Tally:
    return dataclasses.replace(tally, by_prefix={span.prefix: tally})


def _gather(findings: list[Finding], verdicts: Iterable[Finding | KeepReason]) -> Tally:
    found: list[Finding] = []
    kept: list[KeepReason] = []
    for verdict in verdicts:
        if isinstance(verdict, Finding):
            found.append(verdict)
        else:
            kept.append(verdict)
    findings += found
    return tally_of(found, kept)


def _next_token(page: ObjectPage, asked: str | None) -> str | None:
    if page.next_token is not None and page.next_token == asked:
        message = f"the listing repeats its continuation token {asked!r}: it would never end"
        raise ListingBroken(message)
    return page.next_token


def _without_reserved(page: ObjectPage) -> ObjectPage:
    """The page without our own objects, which only the prefix "" can list."""
    return page.only([i for i, key in enumerate(page.keys) if not key.startswith(RESERVED_PREFIX)])
