"""Media in each state, their owners, and the service over them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import anyio
import anyio.to_thread
import httpx

from reconciler.app.media import describe, open_site
from reconciler.media.app import build
from reconciler.media.site import Media
from reconciler.settings import load
from reconciler.telemetry.metrics.media import MediaMetrics, media_registry
from reconciler.web.quick import QuickProtocol
from reconciler.web.server import serve
from tests.contract.guarded import CLAIM
from tests.integration.daemons import free_port
from tests.integration.site import Site

BODY = bytes(range(256)) * 4
HOUR = timedelta(hours=1)
STRANGE = "image/2026//é a+b%2F?#&=\n.png"
"""A key with whatever a path or a query could mistake for its own."""
INJECTING = 'image/<script>"; x=\r\nSet-Cookie: a=b\r\n.html'


ADAS = "image/ada.png"
LARGE, SIZE = "image/large.bin", 48 << 20
"""An object that is more than the buffers between the two ends hold, where there is one."""


def path(key: str) -> str:
    return f"/v1/media/{quote(key, safe='/')}"


@dataclass(frozen=True, slots=True)
class Person:
    """Who has a virtual key."""

    id: UUID
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


@dataclass(slots=True)
class Scene:
    """`people` by name: ada, bob, and those whose key is disabled or has expired."""

    site: Site
    secrets: Path
    people: dict[str, Person] = field(default_factory=dict)

    async def person(self, name: str, *, enabled: bool = True, expires: datetime | None = None) -> Person:
        made = Person(uuid4(), f"condt_{name}_{uuid4().hex}")
        await self.site.sql(
            'INSERT INTO "VirtualKeys" ("Id", "KeyName", "KeyHash", "IsEnabled", "ExpiresAt")'
            " VALUES ($1, $2, $3, $4, $5)",
            made.id,
            name,
            hashlib.sha256(made.token.encode()).hexdigest(),
            enabled,
            expires,
        )
        self.people[name] = made
        return made

    async def medium(self, key: str, owner: str, /, kind: str = "image/png", **columns: Any) -> None:
        """An object and its row."""
        await self.put(key, kind)
        await self.site.row(key, self.people[owner].id, **columns)

    async def put(self, key: str, kind: str = "image/png", body: bytes = BODY, **more: Any) -> None:
        bucket = self.site.bucket

        def put() -> None:
            bucket.client.put_object(Bucket=bucket.name, Key=key, Body=body, ContentType=kind, **more)

        await anyio.to_thread.run_sync(put)

    def remove(self, key: str) -> None:
        """The object alone."""
        self.site.bucket.client.delete_object(Bucket=self.site.bucket.name, Key=key)


async def fill(scene: Scene) -> None:
    """Everything that is looked at."""
    now, site = datetime.now(UTC), scene.site
    scene.secrets.write_text(f"new {'n' * 32}\nold {'o' * 32}\n")
    await site.sql('ALTER TABLE "MediaRecords" ADD "DeletedAt" timestamptz')
    for name in ("ada", "bob"):
        await scene.person(name)
    await scene.person("disabled", enabled=False)
    await scene.person("expired", expires=now - HOUR)
    await scene.medium(ADAS, "ada")
    await scene.medium("image/ends.png", "ada", ExpiresAt=now + HOUR)
    await scene.medium("image/disabled.png", "disabled")
    await scene.medium("image/expired.png", "expired")
    await scene.medium(STRANGE, "ada")
    await scene.medium(INJECTING, "ada", "text/html")
    await scene.medium("image/page.html", "ada", "text/html")
    await scene.medium("image/drawing.svg", "ada", "image/svg+xml")
    await scene.medium("image/odd", "ada", 'image/png"; a=b, text/html')
    await scene.medium("image/film.mp4", "ada", "video/mp4")
    await scene.medium("image/over.png", "ada", ExpiresAt=now - HOUR)
    await scene.medium("image/soft.png", "ada", DeletedAt=now - HOUR)
    await scene.medium("image/claimed.png", "ada")
    await site.sql(CLAIM, "image/claimed.png")
    await scene.put("image/departed.png")
    await site.row("image/dangling.png", scene.people["ada"].id)
    await scene.medium("logs/outside.png", "ada")
    await scene.medium(".reconciler/identity.json", "ada")
    await site.row("image/../logs/outside.png", scene.people["ada"].id)


@dataclass(slots=True)
class Service:
    """A client of the service, its port, what it works on, and what was counted."""

    client: httpx.AsyncClient
    port: int
    media: Media
    metrics: MediaMetrics

    async def ask(
        self, path: str, headers: Mapping[str, str] | None = None, *, method: str = "GET", **options: Any
    ) -> httpx.Response:
        return await self.client.request(method, path, headers=headers, **options)

    async def raw(self, path: str, headers: Mapping[str, str], method: str = "GET") -> int:
        """The status of a path that is sent as it stands: clients tidy it up."""
        lines = [f"{method} {path} HTTP/1.1", "Host: here", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        async with await anyio.connect_tcp("127.0.0.1", self.port) as stream:
            await stream.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
            return int((await stream.receive()).split(b" ")[1])


@asynccontextmanager
async def service(scene: Scene, **changes: str) -> AsyncIterator[Service]:
    """The service over the scene, with these settings."""
    told = {"media__link_keys_file": str(scene.secrets), **changes}
    settings = load({**os.environ, **scene.site.settings(**told)})
    _, metrics = media_registry(version="")
    port, started = free_port(), anyio.Event()
    async with open_site(settings, metrics) as opened, anyio.create_task_group() as group:
        media = describe(settings, lambda: opened, metrics)

        async def run() -> None:
            await serve(
                build(media), "127.0.0.1", port, section="MEDIA", protocol=QuickProtocol, started=started
            )

        group.start_soon(run)
        with anyio.fail_after(20):
            await started.wait()
        address = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=30) as client:
            yield Service(client, port, media, metrics)
        group.cancel_scope.cancel()
