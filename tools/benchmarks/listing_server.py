"""An S3 server that lists faster than its clients read: pages are slices of XML rendered beforehand.

It answers ListObjectsV2 (prefix, start-after, continuation-token, max-keys) in byte order, HEAD of its
objects, HEAD and location of its bucket, small objects under `.reconciler/` (kept in memory), and
DeleteObjects, which it reports as done whatever was there: what is rendered stays. With `--reports` it has
an inventory as well: the files of that folder, and a configuration that says so. Path style, any signature,
one bucket, loopback only.

    python -m tools.benchmarks.listing_server --keys 1000000 --delay-ms 50

prints its port on the first line and runs until SIGTERM or SIGINT; with `--end-with-stdin` also until
its standard input ends, so that it never outlives whoever holds the other end of that pipe.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import mmap
import os
import re
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape, unescape

from tools.benchmarks.corpus import (
    ELEMENT,
    Listing,
    contents,
    gateway_elements,
    last_day,
    opened,
    plain_elements,
    render,
)

RESERVED = ".reconciler/"
INVENTORY = """<InventoryConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Id>{id}</Id>
<IsEnabled>true</IsEnabled><IncludedObjectVersions>Current</IncludedObjectVersions>
<Destination><S3BucketDestination><Format>Parquet</Format><Bucket>arn:aws:s3:::{bucket}</Bucket>
<Prefix>reports</Prefix></S3BucketDestination></Destination>
<OptionalFields><Field>Size</Field><Field>LastModifiedDate</Field><Field>ETag</Field></OptionalFields>
<Schedule><Frequency>Daily</Frequency></Schedule></InventoryConfiguration>"""
_XML = '<?xml version="1.0" encoding="UTF-8"?>\n'
_NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
_DELETED_KEY = re.compile("<Key>(.*?)</Key>", re.DOTALL)
_SEND_BUFFER = 4 << 20


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request; header names are lower case, the query keeps empty values."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """Status, the body in pieces that are sent one after the other, and headers beside the usual."""

    status: int
    body: tuple[bytes | memoryview, ...] = ()
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Small:
    body: bytes | memoryview
    etag: str
    modified: datetime


class Store:
    """The bucket behind the server: the rendered listing, and the small objects of `.reconciler/`."""

    def __init__(self, bucket: str, listing: Listing, reports: Path | None = None) -> None:
        self._bucket = bucket
        self._listing = listing
        self._reported = reports is not None
        self._small: dict[str, _Small] = dict(_files(reports)) if reports else {}

    def answer(self, request: Request) -> Response:
        """The answer to any request; what the server does not know is a 501 that names it."""
        bucket, _, key = request.path.lstrip("/").partition("/")
        if bucket != self._bucket:
            return _error(404, "NoSuchBucket", bucket)
        if key:
            return self._object(request, key)
        if request.method == "HEAD":
            return Response(200)
        if request.method == "GET":
            return self._bucket_get(request.query)
        if request.method == "POST" and "delete" in request.query:
            return self._delete_batch(request.body)
        return _error(501, "NotImplemented", f"{request.method} {request.path}")

    def _bucket_get(self, query: dict[str, str]) -> Response:
        if "location" in query:
            return _xml(f"<LocationConstraint {_NAMESPACE}>us-east-1</LocationConstraint>")
        if "versioning" in query:
            return _xml(f"<VersioningConfiguration {_NAMESPACE}/>")
        if "inventory" in query and self._reported:
            return _xml(INVENTORY.format(id=escape(query.get("id", "")), bucket=self._bucket))
        if query.get("list-type") != "2" or query.get("delimiter"):
            return _error(501, "NotImplemented", f"only undelimited ListObjectsV2, not {sorted(query)}")
        return self._page(query)

    def _page(self, query: dict[str, str]) -> Response:
        prefix, limit = query.get("prefix", ""), min(1000, int(query.get("max-keys", "1000")))
        token = query.get("continuation-token")
        after = bytes.fromhex(token).decode() if token else query.get("start-after", "")
        small = [key for key in sorted(self._small) if key.startswith(prefix) and key > after][:limit]
        first, end = self._listing.span(prefix.encode(), after.encode())
        upto = min(end, first + limit - len(small))
        count = len(small) + upto - first
        tail = ""
        if upto < end and count:
            last = self._listing[upto - 1] if upto > first else small[-1].encode()
            tail = f"<NextContinuationToken>{last.hex()}</NextContinuationToken>"
        head = (
            f"{_XML}<ListBucketResult {_NAMESPACE}><Name>{self._bucket}</Name>"
            f"<Prefix>{escape(prefix)}</Prefix><KeyCount>{count}</KeyCount><MaxKeys>{limit}</MaxKeys>"
            f"{'<EncodingType>url</EncodingType>' if 'encoding-type' in query else ''}"
            f"<IsTruncated>{'true' if tail else 'false'}</IsTruncated>{tail}"
        )
        return Response(
            200,
            (
                head.encode(),
                b"".join(self._small_element(key, url="encoding-type" in query) for key in small),
                self._listing.elements(first, upto),
                b"</ListBucketResult>",
            ),
        )

    def _small_element(self, key: str, *, url: bool) -> bytes:
        small = self._small[key]
        modified = f"{small.modified:%Y-%m-%dT%H:%M:%S}.000Z"
        written = quote(key) if url else escape(key)
        return contents(written, modified=modified, etag=small.etag, size=len(small.body))

    def _delete_batch(self, body: bytes) -> Response:
        keys = _DELETED_KEY.findall(body.decode())
        for key in keys:
            self._small.pop(unescape(key), None)
        deleted = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
        return _xml(f"<DeleteResult {_NAMESPACE}>{deleted}</DeleteResult>")

    def _object(self, request: Request, key: str) -> Response:
        small = self._small.get(key)
        match request.method:
            case "PUT" if key.startswith(RESERVED):
                etag = hashlib.md5(request.body, usedforsecurity=False).hexdigest()
                self._small[key] = _Small(request.body, etag, datetime.now(UTC))
                return Response(200, headers={"ETag": f'"{etag}"'})
            case "GET" | "HEAD" if small:
                return Response(200, (small.body,), _object_headers(small))
            case "GET" | "HEAD":
                element = self._listed(key) if request.method == "HEAD" else None
                return Response(200, headers=_headers(element)) if element else _error(404, "NoSuchKey", key)
            case "DELETE":
                if small and request.headers.get("if-match", small.etag).strip('"') != small.etag:
                    return _error(412, "PreconditionFailed", key)
                self._small.pop(key, None)
                return Response(204)
        return _error(501, "NotImplemented", f"{request.method} {key}")

    def _listed(self, key: str) -> str | None:
        """The element of an object."""
        first, end = self._listing.span(key.encode(), b"")
        if first == end or self._listing[first] != key.encode():
            return None
        return bytes(self._listing.elements(first, first + 1)).decode()


class Connection(asyncio.Protocol):
    """One client's keep-alive connection; a request is answered before the next is looked at."""

    def __init__(self, answer: Callable[[Request], Response], delay: float) -> None:
        self._answer = answer
        self._delay = delay
        self._received = bytearray()
        self._busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._next()

    def _next(self) -> None:
        if self._busy or (end := self._received.find(b"\r\n\r\n")) < 0:
            return
        start, *lines = self._received[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", 0))
        if len(self._received) < end + 4 + length:
            if headers.get("expect", "").lower() == "100-continue" and len(self._received) == end + 4:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            return
        body = bytes(self._received[end + 4 : end + 4 + length])
        del self._received[: end + 4 + length]
        method, target, _ = start.split(" ")
        url = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        request = Request(method, unquote(url.path), query, headers, body)
        self._busy = True
        response = self._answer(request)
        if self._delay and "list-type" in query:
            asyncio.get_running_loop().call_later(self._delay, self._send, method, response)
        else:
            self._send(method, response)

    def _send(self, method: str, response: Response) -> None:
        self._busy = False
        if self._transport.is_closing():
            return
        length = sum(len(piece) for piece in response.body)
        headers = {
            "Content-Type": "application/xml",
            "Content-Length": str(length),
            "Date": format_datetime(datetime.now(UTC), usegmt=True),
            "x-amz-request-id": "0",
            **response.headers,
        }
        head = f"HTTP/1.1 {response.status} -\r\n" + "".join(f"{n}: {v}\r\n" for n, v in headers.items())
        pieces = () if method == "HEAD" else response.body
        self._transport.writelines([f"{head}\r\n".encode(), *pieces])
        self._next()


def _xml(text: str, status: int = 200) -> Response:
    return Response(status, (f"{_XML}{text}".encode(),))


def _error(status: int, code: str, message: str) -> Response:
    return _xml(f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>", status)


def _object_headers(small: _Small) -> dict[str, str]:
    return {
        "ETag": f'"{small.etag}"',
        "Last-Modified": format_datetime(small.modified, usegmt=True),
        "Content-Type": "application/octet-stream",
    }


def _headers(element: str) -> dict[str, str]:
    """What HEAD answers of a listed object."""
    found = ELEMENT.search(element)
    assert found is not None
    _, modified, etag, size = found.groups()
    at = format_datetime(datetime.fromisoformat(modified), usegmt=True)
    return {
        "ETag": f'"{etag}"',
        "Last-Modified": at,
        "Content-Type": "image/png",
        "Content-Length": size,
    }


def _files(reports: Path) -> Iterator[tuple[str, _Small]]:
    """The files of a folder, mapped and not read."""
    for path in sorted(reports.rglob("*.*")):
        with path.open("rb") as file:
            body = memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
        yield path.relative_to(reports).as_posix(), _Small(body, "0" * 32, datetime.now(UTC))


async def serve(store: Store, *, port: int, delay: float, end_with_stdin: bool) -> None:
    """Listen on loopback, print the port, and end on a signal or with standard input."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    if end_with_stdin:
        threading.Thread(target=_await_end_of_stdin, args=(loop, ended), daemon=True).start()
    server = await loop.create_server(lambda: Connection(store.answer, delay), "127.0.0.1", port)
    print(server.sockets[0].getsockname()[1], flush=True)
    await ended.wait()
    server.close()


def _await_end_of_stdin(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    while os.read(0, 1 << 16):
        pass
    with contextlib.suppress(RuntimeError):  # the loop ended first, by a signal
        loop.call_soon_threadsafe(ended.set)


def _rendered(options: argparse.Namespace, scratch: Path) -> Path:
    """The file of the listing asked for; from the cache where it lies there already."""
    target: Path = (options.cache or scratch) / f"{options.keys}-{options.seed}-{last_day()}.xml"
    made = scratch / "made.xml" if not options.cache else target.with_suffix(f".{os.getpid()}.xml")
    if options.key_file:
        render(plain_elements(options.key_file.read_text("utf-8").split()), made)
        return made
    if not target.exists():
        made.parent.mkdir(parents=True, exist_ok=True)
        render(gateway_elements(options.keys, seed=options.seed), made)
        made.with_suffix(".offsets").replace(target.with_suffix(".offsets"))
        made.replace(target)
    return target


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.benchmarks.listing_server", description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000, help="how many objects (default: %(default)s)")
    parser.add_argument("--key-file", type=Path, help="these keys instead, one a line, in byte order")
    parser.add_argument("--seed", type=int, default=1, help="another seed makes other keys")
    parser.add_argument("--delay-ms", type=float, default=0.0, help="wait before each page, side by side")
    parser.add_argument("--bucket", default="bench", help="its name (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    parser.add_argument("--cache", type=Path, help="directory that keeps listings for the next start")
    parser.add_argument("--reports", type=Path, help="folder with an inventory, by its keys")
    parser.add_argument("--end-with-stdin", action="store_true", help="end when standard input does")
    options = parser.parse_args(argv)
    with (
        tempfile.TemporaryDirectory(prefix="listing-") as scratch,
        opened(_rendered(options, Path(scratch))) as listing,
    ):
        store = Store(options.bucket, listing, options.reports)
        delay = options.delay_ms / 1000
        asyncio.run(serve(store, port=options.port, delay=delay, end_with_stdin=options.end_with_stdin))


if __name__ == "__main__":
    main()
