"""The retention pass: find rows whose time is over by indexes, without listing the bucket."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeAlias

from reconciler import model
from reconciler.engine.detect.held import keep_held
from reconciler.engine.detect.join.comparison import Sink
from reconciler.engine.detect.passes import (
    MarkSink,
    PassResult,
    count_rows,
    earlier_policy,
    release,
    under_pass,
)
from reconciler.engine.runtime.context import Ports, RuntimeSettings
from reconciler.engine.runtime.steps import step
from reconciler.engine.runtime.variants import Along
from reconciler.errors import CatalogUnavailable, LeaseLost, PassEnded, ReconcilerError
from reconciler.model.keys import merge_prefixes
from reconciler.planning import approval_gate, retention
from reconciler.planning.reporting import found_by_prefix, newly_of, rows_by_prefix, tally_of

Tell: TypeAlias = Callable[[Sequence[tuple[model.Record, model.Finding]]], Awaitable[None]]
"""Called with each page of rows that were judged."""


class Retention:
    """SQL nominates rows, and the pure policy decides."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    async def run(self, term: model.Term, settings: RuntimeSettings, rows: Mapping[str, int]) -> PassResult:
        """Run one pass to its end: released or tripped.

        `rows` are what its findings are a fraction of, by prefix, as last counted. If there are enough
        findings for the fraction to be checked, the rows are counted again.
        """
        passes = self._ports.passes
        config, mode = settings.config_hash, settings.mode
        current = await passes.begin(term, model.PassKind.RETENTION, config, mode, None, settings.policy)
        with under_pass(self._ports, current):
            return await self._judge(term, settings, current, rows)

    async def _judge(
        self, term: model.Term, settings: RuntimeSettings, current: model.Pass, rows: Mapping[str, int]
    ) -> PassResult:
        passes = self._ports.passes
        delay = settings.policy.delete_delay
        sink = MarkSink(ports=self._ports, term=term, current=current, delete_delay=delay)
        try:
            await self._ports.holds.remember()
            await self._ports.records.observe_keys(current.cutoff)
            self._ports.observer.phase(model.PassKind.RETENTION, model.Phase.COMPARING)
            with step(self._ports.tracer, "nomination"):
                tally = await self._nominate(settings.policy, current.cutoff, sink)
        except (LeaseLost, PassEnded, CatalogUnavailable):
            raise
        except ReconcilerError as error:
            await passes.fail(term, current, str(error))
            raise
        if sum(tally.found.values()) >= settings.limits.min_count:
            rows = await count_rows(self._ports, settings.policy.prefixes)
        return await release(self._ports, settings, term, current, tally + rows_by_prefix(rows))

    async def survey(
        self,
        settings: RuntimeSettings,
        sink: Sink,
        variants: Callable[[Sequence[model.Finding]], None],
        now: datetime,
    ) -> model.Tally:
        """The same for `plan`, judged at `now`: findings go to the sink; nothing is written.

        `variants` is called with further objects that go with their records, which count as these.
        """
        along = Along(self._ports, settings.policy)

        async def tell(judged: Sequence[tuple[model.Record, model.Finding]]) -> None:
            going = {row.id: found for row, found in judged if found.kept is None}
            reasons = {found.storage_key: found for found in going.values()}
            seen = await along.of({row: found.storage_key for row, found in going.items()})
            variants([_of_variant(each, stored, reasons[each.variant_of]) for each, stored in seen])

        return await self._nominate(settings.policy, now, sink, tell)

    async def _nominate(
        self, policy: model.Policy, now: datetime, sink: Sink, tell: Tell | None = None
    ) -> model.Tally:
        """Find and write the findings. A row counts under its own verdict only, however many nominate it."""
        tally = model.Tally()
        prefixes = merge_prefixes(policy.prefixes)
        before = await earlier_policy(self._ports, model.PassKind.RETENTION, policy)
        for verdict in retention.RULES:
            async for rows in self._ports.records.nominate(verdict, policy, now):
                self._ports.observer.alive("retention")
                judged = [
                    (row, approval_gate.split_new(found, row, before, now))
                    for row in rows
                    if (found := retention.judge_record(row, policy, now)) and found.verdict is verdict
                ]
                findings = [found for _, found in judged]
                tally += tally_of(findings) + await keep_held(self._ports.holds, findings)
                tally += newly_of(findings) + found_by_prefix(findings, prefixes)
                await sink.write(findings, None)
                if tell is not None:
                    await tell([(row, found) for (row, _), found in zip(judged, findings, strict=True)])
        return tally


def _of_variant(variant: model.Variant, stored: model.StoredObject, of: model.Finding) -> model.Finding:
    return replace(
        of,
        storage_key=variant.storage_key,
        bytes=stored.size,
        reason=f"a further object of {variant.variant_of}: {of.reason}",
        object_etag=stored.etag,
        object_last_modified=stored.last_modified,
    )
