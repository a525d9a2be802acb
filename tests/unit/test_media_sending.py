"""The answer that sends a body ends with its client, however fast the store is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from reconciler.media.problems import Problem
from reconciler.media.sending import Places, Sent
from reconciler.model import StoredMedium
from reconciler.stores.s3.reading import Body

pytestmark = pytest.mark.anyio

CHUNKS, CHUNK = 1_000, bytes(1024)


class Fast:
    """A body that is always there, so that reading it never waits."""

    medium = StoredMedium(
        size=CHUNKS * len(CHUNK), etag="", modified=None, content_type="", content_encoding=""
    )

    def __init__(self) -> None:
        self.read = 0
        self.closed = False

    async def chunks(self) -> AsyncIterator[bytes]:
        for _ in range(CHUNKS):
            self.read += 1
            yield CHUNK

    def close(self) -> None:
        self.closed = True


async def test_nothing_is_read_for_a_client_that_has_left() -> None:
    body, ended = Fast(), list[tuple[int, bool]]()

    async def gone() -> Any:
        return {"type": "http.disconnect"}

    async def send(_: Any) -> None:
        """As uvicorn's, which returns at once then."""

    sent = Sent(200, {}, cast("Body", body), lambda size, *, whole: ended.append((size, whole)))
    await sent({}, gone, send)
    assert body.closed
    assert body.read < 10
    assert ended == [(body.read * len(CHUNK), False)]


def test_a_place_is_of_one_owner_and_of_all() -> None:
    places = Places(2, 1)
    give_back = places.take("ada")
    with pytest.raises(Problem) as refused:
        places.take("ada")
    assert refused.value.status == 429
    places.take("bob")
    with pytest.raises(Problem) as full:
        places.take("eve")
    assert full.value.status == 503
    give_back()
    assert places.taken == 1
    places.take("ada")
