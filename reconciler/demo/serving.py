"""The media service that `demo --keep` leaves up, and what a stranger and an owner ask of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import anyio
from anyio import to_thread

from reconciler.demo.scene import KEPT, Scene
from reconciler.embedded.client import ATTEMPTS, HOST, START_SECONDS, ServerFailed, Supervisor, free_ports

NAME = "media"
LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Where a medium is served, and the virtual key that it belongs to."""

    port: int
    key: str
    token: str

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.port}/v1/media/{self.key}"

    @property
    def commands(self) -> Sequence[str]:
        """How its owner and a stranger ask for it, with curl."""
        shown = "curl -s -o /dev/null -w '%{http_code}\\n'"
        return (f"{shown} -H 'X-API-Key: {self.token}' {self.address}", f"curl -s {self.address}")


async def start(supervisor: Supervisor, environment: Mapping[str, str], scene: Scene, token: str) -> Served:
    """Start it, and wait until it serves. Raises ServerFailed."""
    key = min(media.key for media in scene.media if media.kind is KEPT)
    settings = {
        **environment,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "RECONCILER_WEB__HOST": HOST,
        "RECONCILER_WEB__PORT": "0",
        "RECONCILER_MEDIA__HOST": HOST,
    }
    for _ in range(ATTEMPTS):
        served = Served(port=free_ports(1), key=key, token=token)
        command = [sys.executable, "-m", "reconciler", "media"]
        supervisor.start(NAME, command, env={**settings, "RECONCILER_MEDIA__PORT": str(served.port)})
        if await _serves(supervisor, served):
            return served
    raise ServerFailed(f"the media service did not start:\n{supervisor.last_lines(NAME)}")


async def _serves(supervisor: Supervisor, served: Served) -> bool:
    """Wait until the owner gets the medium; False where it ended first, as where its port was taken."""
    deadline = time.monotonic() + START_SECONDS
    while not await to_thread.run_sync(_had, served, abandon_on_cancel=True):
        if supervisor.poll(NAME) is not None:
            return False
        if time.monotonic() > deadline:
            message = f"the media service serves nothing after {START_SECONDS:.0f} s"
            raise ServerFailed(f"{message}:\n{supervisor.last_lines(NAME)}")
        await anyio.sleep(LOOK_SECONDS)
    return True


def _had(served: Served) -> bool:
    connection = HTTPConnection(HOST, served.port, timeout=5)
    try:
        connection.request("HEAD", f"/v1/media/{served.key}", headers={"X-API-Key": served.token})
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
