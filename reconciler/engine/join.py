"""Comparing the bucket with the rows: the ordered join, and the one that needs no order.

Both list first and read rows after, so that a row that appears in between protects its object.
Neither writes: what they find goes to a sink, a page at a time, in memory O(page x ranges).
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from reconciler.errors import ListingBroken
from reconciler.model import (
    RESERVED_PREFIX,
    Finding,
    KeyRange,
    ObjectPage,
    Policy,
    RangeProgress,
    Record,
    Tally,
)
from reconciler.planning import compare, judge, reporting
from reconciler.ports import Listing, Observer, Records, Staging

ROWS_A_QUERY = 5_000
"""Keys a window's query may return: enough for a page's window in one go, small enough to stay flat."""

PAGES_A_WATERMARK = 20
"""A clean stretch of this many pages writes its watermark: what a crash costs at most."""

LOOKUP_SIZE = 1_000


class Sink(Protocol):
    """Where a join's findings go: marks in the database, or an operator's screen."""

    async def write(self, findings: Sequence[Finding], progress: RangeProgress | None) -> None: ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What both joins need: the two sides, and the frozen policy and cutoff they judge by."""

    listing: Listing
    records: Records
    observer: Observer
    policy: Policy
    now: datetime


class OrderedJoin:
    """A merge of listing and rows over key ranges, for stores that list in byte order."""

    def __init__(self, comparison: Comparison, sink: Sink) -> None:
        self._with = comparison
        self._sink = sink

    async def run(self, ranges: Sequence[RangeProgress], concurrency: int) -> Tally:
        """Compare every range, `concurrency` at once; the sum of what they saw, resumed parts included.

        Raises OrderViolated or ListingBroken as soon as any page cannot be trusted.
        """
        open_ranges = [progress for progress in ranges if not progress.done]
        tallies = [progress.tally for progress in ranges if progress.done]
        queue = iter(open_ranges)

        async def work() -> None:
            for progress in queue:
                tallies.append(await self._compare_range(progress))

        async with anyio.create_task_group() as group:
            for _ in range(min(concurrency, len(open_ranges))):
                group.start_soon(work)
        return sum(tallies, Tally())

    async def _compare_range(self, progress: RangeProgress) -> Tally:
        span, at, tally = progress.range, progress.watermark or progress.range.after, progress.tally
        token: str | None = None
        unsaved = 0
        while True:
            page = await self._with.listing.list_page(
                span.prefix, start_after="" if token else at, token=token
            )
            token = _next_token(page, token)
            page = page if span.prefix else _without_reserved(page)
            self._with.observer.page_listed(len(page.keys))
            keys, reached_end = _within(page, at, span)
            done = reached_end or token is None
            if not keys and not done:
                continue
            window = dataclasses.replace(span, after=at, upto=span.upto if done else keys[-1])
            findings, seen = await self._compare_window(page, keys, window)
            tally += seen
            unsaved += 1
            at = keys[-1] if keys else at
            if findings or done or unsaved >= PAGES_A_WATERMARK:
                await self._sink.write(
                    findings, dataclasses.replace(progress, watermark=at, done=done, tally=tally)
                )
                unsaved = 0
            if done:
                return tally

    async def _compare_window(
        self, page: ObjectPage, keys: Sequence[str], window: KeyRange
    ) -> tuple[list[Finding], Tally]:
        """Rows of the window in as many queries as they need; `keys` are the page's first ones."""
        findings: list[Finding] = []
        tally = Tally(objects=len(keys), bytes=sum(page.sizes[: len(keys)]))
        after, start = window.after, 0
        while True:
            span = dataclasses.replace(window, after=after)
            rows = await self._with.records.keys_in(span, ROWS_A_QUERY)
            compare.check_ascending(rows, after)
            self._with.observer.records_read(len(rows))
            last = len(rows) < ROWS_A_QUERY
            stop = len(keys) if last else bisect.bisect_right(keys, rows[-1], start)
            drift = compare.difference(keys[start:stop], rows)
            if drift.objects or drift.records:
                found, seen = await self._judge(page, [start + i for i in drift.objects], drift.records)
                findings += found
                tally += seen
            tally += Tally(records=len(rows))
            if last:
                return findings, tally
            after, start = rows[-1], stop

    async def _judge(
        self, page: ObjectPage, objects: Sequence[int], missing: Sequence[str]
    ) -> tuple[list[Finding], Tally]:
        context = self._with
        verdicts = [judge.judge_object(page.object_at(i), context.policy, context.now) for i in objects]
        findings, tally = reporting.tally_of(verdicts)
        for first in range(0, len(missing), LOOKUP_SIZE):
            rows = await context.records.lookup(missing[first : first + LOOKUP_SIZE])
            found, seen = judge_rows(rows, context)
            findings += found
            tally += seen
        return findings, tally


class UnorderedJoin:
    """The listing, by continuation token alone, copied beside the rows and joined by the database."""

    def __init__(self, comparison: Comparison, sink: Sink, staging: Staging) -> None:
        self._with = comparison
        self._sink = sink
        self._staging = staging

    async def run(self, prefixes: Sequence[str], concurrency: int) -> Tally:
        """List every prefix to its end, then judge what the database finds on one side only."""
        await self._copy_listing(prefixes, concurrency)
        objects, size = await self._staging.seal()
        tally = Tally(objects=objects, bytes=size)
        context = self._with
        async for page in self._staging.objects_without_record():
            found, seen = reporting.tally_of(
                [judge.judge_object(stored, context.policy, context.now) for stored in page]
            )
            tally += seen
            await self._sink.write(found, None)
        async for rows in self._staging.records_without_object(prefixes):
            found, seen = judge_rows(rows, context)
            tally += seen
            await self._sink.write(found, None)
        records = await context.records.count(prefixes)
        context.observer.records_read(records)
        return tally + Tally(records=records)

    async def _copy_listing(self, prefixes: Sequence[str], concurrency: int) -> None:
        send, receive = anyio.create_memory_object_stream[ObjectPage](2)
        limiter = anyio.CapacityLimiter(concurrency)
        async with anyio.create_task_group() as group:
            group.start_soon(self._copy, receive)
            async with send:
                for prefix in prefixes:
                    group.start_soon(self._list, prefix, send.clone(), limiter)

    async def _list(
        self, prefix: str, send: MemoryObjectSendStream[ObjectPage], limiter: anyio.CapacityLimiter
    ) -> None:
        token: str | None = None
        async with limiter, send:
            while True:
                page = await self._with.listing.list_page(prefix, token=token)
                token = _next_token(page, token)
                await send.send(page if prefix else _without_reserved(page))
                if token is None:
                    return

    async def _copy(self, receive: MemoryObjectReceiveStream[ObjectPage]) -> None:
        async with receive:
            async for page in receive:
                if page.keys:
                    await self._staging.copy(page)
                    self._with.observer.page_listed(len(page.keys))


def judge_rows(rows: Iterable[Record], context: Comparison) -> tuple[list[Finding], Tally]:
    """Judge rows that have no object.

    Those that retention takes anyway are its findings, not ours, but count as missing all the same.
    """
    verdicts = [judge.judge_missing(row, context.policy, context.now) for row in rows]
    findings, tally = reporting.tally_of([verdict for verdict in verdicts if verdict is not None])
    gone = len(findings) + sum(verdict is None for verdict in verdicts)
    return findings, tally + Tally(missing=gone)


def _next_token(page: ObjectPage, asked: str | None) -> str | None:
    if page.next_token is not None and page.next_token == asked:
        message = f"the listing repeats its continuation token {asked!r}: it would never end"
        raise ListingBroken(message)
    return page.next_token


def _within(page: ObjectPage, after: str, span: KeyRange) -> tuple[Sequence[str], bool]:
    """The page's keys up to the range's end, and whether that end was reached. Asserts byte order."""
    keys: Sequence[str] = page.keys
    compare.check_ascending(keys, after)
    if span.upto is None or not keys or keys[-1] <= span.upto:
        return keys, bool(keys) and keys[-1] == span.upto
    return keys[: bisect.bisect_right(keys, span.upto)], True


def _without_reserved(page: ObjectPage) -> ObjectPage:
    """The page without our own objects, which only the prefix "" can list."""
    keep = [i for i, key in enumerate(page.keys) if not key.startswith(RESERVED_PREFIX)]
    if len(keep) == len(page.keys):
        return page
    return ObjectPage(
        keys=[page.keys[i] for i in keep],
        sizes=[page.sizes[i] for i in keep],
        etags=[page.etags[i] for i in keep],
        modified=[page.modified[i] for i in keep],
        next_token=page.next_token,
    )
