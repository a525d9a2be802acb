"""What the store's events lead to, by a real queue: looks before the sweep, and nothing that goes sooner."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote_plus

import anyio.to_thread
import boto3
import pytest

from reconciler import app
from reconciler.catalog.open import Catalog
from reconciler.engine.detect.hints import HintedLooks
from reconciler.engine.runtime.context import Ports
from reconciler.errors import QueueUnavailable
from reconciler.model import Outcome, Reading, Verdict
from reconciler.settings import SettingsSource
from reconciler.stores.s3 import open_queue, queue
from tests.cli.program import reconciler
from tests.doubles.observing import RecordingObserver
from tests.integration.daemons import daemon, until
from tests.integration.site import Site, _environment

pytestmark = [pytest.mark.anyio, pytest.mark.calm]

ODD = ("image/a b+c%2Fé.png", "image/100% %41+.png", "image/x\ty&?#.png", "image//double")


@pytest.fixture
def told(ordered_site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A site whose bucket tells a queue of everything; two days of grace, and nothing hides for long."""
    monkeypatch.setattr(queue, "WAIT_SECONDS", 0)
    settings = {
        "RECONCILER_EVENTS__QUEUE_URL": make_queue(ordered_site),
        "RECONCILER_GRACE_PERIOD": "48h",
        "RECONCILER_DELETE_MODE": "auto",
        "RECONCILER_UPLOAD_WINDOW": "0s",
    }
    ordered_site.environment.update(settings)
    return ordered_site


def sqs(site: Site) -> Any:
    server = site.bucket.server
    return boto3.client(
        "sqs",
        endpoint_url=server.endpoint_url,
        region_name=server.region,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
    )


def make_queue(site: Site) -> str:
    client = sqs(site)
    url = str(client.create_queue(QueueName=site.bucket.name)["QueueUrl"])
    arn = client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    wanted = {"QueueArn": arn, "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]}
    site.bucket.client.put_bucket_notification_configuration(
        Bucket=site.bucket.name, NotificationConfiguration={"QueueConfigurations": [wanted]}
    )
    return url


def send(site: Site, *bodies: str) -> None:
    for body in bodies:
        sqs(site).send_message(QueueUrl=site.environment["RECONCILER_EVENTS__QUEUE_URL"], MessageBody=body)


def left_in(site: Site) -> int:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    url = site.environment["RECONCILER_EVENTS__QUEUE_URL"]
    found = sqs(site).get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return sum(int(found[name]) for name in names)


def event(site: Site, key: str, name: str = "ObjectCreated:Put", at: datetime | None = None) -> str:
    of = {"bucket": {"name": site.bucket.name}, "object": {"key": quote_plus(key)}}
    at = at or datetime.now(UTC)
    return json.dumps({"Records": [{"eventName": name, "eventTime": at.isoformat(), "s3": of}]})


class Listener(RecordingObserver):
    """What the hints report."""

    def __init__(self) -> None:
        super().__init__()
        self.read: dict[Reading, int] = {}
        self.looks: dict[str, int] = {}
        self.found: Mapping[Verdict, int] = {}
        self.waiting = 0
        self.readable: list[bool] = []

    def queue_read(self, *, readable: bool) -> None:
        self.readable.append(readable)

    def events_read(self, reading: Reading, events: int, seconds: float | None) -> None:
        self.read[reading] = self.read.get(reading, 0) + events

    def hinted(self, looks: Mapping[Any, int], standing: Any) -> None:
        self.looks = {str(result): number for result, number in looks.items() if number}
        self.found, self.waiting = standing.found, standing.waiting


class Run:
    """The leader's two loops, each step at the test's word."""

    def __init__(
        self, site: Site, ports: Ports, catalog: Catalog, hinted: HintedLooks, heard: Listener
    ) -> None:
        self.site, self.ports, self.catalog, self.hinted, self.heard = site, ports, catalog, hinted, heard

    async def step(self) -> dict[str, int]:
        """Read the queue, then look at everything, whenever it was due."""
        await self.hinted.read()
        await self.site.sql("UPDATE reconciler.hints SET due_at = clock_timestamp()")
        await self.hinted.look()
        return self.heard.looks


@asynccontextmanager
async def running(site: Site, **changes: str) -> AsyncIterator[Run]:
    with _environment(site.settings(**changes)):
        source, heard = SettingsSource(), Listener()
        settings = source.current()
        url = settings.events.queue_url
        assert url is not None
        async with (
            app.wiring.open_both(settings, heard, app.wiring.mode_of(source)) as (ports, catalog),
            open_queue(url, settings.bucket.region) as opened,
        ):
            in_force = app.wiring.in_force_of(source, ports)
            hinted = HintedLooks(ports, catalog.hints, opened, in_force, settings.bucket.name)
            yield Run(site, ports, catalog, hinted, heard)


async def listed(run: Run) -> list[tuple[str, Verdict | None, bool]]:
    return [(each.storage_key, each.verdict, each.found) for each in await run.catalog.hints.page(100)]


async def test_what_appears_with_its_row_is_settled_and_without_one_waits_for_its_grace(told: Site) -> None:
    await told.once()
    await told.put("image/alone", *ODD)
    await told.tracked("image/whole")
    async with running(told) as run:
        assert await run.step() == {"settled": 1, "waits": 1 + len(ODD)}
        hints = await run.catalog.hints.page(100)
        assert {each.storage_key for each in hints} == {"image/alone", *ODD}, "decoded to what they are"
        soonest = min(each.due_at for each in hints)
        assert soonest > datetime.now(UTC) + timedelta(hours=47), "the grace is as long as ever"
    assert left_in(told) == 0
    assert await told.sql("SELECT FROM reconciler.marks") == []


async def test_past_its_grace_two_looks_tell_of_it_and_only_the_sweep_marks_it(told: Site) -> None:
    await told.once()
    await told.put("image/alone", "image/held", "image/near")
    await told.row("/image/near")
    await told.row("image/gone", age=timedelta(days=5))
    send(told, event(told, "image/gone", "ObjectRemoved:Delete"))
    async with running(told, grace_period="0s") as run:
        await told.sql(
            "INSERT INTO reconciler.holds (kind, target, reason, author)"
            " VALUES ('key', 'image/held', 'for the court', 'ada')"
        )
        assert (await run.step())["waits"] == 2
        assert run.heard.found == {}, "once is not enough"
        await run.step()
        assert run.heard.found == {Verdict.ORPHAN: 1, Verdict.DANGLING: 1}
        assert [key for key, _, found in await listed(run) if found] == ["image/alone", "image/gone"]
        shown = await anyio.to_thread.run_sync(
            lambda: reconciler("events", "hints", "--found", "--json", env=told.environment)
        )
        lines = [json.loads(line) for line in shown.out.splitlines()]
        assert [(line["storage_key"], line["verdict"]) for line in lines] == [
            ("image/alone", "orphan"),
            ("image/gone", "dangling"),
        ]
        assert await told.sql("SELECT FROM reconciler.marks") == [], "by no event, however often it is seen"
        report = await told.once(grace_period="0s", delete_delay="24h", dry_run="true")
        assert report.found[Verdict.ORPHAN] >= 1
        await run.step()
        assert [key for key, _, _ in await listed(run)] == [], "the sweep has judged it"


async def test_an_object_that_we_hid_comes_back_at_once_when_a_row_needs_it(told: Site) -> None:
    """It is deleted, its row is written again, and an event of the deletion comes late."""
    await told.put("image/a")
    report = await told.once(grace_period="0s", delete_delay="0s")
    assert report.removed.objects == 1
    await told.row("image/a")
    async with running(told, dry_run="true") as run:
        assert await run.step() == {"settled": 1}, "in dry run nothing is brought back"
        assert await told.sql("SELECT FROM reconciler.restores") == []
    send(told, event(told, "image/a", "ObjectRemoved:Delete"))
    async with running(told) as run:
        assert (await run.step())["restored"] == 1
        ((key,),) = await told.sql("SELECT storage_key FROM reconciler.restores")
        assert key == "image/a"


async def test_duplicates_late_ones_and_disorder_change_nothing(told: Site) -> None:
    await told.once()
    await told.tracked("image/whole")
    await told.put("image/alone")
    long_ago, ahead = datetime(2020, 1, 1, tzinfo=UTC), datetime(2090, 1, 1, tzinfo=UTC)
    for key in ("image/whole", "image/alone", "image/never"):
        names = ("ObjectRemoved:Delete", "ObjectCreated:Put", "ObjectCreated:CompleteMultipartUpload") * 3
        for at, name in zip((ahead, long_ago, None) * 3, names, strict=True):
            send(told, event(told, key, name, at))
    async with running(told) as run:
        assert await run.step() == {"settled": 2, "waits": 1}
        assert [key for key, _, _ in await listed(run)] == ["image/alone"]
    assert await told.sql("SELECT FROM reconciler.marks") == []
    assert await told.state() == ({"image/whole", "image/alone"}, {"image/whole"})


async def test_the_time_of_an_event_moves_a_look_by_a_window_at_most(told: Site) -> None:
    long_ago, ahead = datetime(2020, 1, 1, tzinfo=UTC), datetime(2090, 1, 1, tzinfo=UTC)
    send(told, event(told, "image/old", at=long_ago), event(told, "image/new", at=ahead))
    async with running(told, upload_window="1h") as run:
        await run.hinted.read()
        due = {each.storage_key: each.due_at for each in await run.catalog.hints.page(10)}
        now = datetime.now(UTC)
        assert due["image/old"] < now
        assert now + timedelta(minutes=55) < due["image/new"] < now + timedelta(minutes=65)


async def test_poison_is_counted_and_deleted_or_left_to_the_dead_letter_queue(told: Site) -> None:
    await told.put("image/alone")
    send(told, "no json", "{}", event(told, "image/nul\0"), '{"Records": [{"eventName": "x"}]}')
    async with running(told) as run:
        await run.hinted.read()
        assert run.heard.read[Reading.UNREADABLE] == 3
        assert [key for key, _, _ in await listed(run)] == ["image/alone"]
    assert left_in(told) == 0
    client = sqs(told)
    dead = client.create_queue(QueueName=f"{told.bucket.name}-dead")["QueueUrl"]
    arn = client.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = {"RedrivePolicy": json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": "3"})}
    client.set_queue_attributes(QueueUrl=told.environment["RECONCILER_EVENTS__QUEUE_URL"], Attributes=policy)
    send(told, "no json", event(told, "image/b"))
    async with running(told) as run:
        await run.hinted.read()
    assert left_in(told) == 1, "what cannot be read waits for the queue to put it away"


async def test_the_doctor_reads_the_queue(told: Site) -> None:
    """And takes nothing out of it."""
    url = told.environment["RECONCILER_EVENTS__QUEUE_URL"]
    await told.put("image/a", "image/b")
    for settings, status, says in (
        (told.settings(), "warn", "messages that cannot be read will be deleted"),
        (told.settings(events__queue_url=f"{url}-absent"), "fail", "cannot be read"),
    ):
        with _environment(settings):
            checks = await app.doctor(SettingsSource())
        (check,) = [each for each in checks if each.name == "queue"]
        assert (check.status, says in check.detail) == (status, True)
    assert left_in(told) >= 2


async def test_several_events_of_one_upload_are_one_hint_and_a_delete_marker_is_the_sweeps(
    told: Site,
) -> None:
    """As S3 tells of a CompleteMultipartUpload, and does not tell of what becomes of a marker."""
    client, name = told.bucket.client, told.bucket.name
    client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    upload = client.create_multipart_upload(Bucket=name, Key="image/parts")["UploadId"]
    of = {"Bucket": name, "Key": "image/parts", "UploadId": upload}
    etag = client.upload_part(**of, PartNumber=1, Body=b"x")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    client.complete_multipart_upload(**of, MultipartUpload=parts)
    await told.row("image/marked", age=timedelta(days=5))
    told.bucket.put("image/marked")
    async with running(told, grace_period="0s") as run:
        await run.hinted.read()
        assert run.heard.read[Reading.TAKEN] == 3
        assert {key for key, _, _ in await listed(run)} == {"image/parts", "image/marked"}
        await run.step()
        client.delete_object(Bucket=name, Key="image/marked")
        await run.step()
        assert [key for key, _, _ in await listed(run)] == ["image/parts"], "no event, no hint"
        report = await told.once(grace_period="0s", delete_delay="24h")
        assert report.found[Verdict.DANGLING] == 1, "and the sweep has it all the same"


async def test_a_404_of_a_bucket_that_is_not_ours_is_not_believed(told: Site) -> None:
    await told.row("image/gone", age=timedelta(days=5))
    send(told, event(told, "image/gone", "ObjectRemoved:Delete"))
    async with running(told, grace_period="0s") as run:
        await run.hinted.read()
        with pytest.raises(Exception, match="404s are not believed"):
            await run.hinted.look()
        assert [found for _, _, found in await listed(run)] == [False]


async def test_a_queue_that_cannot_be_read_is_told_of(told: Site) -> None:
    url = told.environment["RECONCILER_EVENTS__QUEUE_URL"]
    async with running(told, events__queue_url=f"{url}-absent") as run:
        with pytest.raises(QueueUnavailable, match="RECONCILER_EVENTS__QUEUE_URL"):
            await run.hinted.read()
        assert run.heard.readable == [False]


async def test_a_daemon_that_sweeps_seldom_tells_of_a_lost_object_by_its_event(told: Site) -> None:
    await told.tracked("image/a")
    assert (await told.once(grace_period="0s")).outcome is Outcome.CONVERGED
    patient = {"sweep_interval": "6h", "grace_period": "0s", "dry_run": "false"}
    async with daemon(told, **patient) as leader:

        async def queue_is_empty() -> bool:
            return left_in(told) == 0

        await until(queue_is_empty)
        told.bucket.client.delete_object(Bucket=told.bucket.name, Key="image/a")

        async def looked() -> bool:
            rows = await told.sql("SELECT verdict FROM reconciler.hints WHERE looked_at IS NOT NULL")
            return [row[0] for row in rows] == ["dangling"]

        await until(looked)
        await told.sql("UPDATE reconciler.hints SET due_at = clock_timestamp()")
        send(told, event(told, "image/a", "ObjectRemoved:Delete"))

        async def told_of() -> bool:
            return await leader.metric("media_reconciler_hints_found", verdict="dangling") == 1

        await until(told_of)
    assert await told.sql("SELECT FROM reconciler.marks") == []
    assert await told.rows() == {"image/a"}
