"""The daemon that `demo --keep` leaves up, with its admin API: in dry run, so that nothing more goes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPResponse

from reconciler.demo import programs
from reconciler.embedded.client import HOST, Supervisor
from reconciler.model import Role
from reconciler.operations import tokens

EVERY = "1m"
"""How often it looks for drift: whoever puts or deletes something wants to see what becomes of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admin:
    """Where the admin API is, and a token with which everything may be asked of it."""

    port: int
    token: str

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.port}"


async def start(supervisor: Supervisor, environment: Mapping[str, str]) -> Admin:
    """Start it, and wait until it leads. Raises ServerFailed."""
    file = supervisor.directory / "tokens"
    token = tokens.issue(file, "demo", Role.APPROVER)
    settings = {
        **environment,
        "RECONCILER_SWEEP_INTERVAL": EVERY,
        "RECONCILER_RETENTION_INTERVAL": EVERY,
        "RECONCILER_ADMIN__HOST": HOST,
        "RECONCILER_ADMIN__TOKENS_FILE": str(file),
    }

    def ready(port: int) -> bool:
        return programs.asked(port, "GET", "/api/v1/status", {"Authorization": f"Bearer {token}"}, _leads)

    port = await programs.start(supervisor, "daemon", "run", settings, "RECONCILER_ADMIN__PORT", ready)
    return Admin(port=port, token=token)


def _leads(answer: HTTPResponse) -> bool:
    return answer.status == HTTPStatus.OK and bool(json.load(answer)["answered_by"]["leading"])
