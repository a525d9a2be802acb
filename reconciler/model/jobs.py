"""What is asked for over HTTP: jobs, which take a while, and the audit of every change."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from reconciler.model.enums import Word


class JobKind(Word):
    """What is asked for. The first two are kinds of pass; a look is what a sweep would find in a part."""

    SWEEP = "sweep"
    RETENTION = "retention"
    UNDO = "undo"
    ERASURE = "erasure"
    LOOK = "look"


class JobState(Word):
    """How far a job is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    """Its `result` says how."""
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Work that was asked for. `asked` are its parameters, `done` how many keys it has looked at so far.

    `pass_id` is the pass that answered it, `error` what went wrong last. `cancel`: it is to end.
    """

    id: UUID
    kind: JobKind
    asked: Mapping[str, object]
    dry_run: bool
    author: str
    asked_at: datetime
    state: JobState = JobState.WAITING
    begun_at: datetime | None = None
    ended_at: datetime | None = None
    cancel: bool = False
    done: int = 0
    pass_id: int | None = None
    result: Mapping[str, object] | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change that was asked for over HTTP: by whom, from where, and what exactly."""

    caller: str
    role: str
    address: str
    action: str
    target: str
    asked: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLine:
    """A change, when it was asked for, and what came of it: the status, None while it is under way, and the
    problem's code.
    """

    id: int
    at: datetime
    change: Change
    status: int | None
    outcome: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """An answer that was given before to the same request; `answer` is its body."""

    status: int
    location: str | None
    answer: str
