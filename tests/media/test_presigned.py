"""Uploads to the store by a URL of its own: nothing but what was announced, and nothing without its row."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.media.scene import Scene, Service, service
from tests.media.test_uploads import ON, PNG, headers, reserved, row

pytestmark = pytest.mark.anyio

SHA256 = hashlib.sha256(PNG).hexdigest()
ASKED = {"content_type": "image/png", "size": len(PNG), "sha256": SHA256}
UPLOADS = "/v1/media/uploads"


async def begin(serving: Service, head: Mapping[str, str], **asked: Any) -> httpx.Response:
    return await serving.ask(UPLOADS, head, method="POST", json={**ASKED, **asked})


async def put(told: Mapping[str, Any], body: bytes = PNG, **changes: str | None) -> int:
    sent = {**told["headers"], **{name.replace("_", "-"): text for name, text in changes.items()}}
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.put(
            told["url"], content=body, headers={name: text for name, text in sent.items() if text}
        )
        return answer.status_code


async def complete(
    serving: Service, told: Mapping[str, Any], head: Mapping[str, str], **body: str
) -> httpx.Response:
    place = f"{UPLOADS}/{told['id']}/complete"
    return await serving.ask(place, head, method="POST", **({"json": body} if body else {}))


@pytest.mark.parametrize("digest", [SHA256, None])
async def test_the_store_takes_what_was_announced_and_nothing_else(scene: Scene, digest: str | None) -> None:
    ada = headers(scene)
    async with service(scene, **ON) as serving:
        told = (await begin(serving, ada, sha256=digest)).json()
        early = await complete(serving, told, ada)
        assert (early.status_code, early.json()["code"]) == (409, "not_uploaded")
        assert await put(told, PNG + b"x", Content_Length=str(len(PNG) + 1)) == 403
        assert await put(told, PNG[:-1], Content_Length=str(len(PNG) - 1)) == 403
        assert await put(told, Content_Type="text/html") == 403
        assert await put(told, If_None_Match=None) == 403
        if digest:
            assert await put(told, PNG[:-1] + b"x") == 400
        assert await put(told) == 200
        assert await put(told) == 412
        assert (await complete(serving, told, headers(scene, "bob"))).status_code == 404
        done, again = await complete(serving, told, ada), await complete(serving, told, ada)
        assert (done.status_code, again.status_code) == (201, 201)
        assert done.json() == again.json()
        assert await row(scene, told["storage_key"]) == (
            scene.people["ada"].id,
            "image",
            len(PNG),
            digest,
        )
        got = await serving.ask(done.json()["path"], scene.people["ada"].headers)
        assert (got.status_code, got.content) == (200, PNG)


async def test_what_is_not_as_announced_gets_no_row(scene: Scene) -> None:
    """As on a store that does not check what was signed: the object is put by other means."""
    ada = headers(scene)
    wrong = {
        "size": ("image/png", PNG + b"x", {}, (422, "not_as_announced")),
        "type": ("image/gif", PNG, {}, (422, "not_as_announced")),
        "bytes": ("image/png", b"<html>" + PNG[6:], {}, (422, "type_does_not_fit")),
        "digest": ("image/png", PNG[:-1] + b"x", {}, (422, "not_as_announced")),
        "etag": ("image/png", PNG, {"etag": '"0"'}, (422, "not_as_announced")),
    }
    async with service(scene, **ON) as serving:
        for name, (kind, body, said, expected) in wrong.items():
            told = (await begin(serving, ada)).json()
            await scene.put(told["storage_key"], kind, body)
            answer = await complete(serving, told, ada, **said)
            assert (answer.status_code, answer.json()["code"]) == expected, name
            assert told["storage_key"] not in await scene.site.rows()
    await scene.site.sql("DELETE FROM reconciler.reservations")


async def test_an_upload_that_is_asked_for_twice_is_one(scene: Scene) -> None:
    ada = headers(scene, Idempotency_Key="upload")
    async with service(scene, **ON) as serving:
        first, second = await begin(serving, ada), await begin(serving, ada)
        assert first.status_code == 201
        assert first.json()["id"] == second.json()["id"]
        assert first.json()["storage_key"] == second.json()["storage_key"]
        assert (await begin(serving, ada, size=5)).json()["code"] == "idempotency_key_reused"
        assert await reserved(scene) == 1
    await scene.site.sql("DELETE FROM reconciler.reservations")


async def test_what_may_not_be_announced_is_refused(scene: Scene) -> None:
    ada = headers(scene)
    async with service(scene, **ON) as serving:
        for changes, status in (
            ({"content_type": "text/html"}, 415),
            ({"content_type": 7}, 422),
            ({"size": 0}, 422),
            ({"size": True}, 422),
            ({"size": 2**40}, 413),
            ({"sha256": "AB"}, 422),
            ({"key": "image/mine"}, 422),
        ):
            assert (await begin(serving, ada, **changes)).status_code == status, changes
        assert (await begin(serving, {})).status_code == 401
        for number in (str(uuid4()), "x"):
            assert (await complete(serving, {"id": number}, ada)).status_code == 404
        assert await reserved(scene) == 0


@pytest.mark.incident(9)
async def test_an_upload_that_lands_days_later_is_tracked_or_goes(scene: Scene) -> None:
    """I-9: as long as its reservation lasts it is no orphan; afterwards it can no longer be completed."""
    ada, site = headers(scene), scene.site
    async with service(scene, **ON, media__upload_for="7d") as serving:
        for ends, status in (("now() + interval '1 hour'", 201), ("now()", 404)):
            told = (await begin(serving, ada)).json()
            await site.sql(
                "UPDATE reconciler.reservations SET created_at = now() - interval '6 days',"
                f" expires_at = {ends} WHERE id = $1::text::uuid",
                told["id"],
            )
            assert await put(told) == 200
            async with site.catalog() as catalog:
                kept = await catalog.records.referenced([told["storage_key"]])
            assert bool(kept) == (status == 201)
            assert (await complete(serving, told, ada)).status_code == status
