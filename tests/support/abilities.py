"""What the tests' own servers can do: found out once of each, and not again at every start of the program.

A probe is sixty requests, more than all the rest of most tests. Buckets that keep versions, servers that a
test starts for itself, `doctor`, and programs started as such are probed as ever, and so is what is marked
`probes`.
"""

from __future__ import annotations

import os

import pytest

from reconciler.model import Capabilities, ListingOrder, Versioning
from reconciler.stores.s3.probing.prober import BucketProber
from tests.support.buckets import CAPABILITIES

SHARED: dict[str, str] = {}
"""The endpoints of servers that all tests of a session share, and their kinds; others may do something else
by now."""

KIND = "TESTS_STORE"
"""The environment's word for what kind of store it is, for a program that shall not probe."""

_found: dict[tuple[str, str, ListingOrder | None], Capabilities] = {}


def remember(monkeypatch: pytest.MonkeyPatch) -> None:
    """For one test; what the bucket says of itself is asked all the same."""
    find_out = BucketProber._find_out

    async def remembered(
        prober: BucketProber, told: Versioning | None, declared: ListingOrder | None
    ) -> Capabilities:
        endpoint = prober._calls.client.meta.endpoint_url
        if endpoint not in SHARED or told is not Versioning.OFF:
            return await find_out(prober, told, declared)
        asked = endpoint, os.environ.get("AWS_ACCESS_KEY_ID", ""), declared
        if asked not in _found:
            _found[asked] = await find_out(prober, told, declared)
        return _found[asked]

    monkeypatch.setattr(BucketProber, "_find_out", remembered)


def tell_by_environment() -> None:
    """In a program of its own that was started with KIND."""
    if KIND in os.environ:
        tell(os.environ[KIND])


def tell(kind: str) -> None:
    """In a program of its own, for good: the store is of that kind, and `contract` shows what that can do."""
    find_out = BucketProber._find_out

    async def known(
        prober: BucketProber, told: Versioning | None, declared: ListingOrder | None
    ) -> Capabilities:
        if told is Versioning.OFF:
            return CAPABILITIES[kind]
        return await find_out(prober, told, declared)

    BucketProber._find_out = known  # type: ignore[method-assign,assignment]  # as said
