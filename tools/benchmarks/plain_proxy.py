"""`uvicorn tools.benchmarks.plain_proxy:app`: a proxy of a bucket as anyone would write it, open to all."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aioboto3
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

CHUNK = 1 << 16
NAMES = {"Content-Length": "ContentLength", "Content-Type": "ContentType", "ETag": "ETag"}


@asynccontextmanager
async def _opened(app: Starlette) -> AsyncIterator[None]:
    async with aioboto3.Session().client("s3", endpoint_url=os.environ["ENDPOINT"]) as client:
        app.state.client = client
        yield


async def medium(request: Request) -> StreamingResponse:
    """The object of the key in the path."""
    client = request.app.state.client
    try:
        found = await client.get_object(Bucket=os.environ["BUCKET"], Key=request.path_params["key"])
    except client.exceptions.NoSuchKey:
        raise HTTPException(404) from None

    async def body() -> AsyncIterator[bytes]:
        async with found["Body"] as stream:
            async for chunk in stream.content.iter_chunked(CHUNK):
                yield chunk

    return StreamingResponse(body(), headers={name: str(found[kept]) for name, kept in NAMES.items()})


app = Starlette(routes=[Route("/{key:path}", medium)], lifespan=_opened)
