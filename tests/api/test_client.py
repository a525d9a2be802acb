"""A client that a generator makes of the document speaks with the API: none is written by hand."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from reconciler.model import Role
from tests.api.serving import Api
from tests.integration.site import Site

pytestmark = pytest.mark.anyio

PACKAGE = "generated_client"


async def generated(api: Api, directory: Path) -> None:
    """Made of the document as it is served; a warning of the generator is a failure.

    Its formatter is left out: it is looked for on the PATH, where nothing of a virtual environment need be.
    """
    settings = directory / "generator.yaml"
    settings.write_text("post_hooks: []\n")
    described = directory / "openapi.json"
    described.write_text(json.dumps((await api.client.get("/api/v1/openapi.json")).json()))
    generator = Path(sys.executable).parent / "openapi-python-client"
    where = ("--path", str(described), "--output-path", str(directory / PACKAGE))
    ran = await anyio.run_process(
        [
            str(generator),
            "generate",
            *where,
            "--config",
            str(settings),
            "--meta",
            "none",
            "--fail-on-warning",
        ],
        check=False,
    )
    assert ran.returncode == 0, (ran.stdout + ran.stderr).decode()


async def test_a_generated_client_looks_and_steers(
    api: Api, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.put("image/a b?.png")
    await site.once(dry_run="true")
    await generated(api, tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def part(name: str) -> Any:
        return importlib.import_module(f"{PACKAGE}.{name}")

    client = part("client").AuthenticatedClient(
        base_url=str(api.client.base_url),
        token=api.tokens.by_role[Role.OPERATOR],
        httpx_args={"trust_env": False},
    )
    status = await part("api.state.get_status").asyncio(client=client)
    assert status.marks.additional_properties["orphan"].keys == 1
    marks = await part("api.marks.list_marks").asyncio(client=client, limit=1)
    assert [mark.storage_key for mark in marks.data] == ["image/a b?.png"]
    mark = await part("api.marks.get_mark").asyncio(client=client, storage_key="image/a b?.png")
    assert mark.verdict == "orphan"
    reason = part("models").Reason(reason="a look from outside")
    paused = await part("api.pause.pause_deletions").asyncio(client=client, body=reason)
    assert (paused.paused, paused.by) == (True, "operator")
    refused = await part("api.passes.approve_pass").asyncio_detailed(
        client=client, pass_id=1, body=part("models").Approval(understood=False)
    )
    assert (refused.status_code, refused.parsed.code) == (403, "not_allowed")
    await client.get_async_httpx_client().aclose()
