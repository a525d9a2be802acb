"""The shapes of what operators ask for."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from reconciler.api.schemas.shape import Key, NextCursor, Person, Shape, Time, Word
from reconciler.model import ErasureKind, ErasureState, HoldKind, JobKind, JobState


class Hold(Shape):
    """A deliberate keep; `until` null: until it is lifted. `pass_id`, if the program made it."""

    kind: Annotated[Word, Field(examples=list(HoldKind))]
    target: Key
    reason: str
    author: Person
    until: Time | None
    added_at: Time | None
    pass_id: int | None


class HoldsPage(Shape):
    """A part of the holds."""

    data: list[Hold]
    next_cursor: NextCursor


class Held(Shape):
    """Holds that are in force now, and keys under them that were claimed before and may still go."""

    holds: list[Hold]
    claimed: list[Key]


class Lifted(Shape):
    """How many holds were lifted, or would be."""

    holds: int
    dry_run: bool


class LinksRevoked(Shape):
    """The virtual keys whose links have ended."""

    virtual_key_ids: list[str]


class Cancelled(Shape):
    """Marks that were withdrawn, and those that were not."""

    cancelled: list[Key]
    claimed: list[Key]
    unmarked: list[Key]


class Erasure(Shape):
    """An erasure with proof. `subject` is empty once it is done; `waits_for`: why it is not done; `replays`:
    the digest of the certificate that it repeats; `certificate`: the number of its own; `document`: that
    certificate, where one erasure was asked for.
    """

    id: UUID
    kind: Annotated[Word, Field(examples=list(ErasureKind))]
    state: Annotated[Word, Field(examples=list(ErasureState))]
    author: Person
    reason: str
    ordered_at: Time
    finished_at: Time | None
    replays: str | None
    keys: int
    subject: list[Key]
    waits_for: str | None
    rows_removed: int
    texts_removed: int
    versions_removed: int
    uploads_aborted: int
    certificate: int | None
    document: dict[str, Any] | None


class ErasuresPage(Shape):
    """A part of the erasures."""

    data: list[Erasure]
    next_cursor: NextCursor


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
