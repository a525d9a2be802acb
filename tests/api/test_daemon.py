"""The admin API as the daemon serves it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from reconciler.model import Role
from tests.api.serving import Tokens
from tests.integration.daemons import daemon, free_port, until
from tests.integration.site import Site

pytestmark = pytest.mark.anyio


async def test_a_daemon_serves_it_where_tokens_are_named_and_takes_a_new_token_up(
    site: Site, tmp_path: Path
) -> None:
    tokens, port = Tokens(tmp_path / "tokens"), free_port()
    tokens.file.write_text("")
    named = {"admin__tokens_file": str(tokens.file), "admin__port": str(port), "admin__host": "127.0.0.1"}
    async with (
        daemon(site, dry_run="true", **named),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client,
    ):
        status = "/api/v1/status"

        async def answers(expected: int, **headers: str) -> bool:
            try:
                return (await client.get(status, headers=headers)).status_code == expected
            except httpx.ConnectError:
                return False

        await until(lambda: answers(401))
        tokens.make()
        known = {"Authorization": f"Bearer {tokens.by_role[Role.VIEWER]}"}
        await until(lambda: answers(200, **known))

        async def leads() -> bool:
            told = (await client.get(status, headers=known)).json()
            return bool(told["answered_by"]["leading"] and told["leader"])

        await until(leads)


async def test_a_look_at_a_part_says_what_a_sweep_would_find_there_and_marks_nothing(
    site: Site, tmp_path: Path
) -> None:
    """Rows elsewhere name orphans of the part otherwise: in another part, outside, without the prefix."""
    tokens, port = Tokens(tmp_path / "tokens").make(), free_port()
    named = {"admin__tokens_file": str(tokens.file), "admin__port": str(port), "admin__host": "127.0.0.1"}
    calm = {"sweep_interval": "1h", "retention_interval": "1h"}
    known = {"Authorization": f"Bearer {tokens.by_role[Role.OPERATOR]}"}
    spelled = {"image/a/1": "image/A/1", "image/a/2": "image%2Fa%2F2", "image/a/3": "a/3"}
    async with (
        daemon(site, **named, **calm),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client,
    ):

        async def swept() -> bool:
            return ("sweep", "released") in [(kind, state) for _, kind, state in await site.passes()]

        await until(swept)
        await site.tracked("image/a/kept", "image/b/kept")
        await site.put("image/a/orphan", "image/b/orphan", *spelled)
        for key in ("image/a/gone", "image/b/gone", *spelled.values()):
            await site.row(key)
        before = await site.state(), await site.passes()
        asked = await client.post(
            "/api/v1/passes", json={"kind": "sweep", "prefix": "image/a/"}, headers=known
        )
        job: dict[str, Any] = {}

        async def looked() -> bool:
            job.update((await client.get(asked.headers["location"], headers=known)).json())
            return job["ended_at"] is not None

        await until(looked)
        assert (job["state"], job["error"]) == ("done", None)
        found = job["result"]["verdicts"]
        assert (job["result"]["objects"], job["result"]["records"], job["done"]) == (5, 2, 5)
        keys = [each["storage_key"] for each in found["orphan"]["examples"]]
        assert keys == ["image/a/orphan", *spelled]
        assert (found["orphan"]["to_go"], found["orphan"]["kept"], found["orphan"]["bytes"]) == (1, 3, 1)
        assert {each["kept"] for each in found["orphan"]["examples"][1:]} == {"near_miss"}
        assert [each["storage_key"] for each in found["dangling"]["examples"]] == ["image/a/gone"]
        assert found["dangling"]["to_go"] == 1
        _, planned = await site.plan()
        whole = {(each.storage_key, each.kept) for each in planned if each.storage_key.startswith("image/a/")}
        told = {(each["storage_key"], each["kept"]) for one in found.values() for each in one["examples"]}
        assert told == whole
        assert not await site.sql("SELECT FROM reconciler.marks")
        assert not await site.sql("SELECT FROM reconciler.spellings")
        assert (await site.state(), await site.passes()) == before


Done = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]


async def prove(client: httpx.AsyncClient, done: Done) -> None:
    """An erasure with proof: the operation ends once it is written down."""
    media = {"media": ["image/other"], "reason": "a request"}
    would = await done("/api/v1/erasures?dry_run=true", media)
    assert would["result"] == {"rows": 0, "held": False}
    assert (await client.get("/api/v1/erasures")).json()["data"] == []
    ordered = (await done("/api/v1/erasures", media))["result"]
    case = (await client.get(f"/api/v1/erasures/{ordered['id']}")).json()
    assert (case["kind"], case["author"], case["reason"]) == ("keys", "approver", "a request")
    assert [each["id"] for each in (await client.get("/api/v1/erasures")).json()["data"]] == [ordered["id"]]
    replayed = await done("/api/v1/certificates/replay?dry_run=true", {})
    assert replayed["result"]["certificates"] == []
    assert (await client.get(f"/api/v1/erasures/{UUID(int=7)}")).json()["code"] == "no_such_erasure"


async def test_what_is_asked_for_is_taken_up_by_the_daemon(site: Site, tmp_path: Path) -> None:
    """A sweep, and an undo and an erasure of what it found."""
    tokens, port = Tokens(tmp_path / "tokens").make(), free_port()
    named = {"admin__tokens_file": str(tokens.file), "admin__port": str(port), "admin__host": "127.0.0.1"}
    calm = {"sweep_interval": "1h", "retention_interval": "1h", "delete_mode": "quarantine"}
    known = {"Authorization": f"Bearer {tokens.by_role[Role.APPROVER]}"}
    address = f"http://127.0.0.1:{port}"
    async with (
        daemon(site, **named, **calm),
        httpx.AsyncClient(base_url=address, trust_env=False, timeout=30, headers=known) as client,
    ):

        async def swept() -> bool:
            return ("sweep", "released") in [(kind, state) for _, kind, state in await site.passes()]

        await until(swept)
        await site.put("image/orphan")

        async def done(path: str, body: dict[str, Any]) -> dict[str, Any]:
            answer = await client.post(path, json=body)
            assert answer.status_code == 202, answer.text
            told: dict[str, Any] = {}

            async def ended() -> bool:
                told.update((await client.get(answer.headers["location"])).json())
                return bool(told["state"] == "done")

            await until(ended)
            return told

        asked = await done("/api/v1/passes", {"kind": "sweep"})
        assert asked["pass_id"] == max(number for number, kind, _ in await site.passes() if kind == "sweep")

        async def gone() -> bool:
            return "image/orphan" not in await site.keys()

        await until(gone)
        undone = await done("/api/v1/undo?dry_run=true", {"keys": ["image/orphan"]})
        assert (undone["result"]["mode"], undone["result"]["objects"]) == ("dry_run", 1)
        assert await gone()
        undone = await done("/api/v1/undo", {"keys": ["image/orphan"]})
        assert (undone["done"], undone["result"]["outcome"]) == (1, "complete")
        assert not await gone()
        held = await done("/api/v1/erasures", {"keys": ["image/orphan"]})
        assert list(held["result"]["held"]) == ["image/orphan"]
        await prove(client, done)
        audit = (await client.get("/api/v1/audit")).json()["data"]
        assert [(line["action"], line["status"]) for line in audit] == [
            ("replay_erasures", 202),
            ("erase", 202),
            ("erase", 202),
            ("erase", 202),
            ("undo", 202),
            ("undo", 202),
            ("run_pass", 202),
        ]
