"""What replicas say of themselves, and what people have ordered."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from reconciler.model.enums import Mode, PassKind, Phase

SPEAKS_EVERY = timedelta(seconds=10)
"""How often a replica says how it stands, at least."""

SILENT_AFTER = timedelta(minutes=1)
"""What it said longer ago is no news: it has ended, or cannot reach the database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """What one replica last said of itself, at `said_at` by the database's clock.

    `epoch` is that of its term, None while it does not lead. `mode_from` is the source of its mode, and
    `mode_since` when that last changed while it ran. `next_pass` is when each kind of pass begins, of those
    that are not under way; `phases` what the others are doing. `rate` is in keys a second, None for
    unlimited. `blocked_by` names the open transaction that holds deletions back. `approval_ttl` is how long
    approvals count by its settings, None where an older program does not say it. Times but for `said_at` are
    by its own clock.
    """

    name: str
    version: str
    mode: Mode
    mode_from: str
    config_hash: str
    mode_since: datetime | None = None
    said_at: datetime | None = None
    epoch: int | None = None
    halted: str | None = None
    halted_since: datetime | None = None
    next_pass: Mapping[PassKind, datetime] = field(default_factory=dict)
    phases: Mapping[PassKind, Phase] = field(default_factory=dict)
    rate: float | None = None
    blocked_by: str = ""
    approval_ttl: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a person asked of the program, such as `approve`, and what that was about, in words."""

    id: int
    at: datetime
    author: str
    what: str
    about: str
