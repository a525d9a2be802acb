"""The shapes of answers and bodies, for the OpenAPI document; `operations.as_json` is what makes them."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, TypeAlias
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from reconciler.model import HoldKind, JobKind, JobState, MarkState, Mode, PassKind, PassState, Verdict


class Shape(BaseModel):
    """An object with these members and no others."""

    model_config = ConfigDict(extra="forbid")


Word: TypeAlias = str
"""One of a set of words, which a newer replica may know more of."""

Key: TypeAlias = Annotated[str, Field(examples=["image/2026/cat.png"])]
Counted: TypeAlias = Annotated[dict[str, int], Field(examples=[dict.fromkeys(Verdict, 0)])]
Time: TypeAlias = Annotated[datetime, Field(examples=["2026-11-30T08:15:00Z"])]
PassId: TypeAlias = Annotated[int, Field(examples=[1204])]
Person: TypeAlias = Annotated[str, Field(examples=["ada@ops"])]


class Problem(Shape):
    """A failure, as RFC 9457 has it. `code` names the reason for programs, `hint` says what to do."""

    type: Annotated[str, Field(examples=["urn:media-reconciler:problem:no_such_pass"])]
    title: Annotated[str, Field(examples=["Not Found"])]
    status: Annotated[int, Field(examples=[404])]
    code: Annotated[str, Field(examples=["no_such_pass"])]
    detail: Annotated[str, Field(examples=["there is no pass 12"])]
    hint: Annotated[str | None, Field(examples=["GET /api/v1/passes lists them."])]
    fields: Annotated[dict[str, Any], Field(examples=[{"pass_id": 12}])]


class Leader(Shape):
    """The replica that holds the lease, until when unless it renews it."""

    holder: Annotated[str, Field(examples=["reconciler-7d9c/1/5f2b8c1d"])]
    epoch: Annotated[int, Field(examples=[17])]
    acquired_at: Time | None
    expires_at: Time


class ModeSince(Shape):
    """The mode in force, since when, and where the leader has it from; null: no leader has spoken lately."""

    mode: Annotated[Word, Field(examples=list(Mode))]
    since: Time | None
    source: Annotated[str | None, Field(examples=["the runtime file /etc/reconciler/runtime.yaml"])]


class Pause(Shape):
    """The pause. Of an ended one, `at`, `by` and `reason` are those of its end."""

    paused: bool
    at: Time | None
    by: Person
    reason: Annotated[str, Field(examples=["restoring the database"])]


class Pass(Shape):
    """One pass; `decided_by` is who approved or discarded it."""

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
    reason: str | None
    both_sides: bool
    decided_by: str | None
    decided_at: Time | None
    superseded_by: int | None


class MarksOfVerdict(Shape):
    """How many marks of a verdict there are."""

    keys: int
    bytes: int
    first_seen_at: Time | None


class PassSummary(Pass):
    """A pass in a list; `takes_in` are earlier tripped passes that are decided with it, and `to_decide` is
    the number to decide about, null where it has not tripped.
    """

    marks: int
    takes_in: list[PassId]
    to_decide: int | None


class Replica(Shape):
    """What a replica last said of itself; `epoch` null: it does not lead. `halted`: what is to be done."""

    name: str
    said_at: Time
    version: str
    mode: Word
    mode_from: str
    config_hash: str
    epoch: int | None
    halted: str | None
    halted_since: Time | None
    next_pass: dict[str, Time]
    phases: dict[str, str]


class ApprovalInForce(Shape):
    """An approval of which `marks` are left; it ends at `ends_at` for the first. Null: nobody says."""

    pass_id: PassId
    kind: Word
    by: Person
    at: Time
    marks: int
    ends_at: Time | None
    last_ends_at: Time | None


class DueSoon(Shape):
    """What goes next. `lasts_seconds` null: none goes now, as `stopped_by` says, or nothing tells."""

    now: int
    since: Time | None
    stopped_by: str | None
    stuck: bool
    gone_in_10_minutes: int
    lasts_seconds: float | None
    within_24_hours: int
    next_at: Time | None


class ReplicaState(Shape):
    """The replica that answered; `halted` says what a person has to do, null where nothing."""

    name: str
    leading: bool
    halted: str | None
    unmet: list[str]
    stuck: list[str]


class Status(Shape):
    """How the site stands. `leader` null: no replica holds the lease; `mode` null: there was no pass yet.

    `answered_by` is the replica that answers, as it knows itself; `replicas` are all, as they last said, and
    `last_once` what the last `reconciler once` said when it ended.
    """

    at: Time
    leader: Leader | None
    mode: ModeSince | None
    pause: Pause
    replicas: list[Replica]
    passes: list[Pass]
    tripped: list[PassSummary]
    approved: list[ApprovalInForce]
    last_once: Replica | None
    due: DueSoon
    marks: dict[str, MarksOfVerdict]
    holds: Annotated[dict[str, int], Field(examples=[dict.fromkeys(HoldKind, 0)])]
    answered_by: ReplicaState


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


class Hold(Shape):
    """A deliberate keep; `until` null: until it is lifted. `pass_id`, if the program made it."""

    kind: Annotated[Word, Field(examples=list(HoldKind))]
    target: Key
    reason: str
    author: Person
    until: Time | None
    added_at: Time | None
    pass_id: int | None


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


class VirtualKey(Shape):
    """A row's owner, as far as a verdict reads it."""

    id: str
    enabled: bool
    disabled_since: Time | None
    expires_at: Time | None


class Record(Shape):
    """A row of the media table. `virtual_key` null: there is no such key."""

    id: str
    storage_key: Key
    virtual_key_id: str | None
    size_bytes: int | None
    media_type: Annotated[str | None, Field(examples=["image"])]
    provider: str | None
    model: str | None
    created_at: Time | None
    expires_at: Time | None
    last_accessed_at: Time | None
    deleted_at: Time | None
    virtual_key: VirtualKey | None


class Medium(Shape):
    """One storage key, as the database knows it."""

    storage_key: Key
    rows: list[Record]
    mark: Mark | None
    hold: Hold | None


class Usage(Shape):
    """What a virtual key stores, by its rows."""

    virtual_key_id: str
    objects: int
    bytes: int


class Part(Shape):
    """What is stored under one name; `other` are all but the largest, `unknown` has none."""

    name: str
    objects: int
    bytes: int


class Day(Shape):
    """What of the rows there are now was made on a day; null: before those listed, or it is not known."""

    day: Annotated[date | None, Field(examples=["2026-11-30"])]
    objects: int
    bytes: int


class Stats(Shape):
    """What is stored in the managed prefixes, and what of it is drift. `prefixes` null: not known yet."""

    at: Time
    prefixes: list[str] | None
    objects: int
    bytes: int
    by_virtual_key: list[Part]
    by_media_type: list[Part]
    by_provider: list[Part]
    by_prefix: list[Part]
    by_day: list[Day]
    drift: dict[str, MarksOfVerdict]
    orphans: MarksOfVerdict


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


class Over(Shape):
    """Where else a setting has a value, which lost."""

    source: Word
    where: str | None


class Setting(Shape):
    """One setting; secrets are masked."""

    name: Annotated[str, Field(examples=["RECONCILER_DRY_RUN"])]
    key: Annotated[str, Field(examples=["dry_run"])]
    value: Any
    default: Any
    required: bool
    runtime: bool
    source: Annotated[Word, Field(examples=["runtime_file"])]
    where: str | None
    over: list[Over]
    meaning: str


class Settings(Shape):
    """The settings of the replica that answers, and the hash by which passes record them."""

    config_hash: str
    mode: Word
    settings: list[Setting]


class LedgerLine(Shape):
    """One line of the ledger; `decided_by` is who approved its pass, null where the breaker did."""

    at: Time
    event: Annotated[str, Field(examples=["result"])]
    what: Annotated[str, Field(examples=["object"])]
    storage_key: Key
    record_id: str | None
    virtual_key_ids: list[str]
    verdict: str
    reason: str
    result: Annotated[str | None, Field(examples=["deleted"])]
    detail: str | None
    bytes: int | None
    pass_id: int | None
    kind: Word | None
    decided_by: str | None
    decided_at: Time | None
    operation_id: str | None


class Explanation(Shape):
    """A key's whole story, as `reconciler explain --json` prints it: docs/commands.md describes each part."""

    key: Key
    known: bool
    at: Time
    mode: Word
    pause: Pause
    object: dict[str, Any] | None
    lock: dict[str, Any] | None
    versions: list[dict[str, Any]] | None
    rows: list[dict[str, Any]]
    named_by_further_column: bool
    named_by: list[str]
    departures: list[dict[str, Any]]
    near: list[dict[str, Any]]
    rules: list[dict[str, Any]]
    verdict: Word | None
    kept: Word | None
    reason: str
    goes: bool
    changes_at: Time | None
    then: dict[str, Any] | None
    hold: Hold | None
    state: Word
    since: Time | None
    mark: Mark | None
    events: list[dict[str, Any]]
    returnable: list[dict[str, Any]]
    unseen: list[str]


NextCursor: TypeAlias = Annotated[
    str | None, Field(description="Behind which the list goes on; null at its end.", examples=["WyJhIl0"])
]


class LedgerPage(Shape):
    """A part of the ledger."""

    data: list[LedgerLine]
    next_cursor: NextCursor


class MediaPage(Shape):
    """A part of the media table."""

    data: list[Record]
    next_cursor: NextCursor


class MediaOfKeyPage(MediaPage):
    """A part of a virtual key's rows, and what all of them add up to."""

    usage: Usage


class MarksPage(Shape):
    """A part of the marks."""

    data: list[Mark]
    next_cursor: NextCursor


class PassesPage(Shape):
    """A part of the passes."""

    data: list[PassSummary]
    next_cursor: NextCursor


class HoldsPage(Shape):
    """A part of the holds."""

    data: list[Hold]
    next_cursor: NextCursor


class Paused(Pause):
    """The pause that stands; `ours`: it is this one, and no earlier one."""

    ours: bool


class Held(Shape):
    """Holds that are in force now, and keys under them that were claimed before and may still go."""

    holds: list[Hold]
    claimed: list[Key]


class Lifted(Shape):
    """How many holds were lifted, or would be."""

    holds: int
    dry_run: bool


class Cancelled(Shape):
    """Marks that were withdrawn, and those that were not."""

    cancelled: list[Key]
    claimed: list[Key]
    unmarked: list[Key]


class Operation(Shape):
    """Long work that was asked for. `done`: keys looked at so far; `pass_id`: the pass that answered it;
    `result`: as the command of the same name prints it as JSON.
    """

    id: UUID
    kind: Annotated[Word, Field(examples=list(JobKind))]
    state: Annotated[Word, Field(examples=list(JobState))]
    dry_run: bool
    author: Person
    asked_at: Time
    begun_at: Time | None
    ended_at: Time | None
    cancel: bool
    done: int
    pass_id: int | None
    error: str | None
    asked: dict[str, Any]
    result: dict[str, Any] | None


class OperationsPage(Shape):
    """A part of what was asked for."""

    data: list[Operation]
    next_cursor: NextCursor


class AuditLine(Shape):
    """A change over HTTP. `status` and `outcome`, the problem's code, say what came of it; `status` null: it
    is under way, or its replica died.
    """

    id: int
    at: Time
    caller: Person
    role: Word
    address: Annotated[str, Field(examples=["10.1.2.3"])]
    action: Annotated[str, Field(examples=["approve_pass"])]
    target: Annotated[str, Field(examples=["POST /api/v1/passes/1204/approve"])]
    asked: str
    status: int | None
    outcome: str | None


class AuditPage(Shape):
    """A part of the audit."""

    data: list[AuditLine]
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
