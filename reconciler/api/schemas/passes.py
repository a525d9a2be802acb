"""The shapes of passes and their marks."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from reconciler.api.schemas.drift import Drift
from reconciler.api.schemas.shape import Counted, Key, NextCursor, PassId, Person, Shape, Time, Word
from reconciler.api.schemas.steering import Hold, Operation
from reconciler.model import MarkState, Mode, PassKind, PassState, Verdict


class Pass(Shape):
    """One pass; `decided_by` is who approved or discarded it, and `expired_by_store` those of the dangling
    records found whose objects the store expired by itself.
    """

    id: PassId
    kind: Annotated[Word, Field(examples=list(PassKind))]
    state: Annotated[Word, Field(examples=list(PassState))]
    mode: Annotated[Word, Field(examples=list(Mode))]
    config_hash: str
    began_at: Time
    finished_at: Time | None
    objects: int
    records: int
    found: Counted
    expired_by_store: int
    reason: str | None
    both_sides: bool
    decided_by: str | None
    decided_at: Time | None
    superseded_by: int | None


class PassSummary(Pass):
    """A pass in a list; `takes_in` are earlier tripped passes that are decided with it, and `to_decide` is
    the number to decide about, null where it has not tripped.
    """

    marks: int
    takes_in: list[PassId]
    to_decide: int | None


class ApprovalInForce(Shape):
    """An approval of which `marks` are left; it ends at `ends_at` for the first. Null: nobody says."""

    pass_id: PassId
    kind: Word
    by: Person
    at: Time
    marks: int
    ends_at: Time | None
    last_ends_at: Time | None


class TallyOfPrefix(Shape):
    """What a pass saw under one managed prefix."""

    objects: int
    records: int
    found: Counted


class MarksOfPrefix(Shape):
    """A pass's marks of one verdict under one managed prefix."""

    prefix: str
    verdict: Word
    marks: int
    bytes: int


class Example(Shape):
    """One of a pass's marks."""

    verdict: Word
    storage_key: Key
    bytes: int
    reason: str
    due_at: Time


class ResultOfPass(Shape):
    """What became of what a pass found."""

    what: str
    verdict: Word
    result: str
    keys: int
    bytes: int
    examples: list[Key]


class Progress(Shape):
    """How far a running pass has come: `fraction` from 0 to 1, null where that cannot be told."""

    objects: int
    records: int
    ranges_done: int
    ranges: int
    fraction: Annotated[float | None, Field(examples=[0.42])]
    ends_at: Time | None


class PassDetail(PassSummary):
    """One pass with all that is known of it; `progress` null: it does not run."""

    by_prefix: dict[str, TallyOfPrefix]
    marks_by_prefix: list[MarksOfPrefix]
    examples: list[Example]
    supersedes: list[PassId]
    results: list[ResultOfPass]
    progress: Progress | None


class Mark(Shape):
    """What is to be deleted, why, and when it is due."""

    storage_key: Key
    state: Annotated[Word, Field(examples=list(MarkState))]
    verdict: Annotated[Word, Field(examples=list(Verdict))]
    reason: Annotated[str, Field(examples=["no record"])]
    bytes: int
    due_at: Time
    not_before: Time | None
    pass_: Annotated[int, Field(alias="pass", examples=[1204])]
    pass_state: Word
    kind: Word
    first_seen_at: Time
    last_seen_at: Time
    sightings: int
    object_etag: str | None
    object_last_modified: Time | None
    attempts: int
    refusals: int
    last_error: str | None
    operation_id: str | None
    epoch: int | None
    hold: Hold | None


class MarksPage(Shape):
    """A part of the marks."""

    data: list[Mark]
    next_cursor: NextCursor


class PassesPage(Shape):
    """A part of the passes."""

    data: list[PassSummary]
    next_cursor: NextCursor


class CleanUp(Shape):
    """The passes that were asked for, and what is marked now."""

    dry_run: bool
    operations: list[Operation]
    drift: Drift


class Decision(PassSummary):
    """A pass after a decision, which was about `marks`; `withdrawn` are those that a discard withdrew.
    `added` are those of the passes that it `supersedes`, which nobody has decided about.
    """

    withdrawn: int
    supersedes: list[PassId]
    added: int
    approval: ApprovalInForce | None
