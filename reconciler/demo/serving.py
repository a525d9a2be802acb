"""The media service that `demo --keep` leaves up, and what a stranger and an owner ask of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from reconciler.demo import programs
from reconciler.demo.scene import KEPT, Scene
from reconciler.embedded.client import HOST, Supervisor


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

    def ready(port: int) -> bool:
        return programs.asked(
            port,
            "HEAD",
            f"/v1/media/{key}",
            {"X-API-Key": token},
            lambda answer: answer.status == HTTPStatus.OK,
        )

    settings = {**environment, "RECONCILER_MEDIA__HOST": HOST}
    port = await programs.start(
        supervisor, "media-service", "media", settings, "RECONCILER_MEDIA__PORT", ready
    )
    return Served(port=port, key=key, token=token)
