"""What a bucket's answer about its lifecycle says of each rule."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from reconciler.stores.s3.lifecycle import lifecycle_rules

pytestmark = pytest.mark.anyio

THREE = {"Days": 3}
AFTER = timedelta(days=3)


class Answering:
    """The store's side, with one rule."""

    def __init__(self, rule: dict[str, Any]) -> None:
        self._rule = {"ID": "r", "Status": "Enabled", **rule}

    async def send(self, operation: str, parse: Any) -> Any:
        assert operation == "GetBucketLifecycleConfiguration"
        return parse({"Rules": [self._rule]})


@pytest.mark.parametrize(
    ("rule", "expires_all"),
    [
        ({"Filter": {"Prefix": "image/"}, "Expiration": THREE}, AFTER),
        ({"Filter": {"And": {"Prefix": "image/"}}, "Expiration": THREE}, AFTER),
        ({"Prefix": "image/", "Expiration": THREE}, AFTER),
        ({"Prefix": "image/", "Filter": {}, "Expiration": THREE}, AFTER),
        ({"Prefix": "image/", "Filter": {"Tag": {"Key": "k", "Value": "v"}}, "Expiration": THREE}, None),
        ({"Filter": {"And": {"Prefix": "image/", "Tags": []}}, "Expiration": THREE}, None),
        ({"Filter": {"And": {"Prefix": "image/", "ObjectSizeGreaterThan": 0}}, "Expiration": THREE}, None),
        ({"Prefix": "image/", "Filter": {"ObjectSizeLessThan": 9}, "Expiration": THREE}, None),
        ({"Prefix": "image/", "Expiration": {"Date": datetime(2026, 1, 1, tzinfo=UTC)}}, None),
        ({"Prefix": "image/", "Expiration": {"ExpiredObjectDeleteMarker": True}}, None),
        ({"Prefix": "image/", "NoncurrentVersionExpiration": {"NoncurrentDays": 3}}, None),
    ],
)
async def test_only_a_rule_that_looks_at_nothing_else_expires_all(
    rule: dict[str, Any], expires_all: timedelta | None
) -> None:
    found = await lifecycle_rules(Answering(rule))  # type: ignore[arg-type]  # all that is asked of it
    assert found is not None
    assert [(each.prefix, each.expires_all) for each in found] == [("image/", expires_all)]


async def test_a_rule_that_is_disabled_is_none() -> None:
    off = Answering({"Status": "Disabled", "Prefix": "image/", "Expiration": THREE})
    assert await lifecycle_rules(off) == ()  # type: ignore[arg-type]
