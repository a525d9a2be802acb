"""The join with an inventory: compared elsewhere, judged here by the same rules, and looked at by HEAD."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import structlog

from reconciler import model
from reconciler.engine.detect.join.comparison import Comparison, Sink
from reconciler.engine.detect.join.unordered import UnorderedJoin
from reconciler.engine.runtime.context import Ports
from reconciler.engine.runtime.steps import step
from reconciler.engine.runtime.tasks import for_each
from reconciler.errors import InventoryRefused, KeyRefused
from reconciler.planning import inventories as rules
from reconciler.ports import Compared, Inventories, Nominations, ObjectStore, Tracer

log = structlog.get_logger(__name__)

LOOKS = 100
"""Missing keys, drawn at random, that HEAD must not find: one that it finds shows an incomplete list."""
AT_ONCE = 16

BEYOND = 1
"""What is written beyond the breaker's cap, so that it trips; the rest is only counted."""


async def newest(ports: Ports, inventories: Inventories) -> model.InventoryUsed:
    """The newest complete inventory. Raises InventoryRefused where it comes too late to be used."""
    ports.observer.phase(model.PassKind.SWEEP, model.Phase.LISTING)
    last = await ports.passes.last_inventory()
    if last is not None:  # whoever leads tells its age, though the newest be refused
        ports.observer.inventory_taken(last)
    used = await inventories.source.newest()
    now = await ports.records.now()
    if reason := rules.out_of_date(used, last, now, inventories.max_age):
        raise InventoryRefused(reason)
    ports.observer.inventory_taken(used)
    return used


async def nominate(
    ports: Ports,
    inventories: Inventories,
    comparison: Comparison,
    used: model.InventoryUsed,
    sink: Sink,
    pass_id: int | None,
    most: int,
) -> model.Tally:
    """Compare the inventory with the rows, and judge what is on one side only.

    `most`: so many findings of either kind are written down. Raises InventoryRefused before anything is
    written to the sink.
    """
    policy = comparison.policy
    young = rules.age_of_orphans(policy, comparison.upload_window)
    source, tracer = inventories.source, ports.tracer

    def alive() -> None:
        ports.observer.alive("sweep")

    log.info("inventory taken", inventory=used.name, began_at=used.began_at.isoformat())
    with step(tracer, "listing"):
        ripe = rules.age_of_missing(policy)
        opened = source.compare(used, inventories.export, policy.prefixes, young, ripe, alive)
        async with opened as compared, inventories.area.open(pass_id) as area:
            previous = await ports.passes.last(model.PassKind.SWEEP, model.PassState.RELEASED)
            since = await ports.passes.backlog(policy.prefixes, None, _seen_at(previous))
            before = previous.tally if previous else None
            if reason := rules.incomplete(used, compared.seen, before, since, marked=compared.marked):
                raise InventoryRefused(reason)
            await _require_missing(ports.store, await _copied(compared, area, most + BEYOND), used)
            judged = replace(comparison, nominated=compared.nominated)
            return await NominatedJoin(judged, sink, area, tracer, ports.store).judge(compared)


def _seen_at(previous: model.Pass | None) -> datetime | None:
    """When what that sweep saw was there."""
    if previous is None:
        return None
    return previous.cutoff if previous.inventory is None else previous.inventory.began_at


async def _copied(compared: Compared, area: Nominations, most: int) -> Sequence[str]:
    """Copy what was found into the database. Returns some of the missing keys, drawn at random."""
    drawn: list[str] = []
    seen = 0
    async for page in compared.orphans(most):
        await area.copy(page)
    async for keys in compared.missing(most):
        await area.copy_missing(keys)
        for key in keys:
            seen += 1
            if len(drawn) < LOOKS:
                drawn.append(key)
            elif (place := random.randrange(seen)) < LOOKS:
                drawn[place] = key
    return drawn


async def _require_missing(store: ObjectStore, keys: Sequence[str], used: model.InventoryUsed) -> None:
    async def look(key: str) -> None:
        try:
            found = await store.head(key)
        except KeyRefused:
            return
        if found is not None:
            raise InventoryRefused(
                f"inventory {used.name} lacks {key!r}, whose row was there before it began, and HEAD finds"
                " it: the list is not complete"
            )

    await for_each(keys, look, concurrency=AT_ONCE)


class NominatedJoin(UnorderedJoin):
    """Judges nominations as the join of a listing does, once a HEAD has shown what is there now."""

    def __init__(
        self, comparison: Comparison, sink: Sink, area: Nominations, tracer: Tracer, store: ObjectStore
    ) -> None:
        super().__init__(comparison, sink, area, tracer)
        self._area = area
        self._store = store

    async def judge(self, compared: Compared) -> model.Tally:
        self._with.observer.phase(model.PassKind.SWEEP, model.Phase.COMPARING)
        self._listed.update({prefix: part.objects for prefix, part in compared.seen.items()})
        objects = sum(part.objects for part in compared.seen.values())
        size = sum(part.bytes for part in compared.seen.values())
        log.info("inventory compared", objects=objects, bytes=size, alone=compared.found[0])
        written, _ = await self._area.seal()
        tally = await self._compared(list(compared.seen), objects, size)
        return tally + _only_counted(compared, written)

    async def _judge_objects(
        self, page: Sequence[model.StoredObject]
    ) -> tuple[list[model.Finding], model.Tally]:
        there: list[model.StoredObject] = []
        changed = 0
        nominated = self._with.nominated
        by_start = nominated is not None and nominated.parts_dated_by_start

        async def look(stored: model.StoredObject) -> None:
            nonlocal changed
            try:
                now = await self._store.head(stored.key)
            except KeyRefused:
                return
            if now is None:
                return
            if shown := rules.as_head_shows(stored, now, parts_dated_by_start=by_start):
                there.append(shown)
            else:
                changed += 1

        await for_each(page, look, concurrency=AT_ONCE)
        there.sort(key=lambda stored: stored.key)
        findings, seen = await super()._judge_objects(there)
        return findings, seen + model.Tally(kept={model.KeepReason.PENDING: changed})


def _only_counted(compared: Compared, written: int) -> model.Tally:
    """What was not judged: too young, of an unknown key, or beyond what is written down."""
    recent = sum(part.recent for part in compared.seen.values())
    unripe = sum(part.unripe for part in compared.seen.values())
    beyond = max(0, compared.found[0] - written)
    return model.Tally(
        alone=recent + beyond,
        kept={
            model.KeepReason.PENDING: recent + unripe,
            model.KeepReason.REPLACEMENT_CHARACTER: compared.unreadable,
        },
        found={model.Verdict.ORPHAN: beyond} if beyond else {},
    )
