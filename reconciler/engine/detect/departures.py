"""The departure pass: what records named that left the table in the last moments, as the triggers note it."""

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import timedelta

import structlog

from reconciler import model
from reconciler.engine.detect.held import keep_held
from reconciler.engine.detect.join.comparison import Sink
from reconciler.engine.detect.passes import PassResult, count_rows, release, under_pass
from reconciler.engine.detect.sightings import listed
from reconciler.engine.runtime.context import Ports, RuntimeSettings
from reconciler.engine.runtime.tasks import for_each
from reconciler.errors import BadValue, KeyRefused
from reconciler.model.keys import merge_prefixes
from reconciler.planning import drift_rules
from reconciler.planning.keys import protection
from reconciler.planning.reporting import found_by_prefix, rows_by_prefix, tally_of

log = structlog.get_logger(__name__)

LOOK = 10_000
"""Notes whose objects are looked at together: what lies close together in the bucket left in any order."""
LOOKS = 10
"""The most of one pass: the first of a million wait for no more than that."""
PAGE = 1_000
"""Notes that are taken up in one transaction."""

HEADS_AT_ONCE = 32

REMEMBERED = 100
"""Passes whose objects are known to be plain: a few seconds' work of the collector."""


class Departures:
    """Notes nominate, a HEAD shows what is there, and the pure policy decides."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._whole: int | None = None
        """The term under which the last pass was made, by this process and to its end."""
        self._plain: deque[int] = deque(maxlen=REMEMBERED)
        self._seen_plain = True

    def lists_plainly(self, pass_id: int) -> bool:
        """Whether this process saw all objects of that pass, each of the standard storage class."""
        return pass_id in self._plain

    async def run(self, term: model.Term, settings: RuntimeSettings, rows: Mapping[str, int]) -> PassResult:
        """Run one pass to its end: released or tripped. `rows` as for a retention pass.

        Raises what made it impossible. It stays unfinished then, and the next one takes its marks up.
        """
        current = await self._ports.passes.begin(
            term, model.PassKind.DEPARTURE, settings.config_hash, settings.mode, None, settings.policy
        )
        # A pass that did not end leaves its marks to the next one, which does not look at them.
        alone, self._whole, self._seen_plain = self._whole == term.epoch, None, True
        with under_pass(self._ports, current):
            self._ports.observer.phase(model.PassKind.DEPARTURE, model.Phase.COMPARING)
            tally = await self._judge(term, settings, current)
            found = sum(tally.found.values())
            if found >= settings.limits.min_count or found >= sum(rows.values()) // 10:
                rows = await count_rows(self._ports, settings.policy.prefixes)
            # They were part of what there was.
            departed = {prefix: part.found for prefix, part in tally.by_prefix.items()}
            whole = {prefix: n + sum(departed.get(prefix, {}).values()) for prefix, n in rows.items()}
            if alone and self._seen_plain:
                self._plain.append(current.id)
            result = await release(self._ports, settings, term, current, tally + rows_by_prefix(whole))
            self._whole = term.epoch
            return result

    async def survey(self, settings: RuntimeSettings, sink: Sink) -> tuple[model.Tally, set[str]]:
        """The same for `plan`: findings go to the sink; nothing is written. Returns their keys as well."""
        noted = self._ports.departures
        page = [*await noted.pending(LOOK * LOOKS), *await noted.page(LOOK * LOOKS)]
        keeps, findings = await self._findings(page, settings.policy)
        tally = tally_of(findings, keeps) + await keep_held(self._ports.holds, findings)
        tally += found_by_prefix(findings, merge_prefixes(settings.policy.prefixes))
        await sink.write(findings, None)
        return tally, {each.storage_key for each in findings}

    async def _judge(self, term: model.Term, settings: RuntimeSettings, current: model.Pass) -> model.Tally:
        tally, prefixes = model.Tally(), merge_prefixes(settings.policy.prefixes)
        for _ in range(LOOKS):
            noted = await self._ports.departures.page(LOOK)
            if not noted:
                break
            keeps, findings = await self._findings(noted, settings.policy)
            tally += tally_of(findings, keeps) + await keep_held(self._ports.holds, findings)
            tally += found_by_prefix(findings, prefixes)
            for start in range(0, len(noted), PAGE):
                page = noted[start : start + PAGE]
                await self._record(term, current, delay(settings), page, _of(page, findings))
        return tally

    async def _findings(
        self, page: Sequence[model.Departed], policy: model.Policy
    ) -> tuple[list[model.KeepReason], list[model.Finding]]:
        """What is known of each key's object, if no row names it and it is there."""
        last = {each.storage_key: each for each in page if each.storage_key is not None}
        if len(last) < len({each.storage_key for each in page}):
            log.warning("the media table was truncated: what its rows named is left to the sweep")
        keeps = {key: reason for key in last if (reason := protection(key, policy)) is not None}
        asked = [key for key in last if key not in keeps]
        records = self._ports.records
        named = {row.storage_key for row in await records.lookup(asked)} | await records.referenced(asked)
        unnamed = {key for key in asked if key not in named}
        findings: list[model.Finding] = []
        # For good goes only what was looked at itself: a listing may lag behind a put.
        final = policy.delete_mode is model.DeleteMode.DIRECT
        seen = {} if final else await listed(self._ports.listing, unnamed, merge_prefixes(policy.prefixes))

        async def look(key: str) -> None:
            self._ports.observer.alive("departures")
            try:
                stored = seen.get(key) or await self._ports.store.head(key)
            except KeyRefused as error:
                log.warning(
                    "a departed record's object is left to the sweep", storage_key=key, reason=str(error)
                )
                return
            if stored is None:
                return
            judged = drift_rules.judge_departed(last[key], stored, policy)
            if isinstance(judged, model.Finding):
                findings.append(judged)
                self._seen_plain &= stored.plain
            else:
                keeps[key] = judged

        await for_each([key for key in asked if key in unnamed], look, concurrency=HEADS_AT_ONCE)
        return [*keeps.values()], findings

    async def _record(
        self,
        term: model.Term,
        current: model.Pass,
        after: timedelta,
        page: Sequence[model.Departed],
        findings: Sequence[model.Finding],
    ) -> None:
        """Write the marks and take the notes away, in halves where the database cannot take one of them."""
        try:
            ids = [each.id for each in page]
            await self._ports.passes.record(term, current, findings, after, departed=ids)
        except (BadValue, ValueError, TypeError, OverflowError) as error:
            if len(page) == 1 and not findings:
                raise
            if len(page) == 1:
                key = page[0].storage_key
                log.error(
                    "a finding cannot be stored, and its key is kept", storage_key=key, reason=str(error)
                )
                await self._record(term, current, after, page, ())
                return
            for half in (page[: len(page) // 2], page[len(page) // 2 :]):
                await self._record(term, current, after, half, _of(half, findings))


def _of(page: Sequence[model.Departed], findings: Sequence[model.Finding]) -> Sequence[model.Finding]:
    keys = {each.storage_key for each in page}
    return [each for each in findings if each.storage_key in keys]


def delay(settings: RuntimeSettings) -> timedelta:
    """The time between mark and deletion; what cannot be undone waits as long as everything else."""
    if settings.policy.delete_mode is model.DeleteMode.DIRECT:
        return max(settings.departure_delay, settings.policy.delete_delay)
    return settings.departure_delay
