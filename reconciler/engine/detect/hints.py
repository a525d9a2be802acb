"""Hints: what the store's events name is looked at before the next sweep.

They never mark, and nothing of a look shortens a grace: only a whole sweep makes marks, with its breaker and
its near misses. A look brings back at once what we hid and a row needs, and tells within a minute what a
sweep would find in hours.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from reconciler import model
from reconciler.engine.detect.lost_objects import returns_of
from reconciler.engine.runtime.context import Ports, RuntimeSettings, SettingsInForce, ruled
from reconciler.engine.runtime.tasks import for_each
from reconciler.errors import KeyRefused, QueueUnavailable, StoreUnavailable
from reconciler.model import RESERVED_PREFIX, LookResult, Reading
from reconciler.model.keys import is_managed, merge_prefixes
from reconciler.model.spelling import meant, spellings
from reconciler.planning import outlook
from reconciler.planning.hints import Unreadable, changes_in, look_at, settled
from reconciler.planning.keys import protection
from reconciler.ports import Hints, Queue

log = structlog.get_logger(__name__)

LOOK = 1_000
"""Keys that are looked at together."""

HEADS_AT_ONCE = 16

BATCHES = 20
"""The most that is looked at before the loop rests and says how things stand."""

CALLS = 100
"""Calls of the queue before it is asked again whether there is room."""

HOLD_OFF_SECONDS = 10.0
"""The pause where so many keys wait that no more are noted."""

LIKELY = 5
"""Other spellings of a key that are looked for in the bucket."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sides:
    """What is known of a page of keys besides their objects."""

    rows: Mapping[str, Sequence[model.Record]]
    named: Collection[str]
    departed: Collection[str]


class HintedLooks:
    """Reads the queue, notes the keys, and looks at each when its time has come."""

    def __init__(
        self, ports: Ports, hints: Hints, queue: Queue, in_force: SettingsInForce, bucket: str
    ) -> None:
        self._ports = ports
        self._hints = hints
        self._queue = queue
        self._in_force = in_force
        self._bucket = bucket
        self._sets_aside: bool | None = None

    async def read(self, noted: Callable[[], None] = lambda: None) -> None:
        """Take what the queue has, or wait some seconds for a message; calls `noted` where keys were noted.

        A message is deleted once its keys are noted: a crash between the two only delivers it again. One that
        cannot be read is left to the queue's dead-letter queue, and without one deleted, or it came for ever.
        Raises QueueUnavailable, CatalogUnavailable.
        """
        if await self._hints.full():
            log.warning("so many hints wait that the queue is not read for now")
            await self._ports.clock.sleep(HOLD_OFF_SECONDS)
            return
        for _ in range(CALLS):
            self._ports.observer.alive("events")
            try:
                messages = await self._queue.receive()
                self._ports.observer.queue_read(readable=True)
                if not messages:
                    return
                ours, over = await self._take(messages)
                if ours:
                    noted()
                await self._queue.delete(over)
            except QueueUnavailable:
                self._ports.observer.queue_read(readable=False)
                raise

    async def _take(self, messages: Sequence[model.QueueMessage]) -> tuple[int, Sequence[model.QueueMessage]]:
        """Note their keys; returns how many, and the messages to delete."""
        changes: list[model.StoreEvent] = []
        over: list[model.QueueMessage] = []
        observer, unreadable, others = self._ports.observer, 0, 0
        for each in messages:
            try:
                found = changes_in(each.body, self._bucket)
            except Unreadable as error:
                unreadable += 1
                log.warning("a message of the queue cannot be read", reason=str(error), body=each.body[:200])
                if not await self._puts_away():
                    over.append(each)
                continue
            changes += found
            others += not found
            over.append(each)
        settings = self._in_force()
        ours = [each for each in changes if _is_ours(each.storage_key, settings.policy.prefixes)]
        newest = max((each.at for each in ours if each.at is not None), default=None)
        if ours:
            await self._hints.note(ours, settings.upload_window)
        late = None if newest is None else ((await self._hints.now()) - newest).total_seconds()
        observer.events_read(Reading.TAKEN, len(ours), late)
        observer.events_read(Reading.IGNORED, len(changes) - len(ours) + others, None)
        observer.events_read(Reading.UNREADABLE, unreadable, None)
        return len(ours), over

    async def _puts_away(self) -> bool:
        if self._sets_aside is None:
            self._sets_aside = await self._queue.sets_aside()
        return self._sets_aside

    async def look(self) -> bool:
        """Look at the hints that are due; returns whether something is to be brought back.

        Raises StoreUnavailable, CatalogUnavailable, Halt.
        """
        await self._hints.forget()
        settings = await ruled(self._in_force(), self._ports.records)
        counts = Counter[LookResult]()
        for _ in range(BATCHES):
            hints = await self._hints.due(LOOK)
            if not hints:
                break
            self._ports.observer.alive("hints")
            looks = await self._look(hints, settings)
            await self._hints.looked(looks)
            counts.update(each.result for each in looks)
            for each in looks:
                if each.result is LookResult.FOUND and each.sightings == model.SIGHTINGS:
                    log.warning(
                        "an event led to a finding that the next sweep will judge",
                        storage_key=each.hint.storage_key,
                        verdict=str(each.verdict),
                        reason=each.reason,
                    )
        self._ports.observer.hinted(counts, await self._hints.standing())
        return counts[LookResult.RESTORED] > 0

    async def _look(self, hints: Sequence[model.Hint], settings: RuntimeSettings) -> Sequence[model.Look]:
        policy = settings.policy
        looks = [look for hint in hints if (look := _without_a_look(hint, policy)) is not None]
        settled_already = {each.hint.storage_key for each in looks}
        left = [hint for hint in hints if hint.storage_key not in settled_already]
        before = await self._sides([each.storage_key for each in left])
        to_head = {each.storage_key: each for each in left if _may_be_wrong(each, before)}
        looks += [settled(each, "nothing is wrong") for each in left if each.storage_key not in to_head]
        stored, refused = await self._heads(list(to_head))
        looks += [settled(to_head[key], why) for key, why in refused.items()]
        # The bucket first, the rows after: a row that came meanwhile protects.
        after = await self._sides(list(stored))
        now = await self._ports.records.now()
        for key, found in stored.items():
            looks.append(await self._judge(to_head[key], found, after, settings, now))
        return looks

    async def _sides(self, keys: Sequence[str]) -> _Sides:
        records = self._ports.records
        rows: dict[str, list[model.Record]] = {}
        for row in await records.lookup(keys):
            rows.setdefault(row.storage_key, []).append(row)
        return _Sides(
            rows=rows,
            named=await records.referenced(keys),
            departed=await self._ports.departures.marked(keys),
        )

    async def _heads(
        self, keys: Sequence[str]
    ) -> tuple[Mapping[str, model.StoredObject | None], Mapping[str, str]]:
        """What the bucket has under each key, and the keys that the store refuses, with why."""
        stored: dict[str, model.StoredObject | None] = {}
        refused: dict[str, str] = {}

        async def head(key: str) -> None:
            try:
                stored[key] = await self._ports.store.head(key)
            except KeyRefused as error:
                refused[key] = str(error)

        await for_each(keys, head, concurrency=HEADS_AT_ONCE)
        # A wrong endpoint answers 404 to everything.
        if any(found is None for found in stored.values()) and not await self._ports.identity.exists():
            raise StoreUnavailable("the bucket's own identity is not found: its 404s are not believed")
        return stored, refused

    async def _judge(
        self,
        hint: model.Hint,
        stored: model.StoredObject | None,
        sides: _Sides,
        settings: RuntimeSettings,
        now: datetime,
    ) -> model.Look:
        """By the sweep's own rules: what a pass would say of this key now."""
        ports, policy, key = self._ports, settings.policy, hint.storage_key
        rows = sides.rows.get(key, ())
        if key in sides.departed or (key in sides.named and not rows):
            return settled(hint, "a mark or a further column names it")
        alone = stored is not None and not rows
        widowed = stored is None and bool(rows)
        seen = model.Seen(
            key=key,
            object=stored,
            rows=rows,
            recoverable=widowed and bool(await ports.recovery.estranged([key])),
            row_missing=alone and bool(await ports.recovery.row_missing([key])),
            hold=(await ports.holds.held([key])).get(key) if alone or widowed else None,
        )
        if outlook.stand(seen, policy, now).goes:
            seen = replace(seen, near=await self._near(key, policy))
        look = look_at(hint, outlook.outlook(seen, policy, now), now)
        # A row without its object needs it back however young it is.
        if seen.recoverable or look.result is LookResult.RESTORED:
            live = settings.mode is model.Mode.LIVE
            returns = returns_of(ports, live=live, rewrites_keys=policy.rewrites_keys)
            queued = await returns.bring_back([key], "an event named it, and its other half can come back")
            return settled(hint, look.reason, LookResult.RESTORED if queued else LookResult.SETTLED)
        return look

    async def _near(self, key: str, policy: model.Policy) -> Sequence[model.NearKey]:
        """Other spellings that rows name, and those likely ones that are in the bucket."""
        prefixes = merge_prefixes(policy.prefixes)
        likely = meant(key, self._bucket, prefixes)
        others = {*likely, *spellings(key, self._bucket, prefixes)}
        named = {row.storage_key for row in await self._ports.records.lookup(sorted(others))} - {key}
        named |= {
            *await self._ports.records.referenced(sorted(others)),
            *await self._ports.near_misses.named_by(key),
        }
        found = []
        for each in dict.fromkeys([*sorted(named), *likely[:LIKELY]]):
            try:
                there = await self._ports.store.head(each)
            except KeyRefused:
                there = None
            if there is not None or each in named:
                found.append(model.NearKey(storage_key=each, object=there, row=each in named))
        return found


def _is_ours(key: str, prefixes: tuple[str, ...]) -> bool:
    return is_managed(key, prefixes) and not key.startswith(RESERVED_PREFIX)


def _without_a_look(hint: model.Hint, policy: model.Policy) -> model.Look | None:
    """What is settled whatever lies there."""
    if protection(hint.storage_key, policy) is not None:
        return settled(hint, "the key is protected, whatever else is known of it")
    if policy.rewrites_keys:
        return settled(hint, "the store rewrites keys: only a sweep can tell which row is meant")
    return None


def _may_be_wrong(hint: model.Hint, sides: _Sides) -> bool:
    """Whether to ask for the object: mostly, what appeared has its row by now, and what went has none."""
    key = hint.storage_key
    if key in sides.rows:
        return hint.removed
    return hint.appeared and key not in sides.named and key not in sides.departed
