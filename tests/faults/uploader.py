"""`python -m tests.faults.uploader FLOW NUMBER TOKEN OWNER DIES_AT before|half|after`: uploads one medium.

It is killed at its n-th send once the upload has begun (0: never), and prints how often it sent otherwise.
The flows are those of the service, `small`, `parts` and `presigned`, and the library's, `library`. Parts are
as small as stores take them, since most sends are of bytes alone.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import AsyncIterator

import anyio
import httpx

from media_reconciler.tracking import open_tracker
from reconciler.app import wiring
from reconciler.app.media import describe, open_site
from reconciler.media import uploading
from reconciler.media.app import build
from reconciler.settings import load
from reconciler.stores.s3 import open_bucket, writing
from reconciler.telemetry.metrics.media import media_registry
from tests.faults.mortal import Lifeline

PART = 5 * 1024**2
SIZES = {"small": 1_000, "parts": 2 * PART + 1_000, "presigned": 1_000, "library": 1_000}


def body_of(flow: str, number: int) -> bytes:
    """Bytes that no other upload has."""
    head = b"\x89PNG\r\n\x1a\n" + f"{flow} {number} ".encode()
    return head + bytes(SIZES[flow] - len(head))


def listen(dies_at: int, how: str) -> Lifeline:
    lifeline = Lifeline(dies_at or None, how)
    socket.socket.send = lambda *args: lifeline.send(*args)  # type: ignore[method-assign]  # noqa: PLW0108 - as in mortal
    return lifeline


async def served(flow: str, body: bytes, headers: dict[str, str], dies_at: int, how: str) -> int:
    settings = load()
    _, metrics = media_registry(version="")
    async with open_site(settings, metrics) as opened:
        transport = httpx.ASGITransport(build(describe(settings, lambda: opened, metrics)))
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://media") as client,
            httpx.AsyncClient(trust_env=False) as outside,
        ):
            lifeline = listen(dies_at, how)
            if flow != "presigned":
                answer = await client.post("/v1/media", headers=headers, content=body)
            else:
                asked = {"content_type": "image/png", "size": len(body)}
                begun = (await client.post("/v1/media/uploads", headers=headers, json=asked)).json()
                await outside.put(begun["url"], headers=begun["headers"], content=body)
                answer = await client.post(f"/v1/media/uploads/{begun['id']}/complete", headers=headers)
            assert answer.status_code == 201, answer.text
            return lifeline.sends


async def tracked(body: bytes, owner: str, number: int, dies_at: int, how: str) -> int:
    config = wiring.bucket_config(load())
    async with open_tracker() as tracker, open_bucket(config) as bucket:
        lifeline = listen(dies_at, how)
        reserved = await tracker.reserve(f"image/library-{number}", owner=owner, size=len(body))
        await bucket.writer.put(reserved.key, "image/png", body, _nothing())
        await tracker.record(reserved, size=len(body), content_type="image/png")
        return lifeline.sends


async def _nothing() -> AsyncIterator[bytes]:
    for piece in list[bytes]():
        yield piece


def main() -> int:
    flow, number, token, owner, dies_at, how = sys.argv[1:]
    for module in (writing, uploading):
        vars(module)["PART"] = PART
    body = body_of(flow, int(number))
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": f"{flow}-{number}"}
    headers["Content-Type"] = "image/png"
    if flow == "library":
        sends = anyio.run(tracked, body, owner, int(number), int(dies_at), how)
    else:
        sends = anyio.run(served, flow, body, headers, int(dies_at), how)
    print(sends, flush=True)
    # What is still open ends with the process, as in one that was killed.
    os._exit(0)
