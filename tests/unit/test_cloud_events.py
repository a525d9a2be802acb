"""What the outbox holds as CloudEvents, and who is told of which."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_structured
from cloudevents.core.formats.json import JSONFormat

from reconciler.engine.tell.cloud_events import TYPES, Event, event_of, source_of
from reconciler.model import Message
from reconciler.stores.webhook import signers

AT = datetime(2026, 11, 30, 23, 0, 0, 123_456, UTC)


def event(kind: str, key: str | None = "image/a", ledger_id: int | None = 7, **payload: Any) -> Event:
    made = event_of(
        Message(
            id=1,
            kind=kind,
            storage_key=key,
            ledger_id=ledger_id,
            payload={"at": AT.isoformat(), "epoch": 3, **payload},
            created_at=AT,
            attempts=0,
        ),
        source_of("media"),
    )
    assert made is not None
    return made


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_each_is_a_cloud_event_of_the_time_at_which_it_happened(kind: str) -> None:
    made = event(kind, pass_id=17, owners=["k1"])
    message = HTTPMessage(headers={"content-type": "application/cloudevents+json"}, body=made.text.encode())
    read = from_structured(message, JSONFormat())
    assert (read.get_type(), read.get_source(), read.get_time()) == (
        TYPES[kind],
        "/media-reconciler/media",
        AT,
    )
    assert read.get_id() == made.id == "7"
    assert made.text == event(kind, pass_id=17, owners=["k1"]).text, "the same each time it is sent"


def test_it_has_what_is_known_and_no_more() -> None:
    made = json.loads(event("object deleted", verdict="orphan", bytes=5, detail="by ada", owners=["k1"]).text)
    assert made["data"] == {
        "storage_key": "image/a",
        "virtual_key_ids": ["k1"],
        "verdict": "orphan",
        "bytes": 5,
    }


def test_the_subject_is_what_it_is_about() -> None:
    assert json.loads(event("object deleted").text)["subject"] == "image/a"
    assert json.loads(event("virtual_key erased", "", owners=["k1"]).text)["subject"] == "k1"
    assert json.loads(event("pass tripped", None, None, pass_id=17).text)["subject"] == "17"


@pytest.mark.parametrize("key", ["image/\n", "image/\x7f", "image/\x85", "image/\ufdd0", "image/\uffff"])
def test_a_key_that_no_attribute_can_have_is_in_the_data_alone(key: str) -> None:
    made = json.loads(event("object deleted", key).text)
    assert "subject" not in made
    assert made["data"]["storage_key"] == key


def test_what_no_line_has_is_named_after_the_pass_and_the_moment() -> None:
    """It may trip again when its marks are claimed."""
    assert event("pass tripped", None, None, pass_id=17).id == "pass-17-1796079600123456"


def test_a_dangling_record_had_no_object_to_delete() -> None:
    message = Message(
        id=1,
        kind="object missing",
        storage_key="image/a",
        ledger_id=7,
        payload={"at": AT.isoformat(), "verdict": "dangling"},
        created_at=AT,
        attempts=0,
    )
    assert event_of(message, "/x") is None


def test_the_short_form_fits_a_notification_whatever_the_key() -> None:
    made = event("object deleted", "\x01" * 1024, reason="é" * 9_000)
    assert len(made.short.encode()) < 8_000 < len(made.text.encode())
    assert json.loads(made.short)["data"]["storage_key"] == "\x01" * 1024


@pytest.mark.parametrize("secrets", [[], ["whsec_"], ["whsec_é"], ["whsec_QUFB", "whsec_!"]])
def test_what_is_no_secret_signs_nothing(secrets: list[str]) -> None:
    with pytest.raises(ValueError, match="secret"):
        signers(secrets)
