"""Explain: one key's whole story, and what becomes of it. Only reads, also in dry run and while paused."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar

from reconciler import model
from reconciler.catalog.open import Catalog
from reconciler.errors import ErrorKind, Halt, KeyRefused, NotDone, ReconcilerError
from reconciler.model.keys import merge_prefixes
from reconciler.model.spelling import Orphans, meant, spellings
from reconciler.operations.history import history
from reconciler.operations.policy import in_force
from reconciler.operations.status import leading
from reconciler.planning import drift_rules, outlook
from reconciler.ports import Locks, ObjectStore, Versions

T = TypeVar("T")

LOOKS = 20
"""Other spellings that are looked for in the bucket, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What is looked at, and the settings by which a pass would judge. `mode` counts without a leader."""

    catalog: Catalog
    store: ObjectStore
    versions: Versions
    locks: Locks
    bucket: str
    policy: model.Policy
    mode: model.Mode
    undo_window: timedelta


async def explain(sight: Sight, key: str) -> model.Explained:
    """Look at both sides, and ask the rules. Raises ConfigError, Retryable, Halt where a side is away, and
    NotDone where the store refuses to say whether it has this object.
    """
    catalog = sight.catalog
    policy, doubts = await in_force(catalog, sight.policy)
    sight, unseen = replace(sight, policy=policy), [*doubts]
    now = await catalog.records.now()
    seen, versions, lock = model.Seen(key=key), None, None
    if _is_key(key):
        seen = await _look(sight, key, now, unseen)
        versions = await _if_shown(lambda: sight.versions.of(key), "its versions", unseen)
        lock = await sight.locks.of(key) if seen.object else None
    story = await history(catalog, key)
    notes = await catalog.departures.of_key(key)
    seen = await _departed(sight, seen, story.mark, notes)
    leader = await leading(catalog)
    return model.Explained(
        at=now,
        mode=leader.mode if leader else sight.mode,
        leader=leader.name if leader else None,
        pause=await catalog.pauses.read(),
        seen=seen,
        versions=versions,
        lock=lock,
        rows=[
            model.RowSeen(
                record=row,
                rule=rule.name if (rule := policy.rules.first_for(row)) else None,
                rules=outlook.rules_of_row(seen, row, policy, now),
                outlook=outlook.outlook(seen, policy, now, row),
            )
            for row in seen.rows
        ],
        rules=() if seen.named else outlook.rules_of_object(seen, policy, now),
        outlook=outlook.outlook(seen, policy, now),
        history=story,
        departures=notes,
        returnable=await _returnable(sight, key, story) if story.known else (),
        unseen=unseen,
    )


async def _look(sight: Sight, key: str, now: datetime, unseen: list[str]) -> model.Seen:
    """Both sides, and what keeps the key besides the rules."""
    catalog = sight.catalog
    stored = await _stored(sight, key, unseen)
    found = [row for row in await catalog.records.lookup([key]) if row.storage_key == key]
    rows = [_counted(row, now, unseen) for row in await catalog.records.counted(found, sight.policy, now)]
    named = await catalog.records.columns_naming(key)
    reserved_until = await catalog.records.reserved_until(key) if len(named) == 1 else None
    stays = rows or (named and reserved_until is None)
    return model.Seen(
        key=key,
        object=stored,
        rows=rows,
        near=() if stored is not None and stays else await _near(sight, key),
        named=named,
        reserved_until=reserved_until,
        recoverable=bool(await catalog.recovery.estranged([key])),
        row_missing=bool(await catalog.recovery.row_missing([key])),
        hold=(await catalog.holds.held([key])).get(key),
    )


async def _stored(sight: Sight, key: str, unseen: list[str]) -> model.StoredObject | None:
    try:
        return await sight.store.head(key)
    except KeyRefused as error:
        if error.blame is model.Blame.MOMENT:
            raise
        if not error.nameless:
            message = f"{error}: whether it has an object is not known"
            raise NotDone(ErrorKind.CONFLICT, "key_refused", message, key=key) from None
        unseen.append(f"its object: {error}")
        return None


async def _departed(
    sight: Sight,
    seen: model.Seen,
    listed: model.ListedMark | None,
    notes: Sequence[model.Departed],
) -> model.Seen:
    """The same with why its object has departed: as its mark says, or a pass that reads the notes would."""
    if listed is not None and listed.mark.verdict is model.Verdict.DEPARTED:
        return replace(seen, departed=listed.mark.reason)
    if not notes or seen.object is None or seen.rows or seen.named:
        return seen
    judged = drift_rules.judge_departed(notes[-1], seen.object, sight.policy)
    if not isinstance(judged, model.Finding):
        return seen
    return replace(seen, departed=judged.reason, hold=seen.hold or await _on_owner(sight, notes))


async def _on_owner(sight: Sight, notes: Sequence[model.Departed]) -> model.Hold | None:
    """A hold on a virtual key whose row has left: the pass puts the key under it."""
    for owner in {each.virtual_key for each in notes if each.virtual_key is not None}:
        wanted = model.HoldFilter(kind=model.HoldKind.VIRTUAL_KEY, prefix=owner)
        for hold in await sight.catalog.holds.page(wanted, limit=1):
            if hold.target == owner:
                return hold
    return None


async def _near(sight: Sight, key: str) -> Sequence[model.NearKey]:
    """Other spellings of the key that are there: in the bucket, or named by rows."""
    prefixes = merge_prefixes(sight.policy.prefixes)
    likely = meant(key, sight.bucket, prefixes)
    catalog, others = sight.catalog, {*likely, *spellings(key, sight.bucket, prefixes)}
    named = {row.storage_key for row in await catalog.records.lookup(sorted(others))} - {key}
    named |= await catalog.records.referenced(sorted(others))
    orphans = Orphans(pass_id=0, bucket=sight.bucket, prefixes=prefixes)
    noted = await catalog.near_misses.spelled_like(key, orphans, LOOKS)
    named |= {each for each, is_row in noted.items() if is_row}
    near = []
    for each in list(dict.fromkeys([*sorted(named), *noted, *likely]))[:LOOKS]:
        stored = None
        with suppress(KeyRefused):
            stored = await sight.store.head(each) if _is_key(each) else None
        if stored is not None or each in named:
            near.append(model.NearKey(storage_key=each, object=stored, row=each in named))
    return near


async def _returnable(sight: Sight, key: str, story: model.KeyHistory) -> Sequence[model.Returnable]:
    """What an undo could bring back, and until when."""
    found = []
    for removal in await sight.catalog.recovery.removals(model.UndoScope(keys=(key,)), limit=1):
        if removal.object is not None:
            since, mode = removal.object.hidden_at, removal.object.hidden.mode
            until = since + sight.undo_window
            found.append(model.Returnable(record_id=None, mode=mode, since=since, until=until))
        removed = {line.record_id: line.at for line in story.lines if line.result in {"deleted", "left"}}
        found += [
            model.Returnable(
                record_id=row.record_id,
                mode=None,
                since=removed[row.record_id],
                until=removed[row.record_id] + sight.undo_window,
            )
            for row in removal.rows
            if row.record_id in removed
        ]
    return found


def _counted(row: model.Record, now: datetime, unseen: list[str]) -> model.Record:
    """A key that is disabled, which no pass has seen so far, counts as disabled from the next one on."""
    owner = row.owner
    if owner is None or owner.enabled or owner.disabled_since is not None:
        return row
    unseen.append(f"since when virtual key {owner.id} is disabled: no pass has seen it yet; counted from now")
    return replace(row, owner=replace(owner, disabled_since=now))


async def _if_shown(look: Callable[[], Awaitable[T]], what: str, unseen: list[str]) -> T | None:
    """What the store shows, or None with the reason in `unseen`."""
    try:
        return await look()
    except (Halt, ReconcilerError) as error:
        unseen.append(f"{what}: {error}")
        return None


def _is_key(key: str) -> bool:
    """Whether a store can have it."""
    try:
        return bool(key) and "\0" not in key and bool(key.encode())
    except UnicodeEncodeError:
        return False
