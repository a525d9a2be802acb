"""The retention pass: find rows whose time is over by indexes, without listing the bucket."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

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
from reconciler.engine.runtime.context import Ports, Steering
from reconciler.engine.runtime.steps import step
from reconciler.errors import CatalogUnavailable, LeaseLost, PassEnded, ReconcilerError
from reconciler.model import Marker, Pass, Phase, Policy, Tally, Term
from reconciler.model.keys import merge_prefixes
from reconciler.planning import latch, retention
from reconciler.planning.reporting import found_by_prefix, newly_of, rows_by_prefix, tally_of


class Retention:
    """SQL nominates rows, and the pure policy decides."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    async def run(self, term: Term, steering: Steering, rows: Mapping[str, int]) -> PassResult:
        """Run one pass to its end: released or tripped.

        `rows` are what its findings are a fraction of, by prefix, as last counted. If there are enough
        findings for the fraction to be checked, the rows are counted again.
        """
        passes = self._ports.passes
        config, mode = steering.config_hash, steering.mode
        current = await passes.begin(term, Marker.RETENTION, config, mode, None, steering.policy)
        with under_pass(self._ports, current):
            return await self._judge(term, steering, current, rows)

    async def _judge(
        self, term: Term, steering: Steering, current: Pass, rows: Mapping[str, int]
    ) -> PassResult:
        passes = self._ports.passes
        delay = steering.policy.delete_delay
        sink = MarkSink(ports=self._ports, term=term, current=current, delete_delay=delay)
        try:
            await self._ports.holds.remember()
            await self._ports.records.observe_keys(current.cutoff)
            self._ports.observer.phase(Marker.RETENTION, Phase.COMPARING)
            with step(self._ports.tracer, "nomination"):
                tally = await self._nominate(steering.policy, current.cutoff, sink)
        except (LeaseLost, PassEnded, CatalogUnavailable):
            raise
        except ReconcilerError as error:
            await passes.fail(term, current, str(error))
            raise
        if sum(tally.found.values()) >= steering.limits.min_count:
            rows = await count_rows(self._ports, steering.policy.prefixes)
        return await release(self._ports, steering, term, current, tally + rows_by_prefix(rows))

    async def survey(self, steering: Steering, sink: Sink) -> Tally:
        """The same for `plan`: findings go to the sink; nothing is written."""
        return await self._nominate(steering.policy, await self._ports.records.now(), sink)

    async def _nominate(self, policy: Policy, now: datetime, sink: Sink) -> Tally:
        """Find and write the findings. A row counts under its own verdict only, however many nominate it."""
        tally = Tally()
        prefixes = merge_prefixes(policy.prefixes)
        before = await earlier_policy(self._ports, Marker.RETENTION, policy)
        for verdict in retention.RULES:
            async for rows in self._ports.records.nominate(verdict, policy, now):
                self._ports.observer.alive("retention")
                findings = [
                    latch.told_apart(found, row, before, now)
                    for row in rows
                    if (found := retention.judge_record(row, policy, now)) and found.verdict is verdict
                ]
                tally += tally_of(findings) + await keep_held(self._ports.holds, findings)
                tally += newly_of(findings) + found_by_prefix(findings, prefixes)
                await sink.write(findings, None)
        return tally
