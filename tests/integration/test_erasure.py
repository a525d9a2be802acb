"""Erasures with proof, on real servers: what goes, what stays, and what is written about it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio.to_thread
import pytest
from joserfc.jwk import OKPKey

from reconciler.catalog.recovery.cases import PostgresErasures
from reconciler.embedded.postgres import EmbeddedPostgres
from reconciler.errors import Halt
from reconciler.model import Certified, ErasureKind, Hold, HoldKind, Outcome
from tests.cli.program import Ran, reconciler
from tests.integration.backups import backup
from tests.integration.kill_at import killed_at
from tests.integration.site import SOON_DEAD, Site
from tests.integration.test_gone import left
from tests.integration.test_versions import keep_versions
from tests.servers import fresh_bucket

pytestmark = [pytest.mark.anyio, pytest.mark.calm]

PATIENT = {"grace_period": "48h", "delete_delay": "24h", "delete_mode": "auto"}
"""Nothing goes for any other reason."""

LONG_AGO = datetime.now(UTC) - timedelta(hours=1)


@pytest.fixture
def site(ordered_site: Site) -> Site:
    ordered_site.environment.update({f"RECONCILER_{name.upper()}": value for name, value in PATIENT.items()})
    return ordered_site


async def order(site: Site, owner: UUID | None = None, *keys: str) -> UUID:
    kind = ErasureKind.KEYS if keys else ErasureKind.VIRTUAL_KEY
    async with site.catalog() as catalog:
        return await catalog.erasures.order(kind, keys or [str(owner)], "ada", "Art. 17")


async def documents(site: Site) -> list[dict[str, Any]]:
    """The certificates, in their order."""
    async with site.catalog() as catalog:
        return [json.loads(each.document) for each in await catalog.erasures.certificates()]


async def certificate(site: Site) -> dict[str, Any]:
    (only,) = await documents(site)
    made: dict[str, Any] = only["certificate"]
    return made


async def test_all_that_is_a_virtual_keys_goes_and_is_certified(site: Site) -> None:
    owner = await site.virtual_key()
    await site.tracked("image/1", "image/2", owner=owner)
    await site.tracked("image/other")
    await site.once()
    await site.put("image/coming")
    await site.sql(
        "INSERT INTO reconciler.reservations (id, storage_key, owner, content_type, expires_at)"
        " VALUES (gen_random_uuid(), 'image/coming', $1, 'image/png', now() + interval '1 hour')",
        str(owner),
    )
    await order(site, owner)
    for _ in range(2):
        await site.once()
    assert await site.state() == ({"image/other"}, {"image/other"})
    assert await site.sql("SELECT 1 FROM reconciler.reservations") == []
    made = await certificate(site)
    assert (made["complete"], made["kept"], made["ordered"]["by"]) == (True, [], "ada")
    found = made["evidence"]
    assert (found["bucket"]["objects_deleted"], found["database"]["rows_removed"]) == (3, 2)
    assert (found["quarantine"]["copies"], found["quarantine"]["purged"]) == (3, 3)
    assert str(owner) not in json.dumps(made), "the subject is a hash"
    assert "image/1" not in json.dumps(made)
    lines = await site.sql("SELECT owners, detail FROM reconciler.ledger WHERE what = 'virtual_key'")
    assert [(row["owners"], row["detail"][:13]) for row in lines] == [([str(owner)], "certificate 1")]
    texts = await site.sql("SELECT 1 FROM reconciler.ledger WHERE row_values IS NOT NULL")
    assert texts == [], "nothing of a row is kept"
    await site.once()
    assert len(await documents(site)) == 1


@pytest.mark.attack(121)
async def test_what_others_need_or_hold_stays_and_is_named(site: Site) -> None:
    """The hold comes when the erasure is written down already."""
    owner = await site.virtual_key()
    await site.tracked("image/shared", "image/mine", "image/held", owner=owner)
    await site.sql('ALTER TABLE "MediaRecords" DROP CONSTRAINT "MediaRecords_StorageKey_key"')
    await site.row("image/shared")
    await site.once()
    await order(site, owner)
    async with site.catalog() as catalog:
        held = Hold(kind=HoldKind.KEY, target="image/held", reason="a case", author="legal")
        await catalog.holds.add([held])
    await site.once()
    stay = {"image/shared", "image/held"}
    assert await site.state() == (stay, stay)
    made = await certificate(site)
    assert not made["complete"]
    why = {each["why"] for each in made["kept"]}
    assert why == {"another row names it", "on hold by legal: a case"}


async def test_nothing_is_erased_in_dry_run_or_while_paused(site: Site) -> None:
    owner = await site.virtual_key()
    await site.tracked("image/1", owner=owner)
    await site.once()
    await order(site, owner)
    await site.once(dry_run="true")
    async with site.catalog() as catalog:
        await catalog.pauses.pause("ada", "a look")
    await site.once()
    assert await site.state() == ({"image/1"}, {"image/1"})
    assert await documents(site) == []


async def test_keys_go_without_a_row_with_their_open_uploads(site: Site) -> None:
    site.environment["RECONCILER_ABORT_MULTIPART_AFTER"] = "9000d"
    await site.put("image/orphan")
    site.bucket.client.create_multipart_upload(Bucket=site.bucket.name, Key="image/orphan")
    await site.once()
    await order(site, None, "image/orphan", "image/never")
    for _ in range(3):
        await site.once()
    assert await site.keys() == set()
    found = (await certificate(site))["evidence"]
    assert (found["uploads"]["aborted"], found["bucket"]["keys"]) == (1, 2)


async def test_older_versions_and_markers_go_too(site: Site) -> None:
    keep_versions(site)
    owner = await site.virtual_key()
    await site.tracked("image/1", owner=owner)
    await site.put("image/1")
    await site.once()
    await order(site, owner)
    for _ in range(2):
        await site.once()
    assert await left(site, "image/1") == []
    assert (await certificate(site))["complete"]


@pytest.mark.attack(122)
async def test_a_row_that_comes_last_goes_as_well(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the last look and the certificate: then none is written."""
    owner = await site.virtual_key()
    await site.tracked("image/1", owner=owner)
    await site.once()
    await order(site, owner)
    certify = PostgresErasures.certify

    async def too_late(*args: Any) -> Certified | None:
        await site.tracked("image/2", owner=owner)
        return await certify(*args)

    with monkeypatch.context() as patched:
        patched.setattr(PostgresErasures, "certify", too_late)
        await site.once()
    assert await documents(site) == []
    await site.once()
    assert await site.state() == (set(), set())
    assert (await certificate(site))["evidence"]["database"]["rows_removed"] == 2


@pytest.mark.soak
async def test_a_cdn_is_asked_and_its_answer_is_kept(site: Site) -> None:
    """The certificate waits for the answer."""
    told = {"PROVIDER": "webhook", "API_URL": "http://127.0.0.1:1/purge", "URL": "https://cdn.example/{key}"}
    site.environment.update({f"RECONCILER_CDN__{name}": value for name, value in told.items()})
    owner = await site.virtual_key()
    await site.tracked("image/1", owner=owner)
    await site.once()
    await order(site, owner)
    await site.once()
    async with site.catalog() as catalog:
        (case,) = await catalog.erasures.page()
    assert (case.said or "").startswith("the CDN has ")
    assert await documents(site) == []
    await site.sql(
        "WITH sent AS (DELETE FROM reconciler.outbox RETURNING storage_key)"
        " INSERT INTO reconciler.ledger (epoch, event, mode, what, storage_key, verdict, reason, detail)"
        " SELECT DISTINCT 1, 'uncached', 'live', 'object', storage_key, '', '', 'purged' FROM sent"
        " WHERE storage_key IS NOT NULL"
    )
    await site.once()
    found = (await certificate(site))["evidence"]["cdn"]
    assert (found["keys"], found["answer"]) == (1, "purged")


@pytest.mark.soak
async def test_copies_in_another_bucket_go_too(site: Site) -> None:
    with fresh_bucket(site.bucket.server) as other:
        site.environment["RECONCILER_DELETE_MODE"] = "quarantine"
        site.environment["RECONCILER_QUARANTINE__BUCKET"] = other.name
        owner = await site.virtual_key()
        await site.put("image/1")
        await site.row("image/1", owner, ExpiresAt=LONG_AGO)
        await site.once(delete_delay="0s")
        assert len(other.keys(".reconciler/quarantine/")) == 1, "what was deleted before can be undone"
        await order(site, owner)
        await site.once()
        assert other.keys(".reconciler/quarantine/") == set()
    found = (await certificate(site))["evidence"]
    assert (found["quarantine"]["copies"], found["database"]["texts_removed"]) == (1, 1)


@pytest.mark.soak
async def test_what_the_store_locks_stays_and_is_named(site: Site) -> None:
    bucket = replace(site.bucket, name=f"{site.bucket.name}-locked")
    bucket.client.create_bucket(Bucket=bucket.name, ObjectLockEnabledForBucket=True)
    locked = replace(site, bucket=bucket)
    locked.environment["RECONCILER_BUCKET__NAME"] = bucket.name
    owner = await locked.virtual_key()
    await locked.tracked("image/free", owner=owner)
    until = datetime.now(UTC) + timedelta(days=30)
    lock = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": until}
    bucket.client.put_object(Bucket=bucket.name, Key="image/locked", Body=b"x", **lock)
    await locked.row("image/locked", owner)
    await locked.once()
    await order(locked, owner)
    await locked.once()
    made = await certificate(locked)
    assert [each["why"][:20] for each in made["kept"]] == ["on hold by the store"]
    assert not made["complete"]


# --- a restore from a backup -----------------------------------------------------------------------------


@pytest.fixture
async def restored(site: Site, postgres: EmbeddedPostgres) -> AsyncIterator[tuple[Site, UUID]]:
    """The site with the database of before an erasure, adopted; and whom it was about."""
    owner = await site.virtual_key()
    await site.tracked("image/1", "image/2", owner=owner)
    await site.tracked("image/other")
    await site.once()
    async with backup(site, postgres) as back:
        await order(site, owner)
        await site.once()
        halted = await back.once()
        assert (halted.outcome, "adopt-bucket" in halted.detail) == (Outcome.HALTED, True)
        assert "erase --replay" in "".join((await back.ownership()).lines())
        await back.adopt()
        yield back, owner


async def program(site: Site, *args: str) -> Ran:
    return await anyio.to_thread.run_sync(lambda: reconciler(*args, env=site.environment))


async def forge(site: Site, tmp_path: Path) -> None:
    """A certificate that is altered, not signed by us, or of another secret: nothing of any is ordered."""
    (name,) = site.bucket.keys(".reconciler/erasures/")
    body = site.bucket.client.get_object(Bucket=site.bucket.name, Key=name)["Body"].read()
    site.bucket.put(name, body.replace(b"Art. 17", b"Art. 18"))
    ran = await program(site, "erase", "--replay")
    assert (ran.status, "it was altered" in ran.told[-1]) == (1, True)
    assert await site.sql("SELECT 1 FROM reconciler.erasures") == []
    site.bucket.put(name, body)
    key = tmp_path / "key.json"
    key.write_text(json.dumps(OKPKey.generate_key("Ed25519").as_dict(private=True)))
    site.environment["RECONCILER_ERASURE__SIGNING_KEY_FILE"] = str(key)
    ran = await program(site, "erase", "--replay")
    assert (ran.status, "it is not signed" in ran.told[-1]) == (1, True), "who signs takes no unsigned one"
    secret = tmp_path / "secret"
    secret.write_text("x" * 32)
    del site.environment["RECONCILER_ERASURE__SIGNING_KEY_FILE"]
    site.environment["RECONCILER_ERASURE__HASH_KEY_FILE"] = str(secret)
    ran = await program(site, "erase", "--replay")
    assert (ran.status, "another secret" in ran.told[-1]) == (2, True)
    assert await site.sql("SELECT 1 FROM reconciler.certificates") == []
    del site.environment["RECONCILER_ERASURE__HASH_KEY_FILE"]


@pytest.mark.attack(123)
@pytest.mark.attack(124)
async def test_what_came_back_with_a_backup_is_erased_again(
    restored: tuple[Site, UUID], tmp_path: Path
) -> None:
    site, owner = restored
    await site.put("image/2")
    await site.row("image/later", owner, age=timedelta(seconds=-60))
    halted = await site.once()
    assert halted.outcome is Outcome.HALTED
    assert ".reconciler/erasures/000000000001-" in halted.detail
    assert await site.rows() == {"image/1", "image/2", "image/other", "image/later"}, "nothing goes meanwhile"
    with pytest.raises(Halt, match="erase --replay"):
        await site.undo(keys=("image/1",))
    await forge(site, tmp_path)
    would = await program(site, "erase", "--replay", "--dry-run")
    assert (would.status, would.told) == (0, [])
    assert "1 virtual key and 2 storage keys of them are back" in would.out
    assert (await site.once()).outcome is Outcome.HALTED, "that was only a look"
    assert (await program(site, "erase", "--replay", "--by", "ada")).status == 0
    for _ in range(2):
        report = await site.once()
    assert report.outcome is Outcome.CONVERGED
    assert await site.rows() == {"image/other", "image/later"}, "what is newer than the erasure stays"
    assert await site.keys() == {"image/other"}
    first, *again = await documents(site)
    assert [each["certificate"]["replays"] for each in again] == [first["digest"]] * 2
    assert [each["certificate"]["number"] for each in again] == [2, 3]
    assert again[0]["certificate"]["previous"] == first["digest"]


# --- kills -----------------------------------------------------------------------------------------------

CALLS = [
    ("erasures", "wipe", "after"),
    ("erasures", "redact", "after"),
    ("erasures", "certify", "before"),
    ("certificates", "put", "after"),
]


@pytest.mark.soak
@pytest.mark.calm(False)
@pytest.mark.parametrize("where", CALLS, ids="-".join)
async def test_one_that_was_killed_is_finished_by_the_next(site: Site, where: tuple[str, str, str]) -> None:
    owner = await site.virtual_key()
    await site.tracked("image/1", "image/2", owner=owner)
    await site.tracked("image/other")
    await order(site, owner)
    await killed_at(site, *where, "once", "--json")
    for _ in range(3):
        await site.once(**SOON_DEAD)
    assert await site.state() == ({"image/other"}, {"image/other"})
    made = await certificate(site)
    assert (made["number"], made["complete"], made["evidence"]["database"]["rows_removed"]) == (1, True, 2)
    assert len(site.bucket.keys(".reconciler/erasures/")) == 1
