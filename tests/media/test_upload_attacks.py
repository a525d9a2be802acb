"""Uploads by who means no good: headers, replays, other people's uploads, and what changes under way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anyio
import httpx
import pytest

from reconciler.model import StoredMedium
from reconciler.stores.s3.reading import BucketReader
from tests.media.scene import Scene, Service, service
from tests.media.test_uploads import ON, PNG, content, headers, reserved, send

pytestmark = pytest.mark.anyio


async def begin(serving: Service, head: Mapping[str, str], **said: Any) -> httpx.Response:
    asked = {"content_type": "image/png", "size": len(PNG), **said}
    return await serving.ask("/v1/media/uploads", head, method="POST", json=asked)


async def put(begun: httpx.Response, body: bytes = PNG) -> int:
    told = begun.json()
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.put(told["url"], content=body, headers=told["headers"])).status_code


async def complete(serving: Service, head: Mapping[str, str], begun: httpx.Response) -> httpx.Response:
    place = f"/v1/media/uploads/{begun.json()['id']}/complete"
    return await serving.ask(place, head, method="POST")


async def rows(scene: Scene, key: str) -> int:
    ((count,),) = await scene.site.sql('SELECT count(*) FROM "MediaRecords" WHERE "StorageKey" = $1', key)
    return int(count)


async def test_a_type_that_no_header_should_have_is_refused_before_anything_is_reserved(scene: Scene) -> None:
    async with service(scene, **ON) as serving:
        before = await scene.site.keys()
        for kind in ("image/png; x=\xe9", "image/png; x=\x7f", f"image/png; x={'y' * 3000}", "image/png\t;a"):
            head = {name: text.encode("latin-1") for name, text in headers(scene, kind=kind).items()}
            answer = await send(serving, head)  # type: ignore[arg-type]  # bytes serve
            # The server itself takes no control characters.
            assert answer.status_code == (400 if "\x7f" in kind else 415), kind
            if kind.isascii():
                assert (await begin(serving, headers(scene), content_type=kind)).status_code in {415, 422}
        assert await scene.site.keys() == before
        assert await reserved(scene) == 0


async def test_an_idempotency_key_is_of_one_request_whichever_way_it_went(scene: Scene) -> None:
    async with service(scene, **ON) as serving:
        head = headers(scene, Idempotency_Key="both")
        begun = await begin(serving, head)
        assert (await send(serving, head)).status_code in {409, 422}
        assert await put(begun) == 200
        assert (await complete(serving, head, begun)).status_code == 201
        assert (await send(serving, head)).json()["code"] == "idempotency_key_reused"
        other = headers(scene, Idempotency_Key="other")
        assert (await send(serving, other)).status_code == 201
        assert (await begin(serving, other)).json()["code"] == "idempotency_key_reused"


async def test_an_upload_that_is_begun_again_replaces_nothing_that_is_there(scene: Scene) -> None:
    async with service(scene, **ON) as serving:
        head = headers(scene, Idempotency_Key="again")
        begun = await begin(serving, head)
        key = begun.json()["storage_key"]
        assert await put(begun) == 200
        first = await complete(serving, head, begun)
        again = await begin(serving, head)
        assert again.json()["storage_key"] == key
        assert await put(again, PNG[:-1] + b"x") == 412
        assert (await complete(serving, head, again)).json() == first.json()
        assert content(scene, key) == PNG
        assert await rows(scene, key) == 1


async def test_an_upload_of_somebody_else_cannot_be_completed(scene: Scene) -> None:
    async with service(scene, **ON) as serving:
        ada = headers(scene)
        begun = await begin(serving, ada)
        assert await put(begun) == 200
        for name, status in (("bob", 404), ("disabled", 401), ("expired", 401)):
            assert (await complete(serving, headers(scene, name), begun)).status_code == status
        assert (await complete(serving, {}, begun)).status_code == 401
        for written in ("0", "%00", begun.json()["id"].upper() + "0"):
            place = f"/v1/media/uploads/{written}/complete"
            assert (await serving.ask(place, ada, method="POST")).status_code == 404
        assert await rows(scene, begun.json()["storage_key"]) == 0
        answers = list[int]()

        async def once() -> None:
            answers.append((await complete(serving, ada, begun)).status_code)

        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(once)
        assert answers == [201] * 8
        assert await rows(scene, begun.json()["storage_key"]) == 1


async def test_what_is_replaced_while_it_is_completed_gets_no_row(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = BucketReader.describe

    async def describe(reader: BucketReader, key: str) -> StoredMedium | None:
        found = await described(reader, key)
        await scene.put(key, body=PNG[:-1] + b"x")
        return found

    async with service(scene, **ON) as serving:
        begun = await begin(serving, headers(scene))
        assert await put(begun) == 200
        with monkeypatch.context() as patched:
            patched.setattr(BucketReader, "describe", describe)
            answer = await complete(serving, headers(scene), begun)
        assert (answer.status_code, answer.json()["code"]) == (422, "not_as_announced")
        assert await rows(scene, begun.json()["storage_key"]) == 0
        assert (await complete(serving, headers(scene), begun)).status_code == 201


async def test_names_from_outside_are_in_no_key(scene: Scene) -> None:
    async with service(scene, **ON) as serving:
        for more in ({"Content-Disposition": 'attachment; filename="../../x.png"'}, {"X-File-Name": "../x"}):
            answer = await send(serving, {**headers(scene), **more})
            assert answer.status_code == 201
            assert ".." not in answer.json()["storage_key"]
        for place in ("/v1/media/../x", "/v1/media/image%2F..%2Fx", "/v1/media?key=../x", "/v1/media/x"):
            status = await serving.raw(place, headers(scene), "PUT")
            assert status in {404, 405}, place
