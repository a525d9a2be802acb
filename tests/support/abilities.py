"""What the tests' own servers can do: known, and not found out again at every start of the program.

A probe is sixty requests, and a hundred where the bucket keeps versions: more than all the rest of most
tests. The contract tests of the probe show that it finds just this. Servers that a test starts for itself or
reaches by way of a relay, other accounts, a declared order, `doctor`, and programs that are not told are
probed as ever, and so is what is marked `probes`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import pytest

from reconciler.model import Capabilities, ListingOrder, QuarantineFound, Versioning
from reconciler.stores.s3.probing.prober import BucketProber
from tests.servers import S3Server
from tests.support.buckets import abilities_of

SHARED: dict[str, S3Server] = {}
"""By its endpoint, each server that all tests of a session share; others may do something else by now."""

KIND = "TESTS_STORE"
"""The environment's word for what kind of store it is, for a program that shall not probe."""


def know(monkeypatch: pytest.MonkeyPatch) -> None:
    """For one test; what the bucket says of itself is asked all the same."""
    find_out = BucketProber._find_out

    async def known(
        prober: BucketProber,
        told: Versioning | None,
        declared: ListingOrder | None,
        kept: QuarantineFound | None,
    ) -> Capabilities:
        server = SHARED.get(prober._calls.client.meta.endpoint_url)
        ours = server and os.environ.get("AWS_ACCESS_KEY_ID") == server.access_key
        if server is None or not ours or told is None or declared is not None:
            return await find_out(prober, told, declared, kept)
        return abilities_of(server.kind, told)

    monkeypatch.setattr(BucketProber, "_find_out", known)


def kind_in(environment: Mapping[str, str]) -> dict[str, str]:
    """What to add to the environment of a program that shall not probe; nothing for another store."""
    server = SHARED.get(environment.get("RECONCILER_BUCKET__ENDPOINT_URL", ""))
    return {KIND: server.kind} if server else {}


def tell_by_environment() -> None:
    """In a program of its own that was started with KIND."""
    if KIND in os.environ:
        tell(os.environ[KIND])


def tell(kind: str) -> None:
    """In a program of its own, for good: the store is of that kind."""
    find_out = BucketProber._find_out

    async def known(
        prober: BucketProber,
        told: Versioning | None,
        declared: ListingOrder | None,
        kept: QuarantineFound | None,
    ) -> Capabilities:
        return await find_out(prober, told, declared, kept) if told is None else abilities_of(kind, told)

    BucketProber._find_out = known  # type: ignore[method-assign,assignment]  # as said
