"""The shapes of what is still to be decided, deleted or brought back."""

from __future__ import annotations

from reconciler.api.schemas.shape import Counted, PassId, Shape, Time, Word


class MarksOfVerdict(Shape):
    """How many marks of a verdict there are."""

    keys: int
    bytes: int
    first_seen_at: Time | None


class KeysAndBytes(Shape):
    """How many keys are marked, and their bytes."""

    keys: int
    bytes: int


class Due(Shape):
    """Marks that a claim may take, and since when the first has been due."""

    keys: int
    oldest_due_at: Time | None


class Undecided(Shape):
    """A tripped pass that waits for a person, since the first of those that it took in."""

    kind: Word
    pass_id: PassId
    reason: str
    since: Time


class Returnable(Shape):
    """What was deleted and can be brought back."""

    objects: int
    bytes: int


class Restores(Shape):
    """Keys whose objects are on their way back."""

    keys: int
    oldest_at: Time | None


class Departures(Shape):
    """Rows that left and that no pass has looked at."""

    rows: int
    oldest_at: Time | None


class Drift(Shape):
    """What is marked, by verdict and prefix, and by when it goes."""

    by_verdict: dict[str, MarksOfVerdict]
    by_prefix: dict[str, dict[str, KeysAndBytes]]
    due: Due
    due_within_a_day: Counted
    tripped: list[Undecided]
    returnable: Returnable
    restores: Restores
    departures: Departures
