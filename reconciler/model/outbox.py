"""What is still to be told to others, a CDN or whoever listens to events, about what has happened."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

KEY_REVOKED = "key revoked"
"""The kind of a message about a virtual key that was seen disabled for the first time. It has no storage key;
`owners` of its payload names the virtual key."""

OBJECT_REVOKED = "object revoked"
"""The kind of a message about one medium of such a virtual key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """What a channel is told of: `kinds` such as `object deleted`, `object restored`, `record left`.

    The words are the ledger's `what` and result, or its event where that is neither `result` nor `restored`.

    `url_column`: the column of a removed row whose text is told as `url`. `address` tells one receiver from
    another: one that was switched off stays so.
    """

    channel: str
    kinds: Sequence[str]
    url_column: str | None = None
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One row of the outbox. Of the ledger's line (`ledger_id`) its `payload` has those that are not NULL of
    `at`, `epoch`, `operation_id`, `pass_id`, `verdict`, `reason`, `detail`, `record_id`, `variant_of`,
    `owners`, `bytes`, `etag` and `url`.
    """

    id: int
    kind: str
    storage_key: str | None
    ledger_id: int | None
    payload: Mapping[str, Any]
    created_at: datetime
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What became of some messages, by their ids. Those that are in neither stay as they are.

    `arrived` has the receiver's answer: one that is not None is kept in the ledger, as `uncached`. `refused`
    has the reason; each is tried again alone, after ever longer waits, and later ones of its storage key wait
    for it. `away` says why the receiver takes nothing at all; the channel rests then, for `after` if the
    receiver said how long.

    `ended` are virtual keys of which the receiver now has nothing at all, with its answer: whatever is about
    them alone has arrived, if it is older than `ended_at`. `spread` are messages about a virtual key, to be
    replaced by one for each of its media, of kind `object revoked`.
    """

    arrived: Mapping[int, str | None] = field(default_factory=dict)
    refused: Mapping[int, str] = field(default_factory=dict)
    ended: Mapping[str, str] = field(default_factory=dict)
    ended_at: datetime | None = None
    spread: Collection[int] = ()
    away: str = ""
    after: timedelta | None = None

    @property
    def nothing(self) -> bool:
        """Whether it says nothing of any message."""
        return not (self.arrived or self.refused or self.ended or self.spread or self.away)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsent:
    """What a channel has still to send, since `oldest`, and its failures in a row, with the last error.

    `switched_off`: its receiver wants no more.
    """

    pending: int
    oldest: datetime | None
    failures: int = 0
    last_error: str | None = None
    switched_off: bool = False
