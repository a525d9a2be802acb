"""A way to a real store that answers some requests by itself, as a policy of the bucket would."""

from __future__ import annotations

import http.client
import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import SplitResult, parse_qs, urlsplit

from tests.support.faulty_store import Answer, Request, error, serving

_OF_THE_HOP = frozenset({"connection", "content-length", "expect", "transfer-encoding"})

Judge = Callable[[Request], Answer | None]
"""What is answered in the store's place; None where the store answers."""


@asynccontextmanager
async def relay(endpoint: str, judge: Judge) -> AsyncIterator[str]:
    """The address. Requests arrive as they were signed; bodies are text, as the tests' objects are."""
    store = urlsplit(endpoint)

    def answer(request: Request) -> Answer:
        if (own := judge(request)) is not None:
            return own
        connection = _connection(store)
        try:
            connection.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers.items():
                if name and name not in _OF_THE_HOP:
                    connection.putheader(name, value)
            connection.putheader("content-length", str(len(request.body)))
            connection.endheaders(request.body)
            reply = connection.getresponse()
            body = reply.read().decode()
        finally:
            connection.close()
        headers = {name: value for name, value in reply.getheaders() if name.lower() not in _OF_THE_HOP}
        if request.method == "HEAD":
            headers["Content-Length"] = reply.getheader("Content-Length", "0")
        return Answer(body, reply.status, headers=headers)

    async with serving(answer) as address:
        yield address


def _connection(store: SplitResult) -> http.client.HTTPConnection:
    place = store.hostname or "", store.port
    if store.scheme == "https":
        trusting = ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE"))
        return http.client.HTTPSConnection(*place, timeout=20, context=trusting)
    return http.client.HTTPConnection(*place, timeout=20)


def keeps_versions_for_good(bucket: str, *prefixes: str) -> Judge:
    """Denies s3:DeleteObjectVersion to everybody, for keys that begin so."""

    def judge(request: Request) -> Answer | None:
        parts = urlsplit(request.target)
        key = parts.path.removeprefix(f"/{bucket}").lstrip("/")
        alone = request.method == "DELETE" and "versionId" in parse_qs(parts.query)
        if alone and key.startswith(prefixes):
            return Answer(error("AccessDenied", "explicit deny"), 403)
        if request.method == "POST" and b"<VersionId>" in request.body:
            # In a batch, the store would deny each of the keys for itself.
            return Answer(error("AccessDenied", "explicit deny"), 403)
        return None

    return judge
