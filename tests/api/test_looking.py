"""What is to be seen: lists with cursors and streams, any storage key, statistics and drift."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from reconciler.api import schemas
from reconciler.api.endpoints import ENDPOINTS
from reconciler.model import ErasureKind
from tests.api.serving import Api, serving
from tests.integration.site import DAY, Site

pytestmark = pytest.mark.anyio

BASE = "/api/v1"
NDJSON = {"Accept": "application/x-ndjson"}
STRANGE = (
    "image/a b.png",
    "image/100%/%2F.png",
    "image/what?#x&y=1+2.png",
    "image//double",
    "image/../up",
    "image/line\nbreak\n",
    "image/ümläut/猫",
    "image/x/explanation",
    'image/quote"back\\slash',
    "image/semi;colon",
)
"""Storage keys as people and programs make them."""

REFUSED = "image/../up"
"""The one of them that the store takes for no key."""

TRACKED = ("image/a b.png", "image/ümläut/猫", "image/x/explanation")


async def every(api: Api, path: str, limit: int) -> list[dict[str, Any]]:
    """All pages of a list."""
    found: list[dict[str, Any]] = []
    glue = "&" if "?" in path else "?"
    cursor = ""
    while True:
        answer = await api.get(f"{path}{glue}limit={limit}{cursor}")
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert len(page["data"]) <= limit
        found += page["data"]
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


async def streamed(api: Api, path: str) -> list[dict[str, Any]]:
    """The lines of a stream, which says at its end how many there were."""
    answer = await api.get(path, headers=NDJSON)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert lines[-1] == {"event": "end", "lines": len(lines) - 1}
    assert {line["event"] for line in lines[:-1]} <= {"data"}
    return [line["data"] for line in lines[:-1]]


async def seed(site: Site) -> list[str]:
    """Orphans and tracked objects, found by a dry run. Returns the orphans' keys."""
    await site.tracked(*TRACKED)
    orphans = [f"image/orphan-{number}" for number in range(5)]
    await site.put(*orphans)
    await site.once(dry_run="true")
    return orphans


async def test_lists_go_on_behind_their_cursor_and_stream_the_same(api: Api, site: Site) -> None:
    orphans = await seed(site)
    await site.sql(
        "INSERT INTO reconciler.holds (kind, target, author, reason) VALUES ('key', 'a', 'x', 'y'),"
        " ('key', 'b', 'x', 'y'), ('prefix', 'a/', 'z', 'y')"
    )
    for _ in range(2):
        await site.once(dry_run="true")
    for path in ("/marks", "/media", "/holds", "/passes"):
        whole = (await api.get(BASE + path)).json()["data"]
        assert len(whole) >= 3
        assert await every(api, BASE + path, 2) == whole == await streamed(api, BASE + path)
    assert [mark["storage_key"] for mark in await every(api, f"{BASE}/marks", 2)] == orphans
    assert len(await streamed(api, f"{BASE}/marks?limit=3")) == 3
    newest = max(number for number, _, _ in await site.passes() if number)
    swept = [each["id"] for each in await every(api, f"{BASE}/passes?kind=sweep", 1)]
    assert swept == sorted(swept, reverse=True)
    assert max(swept) <= newest


async def test_an_answer_is_given_again_for_a_second_and_not_after_a_change(
    site: Site, tmp_path: Path
) -> None:
    async with serving(site, tmp_path, seconds=1.0) as api:

        async def targets(path: str = "/holds") -> list[str]:
            return [hold["target"] for hold in (await api.get(BASE + path)).json()["data"]]

        async def hold_elsewhere(key: str) -> None:
            values = f"('key', '{key}', 'ada', 'why')"
            await site.sql(f"INSERT INTO reconciler.holds (kind, target, author, reason) VALUES {values}")

        assert await targets() == []
        await hold_elsewhere("a")
        assert await targets() == []
        assert await targets("/holds?limit=5") == ["a"], "another question"
        assert [line["target"] for line in await streamed(api, f"{BASE}/holds")] == ["a"]
        assert (await api.get(f"{BASE}/holds", None)).status_code == 401
        api.clock[0] += 1.0
        assert await targets() == ["a"]
        await hold_elsewhere("b")
        asked = {"kind": "key", "target": "c", "reason": "why"}
        assert (await api.ask("POST", f"{BASE}/holds", json=asked)).status_code == 200
        assert await targets() == ["a", "b", "c"]


@pytest.mark.parametrize("sort", ["storage_key", "created_at", "size_bytes", "last_accessed_at"])
@pytest.mark.parametrize("descending", [False, True])
async def test_media_are_sorted_and_nothing_is_left_out_between_pages(
    api: Api, site: Site, sort: str, descending: bool
) -> None:
    owner = await site.virtual_key()
    for number in range(7):
        size = None if number == 0 else number // 2
        await site.row(f"image/{number}", owner, age=(number // 3) * DAY, SizeBytes=size)
    path = f"{BASE}/media?sort={sort}&descending={str(descending).lower()}"
    rows = await every(api, path, 2)
    assert {row["storage_key"] for row in rows} == {f"image/{number}" for number in range(7)}
    assert len(rows) == 7
    values = [row[sort] or (0 if sort == "size_bytes" else "") for row in rows]
    assert values == sorted(values, reverse=descending)
    cursor = (await api.get(f"{path}&limit=2")).json()["next_cursor"]
    other = "size_bytes" if sort != "size_bytes" else "created_at"
    assert (await api.get(f"{BASE}/media?sort={other}&cursor={cursor}")).json()["code"] == "no_such_cursor"


async def test_media_are_chosen_by_what_their_rows_say(api: Api, site: Site) -> None:
    ada, bob = await site.virtual_key(), await site.virtual_key()
    await site.row("image/a", ada, MediaType="Image", Provider="Acme", SizeBytes=5)
    await site.row("image/b", ada, MediaType="video", SizeBytes=7)
    await site.row("video/c", bob, age=9 * DAY)

    async def chosen(query: str) -> set[str]:
        return {row["storage_key"] for row in await every(api, f"{BASE}/media?{query}", 10)}

    assert await chosen("prefix=image/") == {"image/a", "image/b"}
    assert await chosen(f"virtual_key_id={bob}") == {"video/c"}
    assert await chosen("provider=ACME&media_type=image") == {"image/a"}
    (row,) = await site.sql("SELECT now() - interval '3 days' AS at")
    assert await chosen(f"until={quote(row['at'].isoformat())}") == {"video/c"}
    assert await chosen(f"since={quote(row['at'].isoformat())}") == {"image/a", "image/b"}
    told = (await api.get(f"{BASE}/virtual-keys/{ada}/media")).json()
    assert told["usage"] == {"virtual_key_id": str(ada), "objects": 2, "bytes": 12}
    assert [row["storage_key"] for row in told["data"]] == ["image/a", "image/b"]
    refused = await api.get(f"{BASE}/virtual-keys/no-uuid/media")
    assert (refused.status_code, refused.json()["code"]) == (409, "not_a_virtual_key")


async def test_any_storage_key_works_in_a_path(api: Api, site: Site) -> None:
    owner = await site.virtual_key()
    await site.once(dry_run="true")
    for key in STRANGE:
        await site.row(key, owner)
    for key in STRANGE:
        path = f"{BASE}/media/{quote(key, safe='')}"
        answer = await api.get(path)
        assert (answer.status_code, answer.json()["storage_key"]) == (200, key), key
        assert [row["storage_key"] for row in answer.json()["rows"]] == [key]
        explained = await api.get(f"{path}/explanation")
        if key == REFUSED:
            assert (explained.status_code, explained.json()["code"]) == (409, "key_refused")
        else:
            assert (explained.json()["key"], explained.json()["known"]) == (key, True)
    assert (await api.get(f"{BASE}/media/image/x")).status_code == 404
    assert (await api.get(f"{BASE}/media/image/100%25/%252F.png")).json()[
        "storage_key"
    ] == "image/100%/%2F.png"
    for odd in ("%ff", "%00", "a%00b", ""):
        assert (await api.get(f"{BASE}/media/{odd}")).status_code == 404, odd
        assert (await api.get(f"{BASE}/marks/{odd}")).status_code == 404, odd


async def test_a_mark_says_why_and_a_key_without_one_what_became_of_it(api: Api, site: Site) -> None:
    await site.put("image/orphan")
    await site.once(dry_run="true")
    told = (await api.get(f"{BASE}/marks/image%2Forphan")).json()
    assert (told["verdict"], told["pass_state"]) == ("orphan", "released")
    await site.once(delete_mode="quarantine")
    gone = await api.get(f"{BASE}/marks/image%2Forphan")
    assert (gone.status_code, gone.json()["code"]) == (404, "deleted_recoverably")
    assert gone.json()["hint"] == "POST /api/v1/undo brings it back."
    lines = await every(api, f"{BASE}/ledger?key=image%2Forphan", 1)
    assert [line["event"] for line in lines] == ["intent", "result"]
    assert lines == await streamed(api, f"{BASE}/ledger")


async def test_a_pass_is_shown_with_its_findings(api: Api, site: Site) -> None:
    orphans = await seed(site)
    (sweep,) = [number for number, kind, _ in await site.passes() if kind == "sweep"]
    told = (await api.get(f"{BASE}/passes/{sweep}")).json()
    assert (told["found"]["orphan"], told["marks"], told["progress"]) == (5, 5, None)
    findings = await every(api, f"{BASE}/passes/{sweep}/findings", 2)
    assert [mark["storage_key"] for mark in findings] == orphans
    for path in (f"{BASE}/passes/999", f"{BASE}/passes/999/findings"):
        answer = await api.get(path)
        assert (answer.status_code, answer.json()["hint"]) == (404, "GET /api/v1/passes lists them.")


async def test_a_running_pass_says_how_far_it_is_and_when_it_will_end(api: Api, site: Site) -> None:
    await seed(site)
    (running,) = await site.sql(
        "INSERT INTO reconciler.passes (kind, cutoff, config_hash, mode, listing_order, state, epoch, tally)"
        " SELECT kind, now() - interval '10 s', config_hash, mode, listing_order, 'running', epoch, '{}'"
        " FROM reconciler.passes WHERE kind = 'sweep' RETURNING id"
    )
    await site.sql(
        'INSERT INTO reconciler.ranges (pass_id, ordinal, prefix, "after", upto, watermark, done, tally)'
        " VALUES ($1, 0, 'image/', '', '', '', false, '{\"objects\": 5, \"records\": 0}')",
        running["id"],
    )
    progress = (await api.get(f"{BASE}/passes/{running['id']}")).json()["progress"]
    assert (progress["objects"], progress["ranges_done"], progress["ranges"]) == (5, 0, 1)
    assert 0 < progress["fraction"] < 1
    assert progress["ends_at"] > progress_began(await site.sql("SELECT now() AS at"))


def progress_began(rows: list[Any]) -> str:
    return str(rows[0]["at"].isoformat())


async def test_statistics_add_up_in_every_way(api: Api, site: Site) -> None:
    ada = await site.virtual_key()
    await site.put("image/a", "image/b", "image/orphan")
    await site.row("image/a", ada, age=0 * DAY, SizeBytes=10, MediaType="Image", Provider="acme")
    await site.row("image/b", ada, age=90 * DAY, SizeBytes=30, MediaType="image")
    await site.once(dry_run="true")
    told = (await api.get(f"{BASE}/stats")).json()
    assert (told["objects"], told["bytes"], told["prefixes"]) == (2, 40, ["image/", "video/"])
    assert told["by_virtual_key"] == [{"name": str(ada), "objects": 2, "bytes": 40}]
    assert told["by_media_type"] == [{"name": "image", "objects": 2, "bytes": 40}]
    assert told["by_provider"] == [
        {"name": "unknown", "objects": 1, "bytes": 30},
        {"name": "acme", "objects": 1, "bytes": 10},
    ]
    assert told["by_prefix"] == [{"name": "image/", "objects": 2, "bytes": 40}]
    assert [(day["day"] is None, day["objects"]) for day in told["by_day"]] == [(False, 1), (True, 1)]
    assert (told["orphans"]["keys"], told["drift"]["orphan"]["keys"]) == (1, 1)
    await site.row("image/c", ada, SizeBytes=1)
    assert (await api.get(f"{BASE}/stats")).json() == told
    api.clock[0] += 61
    assert (await api.get(f"{BASE}/stats")).json()["objects"] == 3


async def test_drift_says_what_is_due_and_what_waits(api: Api, site: Site) -> None:
    await site.tracked("image/kept")
    await site.put(*(f"image/orphan-{number}" for number in range(3)))
    await site.once(breaker__max_count="1")
    told = (await api.get(f"{BASE}/drift")).json()
    assert told["by_verdict"]["orphan"]["keys"] == told["by_prefix"]["image/"]["orphan"]["keys"] == 3
    assert (told["due"]["keys"], [each["kind"] for each in told["tripped"]]) == (0, ["sweep"])


async def test_settings_are_told_without_secrets(api: Api, site: Site) -> None:
    answer = await api.get(f"{BASE}/settings")
    told = {each["key"]: each for each in answer.json()["settings"]}
    assert told["bucket.name"]["value"] == site.bucket.name
    assert site.environment["AWS_SECRET_ACCESS_KEY"] not in answer.text


@pytest.mark.parametrize(
    "cursor", ["!", "e30", "WzFd", "WyJhIiwiYiJd", "WyJjcmVhdGVkX2F0IiwieCIsInkiXQ", "x" * 99]
)
async def test_a_cursor_that_is_none_is_refused(api: Api, cursor: str) -> None:
    for path in ("/media?sort=created_at", "/ledger?limit=1", "/holds?limit=1", "/marks?limit=1"):
        answer = await api.get(f"{BASE}{path}&cursor={cursor}")
        assert answer.status_code in {200, 404}, answer.text
        assert answer.status_code == 200 or answer.json()["code"] == "no_such_cursor"


async def test_every_answer_is_as_the_document_says(api: Api, site: Site) -> None:
    """The document is written by hand, beside what makes the answers."""
    await seed(site)
    (sweep,) = [number for number, kind, _ in await site.passes() if kind == "sweep"]
    owner = (await site.sql('SELECT "Id" FROM "VirtualKeys" LIMIT 1'))[0][0]
    key = quote(TRACKED[0], safe="")
    asked = (await api.ask("POST", f"{BASE}/passes", json={"kind": "sweep"})).json()["id"]
    async with site.catalog() as catalog:
        erasure = await catalog.erasures.order(ErasureKind.KEYS, ["image/orphan-1"], "ada@ops", "a request")
    for endpoint in ENDPOINTS:
        if endpoint.method == "GET":
            path = endpoint.path.replace(
                "{storage_key:path}", key if "/media/" in endpoint.path else "image/orphan-1"
            )
            path = path.replace("{pass_id}", str(sweep)).replace("{virtual_key_id}", str(owner))
            path = path.replace("{operation_id}", asked).replace("{erasure_id}", str(erasure))
            answer = await api.get(path)
            assert answer.status_code == 200, (path, answer.text)
            told = endpoint.answer.model_validate_json(answer.content)
            assert isinstance(told, schemas.Shape)
