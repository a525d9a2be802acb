"""The retention marker: rows whose time is up, from indexes, without listing the bucket."""

from __future__ import annotations

from datetime import datetime

from reconciler.engine.holds import keep_held
from reconciler.engine.join import Sink
from reconciler.engine.passes import MarkSink, PassResult, release
from reconciler.engine.steering import Ports, Steering
from reconciler.errors import CatalogUnavailable, LeaseLost, ReconcilerError
from reconciler.model import RETENTION_VERDICTS, Marker, Policy, Tally, Term
from reconciler.planning import retention
from reconciler.planning.reporting import tally_of


class Retention:
    """SQL nominates, the pure policy decides."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    async def run(self, term: Term, steering: Steering, records: int) -> PassResult:
        """One pass to its end: armed or tripped.

        `records` is what its findings are a fraction of, as last counted; where there are enough of
        them for the fraction to be asked, the rows are counted anew.
        """
        passes = self._ports.passes
        current = await passes.begin(term, Marker.RETENTION, steering.config_hash, steering.mode, None)
        delay = steering.policy.delete_delay
        sink = MarkSink(ports=self._ports, term=term, current=current, delete_delay=delay)
        try:
            await self._ports.records.observe_keys(current.cutoff)
            tally = await self._nominate(steering.policy, current.cutoff, sink)
        except (LeaseLost, CatalogUnavailable):
            raise
        except ReconcilerError as error:
            await passes.fail(term, current, str(error))
            raise
        if sum(tally.found.values()) >= steering.limits.min_count:
            records = await self._ports.records.count(steering.policy.prefixes)
        tally += Tally(records=records)
        return await release(self._ports, steering, term, current, tally, records)

    async def survey(self, steering: Steering, sink: Sink) -> Tally:
        """The same for `plan`: findings go to the sink; nothing is written."""
        return await self._nominate(steering.policy, await self._ports.records.now(), sink)

    async def _nominate(self, policy: Policy, now: datetime, sink: Sink) -> Tally:
        """A row is counted under its own verdict alone, however many nominate it."""
        tally = Tally()
        for verdict in RETENTION_VERDICTS:
            async for rows in self._ports.records.nominate(verdict, policy, now):
                self._ports.observer.alive("retention")
                judged = [retention.judge_record(row, policy, now) for row in rows]
                findings = [found for found in judged if found and found.verdict is verdict]
                tally += tally_of(findings) + await keep_held(self._ports.holds, findings)
                await sink.write(findings, None)
        return tally
