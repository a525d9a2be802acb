"""A daemon with plenty to do: drift of every kind, a dry run, and then live deletions under a cap."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import anyio
import anyio.to_thread

from reconciler.embedded.client import Supervisor
from tests.integration.daemons import Daemon, daemon, until
from tests.integration.site import DAY, Site
from tests.support.mounted import Volume
from tools.dashboards.prometheus import Prometheus, prometheus

ROOT = Path(__file__).parent.parent.parent
ROWS = """
INSERT INTO "MediaRecords"
  ("Id", "StorageKey", "VirtualKeyId", "MediaType", "Provider", "SizeBytes", "CreatedAt", "ExpiresAt")
SELECT gen_random_uuid(), $1 || lpad(n::text, 4, '0'), $2,
       CASE WHEN $1 LIKE 'video/%' THEN 'video' ELSE 'image' END,
       (ARRAY['acme', 'globex', 'initech'])[1 + n % 3], $3::bigint * (1 + n % 5), now() - $4::interval,
       CASE WHEN $5 THEN now() - interval '1 hour' END
FROM generate_series($6::int, $7::int) n
"""
CAP = 8
"""Keys a second."""
CONNECTIONS = 8
"""As many as a client keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What runs, and since when Prometheus looks at it."""

    site: Site
    running: Daemon
    prometheus: Prometheus
    volume: Volume
    owner: UUID
    since: float

    async def known(self, expr: str) -> bool:
        """Whether Prometheus finds something by now."""
        return bool(await anyio.to_thread.run_sync(self.prometheus.instant, expr))

    async def until_known(self, expr: str) -> None:
        await until(lambda: self.known(expr))

    async def go_live(self) -> None:
        await anyio.to_thread.run_sync(self.volume.swap, runtime("false"))


def runtime(dry_run: str) -> str:
    return f"dry_run: {dry_run}\nmax_deletes_per_second: {CAP}\n"


async def objects(site: Site, prefix: str, numbers: range, *, size: int = 2000) -> None:
    """Put side by side; each a little larger than the one before."""

    async def put(number: int) -> None:
        body = b"x" * (size + number)
        await anyio.to_thread.run_sync(site.bucket.put, f"{prefix}{number:04}", body, limiter=limiter)

    limiter = anyio.CapacityLimiter(CONNECTIONS)
    async with anyio.create_task_group() as group:
        for number in numbers:
            group.start_soon(put, number)


async def rows(
    site: Site, prefix: str, numbers: range, owner: UUID, *, age: object = DAY, expired: bool = False
) -> None:
    await site.sql(ROWS, prefix, owner, 2000, age, expired, numbers.start, numbers.stop - 1)


async def seed(site: Site) -> UUID:
    """Media that stay and drift of most kinds; returns the key that owns what stays."""
    owner, disabled = await site.virtual_key(), await site.virtual_key(enabled=False)
    media = (
        ("image/kept-", 60, owner, DAY, False),
        ("video/kept-", 30, owner, DAY, False),
        ("image/expired-", 25, owner, DAY, True),
        ("video/stale-", 20, owner, 120 * DAY, False),
        ("video/revoked-", 12, disabled, DAY, False),
    )
    for prefix, count, key, age, expired in media:
        await objects(site, prefix, range(count))
        await rows(site, prefix, range(count), key, age=age, expired=expired)
    await objects(site, "image/orphan-", range(50))
    await objects(site, "image/album-", range(5))
    await rows(site, "video/without-an-object-", range(4), owner)  # the last to go, by key
    await site.put("image/folder/")
    await site.sql(
        "INSERT INTO reconciler.holds (kind, target, reason, author)"
        " VALUES ('prefix', 'image/album-', 'an inquiry', 'ada')"
    )
    return owner


@asynccontextmanager
async def scene(site: Site, supervisor: Supervisor, directory: Path) -> AsyncIterator[Scene]:
    """In dry run at first; `directory` is for the runtime file."""
    owner = await seed(site)
    volume = Volume(directory / "runtime", runtime("true"))
    nobodys = {"PYTHONPATH": str(ROOT), "AWS_CONFIG_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true"}
    site.environment.update({**nobodys, "RECONCILER_RUNTIME_FILE": str(volume.file)})
    site.environment["RECONCILER_PRICE_PER_GIB_MONTH"] = "0.023"
    site.environment["RECONCILER_QUOTA__MAX_OBJECTS"] = "100"
    del site.environment["RECONCILER_DRY_RUN"]
    del site.environment["RECONCILER_MAX_DELETES_PER_SECOND"]
    async with daemon(site) as running:
        with prometheus(supervisor, running.port) as watching:
            yield Scene(
                site=site,
                running=running,
                prometheus=watching,
                volume=volume,
                owner=owner,
                since=time.time(),
            )
