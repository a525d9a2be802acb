"""Whether the bucket for copies is this database's, by the identity that lies in it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from reconciler.model import Identity, QuarantineBucket
from reconciler.planning.quarantine import fault, managed

BUCKET = QuarantineBucket(name="copies", of="media")
OURS = Identity(
    site_id=UUID(int=1), bucket="copies", prefixes=("image/",), created_at=datetime(2026, 6, 1, tzinfo=UTC)
)
THEIRS = replace(OURS, site_id=UUID(int=2))


@pytest.mark.parametrize(
    ("seen", "ours", "words"),
    [
        (None, OURS, "has no object .reconciler/quarantine-of/media.json"),
        (THEIRS, OURS, f"says site {THEIRS.site_id}, and this one is site {OURS.site_id}"),
        (OURS, None, "and this one is not tied to a bucket yet"),
        (replace(OURS, bucket="former"), OURS, "is a copy of bucket 'former'"),
    ],
)
def test_a_bucket_that_is_not_ours_is_named_with_what_to_do(
    seen: Identity | None, ours: Identity | None, words: str
) -> None:
    said = fault(BUCKET, seen, ours)
    assert said.startswith("bucket 'copies', for copies of what is deleted, ")
    assert words in said
    assert "`reconciler adopt-bucket --yes`" in said


def test_our_own_bucket_is_without_fault() -> None:
    assert fault(BUCKET, replace(OURS, prefixes=()), OURS) == ""


def test_a_bucket_that_is_cleaned_itself_is_none_for_copies() -> None:
    assert f"is itself cleaned, by site {OURS.site_id}" in managed(BUCKET, OURS)
