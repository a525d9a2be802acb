"""The join that needs no order: copy the listing into the database, and let the database join it."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

import anyio
import structlog
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from reconciler import model
from reconciler.engine.detect.held import keep_held
from reconciler.engine.detect.join.comparison import Comparison, Sink, judge_objects, judge_rows, next_token
from reconciler.engine.runtime.steps import step
from reconciler.engine.runtime.tasks import for_each, task_group
from reconciler.planning.reporting import found_by_prefix, newly_of, rows_by_prefix
from reconciler.ports import Staging, Tracer

log = structlog.get_logger(__name__)

WRITERS = 3
"""Transactions at once that write what the unordered join finds: one alone waits for each commit."""

Page = TypeVar("Page")


class UnorderedJoin:
    """Lists by continuation token alone, copies the listing next to the rows, and joins in the database."""

    def __init__(self, comparison: Comparison, sink: Sink, staging: Staging, tracer: Tracer) -> None:
        self._with = comparison
        self._sink = sink
        self._tracer = tracer
        self._staging = staging
        self._listed: Counter[str] = Counter()
        self._differing = model.Tally()

    async def run(self, prefixes: Sequence[str], concurrency: int) -> model.Tally:
        """List every prefix to its end, then judge what the database finds on one side only."""
        self._with.observer.phase(model.PassKind.SWEEP, model.Phase.LISTING)
        with step(self._tracer, "listing"):
            await self._copy_listing(prefixes, concurrency)
        self._with.observer.phase(model.PassKind.SWEEP, model.Phase.COMPARING)
        with step(self._tracer, "join"):
            return await self._join(prefixes)

    async def _join(self, prefixes: Sequence[str]) -> model.Tally:
        objects, size = await self._staging.seal()
        log.info("bucket listed", objects=objects, bytes=size)
        return await self._compared(prefixes, objects, size)

    async def _compared(self, prefixes: Sequence[str], objects: int, size: int) -> model.Tally:
        """Judge what is on one side only, of so many objects and bytes."""
        listed = {prefix: model.Tally(objects=self._listed[prefix]) for prefix in prefixes}
        seen = model.Tally(objects=objects, bytes=size, by_prefix=listed)
        unmatched, missing = self._staging.objects_without_record, self._staging.records_without_object
        # Rows first: what they name may be among the objects, in another spelling.
        seen += await self._judge(prefixes, missing(prefixes), self._judge_records, _keys_of)
        seen += await self._judge(prefixes, unmatched(), self._judge_objects, lambda _: ())
        rows = rows_by_prefix({prefix: await self._with.records.count([prefix]) for prefix in prefixes})
        self._with.observer.records_read(rows.records)
        return seen + rows + self._differing

    async def _judge(
        self,
        prefixes: Sequence[str],
        pages: AsyncIterator[Page],
        judge: Callable[[Page], Awaitable[tuple[list[model.Finding], model.Tally]]],
        missing: Callable[[Page], Sequence[str]],
    ) -> model.Tally:
        """Judge and write every page, a few at once. No page is read ahead of a free writer."""
        tallies: list[model.Tally] = []
        send, receive = anyio.create_memory_object_stream[Page]()

        async def write(receive: MemoryObjectReceiveStream[Page]) -> None:
            async with receive:
                async for page in receive:
                    findings, seen = await judge(page)
                    seen += await keep_held(self._with.holds, findings)
                    seen += newly_of(findings) + found_by_prefix(findings, prefixes)
                    await self._with.spelled.note(findings, missing(page))
                    await self._sink.write(findings, None)
                    self._with.observer.alive("sweep")
                    tallies.append(seen)

        async with task_group() as group, receive:
            for _ in range(WRITERS):
                group.start_soon(write, receive.clone())
            async with send:
                async for page in pages:
                    await send.send(page)
        return sum(tallies, model.Tally())

    async def _judge_objects(
        self, page: Sequence[model.StoredObject]
    ) -> tuple[list[model.Finding], model.Tally]:
        findings: list[model.Finding] = []
        seen = await judge_objects(self._with, page, findings)
        return findings, seen + await self._with.returns.keep_orphans(findings)

    async def _judge_records(self, page: Sequence[model.Record]) -> tuple[list[model.Finding], model.Tally]:
        findings: list[model.Finding] = []
        rows = await self._with.doubt.missing(page)
        recoverable = await self._with.returns.of_rows([row.storage_key for row in rows])
        return findings, judge_rows(self._with, rows, recoverable, findings)

    async def _copy_listing(self, prefixes: Sequence[str], concurrency: int) -> None:
        """List prefixes at the same time; one connection copies, so that listing and copying overlap."""
        send, receive = anyio.create_memory_object_stream[model.ObjectPage](2)

        async def list_prefix(prefix: str) -> None:
            await self._list(prefix, send)

        async with task_group() as group, receive:
            group.start_soon(self._copy, receive.clone())
            async with send:
                await for_each(prefixes, list_prefix, concurrency=concurrency)

    async def _list(self, prefix: str, send: MemoryObjectSendStream[model.ObjectPage]) -> None:
        token: str | None = None
        while True:
            page = await self._with.listing.list_page(prefix, token=token, page_size=self._with.page_size)
            token = next_token(page, token)
            self._with.listed(page)
            kept = page if prefix else _without_reserved(page)
            self._listed[prefix] += len(kept.keys)
            differing, seen = await self._with.integrity.of(kept)
            await self._sink.write(differing, None)
            self._differing += seen + found_by_prefix(differing, (prefix,))
            await send.send(kept)
            if token is None:
                return

    async def _copy(self, receive: MemoryObjectReceiveStream[model.ObjectPage]) -> None:
        async with receive:
            async for page in receive:
                if page.keys:
                    await self._staging.copy(page)


def _keys_of(page: Sequence[model.Record]) -> Sequence[str]:
    return [row.storage_key for row in page]


def _without_reserved(page: model.ObjectPage) -> model.ObjectPage:
    """The page without our own objects, which only the prefix "" can list."""
    return page.only([i for i, key in enumerate(page.keys) if not key.startswith(model.RESERVED_PREFIX)])
