"""The rights that the operations guide grants: enough for all that the program does, and no more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio.to_thread
import asyncpg
import pytest
from aiobotocore.httpsession import AIOHTTPSession

from reconciler import app
from reconciler.catalog import migrate
from reconciler.embedded.postgres import EmbeddedPostgres
from reconciler.errors import ReconcilerError
from reconciler.model import CheckStatus, Outcome, QuarantineBucket
from reconciler.settings import SettingsSource
from reconciler.stores.s3 import open_bucket
from reconciler.stores.s3.config import BucketConfig, CopySizes
from reconciler.stores.s3.locks import look_for_lock
from tests.integration.site import Site, make_site
from tests.servers import Bucket, execute, fresh_bucket, fresh_database
from tests.support.buckets import config_of
from tests.support.policies import Policy, Right, rights_of

pytestmark = [pytest.mark.anyio, pytest.mark.calm]

ACCESS = Path(__file__).parents[2] / "docs" / "access"
LONG_AGO = datetime.now(UTC) - timedelta(hours=1)
ROLES = ("reconciler", "reconciler_owner")
LARGE = 6 * 1024**2
"""Above the five mebibytes that a part has at least."""


# --- the store -----------------------------------------------------------------------------------------


@pytest.fixture
def rights(monkeypatch: pytest.MonkeyPatch) -> set[Right]:
    """What every request needed that the program sent, as it stood on the wire."""
    needed: set[Right] = set()
    send = AIOHTTPSession.send

    async def record_and_send(session: AIOHTTPSession, request: Any) -> Any:
        body = request.body or b""
        headers = {name.lower(): _text(value) for name, value in request.headers.items()}
        needed.update(
            rights_of(request.method, request.url, headers, body if isinstance(body, bytes) else b"")
        )
        return await send(session, request)

    monkeypatch.setattr(AIOHTTPSession, "send", record_and_send)
    return needed


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def copy_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As objects of more than a gibibyte are."""
    plain: Callable[..., BucketConfig] = app.wiring.bucket_config

    def small(*given: Any) -> BucketConfig:
        return replace(plain(*given), copy_sizes=CopySizes(at_once=LARGE - 1, part=5 * 1024**2))

    monkeypatch.setattr(app.wiring, "bucket_config", small)


async def everything(site: Site, mode: str) -> None:
    """What a site meets in its life: finding, deleting, undoing, purging, ending uploads, checking."""
    client, name = site.bucket.client, site.bucket.name
    await site.tracked("image/live")
    await site.put("image/orphan")
    await site.row("image/dangling")
    begin = partial(client.create_multipart_upload, Bucket=name, Key="image/unfinished")
    await anyio.to_thread.run_sync(begin)
    large = partial(client.put_object, Bucket=name, Key="video/large", Body=bytes(LARGE), Tagging="a=b")
    await anyio.to_thread.run_sync(large)
    for _ in range(2):
        report = await site.once(delete_mode=mode, abort_multipart_after="0s")
        assert report.outcome in {Outcome.CONVERGED, Outcome.PENDING}, report.detail
    assert await site.state() == ({"image/live"}, {"image/live"})
    if mode != "direct":
        undone = await site.undo(keys=("image/orphan",))
        assert (undone.complete, undone.objects) == (True, 1), undone
    await site.once(delete_mode=mode, undo_window="0s")


@pytest.mark.parametrize("mode", ["direct", "quarantine"])
async def test_the_policy_covers_every_request(
    unordered_site: Site, mode: str, rights: set[Right], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = unordered_site
    copy_in_parts(monkeypatch)
    await everything(site, mode)
    policy = Policy(ACCESS / "s3-policy.json", site.bucket.name)
    assert [right for right in sorted(rights, key=str) if not policy.allows(right)] == []


async def test_the_policy_for_another_bucket_covers_its_requests_and_no_action_is_superfluous(
    ordered_site: Site, rights: set[Right], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = ordered_site
    copy_in_parts(monkeypatch)
    with fresh_bucket(site.bucket.server) as other:
        site.environment["RECONCILER_DELETE_MODE"] = "quarantine"
        site.environment["RECONCILER_QUARANTINE__BUCKET"] = other.name
        unfinished = f"{QuarantineBucket(other.name, site.bucket.name).folder}{uuid4()}/a"
        site.bucket.client.create_multipart_upload(Bucket=other.name, Key=unfinished)
        await everything(site, "quarantine")
        keep = {"Status": "Enabled"}
        site.bucket.client.put_bucket_versioning(Bucket=other.name, VersioningConfiguration=keep)
        await site.put("image/again")
        await site.once(delete_mode="quarantine")
        await site.once(delete_mode="quarantine", undo_window="0s")
    own = Policy(ACCESS / "s3-policy.json", site.bucket.name)
    policy = Policy(ACCESS / "s3-policy-quarantine.json", other.name)
    missing = [right for right in sorted(rights, key=str) if not (own.allows(right) or policy.allows(right))]
    assert missing == []
    there = {right.action for right in rights if right.resource.startswith(f"arn:aws:s3:::{other.name}")}
    assert policy.actions - there == set()


async def test_without_versions_no_right_on_them_is_needed(unordered_site: Site, rights: set[Right]) -> None:
    await unordered_site.put("image/orphan")
    await unordered_site.once(delete_mode="direct")
    assert await unordered_site.keys() == set()
    assert {right.action for right in rights if "Version" in right.action} == {"s3:GetBucketVersioning"}


async def test_no_action_of_the_policy_is_superfluous(
    ordered_site: Site, rights: set[Right], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = ordered_site
    copy_in_parts(monkeypatch)
    await everything(site, "quarantine")
    keep = {"Status": "Enabled"}
    site.bucket.client.put_bucket_versioning(Bucket=site.bucket.name, VersioningConfiguration=keep)
    await site.put("image/hidden")
    await site.once(delete_mode="versioned")
    await site.once(delete_mode="versioned", undo_window="0s")
    async with open_bucket(config_of(site.bucket)) as opened:
        # A purge that is refused looks why; here nothing is locked.
        await look_for_lock(opened._own.calls, "image/live", "null")
    policy = Policy(ACCESS / "s3-policy.json", site.bucket.name)
    assert [right for right in sorted(rights, key=str) if not policy.allows(right)] == []
    assert policy.actions - {right.action for right in rights} == set()


# --- the database --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def granted_template(postgres: EmbeddedPostgres) -> Iterator[str]:
    """A database with the gateway's tables and the script's roles, which are the server's and go with it."""
    try:
        with fresh_database(postgres) as url:
            migrate.upgrade(url, create_tables=True)
            execute(url, "DROP SCHEMA reconciler CASCADE", (ACCESS / "grants.sql").read_text())
            execute(url, *(f"ALTER ROLE {role} PASSWORD 'secret'" for role in ROLES))
            migrate.upgrade(_as(url, "reconciler_owner"))
            migrate.upgrade(url, with_triggers=True)
            yield url.rpartition("/")[2]
    finally:
        execute(postgres.url(), *(f"DROP ROLE IF EXISTS {role}" for role in ROLES))


@pytest.fixture
def media(postgres: EmbeddedPostgres, granted_template: str) -> Iterator[str]:
    with fresh_database(postgres, granted_template) as url:
        yield url


@pytest.fixture
def granted(media: str, bucket: Bucket) -> Site:
    return _granted(media, bucket)


@pytest.fixture
def unordered_granted(media: str, seaweed_bucket: Bucket) -> Site:
    return _granted(media, seaweed_bucket)


def _granted(media: str, bucket: Bucket) -> Site:
    """The test looks at the tables as their owner, the program only as the daemon's role."""
    site = make_site(media, bucket, calm=True)
    site.environment["RECONCILER_DATABASE_URL"] = _as(media, "reconciler")
    return site


def _as(url: str, role: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{role}:secret@{rest.rpartition('@')[2]}"


async def rows_and_objects(site: Site) -> None:
    """What the daemon's role is for: deleting objects and rows, and bringing both back."""
    await site.tracked("image/live")
    await site.put("image/orphan", "image/expired")
    await site.row("image/expired", ExpiresAt=LONG_AGO)
    report = await site.once(delete_mode="quarantine")
    assert report.outcome is Outcome.CONVERGED, report.detail
    assert await site.state() == ({"image/live"}, {"image/live"})
    undone = await site.undo(keys=("image/expired",))
    assert (undone.objects, undone.records) == (1, 1), undone


async def test_the_roles_suffice(granted: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    await rows_and_objects(granted)
    for name, value in granted.environment.items():
        monkeypatch.setenv(name, value)
    checks = await app.doctor(SettingsSource())
    assert [check for check in checks if check.status is CheckStatus.FAIL] == []
    assert [check for check in checks if "GRANT" in check.detail] == []


@pytest.mark.parametrize(
    "right",
    [
        'SELECT ON public."MediaRecords"',
        'DELETE ON public."MediaRecords"',
        'UPDATE ("Id") ON public."MediaRecords"',
        'INSERT ON public."MediaRecords"',
        'SELECT ON public."VirtualKeys"',
        "USAGE ON SCHEMA reconciler",
        "CREATE ON SCHEMA reconciler",
        "SELECT ON ALL TABLES IN SCHEMA reconciler",
        "INSERT ON ALL TABLES IN SCHEMA reconciler",
        "UPDATE ON ALL TABLES IN SCHEMA reconciler",
        "DELETE ON ALL TABLES IN SCHEMA reconciler",
    ],
)
async def test_no_grant_is_superfluous(unordered_granted: Site, right: str) -> None:
    await unordered_granted.sql(f"REVOKE {right} FROM reconciler")
    with pytest.raises((AssertionError, ReconcilerError)):
        await rows_and_objects(unordered_granted)


@pytest.mark.parametrize(
    "statement",
    [
        'UPDATE "MediaRecords" SET "Prompt" = NULL',
        'TRUNCATE "MediaRecords"',
        'DELETE FROM "VirtualKeys"',
        'UPDATE "VirtualKeys" SET "IsEnabled" = false',
        "CREATE TABLE public.other (id integer)",
        "DROP TABLE reconciler.ledger",
    ],
)
async def test_the_daemons_role_can_do_nothing_else(media: str, statement: str) -> None:
    connection = await asyncpg.connect(_as(media, "reconciler"))
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    finally:
        await connection.close()
