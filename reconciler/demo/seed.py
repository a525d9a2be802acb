"""Putting a scene into the bucket and the gateway's tables, as a gateway would have, only faster."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import aioboto3
import anyio
import asyncpg
from botocore.config import Config

from reconciler.demo.scene import Media, Owner, Row, Scene
from reconciler.embedded.postgres import EmbeddedPostgres
from reconciler.embedded.seaweedfs import EmbeddedS3

if TYPE_CHECKING:  # the stubs are no dependency of the program
    from types_aiobotocore_s3 import S3Client

BUCKET = "media"
DATABASE = "gateway"
_WRITERS = 32
_BODY = bytes(range(256)) * 32

_INSERT_KEY = """
INSERT INTO "VirtualKeys" ("Id", "KeyName", "KeyHash", "IsEnabled", "ExpiresAt", "CreatedAt")
VALUES ($1, $2, $3, $4, $5, $6)
"""

# A fresh row is stored a second time before the second pass, when it has to be fresh again.
_INSERT_MEDIA = """
INSERT INTO "MediaRecords" ("Id", "StorageKey", "VirtualKeyId", "MediaType", "SizeBytes",
                            "CreatedAt", "LastAccessedAt", "ExpiresAt", "AccessCount")
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT ("StorageKey") DO UPDATE SET "CreatedAt" = EXCLUDED."CreatedAt"
"""


@asynccontextmanager
async def bucket_client(server: EmbeddedS3) -> AsyncIterator[S3Client]:
    """The demo's own client, which shares nothing with the reconciler's."""
    session = aioboto3.Session(
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name=server.region,
    )
    config = Config(max_pool_connections=_WRITERS, s3={"addressing_style": "path"})
    async with session.client("s3", endpoint_url=server.endpoint_url, config=config) as client:
        yield client


@asynccontextmanager
async def database_connection(
    server: EmbeddedPostgres, database: str = DATABASE
) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the demo's own."""
    connection = await asyncpg.connect(server.url(database))
    try:
        yield connection
    finally:
        await connection.close(timeout=5)


async def create_database(server: EmbeddedPostgres) -> None:
    async with database_connection(server, "postgres") as connection:
        await connection.execute(f'CREATE DATABASE "{DATABASE}"')


class Seeder:
    """Stores a scene: `store` once, `store_fresh` before each pass, whose uploads are then in flight."""

    def __init__(self, scene: Scene, client: S3Client, connection: asyncpg.Connection) -> None:
        self._scene = scene
        self._client = client
        self._connection = connection
        self._owners = {owner: uuid4() for owner in Owner}
        self.token = f"condt_{uuid4()}"
        """The virtual key that is active, as its owner presents it."""

    async def store(self, stored: Callable[[int], None], orphans_stored: Callable[[], None]) -> None:
        """Store everything except fresh media. `stored` is called for each object."""
        await self._store_keys()
        await self._store_rows(self._scene.rows(fresh=False))
        objects = self._scene.objects(fresh=False)
        orphans = sum(media.kind.goes == "orphan" for media in objects)
        await self._store_objects(objects[:orphans], stored)
        orphans_stored()
        await self._store_objects(objects[orphans:], stored)
        leaving = [media.id for media in self._scene.leaving()]
        await self._connection.execute('DELETE FROM "MediaRecords" WHERE "Id" = ANY($1)', leaving)

    async def store_fresh(self) -> None:
        """The uploads in flight, now."""
        await self._store_objects(self._scene.objects(fresh=True), lambda _: None)
        await self._store_rows(self._scene.rows(fresh=True))

    async def _store_keys(self) -> None:
        now: datetime = await self._connection.fetchval("SELECT now()")
        long_ago = now - timedelta(days=400)
        for owner in (Owner.ACTIVE, Owner.DISABLED, Owner.EXPIRED):
            token = self.token if owner is Owner.ACTIVE else f"condt_{uuid4()}"
            digest = hashlib.sha256(token.encode()).hexdigest()
            expires = now - timedelta(days=30) if owner is Owner.EXPIRED else None
            enabled = owner is not Owner.DISABLED
            await self._connection.execute(
                _INSERT_KEY, self._owners[owner], f"{owner} key", digest, enabled, expires, long_ago
            )

    async def _store_rows(self, chosen: Sequence[Media]) -> None:
        now: datetime = await self._connection.fetchval("SELECT now()")
        async with self._connection.transaction():
            # The foreign key makes ownerless rows impossible. Databases have them where it was added
            # late or never, or where a dump was restored; as a restore does, this passes it by.
            await self._connection.execute("SET LOCAL session_replication_role = replica")
            await self._connection.executemany(
                _INSERT_MEDIA,
                [self._values(media, media.kind.row, now) for media in chosen if media.kind.row],
            )

    def _values(self, media: Media, row: Row, now: datetime) -> tuple[object, ...]:
        def ago(age: timedelta | None) -> datetime | None:
            return None if age is None else now - age

        owner: UUID = self._owners[row.owner]
        media_type = media.key.split("/", 1)[0]
        accessed, expires = ago(row.accessed), ago(row.expired)
        created = ago(row.created)
        return (
            media.id,
            media.key,
            owner,
            media_type,
            media.size,
            created,
            accessed,
            expires,
            int(accessed is not None),
        )

    async def _store_objects(self, chosen: Sequence[Media], stored: Callable[[int], None]) -> None:
        waiting = iter(chosen)

        async def write() -> None:
            for media in waiting:
                body = _BODY[: media.size]
                await self._client.put_object(Bucket=BUCKET, Key=media.key, Body=body)
                stored(1)

        async with anyio.create_task_group() as writers:
            for _ in range(_WRITERS):
                writers.start_soon(write)
