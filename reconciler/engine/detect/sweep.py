"""The sweep: compare bucket and rows, by key ranges that resume after a crash, or without order."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from reconciler.engine.detect import key_ranges
from reconciler.engine.detect.adoptable import Adoptable
from reconciler.engine.detect.join.comparison import Comparison, Sink
from reconciler.engine.detect.join.doubt import Doubt
from reconciler.engine.detect.join.integrity import Integrity, is_due, recalled
from reconciler.engine.detect.join.nominated import newest, nominate
from reconciler.engine.detect.join.ordered import ROWS_A_QUERY, OrderedJoin
from reconciler.engine.detect.join.unordered import UnorderedJoin
from reconciler.engine.detect.lost_objects import returns_of
from reconciler.engine.detect.near_misses import Spelled
from reconciler.engine.detect.passes import MarkSink, PassResult, earlier_policy, release, under_pass
from reconciler.engine.runtime.context import Limits, Ports, RuntimeSettings
from reconciler.engine.runtime.steps import step
from reconciler.errors import (
    CatalogUnavailable,
    LeaseLost,
    ListingBroken,
    ListingContradicted,
    OrderViolated,
    PassEnded,
    ReconcilerError,
)
from reconciler.model import (
    InventoryUsed,
    KeepReason,
    KeyRange,
    ListingOrder,
    Mode,
    Pass,
    PassKind,
    PassState,
    Phase,
    Policy,
    RangeProgress,
    Tally,
    Term,
)
from reconciler.model.keys import merge_prefixes
from reconciler.model.spelling import Orphans
from reconciler.planning.lifecycle import known_rules
from reconciler.ports import PAGE_SIZE, Inventories

log = structlog.get_logger(__name__)

PAGE_SIZES = (PAGE_SIZE, 887, 613)
"""Page sizes to try when joining without order, before a pass ignores the rows that lack their object."""

SPREAD = 97
"""The most by which the page sizes of different passes differ, in keys."""

_CONTRADICTED = "rows and HEADs contradict the listing: sweeping again in other pages"

PLANNED = 0
"""Stands for the pass number of a plan."""

RESUMABLE_FOR = timedelta(hours=24)
"""An older pass starts over: its frozen cutoff would leave too much to the next one."""


class Sweep:
    """Runs one sweep after another; remembers when a store has broken the order it promised."""

    def __init__(self, ports: Ports, limits: Limits) -> None:
        self._ports = ports
        self._limits = limits
        self._order = ports.capabilities.order
        self._plain: int | None = None

    def lists_plainly(self, pass_id: int) -> bool:
        """Whether this process listed all of that pass, and only objects of the standard storage class."""
        return pass_id == self._plain

    async def run(self, term: Term, settings: RuntimeSettings) -> PassResult:
        """Run one pass to its end: released or tripped.

        Raises what made it impossible: nothing of it is released then, and an ordered pass resumes where it
        was. Raises ListingBroken if the listing does not show what is put.
        """
        if self._ports.inventories is not None:
            return await self._by_inventory(self._ports.inventories, term, settings)
        self._require_listing()
        if await self._order_for(settings.policy) is ListingOrder.BYTES:
            try:
                return await self._pass(term, settings, order=ListingOrder.BYTES)
            except OrderViolated as violation:
                log.warning("the store broke byte order: sweeping again without it", reason=str(violation))
            except ListingContradicted as error:
                log.warning(_CONTRADICTED, reason=str(error))
            self._order = ListingOrder.NONE
        for page_size in PAGE_SIZES:
            try:
                return await self._pass(term, settings, page_size)
            except ListingContradicted as error:
                log.warning(_CONTRADICTED, reason=str(error))
        return await self._pass(term, settings, believes=False)

    async def survey(
        self,
        settings: RuntimeSettings,
        sink: Sink,
        bucket: str,
        now: datetime,
        within: tuple[str, ...] = (),
        noted_as: int = PLANNED,
    ) -> Tally:
        """The same for `plan`, judged at `now`: findings go to the sink; no pass, no mark, no lease.

        `noted_as`: the number under which spellings are noted.

        `within`: lists these parts of the managed prefixes alone. Keys are still spelled by the prefixes
        themselves, and every row elsewhere may name an orphan in another spelling.
        """
        inventories = None if within else self._ports.inventories
        if inventories is None:
            self._require_listing()
        comparison = await self._comparison(settings, now, live=False, pass_id=noted_as, bucket=bucket)
        if within:
            policy = replace(settings.policy, prefixes=within)
            spelled = replace(comparison.spelled, compared=merge_prefixes(within))
            comparison = replace(comparison, policy=policy, spelled=spelled)
        policy = comparison.policy
        wanted = settings.integrity_interval is not None and inventories is None
        comparison = replace(comparison, integrity=replace(comparison.integrity, wanted=wanted))
        if inventories is not None:
            used = await newest(self._ports, inventories)
            tally = await self._nominate(inventories, comparison, used, sink, settings)
        elif await self._order_for(policy) is ListingOrder.NONE:
            tally = await self._join_unordered(comparison, sink, None)
        else:
            planned = await self._plan_ranges(policy.prefixes)
            progress = [
                RangeProgress(ordinal=i, range=span, watermark="", done=False)
                for i, span in enumerate(planned)
            ]
            tally = await self._join_ordered(comparison, sink, progress)
        tally += await self._outside(policy)
        return tally + await comparison.spelled.settle(self._ports.records, comparison.returns, tally)

    async def _by_inventory(
        self, inventories: Inventories, term: Term, settings: RuntimeSettings
    ) -> PassResult:
        """The same by the newest inventory. Raises InventoryRefused where that is not to be used."""
        await self._ports.staging.clear()
        self._plain = None
        used = await newest(self._ports, inventories)
        await self._ports.holds.remember()
        with step(self._ports.tracer, "planning"):
            current = await self._begin_new(term, settings, ListingOrder.NONE, used)
        tie = await self._ports.site.identity()
        live, bucket = current.mode is Mode.LIVE, tie.bucket if tie else ""
        comparison = await self._comparison(
            settings, current.cutoff, live=live, pass_id=current.id, bucket=bucket
        )
        comparison = replace(comparison, integrity=replace(comparison.integrity, wanted=False))

        async def join(sink: Sink) -> Tally:
            return await self._nominate(inventories, comparison, used, sink, settings, current.id)

        with under_pass(self._ports, current):
            return await self._compare(term, settings, current, comparison, join)

    async def _nominate(
        self,
        inventories: Inventories,
        comparison: Comparison,
        used: InventoryUsed,
        sink: Sink,
        settings: RuntimeSettings,
        pass_id: int | None = None,
    ) -> Tally:
        most = settings.limits.max_count
        return await nominate(self._ports, inventories, comparison, used, sink, pass_id, most)

    def _require_listing(self) -> None:
        """Raise ListingBroken if the listing lacks what was put: finding no orphan is no convergence then."""
        if not self._ports.capabilities.lists:
            raise ListingBroken(
                "the listing does not show what was put, though HEAD finds it: a bucket without an index?"
                " Nothing can be compared with the rows; see `reconciler doctor`"
            )

    async def _order_for(self, policy: Policy) -> ListingOrder:
        """The store's order, if the rows can be read in it as well; otherwise both are joined as sets."""
        prefixes = merge_prefixes(policy.prefixes)
        if self._order is ListingOrder.NONE or await self._ports.records.reads_in_order(
            prefixes, ROWS_A_QUERY
        ):
            return self._order
        log.warning(
            "no index has the rows in byte order: joining as sets, which takes about twice as long",
            advice="reconciler migrate --create-index",
        )
        return ListingOrder.NONE

    async def _pass(
        self,
        term: Term,
        settings: RuntimeSettings,
        page_size: int = PAGE_SIZE,
        *,
        believes: bool = True,
        order: ListingOrder = ListingOrder.NONE,
    ) -> PassResult:
        await self._ports.holds.remember()
        with step(self._ports.tracer, "planning"):
            current, progress = await self._begin(term, settings, order)
        live = current.mode is Mode.LIVE
        tie = await self._ports.site.identity()
        bucket = tie.bucket if tie else ""
        comparison = await self._comparison(
            settings, current.cutoff, live=live, pass_id=current.id, bucket=bucket
        )
        doubt = Doubt(self._ports.store, settings.policy, current.cutoff, believes=believes)
        # The pages of each pass end elsewhere: what a store leaves out there, the next pass finds.
        pages = page_size - current.id % SPREAD
        comparison = replace(comparison, doubt=doubt, page_size=pages)

        async def join(sink: Sink) -> Tally:
            if current.order is ListingOrder.BYTES:
                self._ports.observer.phase(PassKind.SWEEP, Phase.COMPARING)
                return await self._join_ordered(comparison, sink, progress)
            return await self._join_unordered(comparison, sink, current.id)

        with under_pass(self._ports, current):
            compared = await self._compare(term, settings, current, comparison, join)
        resumed = any(each.done or each.watermark != each.range.after for each in progress)
        self._plain = current.id if comparison.classes.plain and not resumed else None
        return compared

    async def _compare(
        self,
        term: Term,
        settings: RuntimeSettings,
        current: Pass,
        comparison: Comparison,
        join: Callable[[Sink], Awaitable[Tally]],
    ) -> PassResult:
        delay = settings.policy.delete_delay
        sink = MarkSink(ports=self._ports, term=term, current=current, delete_delay=delay)
        try:
            tally = await join(sink)
            tally += await self._outside(settings.policy)
            tally += await comparison.spelled.settle(self._ports.records, comparison.returns, tally)
            await comparison.returns.of_further_columns()
            if settings.integrity_interval is not None and not comparison.integrity.wanted:
                tally += recalled(await self._ports.passes.last(PassKind.SWEEP, PassState.RELEASED))
        except (LeaseLost, PassEnded, CatalogUnavailable):
            raise
        except ReconcilerError as error:
            restart = isinstance(error, OrderViolated | ListingContradicted)
            if current.order is ListingOrder.NONE or restart:
                await self._ports.passes.fail(term, current, str(error))
            raise
        released = await release(self._ports, settings, term, current, tally)
        await self._ports.near_misses.forget(current.id)
        return released

    async def _begin(
        self, term: Term, settings: RuntimeSettings, order: ListingOrder
    ) -> tuple[Pass, Sequence[RangeProgress]]:
        passes = self._ports.passes
        if order is ListingOrder.NONE:
            begun = await self._begin_new(term, settings, order)
            return begun, ()
        await self._ports.staging.clear()
        current = await passes.resumable(
            PassKind.SWEEP, settings.config_hash, settings.mode, order, RESUMABLE_FOR
        )
        progress = await passes.ranges(current.id) if current else ()
        if current is not None and progress:
            log.info("sweep resumed", pass_id=current.id, ranges_left=sum(not p.done for p in progress))
            return current, progress
        planned = await self._plan_ranges(settings.policy.prefixes)
        begun = await self._begin_new(term, settings, order)
        await passes.plan_ranges(term, begun.id, planned)
        return begun, await passes.ranges(begun.id)

    async def _begin_new(
        self, term: Term, settings: RuntimeSettings, order: ListingOrder, used: InventoryUsed | None = None
    ) -> Pass:
        passes, config, mode = self._ports.passes, settings.config_hash, settings.mode
        return await passes.begin(term, PassKind.SWEEP, config, mode, order, settings.policy, used)

    async def _plan_ranges(self, prefixes: Sequence[str]) -> list[KeyRange]:
        return await key_ranges.planned(self._ports.records, prefixes, self._limits.listing_concurrency)

    async def _join_ordered(
        self, comparison: Comparison, sink: Sink, progress: Sequence[RangeProgress]
    ) -> Tally:
        return await OrderedJoin(comparison, sink, self._ports.tracer).run(
            progress, self._limits.listing_concurrency
        )

    async def _join_unordered(self, comparison: Comparison, sink: Sink, pass_id: int | None) -> Tally:
        prefixes = merge_prefixes(comparison.policy.prefixes)
        async with self._ports.staging.open(pass_id) as staging:
            join = UnorderedJoin(comparison, sink, staging, self._ports.tracer)
            return await join.run(prefixes, self._limits.listing_concurrency)

    async def _outside(self, policy: Policy) -> Tally:
        """Count the rows that no managed prefix covers, as kept."""
        outside = await self._ports.records.count_outside(policy.prefixes)
        return Tally(kept={KeepReason.OUTSIDE_PREFIX: outside})

    async def _comparison(
        self, settings: RuntimeSettings, now: datetime, *, live: bool, pass_id: int, bucket: str
    ) -> Comparison:
        ports, policy = self._ports, settings.policy
        orphans = Orphans(pass_id=pass_id, bucket=bucket, prefixes=merge_prefixes(policy.prefixes))
        compared_at = await ports.passes.compared_at()
        return Comparison(
            listing=ports.listing,
            records=ports.records,
            departures=ports.departures,
            holds=ports.holds,
            returns=returns_of(ports, live=live, rewrites_keys=policy.rewrites_keys),
            observer=ports.observer,
            policy=policy,
            now=now,
            doubt=Doubt(ports.store, policy, now, strict=False),
            spelled=Spelled(near=ports.near_misses, orphans=orphans, compared=orphans.prefixes),
            adoptable=Adoptable(
                adoptions=ports.adoptions, descriptions=ports.descriptions, terms=settings.adoption
            ),
            before=await earlier_policy(ports, PassKind.SWEEP, policy),
            upload_window=settings.upload_window,
            store_rules=known_rules(ports.capabilities),
            integrity=Integrity(
                records=ports.records, wanted=is_due(compared_at, settings.integrity_interval, now)
            ),
        )
