"""What is recorded about a key or a pass, for a person who asks afterwards."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from reconciler.model.enums import PassKind
from reconciler.model.marks import ListedMark


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerLine:
    """One line of the ledger, with the pass that it belongs to: its `kind`, its `cutoff`, and who approved
    it, if a person did; `unapproved`: it tripped, and nobody has. `event` is `intent`, `result`, `restored`,
    `purged`, `uncached`, `cancelled`, `erased` or `aborted`. Verdict and result are words as they were
    written, maybe by a newer program. `owners` are the virtual keys of the rows that named the key when it
    was claimed.
    """

    id: int
    at: datetime
    event: str
    what: str
    storage_key: str
    record_id: str | None
    owners: tuple[str, ...]
    verdict: str
    reason: str
    result: str | None
    detail: str | None
    bytes: int | None
    pass_id: int | None
    operation_id: UUID | None
    kind: PassKind | None
    cutoff: datetime | None
    decided_by: str | None
    decided_at: datetime | None
    unapproved: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerFilter:
    """Selects lines of the ledger: those that match all of it; None matches every line.

    From `since` on, and before `until`. A key also stands for its variants, a pass for those that it took in.
    """

    since: datetime | None = None
    until: datetime | None = None
    key: str | None = None
    pass_id: int | None = None
    virtual_key_id: str | None = None


WITHDRAWN = "withdrawn"
"""The result of a key whose mark a person withdrew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletions:
    """Keys of a pass with one result, `deleted`, `missing`, `restored`, `withdrawn` and so on; `bytes` where
    known.
    """

    what: str
    verdict: str
    result: str
    keys: int
    bytes: int
    examples: Sequence[str]


class KeyState(StrEnum):
    """What has become of a key, as far as is recorded."""

    MARKED = "marked"
    DELETED = "deleted"
    """And can be brought back."""
    GONE = "gone"
    """And nothing of it is left."""
    RESTORED = "restored"
    ERASING = "erasing"
    """What is hidden of it waits for its purge."""
    ERASED = "erased"
    KEPT = "kept"
    """It was claimed, or marked, and nothing of it was deleted."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyHistory:
    """The lines of a key, oldest first, and its state since `since`. `rows` name the key now."""

    key: str
    state: KeyState
    since: datetime | None
    mark: ListedMark | None
    lines: Sequence[LedgerLine]
    rows: Sequence[str]

    @property
    def known(self) -> bool:
        """Whether anything is recorded of it."""
        return self.state is not KeyState.UNKNOWN
