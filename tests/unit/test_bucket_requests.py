"""What the bucket sends, how long it waits, and what it says when the store says no."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

import botocore.session
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import Halt, ListingBroken, StoreUnavailable
from reconciler.stores.s3.config import OUTCOMES
from reconciler.stores.s3.deletion import _UNFIT_FOR_XML, unfit_for_xml
from reconciler.stores.s3.faults import BucketAddress, Refusal
from reconciler.stores.s3.hooks import NO_MATTER_FOR_ENDPOINTS, delete_body, read_date
from reconciler.stores.s3.retries import LONGEST_PAUSE, pause_after

NAME = "{http://s3.amazonaws.com/doc/2006-03-01/}"
PLACE = BucketAddress(bucket="media", endpoint_url="http://store:9000")

batch_key = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
    lambda key: not unfit_for_xml(key)
)


@given(st.text("a/ .\x00\t\n\r\x1f\x7f\x85\u2028\ufffeé", max_size=4))
def test_what_looks_fit_for_a_batch_at_once_is_fit_by_the_pattern(key: str) -> None:
    assert unfit_for_xml(key) is (_UNFIT_FOR_XML.search(key) is not None)


@given(st.lists(st.tuples(batch_key, st.none() | batch_key), max_size=8))
def test_every_key_fit_for_a_batch_reads_back_from_its_xml(asked: list[tuple[str, str | None]]) -> None:
    entries = [{"Key": key} if etag is None else {"Key": key, "ETag": etag} for key, etag in asked]
    root = ET.fromstring(delete_body(entries))
    read = [
        (found.findtext(f"{NAME}Key"), found.findtext(f"{NAME}ETag")) for found in root.iter(f"{NAME}Object")
    ]
    assert read == asked
    assert root.findtext(f"{NAME}Quiet") == "false"


def test_no_rule_for_endpoints_reads_what_is_kept_from_it() -> None:
    loader = botocore.session.get_session().get_component("data_loader")
    ruleset = loader.load_service_model("s3", "endpoint-rule-set-1")
    read = set(re.findall(r'"ref": "(\w+)"|\{(\w+)', json.dumps(ruleset["rules"])))
    named = {name for pair in read for name in pair if name}
    assert {"Bucket", "Region", "Endpoint"} <= named, "not how the rules name what they read"
    assert not named & set(NO_MATTER_FOR_ENDPOINTS)


@pytest.mark.parametrize(
    "written",
    [
        "2026-03-01T12:30:00Z",
        "2026-03-01T12:30:00.000Z",
        "2026-03-01T13:30:00+01:00",
        "Sun, 01 Mar 2026 12:30:00 GMT",
        "Sun, 01 Mar 2026 12:30:00 -0000",
        "1772368200",
        "20260301T123000Z",
    ],
)
def test_a_date_is_read_however_a_store_writes_it(written: str) -> None:
    assert read_date(written) == datetime(2026, 3, 1, 12, 30, tzinfo=UTC)


def test_a_date_without_a_zone_gets_none() -> None:
    assert read_date("2026-03-01T12:30:00").tzinfo is None


@given(st.integers(min_value=1, max_value=500))
def test_pauses_are_capped(failures: int) -> None:
    assert 0 <= pause_after(failures) <= LONGEST_PAUSE


def test_the_first_pauses_double_at_most() -> None:
    for failures, longest in ((1, 0.1), (2, 0.2), (3, 0.4)):
        drawn = [pause_after(failures) for _ in range(200)]
        assert max(drawn) <= longest
        assert len(set(drawn)) > 100, "pauses without jitter bring all clients back at once"


@pytest.mark.parametrize(
    ("code", "status", "transient", "outcome"),
    [
        ("SlowDown", 503, True, "throttled"),
        ("SlowDown", 200, True, "throttled"),
        ("RequestRateLimitExceeded", 400, True, "throttled"),
        ("429", 429, True, "throttled"),
        ("InternalError", 200, True, "unavailable"),
        ("502", 502, True, "unavailable"),
        ("RequestTimeout", 400, True, "unavailable"),
        ("Unreachable", 0, True, "unavailable"),
        ("NotImplemented", 501, False, "refused"),
        ("AccessDenied", 403, False, "refused"),
        ("NoSuchBucket", 404, False, "refused"),
        ("NoSuchKey", 404, False, "missing"),
        ("404", 404, False, "missing"),
        ("PreconditionFailed", 412, False, "refused"),
    ],
)
def test_refusals_are_told_apart(code: str, status: int, transient: bool, outcome: str) -> None:
    refusal = Refusal(code, "", status=status)
    assert refusal.transient is transient
    assert refusal.outcome == outcome
    assert outcome in OUTCOMES


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        ("NoSuchBucket", "RECONCILER_BUCKET__NAME"),
        ("InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"),
        ("SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"),
        ("AccessDenied", "s3:ListBucket"),
        ("403", "s3:ListBucket"),
        ("PermanentRedirect", "RECONCILER_BUCKET__REGION"),
        ("AuthorizationHeaderMalformed", "RECONCILER_BUCKET__REGION"),
        ("RequestTimeTooSkewed", "clock"),
    ],
)
def test_a_halt_names_the_bucket_the_cause_and_what_to_do(code: str, advice: str) -> None:
    error = PLACE.explain("ListObjectsV2", Refusal(code, "said\nthe store", status=400))
    message = str(error)
    assert isinstance(error, Halt)
    assert "'media' at http://store:9000" in message
    assert f"{code}: said the store" in message
    assert advice in message
    assert "\n" not in message


def test_an_unforeseen_refusal_is_what_the_caller_says() -> None:
    refusal = Refusal("Odd", "", status=400)
    assert isinstance(PLACE.explain("ListObjectsV2", refusal, ListingBroken), ListingBroken)
    assert isinstance(PLACE.explain("HeadObject", refusal), StoreUnavailable)
