"""A store that refuses one key, in every way that stores have, and one that refuses all for its own state."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from reconciler import app
from reconciler.model import QUARANTINE_PREFIX, KeepReason, Outcome, Report
from reconciler.stores.s3.config import BucketConfig, CopySizes
from tests.integration.daemons import daemon, until
from tests.integration.site import Site, make_site
from tests.servers import Bucket
from tests.support.refusing_store import Refused, RefusingStore, refusing_store

pytestmark = [pytest.mark.soak, pytest.mark.anyio, pytest.mark.calm, pytest.mark.timeout(300)]

FAILED, HELD, MISSING = "failed", "held", "missing"

TABLE: Final = (
    # No object has a refusal in common with its neighbours: each of these is about one key.
    (400, "InvalidRequest", FAILED),  # the key of the customer is needed to read it
    (400, "InvalidArgument", FAILED),
    (400, "MalformedXML", FAILED),
    (400, "EntityTooLarge", FAILED),
    (400, "InvalidEncryptionAlgorithmError", FAILED),
    (400, "UnheardOf", FAILED),
    (400, "", FAILED),
    (401, "", FAILED),
    (402, "", FAILED),
    (403, "AccessDenied", FAILED),  # a policy on a prefix
    (403, "AllAccessDisabled", FAILED),
    (403, "AccountProblem", FAILED),
    (403, "", FAILED),
    # Fatal, were it not for one key: gateways sign odd keys in ways of their own.
    (403, "SignatureDoesNotMatch", FAILED),
    (403, "InvalidAccessKeyId", FAILED),
    (400, "ExpiredToken", FAILED),
    (400, "InvalidToken", FAILED),
    (403, "RequestTimeTooSkewed", FAILED),
    (404, "NoSuchBucket", FAILED),
    (404, "NoSuchKey", MISSING),
    (405, "MethodNotAllowed", FAILED),
    (405, "", FAILED),
    (406, "", FAILED),
    (407, "", FAILED),
    (409, "ConditionalRequestConflict", FAILED),
    (409, "InvalidBucketState", FAILED),
    (410, "", FAILED),
    (411, "MissingContentLength", FAILED),
    (412, "PreconditionFailed", FAILED),  # to the object's own ETag
    (413, "", FAILED),
    (415, "", FAILED),
    (416, "InvalidRange", FAILED),
    (417, "", FAILED),
    (421, "", FAILED),
    (422, "", FAILED),
    (423, "", FAILED),
    (424, "", FAILED),
    (426, "", FAILED),
    (428, "", FAILED),
    (431, "", FAILED),
    (501, "NotImplemented", FAILED),
    (505, "", FAILED),
    (508, "", FAILED),
    (511, "", FAILED),
    # Certain: asking again changes nothing.
    (403, "InvalidObjectState", HELD),
    (400, "KeyTooLongError", HELD),
    (400, "XMinioInvalidObjectName", HELD),
    (400, "InvalidTag", HELD),
    (414, "", HELD),
    (451, "", HELD),
    # The store's state, which other keys do not meet.
    (403, "QuotaExceeded", FAILED),
    (507, "XMinioStorageFull", FAILED),
    (507, "", FAILED),
    (400, "KMS.DisabledException", FAILED),
    (400, "KMS.ThrottlingException", FAILED),
    # It may pass, and never does.
    (408, "", FAILED),
    (409, "OperationAborted", FAILED),
    (429, "", FAILED),
    (500, "InternalError", FAILED),
    (502, "", FAILED),
    (503, "SlowDown", FAILED),
    (504, "", FAILED),
    (509, "BandwidthLimitExceeded", FAILED),
    (520, "", FAILED),
    (599, "", FAILED),
)
HEALTHY: Final = [f"image/{number:02}/healthy" for number in range(0, len(TABLE), 4)]
CASES: Final = {
    f"image/{number:02}/poison": (Refused(status, code), result)
    for number, (status, code, result) in enumerate(TABLE)
}
BARE: Final = {
    key: (Refused(refused.status), MISSING if refused.status == 404 else result)
    for key, (refused, result) in CASES.items()
    if not refused.code or refused.status == 404
}
"""HEAD answers have no body, so that a code says nothing."""


@pytest.fixture
async def store(moto_bucket: Bucket) -> AsyncIterator[RefusingStore]:
    async with refusing_store(moto_bucket) as opened:
        yield opened


@pytest.fixture
def site(database: str, store: RefusingStore) -> Site:
    return make_site(database, store.behind, calm=True)


def refuse(store: RefusingStore, operation: str, cases: dict[str, tuple[Refused, str]]) -> None:
    """That operation, of each key in its own way."""

    def rule(asked: str, key: str) -> Refused | None:
        return cases[key][0] if asked == operation and key in cases else None

    store.rule = rule


async def results(site: Site) -> dict[str, str]:
    """What was last written down of each object."""
    rows = await site.sql(
        "SELECT DISTINCT ON (storage_key) storage_key, result FROM reconciler.ledger"
        " WHERE event = 'result' AND what = 'object' ORDER BY storage_key, id DESC"
    )
    return {row[0]: row[1] for row in rows}


async def holds(site: Site) -> dict[str, datetime | None]:
    rows = await site.sql("SELECT target, until FROM reconciler.holds")
    return {row[0]: row[1] for row in rows}


async def later(site: Site) -> None:
    """As if what was put off were due again, and what is on hold free."""
    await site.outlive_the_dead()
    await site.sql("UPDATE reconciler.marks SET not_before = now()")
    await site.sql("UPDATE reconciler.holds SET until = now()")


async def expect(site: Site, cases: dict[str, tuple[Refused, str]], report: Report) -> None:
    """The others went, and of each poison key came what the table says."""
    assert report.outcome is Outcome.FAILED, report
    assert await site.keys() == set(cases)
    found = await results(site)
    assert {key: found.get(key) for key in cases} == {key: result for key, (_, result) in cases.items()}
    kept = await holds(site)
    assert set(kept) == {key for key, (_, result) in cases.items() if result == HELD}
    assert None not in kept.values()


async def converge(site: Site, store: RefusingStore, **settings: str) -> None:
    """The fault is over: everything goes, nothing is on hold, and another run has nothing to do."""
    store.rule = lambda *_: None
    await later(site)
    report = await site.once(**settings)
    assert (report.outcome, await site.keys()) == (Outcome.CONVERGED, set()), report
    assert await holds(site) == {}
    assert await site.sql("SELECT FROM reconciler.marks") == []


@pytest.mark.attack(72)
@pytest.mark.incident(43)
@pytest.mark.parametrize("parts", [False, True], ids=["CopyObject", "UploadPartCopy"])
async def test_a_copy_that_is_refused_for_one_key(
    site: Site, store: RefusingStore, parts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if parts:
        plain = app.wiring.bucket_config

        def small(*given: object) -> BucketConfig:
            return replace(plain(*given), copy_sizes=CopySizes(at_once=0, part=5 * 1024**2))  # type: ignore[arg-type]

        monkeypatch.setattr(app.wiring, "bucket_config", small)
    site.environment["RECONCILER_DELETE_MODE"] = "quarantine"
    await site.put(*CASES, *HEALTHY)
    refuse(store, "UploadPartCopy" if parts else "CopyObject", CASES)
    await expect(site, CASES, await site.once())
    await converge(site, store)


@pytest.mark.attack(73)
@pytest.mark.incident(44)
async def test_an_object_whose_head_is_refused(site: Site, store: RefusingStore) -> None:
    """Before it is copied into quarantine it is looked at."""
    site.environment["RECONCILER_DELETE_MODE"] = "quarantine"
    await site.put(*BARE, *HEALTHY)
    refuse(store, "HeadObject", BARE)
    await expect(site, BARE, await site.once())
    await converge(site, store)


@pytest.mark.parametrize("entries", [False, True], ids=["DeleteObject", "DeleteEntry"])
async def test_a_deletion_that_is_refused_for_one_key(
    site: Site, store: RefusingStore, entries: bool
) -> None:
    """Moto compares ETags in single deletions alone: rows' objects, whose ETag nobody saw, go in batches."""
    cases = {
        key: case for key, case in CASES.items() if not entries or (case[0].code and case[0].status != 412)
    }
    await site.put(*cases, *HEALTHY)
    if entries:
        owner = await site.virtual_key()
        for key in (*cases, *HEALTHY):
            await site.row(key, owner, ExpiresAt=datetime.now(UTC) - timedelta(hours=1))
    refuse(store, "DeleteEntry" if entries else "DeleteObject", cases)
    await expect(site, cases, await site.once())
    await converge(site, store)
    assert await site.rows() == set()


@pytest.mark.attack(77)
@pytest.mark.parametrize("order", ["probe", "none"])
async def test_a_sweep_whose_heads_nobody_may_send_stops(
    site: Site, store: RefusingStore, order: str
) -> None:
    """Whether a row misses its object nobody can tell then."""
    await site.row("image/lost")
    asked: list[str] = []

    def rule(operation: str, key: str) -> Refused | None:
        """From the first look at the row's object on."""
        if operation == "HeadObject" and (key == "image/lost" or asked):
            asked.append(key)
            return Refused(403)
        return None

    store.rule = rule
    report = await site.once(bucket__listing_order=order)
    assert report.outcome is Outcome.HALTED
    assert "s3:GetObject" in report.detail
    assert await site.sql("SELECT FROM reconciler.marks") == []


# --- the store's own state -----------------------------------------------------------------------------

ROOMLESS: Final = (
    Refused(403, "QuotaExceeded"),
    Refused(507),
    Refused(507, "XMinioStorageFull"),
    Refused(507, "UnheardOf"),
    Refused(400, "KMS.DisabledException"),
    Refused(403, "AccessDenied", "Cannot copy files, storage cap exceeded."),
)


@pytest.mark.attack(72)
@pytest.mark.incident(43)
@pytest.mark.parametrize(
    ("keys", "refused"), [*((4, refused) for refused in ROOMLESS), (12, ROOMLESS[0])], ids=str
)
async def test_a_store_without_room_halts_with_advice_holds_nothing_and_recovers(
    site: Site, store: RefusingStore, refused: Refused, keys: int
) -> None:
    """Of few keys the marker's copy tells; of many their number does, where a small marker still fits."""
    site.environment["RECONCILER_DELETE_MODE"] = "quarantine"
    await site.put(*(f"image/{number}" for number in range(keys)))
    await site.row("image/expired", ExpiresAt=datetime.now(UTC) - timedelta(hours=1))
    await site.put("image/expired")
    marker_too = keys == 4

    def rule(operation: str, key: str) -> Refused | None:
        ours = key.startswith("image/") or (marker_too and key.endswith("identity.json"))
        return refused if operation == "CopyObject" and ours else None

    store.rule = rule
    report = await site.once()
    assert report.outcome is Outcome.HALTED, report
    assert "Free space" in report.detail or "encryption key" in report.detail
    assert (await holds(site), report.removed.objects) == ({}, 0)
    await converge(site, store)


@pytest.mark.incident(43)
@pytest.mark.parametrize("since", ["the start", "the probe"])
async def test_a_store_without_room_is_freed_of_what_has_had_its_time(
    site: Site, store: RefusingStore, since: str
) -> None:
    """Nothing more can be copied, so this alone makes room; also where the probe found that out."""
    site.environment["RECONCILER_DELETE_MODE"] = "quarantine"
    await site.put("image/old")
    assert (await site.once()).removed.objects == 1
    await site.put("image/a", "image/b")

    def rule(operation: str, key: str) -> Refused | None:
        spared = since == "the probe" and "probe/" in key
        return ROOMLESS[0] if operation == "CopyObject" and not spared else None

    store.rule = rule
    report = await site.once(undo_window="0s")
    assert (report.outcome, report.removed.objects) == (Outcome.HALTED, 0), report
    assert await site.sql("SELECT FROM reconciler.hidden") == []
    assert site.bucket.keys(QUARANTINE_PREFIX) == set()
    await converge(site, store)


@pytest.mark.incident(43)
async def test_a_daemon_goes_on_by_itself_when_there_is_room_again(
    site: Site, store: RefusingStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It idles, halted, and nobody has to start or lift anything."""
    site.environment["RECONCILER_DELETE_MODE"] = "quarantine"
    await site.put("image/a", "image/b")

    def rule(operation: str, key: str) -> Refused | None:
        # What the probe copies at the start is its own scratch key.
        return Refused(403, "QuotaExceeded") if operation == "CopyObject" and "probe/" not in key else None

    store.rule = rule
    log = tmp_path / "log"
    async with daemon(site, log) as running:

        async def halted() -> bool:
            return await running.metric("media_reconciler_halted") == 1

        await until(halted)
        assert "Free space" in log.read_text()
        assert (await site.keys(), await holds(site)) == ({"image/a", "image/b"}, {})
        store.rule = lambda *_: None
        await later(site)

        async def gone() -> bool:
            return await site.keys() == set()

        await until(gone, within=150)
        assert await running.stop() == 0


# --- what a refused key comes to -----------------------------------------------------------------------


@pytest.mark.attack(73)
async def test_a_key_that_stays_refused_ends_on_hold_with_an_end(site: Site, store: RefusingStore) -> None:
    """And is tried again when the hold has ended, whatever a person does."""
    site.environment["RECONCILER_DELETE_MODE"] = "quarantine"
    key = "image/00/poison"
    await site.put(key)
    refuse(store, "HeadObject", {key: (Refused(400), FAILED)})
    for _ in range(3):
        assert (await site.once()).outcome is Outcome.FAILED
        assert await holds(site) == {}
        await later(site)
    report = await site.once()
    assert report.outcome is Outcome.CONVERGED
    (until_when,) = (await holds(site)).values()
    assert until_when is not None
    assert until_when > datetime.now(UTC) + timedelta(days=1)
    assert (await site.once()).kept[KeepReason.HOLD] == 1
    await converge(site, store)


@pytest.mark.incident(44)
@pytest.mark.parametrize(
    ("key", "code", "stays"),
    [
        ("image/" + "n" * 300, "XMinioInvalidObjectName", False),
        ("image/" + "k" * 260, "KeyTooLongError", False),
        ("image" + 5 * ("/" + 80 * "\u20ac"), "KeyTooLongError", False),
        ("image/../secret", "XMinioInvalidObjectName", False),
        ("image/bell\x07", "InvalidURI", False),
        ("image/plain", "XMinioInvalidObjectName", True),  # nothing is wrong with it as far as we see
        ("image/" + "m" * 300, "", True),  # nor is there a code
        ("image/" + "o" * 300, "InvalidRequest", True),
    ],
    ids=lambda value: str(value)[:24].encode("unicode_escape").decode(),
)
async def test_a_dangling_record_whose_key_the_store_takes_for_none(
    site: Site, store: RefusingStore, key: str, code: str, stays: bool
) -> None:
    dangling = {f"image/dangling/{number}" for number in range(5)}
    await site.tracked("image/live")
    for each in (*dangling, key):
        await site.row(each)

    def rule(operation: str, about: str) -> Refused | None:
        about_it = about == key and operation != "ListObjectsV2"
        return Refused(400, code) if about_it else None

    store.rule = rule
    for _ in range(2):
        report = await site.once()
    assert report.outcome is (Outcome.FAILED if stays else Outcome.CONVERGED)
    assert await site.rows() == {"image/live", *([key] if stays else [])}
    if stays:
        told = await site.sql("SELECT detail FROM reconciler.ledger WHERE result = 'failed'")
        assert {(code or "400") in row[0] for row in told} == {True}


# --- beside the collector: uploads, versions, the marker -----------------------------------------------

SOME: Final = tuple(
    (refused, result) for number, (refused, result) in enumerate(CASES.values()) if number % 4 == 0
)
"""Of a loop that settles nothing by kind, every fourth is enough."""


async def test_uploads_that_cannot_be_listed_or_ended_stop_neither_the_sweep_nor_the_others(
    site: Site, store: RefusingStore
) -> None:
    client, name = site.bucket.client, site.bucket.name
    keys = {f"image/{number:02}/part": refused for number, (refused, _) in enumerate(SOME)}
    for key in (*keys, "image/99/part"):
        client.create_multipart_upload(Bucket=name, Key=key)
    await site.put("image/orphan")

    def left() -> set[str]:
        return {each["Key"] for each in client.list_multipart_uploads(Bucket=name).get("Uploads", ())}

    store.rule = lambda operation, key: keys.get(key) if operation == "AbortMultipartUpload" else None
    report = await site.once(abort_multipart_after="0s")
    assert (report.outcome, await site.keys()) == (Outcome.CONVERGED, set())
    # What the store says is not there has been ended by somebody else.
    assert left() == set(keys)
    for refused in (Refused(400, "InvalidRequest"), Refused(501, "NotImplemented"), Refused(500)):
        store.rule = lambda operation, key, refused=refused: (  # type: ignore[misc]  # a default argument
            refused if operation == "ListMultipartUploads" and key.startswith("image/") else None
        )
        await site.put("image/orphan")
        report = await site.once(abort_multipart_after="0s")
        assert (report.outcome, await site.keys()) == (Outcome.CONVERGED, set())
    store.rule = lambda *_: None
    await site.once(abort_multipart_after="0s")
    assert left() == set()


@pytest.mark.parametrize("operation", ["ListMultipartUploads", "ListObjectVersions"])
async def test_a_dangling_record_whose_uploads_or_versions_are_refused_stays_alone(
    site: Site, store: RefusingStore, operation: str
) -> None:
    """In doubt the row stays: an upload may be under way, a version may be hidden."""
    keys = {f"image/{number:02}/poison": refused for number, (refused, _) in enumerate(SOME)}
    if operation == "ListObjectVersions":
        site.bucket.client.put_bucket_versioning(
            Bucket=site.bucket.name, VersioningConfiguration={"Status": "Enabled"}
        )
        site.environment["RECONCILER_DELETE_MODE"] = "versioned"
    owner = await site.virtual_key()
    for key in (*keys, *HEALTHY):
        await site.row(key, owner)
    store.rule = lambda asked, key: keys.get(key) if asked == operation else None
    for _ in range(2):
        report = await site.once()
    assert report.outcome is Outcome.FAILED, report
    assert await site.rows() == set(keys)
    store.rule = lambda *_: None
    await later(site)
    for _ in range(2):  # what was on hold is seen twice again
        report = await site.once()
    assert (report.outcome, await site.rows()) == (Outcome.CONVERGED, set())


async def test_a_purge_goes_past_versions_and_copies_that_are_refused(
    site: Site, store: RefusingStore
) -> None:
    site.bucket.client.put_bucket_versioning(
        Bucket=site.bucket.name, VersioningConfiguration={"Status": "Enabled"}
    )
    site.environment["RECONCILER_DELETE_MODE"] = "versioned"
    keys = {
        f"image/{number:02}/poison": refused
        for number, (refused, result) in enumerate(SOME)
        if result != MISSING
    }
    await site.put(*keys, *HEALTHY)
    assert (await site.once()).outcome is Outcome.CONVERGED
    for operation in ("ListObjectVersions", "DeleteVersion"):
        store.rule = lambda asked, key, operation=operation: (  # type: ignore[misc]  # a default argument
            keys.get(key) if asked == operation else None
        )
        await site.once(undo_window="0s")
        hidden = await site.sql("SELECT storage_key FROM reconciler.hidden")
        assert {row[0] for row in hidden} == set(keys)
        await site.sql("UPDATE reconciler.hidden SET claimed_at = now() - interval '1 hour'")
    store.rule = lambda *_: None
    await later(site)
    await site.once(undo_window="0s")
    assert await site.sql("SELECT FROM reconciler.hidden") == []


@pytest.mark.attack(73)
async def test_a_purge_goes_past_a_key_that_a_row_names_and_whose_head_is_refused(
    site: Site, store: RefusingStore
) -> None:
    """It was uploaded again, encrypted with a key of the customer's. In doubt its old copy stays, alone."""
    site.environment["RECONCILER_DELETE_MODE"] = "quarantine"
    await site.put("image/poison", *HEALTHY)
    await site.once()
    await site.tracked("image/poison")
    for refused in (Refused(400), Refused(403)):
        refuse(store, "HeadObject", {"image/poison": (refused, FAILED)})
        assert (await site.once(undo_window="0s")).outcome is Outcome.CONVERGED
        assert [row[0] for row in await site.sql("SELECT storage_key FROM reconciler.hidden")] == [
            "image/poison"
        ]
    store.rule = lambda *_: None
    await site.sql("UPDATE reconciler.restores SET not_before = NULL")
    await site.once(undo_window="0s")
    assert await site.sql("SELECT FROM reconciler.hidden") == []
    assert await site.state() == ({"image/poison"},) * 2


async def test_an_undo_brings_the_others_back(site: Site, store: RefusingStore) -> None:
    site.environment["RECONCILER_DELETE_MODE"] = "quarantine"
    await site.put("image/poison", *HEALTHY)
    await site.once()
    ((copy,),) = await site.sql(
        "SELECT quarantine_key FROM reconciler.hidden WHERE storage_key = 'image/poison'"
    )
    for refused in (Refused(403, "AccessDenied"), Refused(500), Refused(507), Refused(400, "InvalidRequest")):
        store.rule = lambda operation, key, refused=refused: (  # type: ignore[misc]  # a default argument
            refused if operation == "CopyObject" and key == copy else None
        )
        undone = await site.undo()
        assert [each.storage_key for each in undone.refused] == ["image/poison"]
        assert await site.keys() == set(HEALTHY)
    store.rule = lambda *_: None
    assert (await site.undo()).complete
    assert await site.keys() == {"image/poison", *HEALTHY}


async def test_a_marker_that_cannot_be_written_ends_a_run_in_a_line_and_no_longer_than_that(
    site: Site, store: RefusingStore
) -> None:
    await site.once()
    await site.put("image/orphan")
    for refused, outcome, word in (
        (Refused(403, "QuotaExceeded"), Outcome.HALTED, "Free space"),
        (Refused(507), Outcome.HALTED, "Free space"),
        (Refused(403, "AccessDenied"), Outcome.HALTED, "s3:PutObject"),
        (Refused(400, "UnheardOf"), Outcome.HALTED, "UnheardOf"),
        (Refused(503, "SlowDown"), Outcome.FAILED, "SlowDown"),
    ):
        store.rule = lambda operation, key, refused=refused: (  # type: ignore[misc]  # a default argument
            refused if operation == "PutObject" and key.endswith("identity.json") else None
        )
        report = await site.once()
        assert (report.outcome, word in report.detail) == (outcome, True), report
    await converge(site, store)
