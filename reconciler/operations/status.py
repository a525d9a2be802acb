"""How a site stands: who leads, what is paused, what the last passes found, what waits, what is stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from reconciler import model
from reconciler.catalog.open import Catalog


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What the database knows of a site.

    `passes` are the last that ended, one of each kind; `tripped` the newest of each that wait for a
    decision. `marks` are by verdict: how many, their bytes, first sighting of the oldest.
    """

    leader: model.Leader | None
    mode: model.ModeSince | None
    pause: model.Pause
    passes: Sequence[model.Pass]
    tripped: Sequence[model.Pass]
    marks: Mapping[model.Verdict, tuple[int, int, datetime | None]]
    holds: Mapping[model.HoldKind, int]


async def status(catalog: Catalog) -> Status:
    """Read it. Counts every mark."""
    last = [await catalog.passes.last(kind) for kind in model.PassKind]
    tripped = [await catalog.passes.last(kind, model.PassState.TRIPPED) for kind in model.PassKind]
    return Status(
        leader=await catalog.statistics.leader(),
        mode=await catalog.statistics.mode_since(),
        pause=await catalog.pauses.read(),
        passes=[each for each in last if each is not None],
        tripped=[each for each in tripped if each is not None],
        marks=await catalog.statistics.drift(),
        holds=await catalog.holds.count(),
    )


async def storage(catalog: Catalog, by: model.StorageBy, top: int) -> model.Storage:
    """The rows in the managed prefixes by `by`, the `top` largest apart. Reads the whole media table once."""
    return await catalog.statistics.storage((by,), top)
