"""What is shown to a person: reports, checks, a pass in detail."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from reconciler.model.deletion import Removed
from reconciler.model.enums import KeepReason, Mode, Outcome, PassKind
from reconciler.model.history import Deletions
from reconciler.model.marks import Mark
from reconciler.model.passes import Pass
from reconciler.model.verdicts import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """A person's approval, of which marks are left; `pass_id` is the newest of the passes approved together.

    `until` is when it ends for the first and for the last of those marks; None where no program has said how
    long approvals count.
    """

    pass_id: int
    kind: PassKind
    by: str
    at: datetime
    marks: int
    until: tuple[datetime, datetime] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PassDetail:
    """A pass with the marks that it would release, or has released, and that still exist.

    For a tripped pass these include the marks of older tripped passes of its marker: they are decided
    together. `marks` counts them by prefix ("" if the prefixes are not known) and verdict, `bytes` adds up
    their sizes; `examples` are the first few of each verdict, by key. `together` are the ids of those passes,
    `results` what has become of their findings by the ledger. `to_decide` is the pass to name in a decision
    about them all: the earliest after which none has added a mark. `supersedes` are passes that this one, or
    the decision about it, has superseded. `due` is when the first and the last of the marks may go, None
    without one. `earlier`: objects and records that went under the numbers of earlier passes, from its
    beginning to the next of its kind; None unless it found something and has no result. `approval` is the one
    by which its marks go, as long as some are left.
    """

    current: Pass
    marks: Mapping[tuple[str, Verdict], int]
    examples: Sequence[Mark]
    together: Sequence[int] = ()
    bytes: Mapping[tuple[str, Verdict], int] = field(default_factory=dict)
    results: Sequence[Deletions] = ()
    to_decide: int | None = None
    supersedes: Sequence[int] = ()
    due: tuple[datetime, datetime] | None = None
    earlier: Mapping[int, tuple[int, int]] | None = None
    approval: Approval | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one run of every marker and the collector did: the body of `once --json`.

    `detail` says in one line why the outcome is not `converged`, `notice` in lines what is true whatever the
    outcome; they are for people and not in the JSON.
    """

    mode: Mode
    outcome: Outcome
    objects: int = 0
    records: int = 0
    found: Mapping[Verdict, int] = field(default_factory=dict)
    removed: Removed = field(default_factory=Removed)
    kept: Mapping[KeepReason, int] = field(default_factory=dict)
    duration_seconds: float = 0.0
    detail: str = ""
    notice: str = ""


class CheckStatus(StrEnum):
    """The result of one check of `doctor`. Only FAIL makes it exit non-zero."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"
    """It was not looked at; the detail says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check of `doctor`; `advice` is the command or change that mends the fault."""

    name: str
    status: CheckStatus
    detail: str
    advice: str = ""
