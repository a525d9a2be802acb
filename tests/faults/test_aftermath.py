"""One site from adoption to erasure, and the same site with a database from before the erasures.

All that follows a deletion runs at once: a CDN that throttles and fails, a receiver of events that dies and
comes back, certificates. Then the database is lost, and a copy of before takes its place. At the end bucket,
tables, ledger, the CDN's log, events and certificates agree. `docs/erasure.md` tells the same as a story.
"""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import anyio
import anyio.to_thread
import pytest
from joserfc.jwk import OKPKey

from reconciler.embedded.postgres import EmbeddedPostgres
from reconciler.model import Outcome
from reconciler.stores.cdn.channel import url_of
from tests.cli.program import Ran, reconciler
from tests.integration.backups import backup
from tests.integration.daemons import daemon, until
from tests.integration.site import CALM, Site
from tests.support.cdns import TOKEN, ZONE, Cdn, Reply, Request, serving
from tests.support.receiver import SECRET, Receiver, a_receiver

pytestmark = [pytest.mark.anyio, pytest.mark.soak]

OWNERS, MEDIA, UNTRACKED, NOBODYS, EXPIRED, UNDONE = 20, 2_000, 300, 12, 40, 5
AT = "https://cdn.example/{key}"
DELETED, RESTORED, ADOPTED = (f"media.object.{what}.v1" for what in ("deleted", "restored", "adopted"))
ERASED = "virtual-key.erased.v1"
TRIPPED = "pass.tripped.v1"
TYPES = (DELETED, RESTORED, ADOPTED, ERASED)


@dataclass(slots=True, kw_only=True)
class Story:
    """The site, its receivers, and what the test knows of each object: its owner, and its own public URL."""

    site: Site
    cdn: Cdn
    receiver: Receiver
    public: Path
    owners: list[UUID] = field(default_factory=list)
    owner_of: dict[str, UUID] = field(default_factory=dict)
    url_of: dict[str, str] = field(default_factory=dict)
    expired: list[str] = field(default_factory=list)
    untracked: list[str] = field(default_factory=list)
    nobodys: list[str] = field(default_factory=list)

    @property
    def erased(self) -> list[UUID]:
        return self.owners[:2]

    @property
    def banned(self) -> UUID:
        return self.owners[2]

    def of(self, *owners: UUID) -> set[str]:
        return {key for key, owner in self.owner_of.items() if owner in owners}

    @property
    def gone(self) -> set[str]:
        """What has to be gone at the end."""
        return {*self.nobodys, *self.expired} | self.of(*self.erased, self.banned)

    @property
    def live(self) -> set[str]:
        return {*self.owner_of} - self.gone

    async def run(self, *args: str, site: Site | None = None) -> Ran:
        environment = (site or self.site).environment
        return await anyio.to_thread.run_sync(lambda: reconciler(*args, env=environment))


def failing(cdn: Cdn) -> None:
    """It throttles every third request, and fails every fifth."""
    numbers, well = itertools.count(1), cdn.answer

    def answer(cdn: Cdn, request: Request) -> Reply:
        number = next(numbers)
        if number % 3 == 0:
            return Reply(429, None, {"Retry-After": "0"})
        return Reply(503) if number % 5 == 0 else well(cdn, request)

    cdn.answer = answer


@pytest.fixture
async def story(site: Site, tmp_path: Path) -> AsyncIterator[Story]:
    receiver = a_receiver()
    signing = OKPKey.generate_key("Ed25519")
    files = {
        "token": TOKEN,
        "secrets": SECRET,
        "hashes": "5e" * 32,
        "signing": json.dumps(signing.as_dict(private=True)),
        "public": json.dumps(signing.as_dict(private=False)),
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content + "\n")
    async with serving("cloudflare") as cdn:
        failing(cdn)
        settings = {
            "CDN__PROVIDER": "cloudflare",
            "CDN__ZONE": ZONE,
            "CDN__PLAN": "business",
            "CDN__API_URL": cdn.url,
            "CDN__TOKEN_FILE": str(tmp_path / "token"),
            "CDN__URL": AT,
            "CDN__TAGS": "true",
            "EVENTS__WEBHOOK_URL": receiver.url,
            "EVENTS__WEBHOOK_SECRET_FILE": str(tmp_path / "secrets"),
            "ERASURE__SIGNING_KEY_FILE": str(tmp_path / "signing"),
            "ERASURE__HASH_KEY_FILE": str(tmp_path / "hashes"),
            "ADOPTION__OWNER_FROM": "metadata:created-by",
            "DELETE_MODE": "quarantine",
        }
        site.environment.update({f"RECONCILER_{name}": value for name, value in settings.items()}, **CALM)
        made = Story(site=site, cdn=cdn, receiver=receiver, public=tmp_path / "public")
        assert (await site.once()).outcome is Outcome.CONVERGED, "from now on the receivers are told"
        await fill(made)
        yield made


async def fill(story: Story) -> None:
    """The media of twenty owners, some expired; objects that have only their metadata, or not even that."""
    site = story.site
    story.owners = [await site.virtual_key() for _ in range(OWNERS)]
    rows = []
    past = datetime.now(UTC) - timedelta(hours=1)
    for number in range(MEDIA):
        key, owner = f"image/{number:04}", story.owners[number % OWNERS]
        story.owner_of[key] = owner
        if number % 2:
            story.url_of[key] = f"https://media.example/{number}"
        if over := len(story.expired) < EXPIRED and owner not in story.owners[:3]:
            story.expired.append(key)
        expires = past if over else None
        rows.append((uuid4(), key, owner, story.url_of.get(key), f"words of {owner}", expires))
    story.untracked = [f"video/{number:03}" for number in range(UNTRACKED)]
    story.owner_of |= {key: story.owners[at % OWNERS] for at, key in enumerate(story.untracked)}
    story.nobodys = [f"video/nobody's {number}é" for number in range(NOBODYS)]
    async with site.connected() as connection:
        await connection.executemany(
            'INSERT INTO "MediaRecords" ("Id", "StorageKey", "VirtualKeyId", "PublicUrl", "Prompt",'
            ' "ExpiresAt", "MediaType", "SizeBytes", "CreatedAt")'
            " VALUES ($1, $2, $3, $4, $5, $6, 'image', 1, now() - interval '1 day')",
            rows,
        )
    untracked = {*story.untracked}
    eight = anyio.CapacityLimiter(8)
    async with anyio.create_task_group() as group:
        for key in [*story.owner_of, *story.nobodys]:
            metadata = {"created-by": str(story.owner_of[key])} if key in untracked else None
            put = partial(site.bucket.put, key, metadata=metadata)
            group.start_soon(partial(anyio.to_thread.run_sync, put, limiter=eight))


async def disable(site: Site, owners: Iterable[UUID]) -> None:
    await site.sql('UPDATE "VirtualKeys" SET "IsEnabled" = false WHERE "Id" = ANY($1::uuid[])', list(owners))


async def settled(site: Site) -> bool:
    """Nothing waits: no message, no mark, no order."""
    ((waits,),) = await site.sql(
        "SELECT EXISTS (SELECT FROM reconciler.outbox) OR EXISTS (SELECT FROM reconciler.marks)"
        " OR EXISTS (SELECT FROM reconciler.erasures WHERE state = 'open')"
    )
    return not waits


async def erase(story: Story, owner: UUID) -> None:
    ran = await story.run("erase", "--virtual-key", str(owner), "--yes", "--by", "ada", "--wait", "90s")
    assert ran.status == 0, ran.told


async def first_life(story: Story) -> None:
    """A ban and two erasures, while the CDN fails and the receiver dies and comes back."""
    site, receiver = story.site, story.receiver
    undone = [option for key in story.expired[:UNDONE] for option in ("--key", key)]
    async with daemon(site) as running:
        async with receiver.up():
            await disable(site, [*story.erased, story.banned])
            await until(lambda: taken(receiver, 100))
        async with anyio.create_task_group() as group:
            for owner in story.erased:
                group.start_soon(erase, story, owner)
        ran = await story.run("undo", *undone, "--by", "ada")
        assert ran.status == 0, ran.told
        assert len(receiver.events) < await messages(site), "none of that waited for the receiver"
        await site.sql("UPDATE reconciler.channels SET due_at = clock_timestamp()")
        async with receiver.up():
            await until(lambda: settled(site))
        assert await running.stop() == 0
    stay = story.live | {*story.expired[:UNDONE]}
    assert await site.state() == (stay, stay)


async def second_life(story: Story, site: Site) -> None:
    """The erased are back, in rows and words, with whatever else was decided since the backup."""
    back = {*story.owner_of}
    assert await site.rows() == back
    assert "adopt-bucket" in (await site.once()).detail
    assert (await story.run("adopt-bucket", "--yes", site=site)).status == 0
    halted = await site.once()
    assert (halted.outcome, ".reconciler/erasures/" in halted.detail) == (Outcome.HALTED, True)
    assert (await site.rows(), len(await site.keys())) == (back, len(story.live) + UNDONE)
    ran = await story.run("erase", "--replay", "--yes", "--by", "ada", site=site)
    assert ran.status == 0, ran.told
    await disable(site, [story.banned])
    async with story.receiver.up(), daemon(site) as running:
        await until(lambda: decided(site))
        assert await running.stop() == 0


async def taken(receiver: Receiver, number: int) -> bool:
    return len(receiver.events) >= number


async def messages(site: Site) -> int:
    ((number,),) = await site.sql("SELECT count(*) FROM reconciler.outbox WHERE channel <> 'cdn'")
    return int(number)


async def decided(site: Site) -> bool:
    """A person approves what trips: rows came back whose objects went since the backup."""
    if waiting := [number for number, _, state in await site.passes() if state == "tripped"]:
        await site.approve(max(waiting), understood=True)
    return await settled(site)


async def test_bucket_tables_ledger_cdn_events_and_certificates_agree(
    story: Story, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    site = story.site
    adopted = json.loads((await story.run("adopt", "--json")).out)
    assert (adopted["adopted"], adopted["left"]) == (UNTRACKED, {"no_owner": NOBODYS})
    async with backup(site, postgres) as restored:
        await first_life(story)
        await second_life(story, restored)
        assert await restored.state() == (story.live, story.live)
        events_agree(story, await lines(site), await lines(restored))
        cdn_agrees(story)
        await certificates_agree(story, restored, tmp_path / "certificates")
        assert await words_of_the_erased(story, restored) == []


Lines = dict[str, tuple[str, str]]
"""What has an event of its own, by the ledger's id: its type, and its subject."""

TOLD = """
SELECT id::text, type, coalesce(nullif(storage_key, ''), owners[1]) AS subject
FROM (SELECT *, CASE
        WHEN event = 'adopted' THEN 'media.object.adopted.v1'
        WHEN event = 'erased' AND what = 'virtual_key' THEN 'virtual-key.erased.v1'
        WHEN event = 'restored' AND what = 'object' THEN 'media.object.restored.v1'
        WHEN event = 'result' AND what = 'object'
            AND (result = 'deleted' OR result = 'missing' AND verdict <> 'dangling')
            THEN 'media.object.deleted.v1' END AS type
      FROM reconciler.ledger) AS l WHERE type IS NOT NULL
"""


async def lines(site: Site) -> Lines:
    """What the ledger says has happened to objects, and to whole virtual keys."""
    return {row["id"]: (row["type"], row["subject"]) for row in await site.sql(TOLD)}


def events_agree(story: Story, first: Lines, second: Lines) -> None:
    """Each line of both ledgers is told, by its id; and nothing else is told."""
    by_id: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in story.receiver.events:
        if event["type"] != TRIPPED:
            by_id[event["id"]].append(event)
    assert [told for told in by_id.values() if any(each != told[0] for each in told)] == []
    happened = {**first, **second}
    assert {each: (told[0]["type"], told[0]["subject"]) for each, told in by_id.items()} == happened
    subjects = {kind: {about for what, about in happened.values() if what == kind} for kind in TYPES}
    assert subjects[DELETED] == story.gone
    assert subjects[RESTORED] == {*story.expired[:UNDONE]}
    assert subjects[ADOPTED] == {*story.untracked}
    assert subjects[ERASED] == {str(owner) for owner in story.erased}


def cdn_agrees(story: Story) -> None:
    """Each public URL of what went was purged, or the tag of its owner; and of what lives neither."""
    purged = {*story.cdn.purged}

    def urls(key: str) -> set[str]:
        return {url_of(AT, key), *filter(None, [story.url_of.get(key)])}

    def tag(key: str) -> str:
        return f"vk-{story.owner_of.get(key)}"

    assert {key for key in story.gone if not (tag(key) in purged or urls(key) <= purged)} == set()
    assert {key for key in story.live if tag(key) in purged or urls(key) & purged} == set()


async def certificates_agree(story: Story, site: Site, directory: Path) -> None:
    """One chain through both lives, which whoever has the files and the public key can check."""
    assert (await story.run("erase", "--export", str(directory), site=site)).status == 0
    files = await anyio.to_thread.run_sync(lambda: sorted(directory.iterdir()))
    ran = await anyio.to_thread.run_sync(
        lambda: reconciler("erase", "--verify", *map(str, files), "--public-key", str(story.public))
    )
    assert (ran.status, ran.told, len(ran.out.splitlines())) == (0, [], len(files))
    made = [json.loads(file.read_text()) for file in files]
    assert {f".reconciler/erasures/{file.name}" for file in files} == site.bucket.keys(
        ".reconciler/erasures/"
    )
    first, again = made[:2], made[2:]
    assert {each["certificate"]["replays"] for each in again} == {each["digest"] for each in first}
    assert all(each["certificate"]["complete"] for each in made)
    for each in first:
        found = each["certificate"]["evidence"]
        assert found["bucket"]["keys"] == (MEDIA + UNTRACKED) // OWNERS
        assert found["cdn"]["answer"].startswith("cloudflare ")


async def words_of_the_erased(story: Story, site: Site) -> list[str]:
    """Where in our own tables a prompt of theirs is still written."""
    tables = await site.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'reconciler'")
    look = " UNION ALL ".join(
        f"SELECT '{name}' AS name FROM reconciler.{name} t WHERE t::text LIKE ANY($1::text[])"
        for (name,) in tables
    )
    words = [f"%words of {owner}%" for owner in story.erased]
    return [row["name"] for row in await site.sql(look, words)]
