"""The daemon that `demo --keep` leaves up, with its admin API: in dry run, so that nothing more goes."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import anyio
from anyio import to_thread

from reconciler.embedded.client import ATTEMPTS, HOST, START_SECONDS, ServerFailed, Supervisor, free_ports
from reconciler.model import Role
from reconciler.operations import tokens

NAME = "daemon"
EVERY = "1m"
"""How often it looks for drift: whoever puts or deletes something wants to see what becomes of it."""

LOOK_SECONDS = 0.2


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
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "RECONCILER_SWEEP_INTERVAL": EVERY,
        "RECONCILER_RETENTION_INTERVAL": EVERY,
        "RECONCILER_WEB__HOST": HOST,
        "RECONCILER_WEB__PORT": "0",
        "RECONCILER_ADMIN__HOST": HOST,
        "RECONCILER_ADMIN__TOKENS_FILE": str(file),
    }
    for _ in range(ATTEMPTS):
        port = free_ports(1)
        admin = Admin(port=port, token=token)
        command = [sys.executable, "-m", "reconciler", "run"]
        supervisor.start(NAME, command, env={**settings, "RECONCILER_ADMIN__PORT": str(port)})
        if await _led(supervisor, admin):
            return admin
    raise ServerFailed(f"the daemon did not start:\n{supervisor.last_lines(NAME)}")


async def _led(supervisor: Supervisor, admin: Admin) -> bool:
    """Wait until it leads; False where it ended first, as it does where its port was taken."""
    deadline = time.monotonic() + START_SECONDS
    while not await to_thread.run_sync(_leads, admin, abandon_on_cancel=True):
        if supervisor.poll(NAME) is not None:
            return False
        if time.monotonic() > deadline:
            message = f"the daemon does not lead after {START_SECONDS:.0f} s:\n{supervisor.last_lines(NAME)}"
            raise ServerFailed(message)
        await anyio.sleep(LOOK_SECONDS)
    return True


def _leads(admin: Admin) -> bool:
    connection = HTTPConnection(HOST, admin.port, timeout=5)
    try:
        connection.request("GET", "/api/v1/status", headers={"Authorization": f"Bearer {admin.token}"})
        answer = connection.getresponse()
        return answer.status == HTTPStatus.OK and bool(json.load(answer)["answered_by"]["leading"])
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
