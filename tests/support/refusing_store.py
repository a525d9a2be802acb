"""A real store behind a server that refuses what a test names: one operation of one key, or of all.

Everything else passes unchanged, both ways. An entry of a batch is refused in the answer, as stores do.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from urllib.parse import unquote
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, web
from yarl import URL

from tests.servers import Bucket
from tests.support.faulty_store import error

HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "date", "server"})


@dataclass(frozen=True, slots=True)
class Refused:
    """A status, with an S3 error code or without any document."""

    status: int
    code: str = ""
    message: str = "as the test asked"


Rule = Callable[[str, str], Refused | None]
"""Given an operation and the key that it is about (of a copy: the source; of a listing: the prefix)."""


def nothing(_operation: str, _key: str) -> None:
    """Refuse nothing."""


@dataclass(slots=True)
class RefusingStore:
    """`rule` may be replaced while it runs; `asked` has what was refused, by operation and key."""

    bucket: Bucket
    endpoint_url: str
    rule: Rule = nothing
    asked: list[tuple[str, str]] = field(default_factory=list)

    def refuses(self, operation: str, key: str) -> Refused | None:
        refused = self.rule(operation, key)
        if refused is not None:
            self.asked.append((operation, key))
        return refused

    @property
    def behind(self) -> Bucket:
        """The bucket as the program reaches it; its client goes straight to the real store."""
        return replace(self.bucket, server=replace(self.bucket.server, endpoint_url=self.endpoint_url))


@asynccontextmanager
async def refusing_store(bucket: Bucket) -> AsyncIterator[RefusingStore]:
    store = RefusingStore(bucket, "")
    upstream = bucket.server.endpoint_url
    async with ClientSession(
        auto_decompress=False, cookie_jar=DummyCookieJar(), timeout=ClientTimeout(60)
    ) as session:

        async def serve(request: web.Request) -> web.StreamResponse:
            body = await request.read()
            operation, key = _asked(request, f"/{bucket.name}")
            if refused := store.refuses(operation, key):
                return _refusal(request.method, refused)
            refusals: dict[str, Refused] = {}
            if operation == "DeleteObjects":
                body, refusals = _without(body, store)
                if refusals and b"<Key>" not in body:
                    return web.Response(body=_described(b"<DeleteResult></DeleteResult>", refusals))
            headers = {
                name: value
                for name, value in request.headers.items()
                if name.lower() not in {"content-length", "connection", "expect", "transfer-encoding"}
            }
            target = URL(upstream + request.raw_path, encoded=True)
            async with session.request(
                request.method, target, headers=headers, data=body, allow_redirects=False
            ) as answer:
                said = await answer.read()
                return _passed(request.method, answer.status, answer.headers, _described(said, refusals))

        runner = web.AppRunner(_application(serve), access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        store.endpoint_url = f"http://127.0.0.1:{port}"
        try:
            yield store
        finally:
            await runner.cleanup()


def _application(serve: Callable[[web.Request], object]) -> web.Application:
    application = web.Application(client_max_size=64 * 1024**2)
    application.router.add_route("*", "/{path:.*}", serve)  # type: ignore[arg-type]  # a coroutine function
    return application


def _asked(request: web.Request, root: str) -> tuple[str, str]:
    """The operation, and the key that it is about."""
    path, query = unquote(request.raw_path.partition("?")[0]), request.query
    key = path.removeprefix(root).removeprefix("/")
    if not key:
        return _of_bucket(request.method, query), query.get("prefix", "")
    source = request.headers.get("x-amz-copy-source")
    if source is not None:
        named = unquote(source).lstrip("/").partition("/")[2].partition("?")[0]
        return ("UploadPartCopy" if "partNumber" in query else "CopyObject"), named
    return _of_object(request.method, query), key


def _of_bucket(method: str, query: Mapping[str, str]) -> str:
    if method == "POST":
        return "DeleteObjects" if "delete" in query else "another"
    named = {
        "versions": "ListObjectVersions",
        "uploads": "ListMultipartUploads",
        "list-type": "ListObjectsV2",
        "versioning": "GetBucketVersioning",
    }
    return next((operation for name, operation in named.items() if name in query), "another")


def _of_object(method: str, query: Mapping[str, str]) -> str:
    if method == "DELETE":
        if "uploadId" in query:
            return "AbortMultipartUpload"
        return "DeleteVersion" if "versionId" in query else "DeleteObject"
    if method == "POST":
        return "CreateMultipartUpload" if "uploads" in query else "CompleteMultipartUpload"
    return {"HEAD": "HeadObject", "GET": "GetObject", "PUT": "PutObject"}.get(method, "another")


def _refusal(method: str, refused: Refused) -> web.Response:
    text = error(refused.code, refused.message) if refused.code and method != "HEAD" else ""
    return web.Response(status=refused.status, text=text, content_type="application/xml")


def _passed(method: str, status: int, headers: Mapping[str, str], body: bytes) -> web.Response:
    told = {name: value for name, value in headers.items() if name.lower() not in HOP_BY_HOP}
    if method != "HEAD":
        told.pop("Content-Length", None)
    return web.Response(status=status, headers=told, body=None if method == "HEAD" else body)


def _without(body: bytes, store: RefusingStore) -> tuple[bytes, dict[str, Refused]]:
    """A batch without the entries that are refused, and those."""
    refusals, rest = dict[str, Refused](), ""
    for entry in ET.fromstring(body).findall("{*}Object"):
        fields = {name: entry.findtext(f"{{*}}{name}") for name in ("Key", "ETag", "VersionId")}
        key = fields["Key"] or ""
        if refused := store.refuses("DeleteEntry", key):
            refusals[key] = refused
        else:
            told = (f"<{name}>{escape(text)}</{name}>" for name, text in fields.items() if text)
            rest += f"<Object>{''.join(told)}</Object>"
    return (f"<Delete>{rest}</Delete>".encode() if refusals else body), refusals


def _described(body: bytes, refusals: Mapping[str, Refused]) -> bytes:
    """The answer to a batch, with an error for each entry that was refused."""
    entries = "".join(
        f"<Error><Key>{escape(key)}</Key><Code>{refused.code or refused.status}</Code>"
        f"<Message>{escape(refused.message)}</Message></Error>"
        for key, refused in refusals.items()
    )
    head, end, tail = body.rpartition(b"</")
    return head + entries.encode() + end + tail if refusals else body
