"""Servers that answer as the CDNs' published APIs do: their shapes, their limits, and their errors."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import anyio
from anyio.abc import SocketAttribute, SocketStream

TOKEN = "t0ken"
ZONE = "zone1"


@dataclass(frozen=True)
class Request:
    """What a server was asked."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Reply:
    """What it answers."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def bytes(self) -> bytes:
        if self.body is None:
            return b""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass
class Cdn:
    """One provider. `purged` is what it has forgotten, `next` what it answers first, whatever it is asked.

    `bad` are URLs or tags that it takes for invalid.
    """

    answer: Callable[[Cdn, Request], Reply]
    requests: list[Request] = field(default_factory=list)
    purged: list[str] = field(default_factory=list)
    next: list[Reply] = field(default_factory=list)
    bad: set[str] = field(default_factory=set)
    token: str = TOKEN
    url: str = ""
    name: str = ""
    in_progress: int = 0

    def ask(self, request: Request) -> Reply:
        self.requests.append(request)
        return self.next.pop(0) if self.next else self.answer(self, request)

    def purge(self, targets: list[str]) -> None:
        self.purged += targets


def cloudflare(cdn: Cdn, request: Request) -> Reply:
    """100 operations in a request; one bad URL refuses all of them."""
    if request.headers.get("authorization") != f"Bearer {cdn.token}":
        return Reply(403, _cloudflare_error(9109, "Invalid access token"))
    if (request.method, request.path) == ("GET", "/user/tokens/verify"):
        return Reply(200, {"success": True, "errors": [], "messages": [], "result": {"status": "active"}})
    if (request.method, request.path) != ("POST", f"/zones/{ZONE}/purge_cache"):
        return Reply(404, _cloudflare_error(7003, "Could not route"))
    ((_, targets),) = request.json.items()
    if len(targets) > 100:
        return Reply(400, _cloudflare_error(1094, "only 100 operations per request"))
    if cdn.bad & {*targets}:
        return Reply(400, _cloudflare_error(1016, "Invalid url"))
    cdn.purge(targets)
    told = {"success": True, "errors": [], "messages": [], "result": {"id": ZONE}}
    return Reply(200, told, {"CF-Ray": f"ray{len(cdn.requests)}"})


def _cloudflare_error(code: int, message: str) -> dict[str, Any]:
    return {"success": False, "errors": [{"code": code, "message": message}], "messages": [], "result": None}


def fastly(cdn: Cdn, request: Request) -> Reply:
    """256 keys in a request, whose answer names each with an id; single URLs without their scheme."""
    if request.headers.get("fastly-key") != cdn.token:
        return Reply(401, {"msg": "Provided credentials are missing or invalid"})
    if (request.method, request.path) == ("GET", "/tokens/self"):
        return Reply(200, {"id": "t1", "name": "purger", "scope": "purge_all"})
    if request.path.startswith("/purge/"):
        url = "https://" + request.path.removeprefix("/purge/")
        if url in cdn.bad:
            return Reply(400, {"msg": "Bad request"})
        cdn.purge([url])
        return Reply(200, {"status": "ok", "id": f"17-{len(cdn.requests)}"})
    keys = request.json["surrogate_keys"]
    if len(keys) > 256:
        return Reply(400, {"msg": "Too many surrogate keys"})
    cdn.purge([key for key in keys if key not in cdn.bad])
    return Reply(200, {key: f"108-{at}" for at, key in enumerate(keys) if key not in cdn.bad})


def bunny(cdn: Cdn, request: Request) -> Reply:
    """One URL or tag in a request."""
    if request.headers.get("accesskey") != cdn.token:
        return Reply(401, {"Message": "Authorization has been denied for this request."})
    if (request.method, request.path) == ("GET", f"/pullzone/{ZONE}"):
        return Reply(200, {"Id": 1, "Name": "media"})
    if request.path.startswith("/purge?url="):
        target = unquote(request.path.removeprefix("/purge?url=").removesuffix("&async=false"))
    else:
        assert request.path == f"/pullzone/{ZONE}/purgeCache"
        target = request.json["CacheTag"]
    if target in cdn.bad:
        return Reply(400, {"ErrorKey": "purge.invalid_url", "Message": "The URL is invalid"})
    cdn.purge([target])
    return Reply(204, None, {"CDN-RequestId": f"b{len(cdn.requests)}"})


def webhook(cdn: Cdn, request: Request) -> Reply:
    """Says which it could not purge."""
    if request.headers.get("authorization") != f"Bearer {cdn.token}":
        return Reply(401)
    if not request.body:
        return Reply(200, {})
    ((_, targets),) = request.json.items()
    cdn.purge([each for each in targets if each not in cdn.bad])
    failed = {each: "no such host" for each in targets if each in cdn.bad}
    return Reply(200, {"id": f"w{len(cdn.requests)}", "failed": failed})


def cloudfront(cdn: Cdn, request: Request) -> Reply:
    """3,000 paths in progress; `in_progress` are another program's."""
    head = f"/2020-05-31/distribution/{ZONE}/invalidation"
    if cdn.token != TOKEN:
        return _cloudfront_error(403, "AccessDenied", "User is not authorized")
    if not request.path.startswith(head):
        return _cloudfront_error(404, "NoSuchDistribution", "The specified distribution does not exist.")
    if request.method == "GET":
        return Reply(200, b"<InvalidationList><Quantity>0</Quantity></InvalidationList>")
    text = request.body.decode()
    paths = [each.replace("&amp;", "&") for each in re.findall(r"<Path>(.*?)</Path>", text)]
    if cdn.in_progress + len(paths) > 3_000:
        return _cloudfront_error(400, "TooManyInvalidationsInProgress", "Processing your request will exceed")
    if cdn.bad & {*paths}:
        return _cloudfront_error(400, "InvalidArgument", "Your request contains an invalid path")
    cdn.purge(paths)
    made = f"<Invalidation><Id>I{len(cdn.requests)}</Id><Status>Completed</Status></Invalidation>"
    return Reply(201, made.encode(), {"Content-Type": "text/xml"})


def _cloudfront_error(status: int, code: str, message: str) -> Reply:
    error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
    return Reply(status, f"<ErrorResponse>{error}<RequestId>r</RequestId></ErrorResponse>".encode())


PROVIDERS: Mapping[str, Callable[[Cdn, Request], Reply]] = {
    "cloudflare": cloudflare,
    "cloudfront": cloudfront,
    "fastly": fastly,
    "bunny": bunny,
    "webhook": webhook,
}


@asynccontextmanager
async def serving(provider: str) -> AsyncIterator[Cdn]:
    """One provider on a free port of this machine."""
    cdn = Cdn(PROVIDERS[provider])
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    cdn.url = f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}"

    async def answer(stream: SocketStream) -> None:
        async with stream:
            while (request := await _request(stream)) is not None:
                reply = cdn.ask(request)
                headers = {**reply.headers, "Content-Length": str(len(reply.bytes))}
                head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
                await stream.send(f"HTTP/1.1 {reply.status} Said\r\n{head}\r\n".encode() + reply.bytes)

    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, answer)
        yield cdn
        group.cancel_scope.cancel()


async def _request(stream: SocketStream) -> Request | None:
    read = b""
    try:
        while b"\r\n\r\n" not in read:
            read += await stream.receive()
        head, _, body = read.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        while len(body) < int(headers.get("content-length", 0)):
            body += await stream.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        return None
    method, path, _ = first.split(" ")
    return Request(method, path, headers, body)
