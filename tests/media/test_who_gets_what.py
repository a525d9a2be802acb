"""The table of who gets what: every way to ask, in every mode, by either delivery."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

import httpx
import pytest

from reconciler.errors import NotDone
from reconciler.media import links
from reconciler.model import LedgerFilter
from reconciler.operations.history import ledger
from reconciler.operations.links import revoke
from tests.media.scene import ADAS, BODY, STRANGE, Scene, Service, path, service

pytestmark = pytest.mark.anyio

OWNER, SIGNED, PUBLIC = "owner", "signed", "public"
NEW, OLD, GONE = {"new": "n" * 32}, {"old": "o" * 32}, {"gone": "g" * 32}

Asked: TypeAlias = tuple[str, Mapping[str, str]]
"""A path with its query, and headers."""


def link(scene: Scene, key: str, owner: str, secrets: Mapping[str, str] = NEW, seconds: float = 600) -> str:
    subject = links.Subject(key=key, owner=str(scene.people[owner].id))
    return links.make(secrets, subject, int(time.time() + seconds))


def bearing(name: str, key: str = ADAS) -> Callable[[Scene], Asked]:
    return lambda scene: (path(key), scene.people[name].headers)


def showing(**headers: str) -> Callable[[Scene], Asked]:
    """Headers with `{}` where ada's virtual key stands, `{hash}` where its hash does."""

    def asked(scene: Scene) -> Asked:
        token = scene.people["ada"].token
        digest = hashlib.sha256(token.encode()).hexdigest()
        named = {name.replace("_", "-"): text.format(token, hash=digest) for name, text in headers.items()}
        return path(ADAS), named

    return asked


def following(
    change: Callable[[Scene, str], str], key: str = ADAS, owner: str = "ada"
) -> Callable[[Scene], Asked]:
    """A link that was good, and is changed."""
    return lambda scene: (change(scene, link(scene, key, owner)), {})


def of_another_method(scene: Scene, made: str) -> str:
    """As if links to send media were signed alike."""
    subject = links.Subject(key=ADAS, owner=str(scene.people["ada"].id))
    ends = int(time.time()) + 600
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(links, "METHOD", "PUT")
        return links.make(NEW, subject, ends)


WAYS: Mapping[str, tuple[Callable[[Scene], Asked], set[str]]] = {
    "nobody": (lambda _: (path(ADAS), {}), {PUBLIC}),
    "the owner, as bearer": (bearing("ada"), {OWNER, SIGNED, PUBLIC}),
    "the owner, in X-API-Key": (showing(X_API_Key="{}"), {OWNER, SIGNED, PUBLIC}),
    "the owner, in api-key": (showing(api_key="{}"), {OWNER, SIGNED, PUBLIC}),
    "the owner, in X-Virtual-Key": (showing(X_Virtual_Key="{}"), {OWNER, SIGNED, PUBLIC}),
    "the owner of a strange key": (bearing("ada", STRANGE), {OWNER, SIGNED, PUBLIC}),
    "another owner": (bearing("bob"), {PUBLIC}),
    "a disabled owner": (bearing("disabled", "image/disabled.png"), {PUBLIC}),
    "an expired owner": (bearing("expired", "image/expired.png"), {PUBLIC}),
    "a forged key": (showing(Authorization="Bearer condt_forged"), {PUBLIC}),
    "the hash for the key": (showing(Authorization="Bearer {hash}"), {PUBLIC}),
    "an empty key": (showing(Authorization="Bearer", X_API_Key=""), {PUBLIC}),
    "a key of bytes": (showing(Authorization="Bearer \xff\xfe"), {PUBLIC}),
    "a key without its scheme": (showing(Authorization="{}"), {PUBLIC}),
    "a key that is too long": (showing(X_API_Key="{}" + "x" * 600), {PUBLIC}),
    "who has a link": (following(lambda _, made: made), {SIGNED, PUBLIC}),
    "who has a link of the older secret": (
        lambda scene: (link(scene, ADAS, "ada", OLD), {}),
        {SIGNED, PUBLIC},
    ),
    "who has a link after the rotation": (lambda scene: (link(scene, ADAS, "ada", GONE), {}), {PUBLIC}),
    "who names another secret": (following(lambda _, made: made.replace("by=new", "by=old")), {PUBLIC}),
    "who names no secret": (following(lambda _, made: made.replace("by=new", "by=")), {PUBLIC}),
    "who has a link that has ended": (lambda scene: (link(scene, ADAS, "ada", NEW, -1), {}), {PUBLIC}),
    "who prolongs a link": (following(lambda _, made: made.replace("ends=1", "ends=2")), {PUBLIC}),
    "who has no end": (following(lambda _, made: made.replace("ends=", "ends=x")), {PUBLIC}),
    "who has a link to another medium": (
        following(lambda _, made: made.replace("ends.png", "ada.png"), "image/ends.png"),
        {PUBLIC},
    ),
    "who has a link of another owner": (lambda scene: (link(scene, ADAS, "bob"), {}), {PUBLIC}),
    "who has a link for another method": (following(of_another_method), {PUBLIC}),
    "who signs with nothing": (
        following(lambda _, made: f"{made.partition('signature=')[0]}signature="),
        {PUBLIC},
    ),
    "who has a link of a disabled owner": (
        following(lambda _, made: made, "image/disabled.png", "disabled"),
        {PUBLIC},
    ),
    "who has a link of an expired owner": (
        following(lambda _, made: made, "image/expired.png", "expired"),
        {PUBLIC},
    ),
}
"""How a live medium is asked for, and the modes in which it is had."""

NEVER = (
    "image/over.png",
    "image/soft.png",
    "image/claimed.png",
    "image/departed.png",
    "image/dangling.png",
    "image/never.png",
    "logs/outside.png",
    ".reconciler/identity.json",
    "image/../logs/outside.png",
    "image/./ada.png",
    "",
)
"""Keys that nobody gets, whoever asks: past its expiry, soft-deleted, being deleted, departed, without an
object, never there, outside of the managed prefixes, of our own corner, of two spellings, none."""


def every(scene: Scene) -> Iterator[tuple[str, Asked, set[str]]]:
    for name, (ask, modes) in WAYS.items():
        yield name, ask(scene), modes
    for key in NEVER:
        yield f"the owner of {key!r}", (path(key), scene.people["ada"].headers), set()
        yield f"who has a link to {key!r}", (link(scene, key, "ada"), {}), set()


async def had(serving: Service, answer: httpx.Response, delivery: str, method: str) -> bool:
    """Whether the medium was had, and nothing else was answered than that or the one refusal."""
    if delivery == "redirect" and answer.status_code == 302:
        answer = await serving.ask(answer.headers["location"], method=method)
    if answer.status_code == 200:
        assert answer.content == (BODY if method == "GET" else b"")
        assert answer.headers["content-length"] == str(len(BODY))
        return True
    assert answer.status_code == 404
    assert answer.headers["cache-control"] == "no-store"
    if method == "GET":
        assert answer.json()["detail"] == "there is no such medium, or it is not yours"
    return False


@pytest.mark.parametrize("delivery", ["stream", "redirect"])
@pytest.mark.parametrize("access", [OWNER, SIGNED, PUBLIC])
async def test_each_gets_what_the_mode_grants_and_nobody_learns_more(
    scene: Scene, access: str, delivery: str
) -> None:
    wrong: list[str] = []
    async with service(scene, media__access=access, media__delivery=delivery) as serving:
        for name, (place, headers), modes in every(scene):
            for method in ("GET", "HEAD"):
                sent = {each: text.encode("latin-1") for each, text in headers.items()}
                # Written so that the client does not tidy it up.
                place = place.replace("/../", "/%2e%2e/").replace("/./", "/%2e/")  # noqa: PLW2901
                answer = await serving.ask(place, sent, method=method)  # type: ignore[arg-type]  # bytes serve
                if await had(serving, answer, delivery, method) != (access in modes):
                    wrong.append(f"{method} by {name}: {answer.status_code}")
    assert wrong == []


async def test_paths_are_read_once_as_they_were_sent(scene: Scene) -> None:
    """By a socket: clients tidy up what they send."""
    ada = scene.people["ada"].headers
    async with service(scene) as serving:
        assert await serving.raw("/v1/media/image%2Fada.png", ada) == 200
        assert await serving.raw("/v1/media/%69mage/ada.png", ada) == 200
        for written in (
            "/v1/media/image/%252E/ada.png",
            "/v1/media/image/../image/ada.png",
            "/v1/media/image/%2e%2e/image/ada.png",
            "/v1/media//image/ada.png",
            "/v1/media/../media/image/ada.png",
            "/v1/media/image/ada.png%00",
            "/v1/media/image/ada.png%ff",
            "/v1/media/image/ada.png/",
            "/v1/media/image\\ada.png",
            "/v1/media/.reconciler%2fidentity.json",
            "/v1/media/image/..%2f.reconciler/identity.json",
            f"/v1/media/image/{'x' * 1100}",
            "/v1/media",
            "/",
        ):
            assert await serving.raw(written, ada) == 404, written


async def test_what_ends_is_gone_for_the_next_request(scene: Scene) -> None:
    await scene.medium("image/brief.png", "ada")
    ada, place = scene.people["ada"].headers, path("image/brief.png")
    brief = {
        "a row that is soft-deleted": 'UPDATE "MediaRecords" SET "DeletedAt" = now() WHERE "StorageKey" = $1',
        "a row that leaves": 'DELETE FROM "MediaRecords" WHERE "StorageKey" = $1',
    }
    async with service(scene) as serving:
        assert (await serving.ask(place, ada)).status_code == 200
        for statement in brief.values():
            await scene.site.sql(statement, "image/brief.png")
            assert (await serving.ask(place, ada)).status_code == 404
            await scene.site.sql('UPDATE "MediaRecords" SET "DeletedAt" = NULL')
        eve = await scene.person("eve")
        await scene.medium("image/eve.png", "eve")
        assert (await serving.ask(path("image/eve.png"), eve.headers)).status_code == 200
        await scene.site.sql('UPDATE "VirtualKeys" SET "IsEnabled" = false WHERE "Id" = $1', eve.id)
        assert (await serving.ask(path("image/eve.png"), eve.headers)).status_code == 404


async def test_all_links_of_an_owner_end_at_once_in_every_process(scene: Scene) -> None:
    eve = await scene.person("revoked")
    await scene.medium("image/revoked.png", "revoked")
    place, theirs = path("image/revoked.png"), link(scene, "image/bobs.png", "bob")
    await scene.medium("image/bobs.png", "bob")

    async def made(serving: Service) -> str:
        answer = await serving.ask(f"{place}/links", eve.headers, method="POST")
        return str(answer.json()["path"])

    async def statuses(links: Sequence[str]) -> list[int]:
        return [(await each.ask(every)).status_code for each in (one, other) for every in links]

    async with service(scene, media__access=SIGNED) as one, service(scene, media__access=SIGNED) as other:
        first = await made(one)
        assert await statuses([first, theirs]) == [200] * 4
        async with scene.site.catalog() as catalog:
            for _ in range(2):
                ended = await revoke(catalog, [str(eve.id).upper()], by="ops", reason="posted in a forum")
                assert ended == [str(eve.id)]
                assert await statuses([first]) == [404, 404]
                second = await made(other)
                assert second != first
                assert await statuses([second, theirs]) == [200] * 4
                first = second
            with pytest.raises(NotDone, match="no such virtual key"):
                await revoke(catalog, [str(eve.id), "nobody"], by="ops", reason="a guess")
        assert await statuses([first]) == [200, 200]
        assert (await one.ask(place, eve.headers)).status_code == 200
    async with scene.site.catalog() as catalog:
        wanted = LedgerFilter(virtual_key_id=str(eve.id))
        lines = [line async for page in ledger(catalog, wanted) for line in page]
    told = "all links to the media of this virtual key ended by ops: posted in a forum"
    assert [(each.what, each.storage_key, each.detail) for each in lines] == [
        ("virtual_key", str(eve.id), told)
    ] * 2


async def test_a_group_shares_its_media_where_it_is_set_to(scene: Scene) -> None:
    await scene.site.sql('ALTER TABLE "VirtualKeys" ADD "VirtualKeyGroupId" integer')
    try:
        await scene.person("colleague")
        ours = [scene.people[name].id for name in ("ada", "colleague")]
        await scene.site.sql('UPDATE "VirtualKeys" SET "VirtualKeyGroupId" = 7 WHERE "Id" = ANY($1)', ours)
        for owner, status in (("virtual_key", 404), ("key_group", 200)):
            async with service(scene, media__owner=owner) as serving:
                colleague, bob = (scene.people[name].headers for name in ("colleague", "bob"))
                assert (await serving.ask(path(ADAS), colleague)).status_code == status
                assert (await serving.ask(path(ADAS), bob)).status_code == 404
    finally:
        await scene.site.sql('ALTER TABLE "VirtualKeys" DROP "VirtualKeyGroupId"')


async def test_a_link_is_made_by_the_owner_and_good_for_whoever_has_it(scene: Scene) -> None:
    ada, bob = (scene.people[name].headers for name in ("ada", "bob"))
    async with service(scene, media__access=SIGNED) as serving:

        async def make(headers: Mapping[str, str], content: bytes = b"", key: str = ADAS) -> httpx.Response:
            return await serving.ask(f"{path(key)}/links", headers, method="POST", content=content)

        made = await make(ada, b'{"seconds": 60}')
        assert made.status_code == 201
        assert set(made.json()) == {"path", "ends_at"}
        answer = await serving.ask(made.json()["path"])
        assert (answer.status_code, answer.content) == (200, BODY)
        strange = (await make(ada, key=STRANGE)).json()["path"]
        assert (await serving.ask(strange)).status_code == 200
        assert [(await make(who)).status_code for who in (bob, {})] == [404, 404]
        for body in (
            b"[]",
            b"{",
            b'{"seconds": 0}',
            b'{"seconds": 1e9}',
            b'{"lasts": 1}',
            b'{"seconds": true}',
        ):
            assert (await make(ada, body)).status_code == 422, body
        assert (await make(ada, b"x" * 2_000)).status_code == 413
    async with service(scene) as serving:
        assert (await make(ada)).status_code == 409
