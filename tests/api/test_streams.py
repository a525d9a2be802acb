"""Long lists: the memory of a page however many there are, and an end to every stream."""

from __future__ import annotations

import json

import psutil
import pytest

from reconciler.api import listing
from reconciler.api.listing import STREAMS
from reconciler.errors import CatalogUnavailable
from reconciler.model import MarkFilter, Role
from reconciler.operations import marks
from tests.api.serving import Api
from tests.integration.site import Site

pytestmark = pytest.mark.anyio

BASE = "/api/v1"
NDJSON = {"Accept": "application/x-ndjson"}
MIB = 1 << 20

MANY = """
INSERT INTO reconciler.marks
SELECT (jsonb_populate_record(m, jsonb_build_object('storage_key', 'image/many/' || n))).*
FROM reconciler.marks m CROSS JOIN generate_series(1, $1::int) n
"""


async def with_marks(site: Site, number: int) -> None:
    await site.put("image/orphan")
    await site.once(dry_run="true")
    await site.sql(MANY, number)


async def lines_of(api: Api, path: str) -> int:
    """How many lines a stream says that it had, each read and dropped."""
    headers = {**NDJSON, "Authorization": f"Bearer {api.tokens.by_role[Role.VIEWER]}"}
    seen, told = 0, {}
    async with api.client.stream("GET", path, headers=headers) as answer:
        async for line in answer.aiter_lines():
            told = json.loads(line)
            seen += told["event"] == "data"
    assert told == {"event": "end", "lines": seen}
    return seen


@pytest.mark.soak
async def test_a_stream_of_many_takes_the_memory_of_a_page(api: Api, site: Site) -> None:
    await with_marks(site, 300_000)
    process = psutil.Process()
    assert await lines_of(api, f"{BASE}/marks?limit=1000") == 1_000
    before = process.memory_info().rss
    assert await lines_of(api, f"{BASE}/marks") == 300_001
    assert process.memory_info().rss - before < 20 * MIB


async def test_a_page_of_marks_reads_as_many_as_it_shows(api: Api, site: Site) -> None:
    """And a million of them are listed in minutes, not in half a day."""
    await with_marks(site, 20_000)
    await site.sql("ANALYZE reconciler.marks")
    async with site.catalog() as catalog:
        page = catalog.mark_list._list
    rows = await site.sql(f"EXPLAIN (ANALYZE) {page}", "", "", None, None, None, None, None, 100)
    (marks,) = [row[0] for row in rows if "using marks_pkey" in row[0]]
    assert " rows=100" in marks.partition("actual time")[2], marks


async def test_a_stream_says_that_it_lives(api: Api, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    await with_marks(site, 2_500)
    monkeypatch.setattr(listing, "KEEP_ALIVE_SECONDS", 0.0)
    answer = await api.get(f"{BASE}/marks", headers=NDJSON)
    events = [json.loads(line)["event"] for line in answer.text.splitlines()]
    assert "ping" in events
    assert (events.count("data"), events[-1]) == (2_501, "end")


async def test_an_error_in_the_middle_is_a_line(
    api: Api, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await with_marks(site, 1_500)
    page = marks.page

    async def away_after_the_first(catalog: object, wanted: MarkFilter, after: str, size: int) -> object:
        if after:
            raise CatalogUnavailable("it is away")
        return await page(catalog, wanted, after, size)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(marks, "page", away_after_the_first)
    answer = await api.get(f"{BASE}/marks", headers=NDJSON)
    last = json.loads(answer.text.splitlines()[-1])
    assert (last["event"], last["error"]["code"]) == ("error", "unavailable")
    assert (await api.get(f"{BASE}/marks?limit=5")).status_code == 200


async def test_streams_are_let_go_when_their_reader_is_gone(api: Api, site: Site) -> None:
    await with_marks(site, 5_000)
    headers = {**NDJSON, "Authorization": f"Bearer {api.tokens.by_role[Role.VIEWER]}"}
    for _ in range(2 * STREAMS):
        async with api.client.stream("GET", f"{BASE}/marks", headers=headers) as answer:
            assert answer.status_code == 200
            await anext(answer.aiter_lines())
    assert await lines_of(api, f"{BASE}/marks?limit=10") == 10
