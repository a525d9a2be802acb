"""How a medium is sent: parts, conditions, headers; and what becomes of clients that leave or dawdle."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import anyio
import anyio.abc
import httpx
import pytest

from reconciler.asgi import surroundings
from reconciler.errors import StoreUnavailable
from reconciler.media import remembered, sending
from reconciler.model import StoredMedium
from reconciler.stores.s3.reading import Body, BucketReader
from tests.integration.daemons import until
from tests.media.scene import ADAS, BODY, INJECTING, LARGE, SIZE, STRANGE, Scene, Service, path, service

pytestmark = pytest.mark.anyio


async def test_a_part_is_sent_under_its_place_and_several_are_sent_whole(scene: Scene) -> None:
    ada = scene.people["ada"].headers
    async with service(scene) as serving_:

        async def ask(written: str, **more: str) -> httpx.Response:
            return await serving_.ask(path(ADAS), {**ada, "Range": written, **more})

        for written, first, last in (
            ("bytes=0-0", 0, 0),
            ("bytes=-500", 524, 1023),
            ("bytes=1000-", 1000, 1023),
            ("bytes=1000-9999", 1000, 1023),
        ):
            answer = await ask(written)
            assert (answer.status_code, answer.content) == (206, BODY[first : last + 1]), written
            assert answer.headers["content-range"] == f"bytes {first}-{last}/1024"
            assert answer.headers["accept-ranges"] == "bytes"
        for written in ("bytes=0-0,2-2", "bytes=5-2", "items=0-1", "bytes=x"):
            answer = await ask(written)
            assert (answer.status_code, answer.content) == (200, BODY), written
        for written in ("bytes=1024-", "bytes=-0"):
            answer = await ask(written)
            assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */1024"), written
            assert answer.json()["code"] == "no_such_range"
        whole = await serving_.ask(path(ADAS), ada)
        etag, modified = whole.headers["etag"], whole.headers["last-modified"]
        for validator, status in ((etag, 206), (f"W/{etag}", 200), ('"other"', 200), (modified, 206)):
            answer = await ask("bytes=0-9", **{"If-Range": validator})
            assert answer.status_code == status, validator


async def test_who_has_it_is_told_so_and_head_tells_what_get_sends(scene: Scene) -> None:
    ada = scene.people["ada"].headers
    async with service(scene) as serving_:
        whole = await serving_.ask(path(ADAS), ada)
        head = await serving_.ask(path(ADAS), ada, method="HEAD")
        told = {name: text for name, text in whole.headers.items() if name != "date"}
        assert {name: text for name, text in head.headers.items() if name != "date"} == told
        assert told["cache-control"] == "private, max-age=60"
        assert told["cache-tag"] == f"vk-{scene.people['ada'].id}"
        for name, text in (("If-None-Match", told["etag"]), ("If-Modified-Since", told["last-modified"])):
            for method in ("GET", "HEAD"):
                answer = await serving_.ask(path(ADAS), {**ada, name: text}, method=method)
                assert (answer.status_code, answer.content) == (304, b"")
                assert answer.headers["etag"] == told["etag"]
                assert answer.headers["cache-control"] == told["cache-control"]
        ranged = await serving_.ask(path(ADAS), {**ada, "Range": "bytes=0-0"}, method="HEAD")
        assert (ranged.status_code, ranged.headers["content-length"]) == (200, "1024")
        for method in ("PUT", "DELETE", "POST"):
            assert (await serving_.ask(path(ADAS), ada, method=method)).status_code == 405


async def test_no_cache_keeps_it_longer_than_it_lasts(scene: Scene) -> None:
    async with service(scene, media__access="public", media__cache_for="1d") as serving_:
        told = (await serving_.ask(path("image/ends.png"))).headers["cache-control"]
        scope, _, seconds = told.partition(", max-age=")
        assert scope == "public"
        assert 0 < int(seconds) <= 3_600


@pytest.mark.parametrize("delivery", ["stream", "redirect"])
async def test_what_a_writer_stored_is_neither_run_nor_a_header(scene: Scene, delivery: str) -> None:
    ada = scene.people["ada"].headers
    async with service(scene, media__delivery=delivery) as serving_:

        async def ask(key: str) -> httpx.Response:
            answer = await serving_.ask(path(key), ada)
            if delivery == "redirect" and answer.status_code == 302:
                assert answer.headers["cache-control"] == "no-store"
                return await serving_.ask(answer.headers["location"])
            return answer

        for key in ("image/page.html", "image/drawing.svg", "image/odd"):
            answer = await ask(key)
            assert answer.headers["content-type"] == "application/octet-stream"
            assert answer.headers["content-disposition"].startswith("attachment")
        film = (await ask("image/film.mp4")).headers
        assert (film["content-type"], film["content-disposition"]) == (
            "video/mp4",
            'inline; filename="film.mp4"',
        )
        strange = (await ask(STRANGE)).headers["content-disposition"]
        assert strange.endswith("filename*=UTF-8''%C3%A9%20a%2Bb%252F%3F%23%26%3D%0A.png")
        injected = await ask(INJECTING)
        assert injected.status_code == 200
        assert "set-cookie" not in injected.headers
        if delivery == "stream":
            safe = (await ask("image/page.html")).headers
            assert safe["x-content-type-options"] == "nosniff"
            assert safe["content-security-policy"].endswith("sandbox")


async def test_a_url_of_the_store_is_good_for_its_method_and_signed_as_it_is(scene: Scene) -> None:
    ada = scene.people["ada"].headers
    async with service(scene, media__delivery="redirect", media__redirect_for="30s") as serving_:
        place = (await serving_.ask(path(ADAS), ada)).headers["location"]
        assert place.startswith(scene.site.bucket.server.endpoint_url)
        assert "X-Amz-Expires=30&" in place
        assert (await serving_.ask(place)).content == BODY
        for changed in (place.replace("ada.png", "ends.png"), f"{place}&x=1", place.replace("=30&", "=31&")):
            assert (await serving_.ask(changed)).status_code == 403
        assert (await serving_.ask(place, method="HEAD")).status_code == 403
    outside = "http://media.example.org:9000"
    async with service(scene, media__delivery="redirect", media__redirect_url=outside) as serving_:
        assert (await serving_.ask(path(ADAS), ada)).headers["location"].startswith(f"{outside}/")


async def test_a_redirect_remembers_a_type_for_a_moment_and_nothing_else(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, ada, bob = "image/kind.png", scene.people["ada"], scene.people["bob"]
    await scene.medium(key, "ada")
    async with service(scene, media__delivery="redirect") as serving_:

        async def ask(headers: Mapping[str, str]) -> httpx.Response:
            answer = await serving_.ask(path(key), headers)
            return await serving_.ask(answer.headers["location"]) if answer.status_code == 302 else answer

        assert (await ask(ada.headers)).headers["content-type"] == "image/png"
        assert (await ask(bob.headers)).status_code == 404
        await scene.put(key, "image/gif")
        assert (await ask(ada.headers)).headers["content-type"] == "image/png"
        monkeypatch.setattr(remembered, "SECONDS", 0)
        assert (await ask(ada.headers)).headers["content-type"] == "image/gif"
        monkeypatch.undo()
        await ask(ada.headers)
        await anyio.to_thread.run_sync(scene.remove, key)
        assert (await ask(ada.headers)).status_code == 404
        await scene.site.sql('DELETE FROM "MediaRecords" WHERE "StorageKey" = $1', key)
        answer = await serving_.ask(path(key), ada.headers)
        assert (answer.status_code, answer.json()["code"]) == (404, "no_such_medium")


async def test_what_is_replaced_meanwhile_is_sent_as_it_is_now(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Described, then replaced, then asked for by what it was."""
    await scene.medium("image/new.png", "ada")
    ada, described = scene.people["ada"].headers, BucketReader.describe
    left = [b"1" * 10, b"2" * 10]

    async def describe(reader: BucketReader, key: str) -> StoredMedium | None:
        found = await described(reader, key)
        if left:
            await scene.put(key, body=left.pop(0))
        return found

    monkeypatch.setattr(BucketReader, "describe", describe)
    async with service(scene) as serving_:
        asked = {**ada, "Range": "bytes=0-4"}
        answer = await serving_.ask(path("image/new.png"), asked)
        assert answer.status_code == 503
        answer = await serving_.ask(path("image/new.png"), asked)
        assert (answer.status_code, answer.content) == (206, b"22222")


# --- clients that leave, or dawdle -----------------------------------------------------------------------

CLIENTS = 12


@asynccontextmanager
async def begun(scene: Scene, serving_: Service) -> AsyncIterator[anyio.abc.SocketStream]:
    """A client that has asked for the large medium, and read the first part of it."""
    async with await anyio.connect_tcp("127.0.0.1", serving_.port) as stream:
        token = scene.people["ada"].token
        await stream.send(f"GET {path(LARGE)} HTTP/1.1\r\nHost: x\r\nX-API-Key: {token}\r\n\r\n".encode())
        await stream.receive(1)
        yield stream


def counted(serving_: Service, outcome: str) -> float:
    return float(serving_.metrics._served.labels(outcome)._value.get())


def sent(serving_: Service) -> float:
    return float(serving_.metrics._bytes._value.get())


async def test_a_client_that_leaves_is_not_read_for_and_gives_its_connection_back(
    scene: Scene, large: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one place and few connections: those who come later would wait for ever."""
    closed: list[bool] = []
    close = Body.close

    def closing(body: Body) -> None:
        close(body)
        closed.append(body._raw.closed)

    monkeypatch.setattr(Body, "close", closing)
    async with service(scene, media__requests="1", media__requests_per_owner="1") as serving_:
        for number in range(1, CLIENTS + 1):
            async with begun(scene, serving_):
                assert counted(serving_, "cut") == number - 1

            async def left(number: int = number) -> bool:
                return counted(serving_, "cut") == number

            await until(left, within=30)
        assert closed == [True] * CLIENTS
        assert sent(serving_) < CLIENTS * SIZE / 3
        answer = await serving_.ask(path(ADAS), scene.people["ada"].headers)
        assert (answer.status_code, answer.content) == (200, BODY)


async def test_a_long_body_arrives_whole_and_leaves_its_connection_fit_for_the_next(
    scene: Scene, large: None
) -> None:
    """It is read piece by piece, and its connection paused meanwhile."""
    ada = scene.people["ada"].headers
    async with service(scene) as serving_:
        for _ in range(2):
            whole = await serving_.ask(path(LARGE), ada)
            assert (whole.status_code, len(whole.content)) == (200, SIZE)
            tag = whole.headers["etag"].strip('"')
            assert hashlib.md5(whole.content, usedforsecurity=False).hexdigest() == tag
            part = await serving_.ask(path(LARGE), {**ada, "Range": "bytes=-1000000"})
            assert part.content == whole.content[-1_000_000:]
            assert (await serving_.ask(path(ADAS), ada)).content == BODY


async def test_who_asks_for_too_much_at_once_is_told_to_wait(scene: Scene, large: None) -> None:
    ada, bob = scene.people["ada"].headers, scene.people["bob"].headers
    await scene.medium("image/bob.png", "bob")
    async with (
        service(scene, media__requests="2", media__requests_per_owner="1") as serving_,
        begun(scene, serving_),
    ):
        answer = await serving_.ask(path(ADAS), ada)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert (await serving_.ask(path("image/bob.png"), bob)).status_code == 200
    async with (
        service(scene, media__requests="1") as serving_,
        begun(scene, serving_),
    ):
        assert (await serving_.ask(path("image/bob.png"), bob)).status_code == 503


async def test_a_client_that_reads_nothing_is_cut_off(
    scene: Scene, large: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surroundings, "SEND_SECONDS", 0.2)
    async with service(scene) as serving_, begun(scene, serving_):

        async def cut() -> bool:
            return counted(serving_, "cut") == 1

        await until(cut, within=30)


async def test_a_client_can_tell_that_the_store_broke_off(
    scene: Scene, large: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short body is not begun; of a long one, some has been sent already."""

    async def breaking(_: Body) -> AsyncIterator[bytes]:
        yield BODY[:10]
        raise StoreUnavailable("gone")

    monkeypatch.setattr(Body, "chunks", breaking)
    async with service(scene) as serving_:
        with pytest.raises(httpx.RemoteProtocolError):
            await serving_.ask(path(LARGE), scene.people["ada"].headers)
        assert counted(serving_, "cut") == 1
        answer = await serving_.ask(path(ADAS), scene.people["ada"].headers)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert counted(serving_, "cut") == 2


async def test_places_are_given_back_whatever_fails(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    async def failing(*_: object, **__: object) -> Body:
        raise StoreUnavailable("bucket 'secret' at http://inside:8333 is away")

    places = list[sending.Places]()
    made = sending.Places.__init__

    def remembered(self: sending.Places, most: int, most_of_one: int) -> None:
        made(self, most, most_of_one)
        places.append(self)

    monkeypatch.setattr(sending.Places, "__init__", remembered)
    monkeypatch.setattr(BucketReader, "open", failing)
    async with service(scene) as serving_:
        answer = await serving_.ask(path(ADAS), scene.people["ada"].headers)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert "secret" not in answer.text
        assert "inside" not in answer.text
        await serving_.ask(path(ADAS), scene.people["ada"].headers, method="HEAD")
        assert places[0].taken == 0
