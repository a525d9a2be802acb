"""What is told to whoever listens: CloudEvents 1.0, of what the outbox holds. Needs the extra `events`."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cloudevents.core.bindings.http import to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from reconciler.model import Message, Verdict

TYPES: Mapping[str, str] = {
    "object deleted": "media.object.deleted.v1",
    # Gone already: by whom is not known, and it may be what a crash left of our own deletion.
    "object missing": "media.object.deleted.v1",
    "object restored": "media.object.restored.v1",
    "record adopted": "media.object.adopted.v1",
    "virtual_key erased": "virtual-key.erased.v1",
    "pass tripped": "pass.tripped.v1",
}
"""Types by the kinds of messages. A change that breaks a reader gets a new number."""

DATA = (
    "verdict",
    "reason",
    "bytes",
    "etag",
    "record_id",
    "variant_of",
    "operation_id",
    "pass_id",
    "pass_kind",
    "mode",
)
"""What of a message's payload an event has, under the same names, where it is known."""

SHORT = ("verdict", "pass_id", "pass_kind", "mode")
"""The same where there is little room."""

_NOT_IN_ATTRIBUTES = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
"""Characters that no attribute of a CloudEvent may have; a storage key may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event. `text` is its JSON, the same each time it is sent; `short` without what may be long."""

    id: str
    text: str
    short: str


Render = Callable[[Message], Event | None]
"""Makes the event of a message; None where there is nothing to tell."""


def source_of(bucket: str) -> str:
    """The source of the events about a bucket: with it, an id is unique."""
    return f"/media-reconciler/{bucket}"


def event_of(message: Message, source: str) -> Event | None:
    """The event of a message. Its `id` is that of the line in the ledger, so a repetition is known by it."""
    payload, key = message.payload, message.storage_key or None
    if message.kind == "object missing" and payload.get("verdict") == Verdict.DANGLING:
        return None  # Nothing was deleted but the row.
    at = datetime.fromisoformat(payload["at"])
    owners = payload.get("owners") or []
    subject = key or (payload["pass_id"] if message.kind == "pass tripped" else next(iter(owners), None))
    attributes: dict[str, Any] = {
        "id": _id(message, at),
        "source": source,
        "type": TYPES[message.kind],
        "time": at,
        "datacontenttype": "application/json",
    }
    if subject is not None and not _NOT_IN_ATTRIBUTES.search(str(subject)):
        attributes["subject"] = str(subject)
    about: dict[str, Any] = {"storage_key": key} if key else {}
    about |= {"virtual_key_ids": owners} if owners else {}
    texts = [_text(attributes, {**about, **_some(payload, names)}) for names in (DATA, SHORT)]
    return Event(id=attributes["id"], text=texts[0], short=texts[1])


def _id(message: Message, at: datetime) -> str:
    if message.ledger_id is not None:
        return str(message.ledger_id)
    if message.kind == "pass tripped":  # It has no line; and it may trip again, at a claim.
        return f"pass-{message.payload['pass_id']}-{int(at.timestamp() * 1_000_000)}"
    return f"message-{message.id}"


def _some(payload: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: payload[name] for name in names if payload.get(name) is not None}


def _text(attributes: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    return to_structured(CloudEvent(dict(attributes), dict(data)), JSONFormat()).body.decode()
