"""Requests that schemathesis makes of the document, valid and not, find nothing: every check that it has."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import anyio
import pytest

from reconciler.api import gate
from reconciler.model import Role
from tests.api.serving import Api
from tests.api.test_looking import seed
from tests.integration.site import Site

pytestmark = [pytest.mark.anyio, pytest.mark.soak]

SECONDS = int(os.environ.get("FUZZED_SECONDS", "0"))
"""How long it goes on. 0: the same requests each time, so that a failure is of the change under test."""

ALIKE = ("--phases", "examples,coverage,fuzzing", "--max-examples", "30", "--seed", "1")

CONFIG = """
[generation]
deterministic = true

[checks.positive_data_acceptance]
expected-statuses = ["2xx", "404", "409", "413", "423"]

[checks.negative_data_rejection]
expected-statuses = [
  "400", "401", "403", "404", "405", "406", "409", "413", "415", "422", "428", "429", "5xx"
]

[[operations]]
include-name = "DELETE /api/v1/holds"
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", "404", "409", "422"]
"""
"""What is described and well formed is done, or is refused by the state of things: no such key, paused. What
is too large is refused for that before it is read. No document can say that `author` and `all_authors`
exclude each other.
"""


@pytest.mark.timeout(SECONDS + 200)
async def test_no_request_is_answered_otherwise_than_described(
    api: Api, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It asks without a token and with wrong ones all the time.
    monkeypatch.setattr(gate, "FAILURES", 10**9)
    await seed(site)
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)
    program = str(Path(sys.executable).parent / "schemathesis")
    token = f"Authorization: Bearer {api.tokens.by_role[Role.APPROVER]}"
    where = f"{api.client.base_url}/api/v1/openapi.json"
    # How many of its own examples it throws away says nothing of us.
    healthy = ("--suppress-health-check", "filter_too_much,too_slow")
    extent = ("--max-time", str(SECONDS)) if SECONDS else ALIKE
    options = ("--checks", "all", *extent, "--continue-on-failure", "-H", token, *healthy)
    ran = await anyio.run_process(
        [program, "--config-file", str(config), "run", *options, where], check=False, cwd=tmp_path
    )
    assert ran.returncode == 0, ran.stdout.decode()[-20_000:]
