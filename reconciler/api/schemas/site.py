"""The shapes of what is said of the site."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from reconciler.api.schemas.drift import MarksOfVerdict
from reconciler.api.schemas.passes import ApprovalInForce, Pass, PassSummary
from reconciler.api.schemas.shape import Person, Shape, Time, Word
from reconciler.model import HoldKind, Mode


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


class Paused(Pause):
    """The pause that stands; `ours`: it is this one, and no earlier one."""

    ours: bool
