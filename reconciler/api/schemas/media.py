"""The shapes of media, of what is known of them, and of their sums."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

from pydantic import Field

from reconciler.api.schemas.drift import MarksOfVerdict
from reconciler.api.schemas.passes import Mark
from reconciler.api.schemas.shape import Key, NextCursor, Shape, Time, Word
from reconciler.api.schemas.site import Pause
from reconciler.api.schemas.steering import Hold


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
