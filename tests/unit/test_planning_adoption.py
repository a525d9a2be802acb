"""Whose an object is, and what its row says: from what HEAD shows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.model import (
    Adoptable,
    AdoptionTerms,
    Described,
    Left,
    OwnerFrom,
    OwnerSource,
    ValueFrom,
    ValueSource,
)
from reconciler.planning.adoption import owner_of, row_of
from reconciler.settings import adoption as settings
from tests.doubles.build import DAY, NOW, policy

FOUND = Described(
    size=7,
    etag="0" * 32,
    last_modified=NOW - 10 * DAY,
    content_type="image/png",
    metadata={"created-by": " 7 ", "prompt": "caf\udcc3\udca9", "media-type": "Video"},
    tags={"owner": "8"},
)
FIELD = OwnerFrom(source=OwnerSource.METADATA, name="Created-By")


@pytest.mark.parametrize(
    ("owner", "expected"),
    [
        (FIELD, "7"),
        (OwnerFrom(source=OwnerSource.TAG, name="owner"), "8"),
        (OwnerFrom(source=OwnerSource.KEY, name="image/([0-9]+)/.*"), "9"),
        (OwnerFrom(source=OwnerSource.KEY, name="video/([0-9]+)/.*"), None),
        (OwnerFrom(source=OwnerSource.METADATA, name="other"), None),
        (OwnerFrom(source=OwnerSource.GIVEN, name="10"), "10"),
        (None, None),
    ],
)
def test_whose_it_is(owner: OwnerFrom | None, expected: str | None) -> None:
    assert owner_of("image/9/a", FOUND, owner) == expected


def test_without_a_look_at_the_object_its_metadata_says_nothing() -> None:
    assert owner_of("image/9/a", None, FIELD) is None


@pytest.mark.parametrize(
    ("written", "expected"),
    [("=?utf-8?b?Y2Fmw6k=?=", "café"), ("=?no-such-charset?b?Y2Fm?=", "=?no-such-charset?b?Y2Fm?=")],
)
def test_what_is_not_ascii_comes_as_mail_writes_it(written: str, expected: str) -> None:
    columns = {
        "Prompt": ValueFrom(source=ValueSource.METADATA, name="prompt"),
        "Origin": ValueFrom(source=ValueSource.CONSTANT, name="imported"),
    }
    found = replace(FOUND, metadata={"created-by": "7", "prompt": written})
    row = row_of("a", found, AdoptionTerms(owner=FIELD, columns=columns), policy(), NOW, owned=True)
    assert isinstance(row, Adoptable)
    assert (row.values["Prompt"], row.values["Origin"]) == (expected, None), "a constant is the statement's"


def test_a_row_says_what_the_object_does() -> None:
    columns = {"Prompt": ValueFrom(source=ValueSource.METADATA, name="prompt")}
    row = row_of("a", FOUND, AdoptionTerms(owner=FIELD, columns=columns), policy(), NOW, owned=True)
    assert isinstance(row, Adoptable)
    assert (row.owner, row.size, row.media_type, row.content_hash) == ("7", 7, "video", "0" * 32)
    assert row.values == {"Prompt": "café", "ContentType": "image/png"}, "bytes come as surrogates"
    assert (row.created_at, row.expires_at) == (NOW - 10 * DAY, None)


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (None, Left.GONE),
        (replace(FOUND, last_modified=NOW), Left.PENDING),
        (replace(FOUND, last_modified=None), Left.PENDING),
        (replace(FOUND, metadata={"created-by": " "}), Left.NO_OWNER),
    ],
)
def test_why_none_is_made(found: Described | None, why: Left) -> None:
    assert row_of("a", found, AdoptionTerms(owner=FIELD), policy(), NOW, owned=True) is why


@pytest.mark.parametrize("raw", ["created-by", "metadata:", "key:users/.*", "key:(", "given:7", 7])
def test_a_wrong_source_of_owners_is_refused(raw: object) -> None:
    with pytest.raises(ValueError, match=r"must be metadata:NAME, tag:NAME or key:PATTERN with one group"):
        settings.owner(raw)


@pytest.mark.parametrize(
    "raw", ['{"A": "b"}', '{"A": "metadata:"}', '{"A": 1}', "[]", "{", '{"\\"": "constant:"}']
)
def test_wrong_sources_of_columns_are_refused(raw: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        settings.columns(raw)
