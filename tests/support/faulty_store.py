"""A store that answers what a test tells it to: errors, cut-off bodies, silence. Plain asyncio, HTTP/1.1."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus

NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request as it came in; `target` is the raw path and query."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What the store says next. `missing` bytes are promised and not sent; `silent` says nothing at all."""

    body: str = ""
    status: int = 200
    missing: int = 0
    silent: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class FaultyStore:
    """The answers still to give (the last one is given again and again), and the requests so far."""

    endpoint_url: str = ""
    answers: list[Answer]
    requests: list[Request] = field(default_factory=list)

    def next_answer(self) -> Answer:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def error(code: str, message: str = "as the test asked") -> str:
    return f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'


def page(keys: Sequence[str], *, token: str | None = None, truncated: bool | None = None) -> str:
    """A ListObjectsV2 answer, as AWS writes it."""
    entries = "".join(
        f"<Contents><Key>{key}</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified>"
        f"<ETag>&quot;0123&quot;</ETag><Size>7</Size><StorageClass>STANDARD</StorageClass></Contents>"
        for key in keys
    )
    more = truncated if truncated is not None else token is not None
    following = "" if token is None else f"<NextContinuationToken>{token}</NextContinuationToken>"
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult {NAMESPACE}><Name>bucket</Name>'
        f"<EncodingType>url</EncodingType><IsTruncated>{str(more).lower()}</IsTruncated>{following}"
        f"{entries}</ListBucketResult>"
    )


def delete_result(deleted: Sequence[str] = (), **errors: str) -> str:
    """A DeleteObjects answer; `errors` are codes by key."""
    gone = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in deleted)
    refused = "".join(f"<Error><Key>{key}</Key><Code>{code}</Code></Error>" for key, code in errors.items())
    return f'<?xml version="1.0"?><DeleteResult {NAMESPACE}>{gone}{refused}</DeleteResult>'


@asynccontextmanager
async def faulty_store(*answers: Answer) -> AsyncIterator[FaultyStore]:
    store = FaultyStore(answers=list(answers))

    def answer(request: Request) -> Answer:
        store.requests.append(request)
        return store.next_answer()

    async with serving(answer) as store.endpoint_url:
        yield store


@asynccontextmanager
async def serving(
    answer: Callable[[Request], Answer], tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """The address of a server that gives `answer`'s answers, in this event loop; over https with `tls`."""
    writers: set[asyncio.StreamWriter] = set()
    serving: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        serving.add(asyncio.current_task())
        try:
            while await _one(answer, reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writers.discard(writer)
            serving.discard(asyncio.current_task())
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    finally:
        server.close()
        for writer in list(writers):
            writer.close()  # which ends what is being read
        await server.wait_closed()
        if left := [task for task in serving if task is not None]:
            await asyncio.wait(left)


async def _one(
    answering: Callable[[Request], Answer], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    """Read one request and answer it; whether the connection stays open."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    if headers.get("expect") == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    answer = answering(Request(method=method, target=target, headers=headers, body=body))
    if answer.silent:
        await reader.read()  # until the client goes away
        return False
    text = answer.body.encode() if method != "HEAD" else b""
    named = {
        "Content-Type": "application/xml",
        "Content-Length": len(text) + answer.missing,
        **answer.headers,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    writer.write(
        f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\n{lines}\r\n".encode() + text
    )
    await writer.drain()
    return not answer.missing
