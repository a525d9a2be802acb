"""What everybody writes first: aioboto3's own paginator. Prints how many keys it saw."""

from __future__ import annotations

import asyncio
import sys

import aioboto3


async def main(endpoint: str, bucket: str, prefix: str) -> None:
    seen = 0
    async with aioboto3.Session().client("s3", endpoint_url=endpoint) as client:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        async for page in pages:
            seen += len(page.get("Contents", ()))
    print(seen)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
