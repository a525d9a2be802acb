"""Object lock and legal holds: how stores refuse, and what is made of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from reconciler.model import Deletion, ObjectLock, ObjectResult
from reconciler.stores.s3 import open_bucket
from reconciler.stores.s3.answers import refused
from reconciler.stores.s3.faults import Refusal
from reconciler.stores.s3.locks import look_for_lock
from tests.servers import S3Server
from tests.support.buckets import config_for
from tests.support.quirky_store import BUCKET, Quirks, quirky_store

pytestmark = pytest.mark.anyio

UNTIL = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)


@pytest.mark.parametrize(
    ("asked", "lock"),
    [
        (
            {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": UNTIL},
            ObjectLock(reason="the store keeps it under object lock (governance)", until=UNTIL),
        ),
        (
            {"ObjectLockLegalHoldStatus": "ON"},
            ObjectLock(reason="the store keeps it under a legal hold", until=None),
        ),
        ({}, None),
    ],
)
async def test_a_lock_is_seen_on_the_version_that_has_it(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any], lock: ObjectLock | None
) -> None:
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    client, bucket = s3_server.client(), f"locks-{len(asked)}"
    client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    version = client.put_object(Bucket=bucket, Key="image/a", Body=b"x", **asked)["VersionId"]
    client.put_object(Bucket=bucket, Key="image/a", Body=b"y")
    config = config_for(s3_server.endpoint_url, name=bucket, region=s3_server.region)
    async with open_bucket(config) as opened:
        assert (await opened.prober.probe()).object_lock
        seen = await look_for_lock(opened._own.calls, "image/a", version)
        if seen and seen.until:
            seen = replace(seen, until=seen.until.replace(second=UNTIL.second))  # SeaweedFS keeps minutes
        assert seen == lock
        assert await look_for_lock(opened._own.calls, "image/a") is None
        assert await look_for_lock(opened._own.calls, "image/none") is None


@pytest.mark.parametrize("batches", [True, False])
async def test_what_is_locked_is_held_and_what_is_merely_denied_fails(
    credentials: None, batches: bool
) -> None:
    quirks = Quirks(
        locked={"image/locked": UNTIL, "image/legal": None},
        failing={"image/denied": "AccessDenied"},
        no_batches=not batches,
    )
    async with quirky_store(quirks) as store:
        keys = ["image/locked", "image/legal", "image/denied"] if batches else ["image/locked", "image/legal"]
        store.put(*keys)
        async with open_bucket(config_for(store.endpoint_url, name=BUCKET)) as opened:
            found = await opened.prober.probe()
            results = await opened.store(found).delete([Deletion(key=key) for key in keys])
    assert [(each.result, each.held_until) for each in results] == [
        (ObjectResult.HELD, UNTIL),
        (ObjectResult.HELD, None),
        (ObjectResult.FAILED, None),
    ][: len(keys)]


@pytest.mark.parametrize(
    ("code", "message", "result"),
    [
        ("AccessDenied", "Access Denied because object protected by object lock.", ObjectResult.HELD),
        ("ObjectLocked", "Object is WORM protected and cannot be overwritten", ObjectResult.HELD),
        ("ObjectLockedByBucketPolicy", "", ObjectResult.HELD),
        ("AccessDenied", "Access Denied", ObjectResult.FAILED),
        (
            "AccessDenied",
            "not authorized to perform: s3:DeleteObject on resource: arn:aws:s3:::object-lock/legal hold",
            ObjectResult.FAILED,
        ),
        ("InternalError", "protected by object lock", ObjectResult.FAILED),
    ],
)
def test_words_of_a_lock_are_told_from_a_lack_of_permission(
    code: str, message: str, result: ObjectResult
) -> None:
    assert refused("image/a", Refusal(code, message, status=403)).result is result
