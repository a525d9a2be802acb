"""Uploads through the service: stored whole, tracked, or refused without a trace."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import httpx
import pytest

from reconciler.app import uploads
from reconciler.errors import ConfigError
from reconciler.settings import load
from tests.integration.daemons import until
from tests.media.scene import Scene, Service, path, service

pytestmark = pytest.mark.anyio

PNG = b"\x89PNG\r\n\x1a\n" + bytes(1000)
MP4 = b"\x00\x00\x00\x18ftypisom\x00\x00\x00\x00isommp42"
ON = {
    "media__uploads": "true",
    "media__upload_limits": '{"image/": "1MiB", "video/": "1GiB"}',
    "catalog__media_columns__content_hash": "ContentHash",
}


def headers(scene: Scene, name: str = "ada", kind: str = "image/png", **more: str) -> dict[str, str]:
    further = {key.replace("_", "-"): value for key, value in more.items()}
    return {**scene.people[name].headers, "Content-Type": kind, **further}


async def send(serving: Service, head: Mapping[str, str], body: Any = PNG) -> httpx.Response:
    return await serving.ask("/v1/media", head, method="POST", content=body)


async def row(scene: Scene, key: str) -> tuple[Any, ...]:
    (found,) = await scene.site.sql(
        'SELECT "VirtualKeyId", "MediaType", "SizeBytes", "ContentHash" FROM "MediaRecords"'
        ' WHERE "StorageKey" = $1',
        key,
    )
    return tuple(found)


def content(scene: Scene, key: str) -> bytes:
    bucket = scene.site.bucket
    found: bytes = bucket.client.get_object(Bucket=bucket.name, Key=key)["Body"].read()
    return found


async def unfinished(scene: Scene) -> list[str]:
    bucket = scene.site.bucket

    def look() -> list[str]:
        found = bucket.client.list_multipart_uploads(Bucket=bucket.name).get("Uploads", [])
        return [each["Key"] for each in found]

    return await anyio.to_thread.run_sync(look)


async def reserved(scene: Scene) -> int:
    ((count,),) = await scene.site.sql("SELECT count(*) FROM reconciler.reservations WHERE state = 'open'")
    return int(count)


async def test_what_is_uploaded_is_stored_tracked_and_served_to_its_owner(scene: Scene) -> None:
    async with service(scene, **ON) as serving:
        answer = await send(serving, headers(scene))
        told = answer.json()
        assert answer.status_code == 201, told
        digest = hashlib.sha256(PNG).hexdigest()
        assert (told["size"], told["sha256"], told["content_type"]) == (len(PNG), digest, "image/png")
        assert told["storage_key"].startswith("image/2")
        assert told["storage_key"].endswith(".png")
        assert answer.headers["location"] == path(told["storage_key"])
        assert await row(scene, told["storage_key"]) == (
            scene.people["ada"].id,
            "image",
            len(PNG),
            digest,
        )
        got = await serving.ask(told["path"], scene.people["ada"].headers)
        assert (got.status_code, got.content, got.headers["content-type"]) == (200, PNG, "image/png")
        assert (await serving.ask(told["path"], scene.people["bob"].headers)).status_code == 404
        assert await reserved(scene) == 0


async def test_a_large_one_goes_in_parts_also_of_unknown_length(scene: Scene) -> None:
    block = os.urandom(1 << 20)
    body = MP4 + block * 20

    async def chunks() -> AsyncIterator[bytes]:
        yield MP4
        for _ in range(20):
            yield block

    async with service(scene, **ON) as serving:
        for sent in (body, chunks()):
            answer = await send(serving, headers(scene, kind="video/mp4"), sent)
            assert answer.status_code == 201, answer.text
            told = answer.json()
            assert (told["size"], told["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())
            stored = await anyio.to_thread.run_sync(partial(content, scene, told["storage_key"]))
            assert stored == body
    assert await unfinished(scene) == []


async def test_who_goes_away_leaves_nothing_behind(scene: Scene) -> None:
    gone = anyio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        yield MP4
        for _ in range(12):
            yield bytes(1 << 20)

        async def begun() -> bool:
            return bool(await unfinished(scene))

        await until(begun)
        gone.set()
        await anyio.sleep_forever()

    before = await scene.site.keys()
    async with service(scene, **ON) as serving, anyio.create_task_group() as group:

        async def go() -> None:
            await send(serving, headers(scene, kind="video/mp4"), chunks())

        group.start_soon(go)
        await gone.wait()
        group.cancel_scope.cancel()

    async def ended() -> bool:
        return not await unfinished(scene) and await reserved(scene) == 0

    await until(ended)
    assert await scene.site.keys() == before


async def test_a_repeated_request_is_done_once(scene: Scene) -> None:
    async with service(scene, **ON) as serving:
        once = headers(scene, Idempotency_Key='"first"')
        first, second = await send(serving, once), await send(serving, once)
        assert (first.status_code, second.status_code) == (201, 201)
        assert first.json() == second.json()
        other = await send(serving, once, PNG + b"more")
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
        same_length = await send(serving, once, PNG[:-1] + b"x")
        assert same_length.json()["code"] == "idempotency_key_reused"
        theirs = await send(serving, headers(scene, "bob", Idempotency_Key="first"))
        assert theirs.json()["storage_key"] != first.json()["storage_key"]
        await scene.site.sql(
            "UPDATE reconciler.reservations SET state = 'open' WHERE storage_key = $1",
            first.json()["storage_key"],
        )
        waiting = await send(serving, once)
        assert (waiting.status_code, waiting.json()["code"]) == (409, "still_under_way")
        await scene.site.sql("DELETE FROM reconciler.reservations")


async def test_what_may_not_be_uploaded_is_refused(scene: Scene) -> None:
    limits = '{"image/": "2KiB", "image/gif": "1KiB", "text/plain": "1KiB"}'
    async with service(scene, **{**ON, "media__upload_limits": limits}) as serving:

        async def code(head: Mapping[str, str], body: Any = PNG) -> tuple[int, str]:
            answer = await send(serving, head, body)
            return answer.status_code, answer.json()["code"]

        async def long() -> AsyncIterator[bytes]:
            yield PNG
            yield bytes(2000)

        before = await scene.site.keys()
        assert await code({"Content-Type": "image/png"}) == (401, "not_authenticated")
        for name in ("disabled", "expired"):
            assert await code(headers(scene, name)) == (401, "not_authenticated")
        for kind in ("text/html", "video/mp4", "image", ""):
            assert await code(headers(scene, kind=kind)) == (415, "type_not_taken"), kind
        for kind, body in {
            "image/jpeg": PNG,
            "image/png": b"<html>",
            "text/plain": PNG[:500],
            "image/svg+xml": PNG,
        }.items():
            assert await code(headers(scene, kind=kind), body) == (422, "type_does_not_fit"), kind
        assert await code(headers(scene), b"") == (422, "invalid")
        assert await code(headers(scene), bytes(3000)) == (413, "too_large")
        assert await code(headers(scene), long()) == (413, "too_large")
        assert await code(headers(scene, kind="image/gif"), b"GIF89a" + bytes(2000)) == (413, "too_large")
        assert await code(headers(scene, Idempotency_Key="x" * 300)) == (422, "invalid")
        assert (await send(serving, headers(scene, kind="text/plain"), b"hello")).status_code == 201
        assert await reserved(scene) == 0
        assert len(await scene.site.keys() - before) == 1
    async with service(scene, **ON, quota__max_bytes="1500") as serving:
        bob = headers(scene, "bob")
        await scene.site.sql('DELETE FROM "MediaRecords" WHERE "VirtualKeyId" = $1', scene.people["bob"].id)
        assert (await send(serving, bob)).status_code == 201
        assert await code(bob) == (507, "over_quota")


async def test_one_owner_has_so_many_places_for_both_directions(scene: Scene) -> None:
    async with service(scene, **ON, media__requests_per_owner="1") as serving:
        give_back = serving.media.places.take(str(scene.people["ada"].id))
        assert (await send(serving, headers(scene))).status_code == 429
        assert (await send(serving, headers(scene, "bob"))).status_code == 201
        give_back()
        assert (await send(serving, headers(scene))).status_code == 201
        assert serving.media.places.taken == 0


async def test_the_document_names_each_operation_once(scene: Scene) -> None:
    async with service(scene, **ON) as serving:
        paths = (await serving.ask("/v1/openapi.json")).json()["paths"]
    names = [operation["operationId"] for each in paths.values() for operation in each.values()]
    assert len(names) == len(set(names)) == 6


async def test_nothing_is_taken_unless_it_is_set_to(scene: Scene) -> None:
    async with service(scene) as serving:
        assert (await send(serving, headers(scene))).status_code in {404, 405}


def test_a_key_that_would_not_be_managed_is_an_error(scene: Scene) -> None:
    told = scene.site.settings(media__uploads="true", media__upload_key="logs/{id}")
    with pytest.raises(ConfigError, match="MEDIA__UPLOAD_KEY=logs/"):
        uploads.terms(load({**os.environ, **told}))
