"""The identity over what was seen, on stores that treat the condition of a PUT each in a way of their own."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from reconciler.errors import Halt
from reconciler.model import Identity, PutCondition, Seal
from reconciler.stores.s3 import open_bucket
from tests.support.buckets import config_for
from tests.support.quirky_store import BUCKET, Quirks, QuirkyStore, quirky_store

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("credentials")]

MARKER = ".reconciler/identity.json"
OURS = Identity(
    site_id=UUID(int=1),
    bucket=BUCKET,
    prefixes=("media/",),
    created_at=datetime(2026, 1, 2, tzinfo=UTC),
    seal=Seal(epoch=1, nonce=UUID(int=10)),
)


def sealed(number: int) -> Identity:
    return replace(OURS, seal=Seal(epoch=1, nonce=UUID(int=number)))


async def exchanged(store: QuirkyStore, *, times: int = 1) -> list[bool]:
    """The answers to so many exchanges, each over what the one before has written."""
    said = []
    async with open_bucket(config_for(store.endpoint_url, name=BUCKET)) as opened:
        await opened.identity.write(OURS)
        for number in range(times):
            seen = await opened.identity.read()
            assert seen is not None
            said.append(await opened.identity.exchange(sealed(20 + number), seen))
            assert await opened.identity.read() == sealed(20 + number)
    return said


@pytest.mark.parametrize(
    "quirks",
    [
        *(Quirks(put_condition=condition) for condition in PutCondition),
        Quirks(unknown_put_condition=True),
        Quirks(no_etags=True, put_condition=PutCondition.REFUSED),
    ],
    ids=[*PutCondition, "unknown", "no etags"],
)
async def test_the_marker_is_exchanged_whatever_the_store_makes_of_the_condition(quirks: Quirks) -> None:
    """Ceph 16 answers 412 to the right ETag as HTTP writes it: no live pass would ever begin there."""
    async with quirky_store(quirks) as store:
        assert await exchanged(store, times=3) == [True] * 3
    assert set(store.objects) == {MARKER}


@pytest.mark.parametrize("condition", [PutCondition.COMPARED, PutCondition.UNQUOTED])
async def test_another_write_that_came_before_is_not_written_over(condition: PutCondition) -> None:
    async with (
        quirky_store(Quirks(put_condition=condition)) as store,
        open_bucket(config_for(store.endpoint_url, name=BUCKET)) as opened,
    ):
        await opened.identity.write(OURS)
        seen = await opened.identity.read()
        assert seen is not None
        assert await opened.identity.exchange(sealed(2), seen)
        assert not await opened.identity.exchange(sealed(3), seen)
        assert await opened.identity.read() == sealed(2)


async def test_what_a_store_compares_is_asked_once_and_again_when_it_says_no() -> None:
    """Ceph compares nothing any more once its bucket keeps versions."""
    async with (
        quirky_store(Quirks(put_condition=PutCondition.UNQUOTED)) as store,
        open_bucket(config_for(store.endpoint_url, name=BUCKET)) as opened,
    ):
        await opened.identity.write(OURS)
        asked = []
        for number in range(4):
            if number == 2:
                store.quirks.put_condition = PutCondition.REFUSED
            seen, before = await opened.identity.read(), store.operations.count("PutObject")
            assert seen is not None
            assert await opened.identity.exchange(sealed(20 + number), seen)
            asked.append(store.operations.count("PutObject") - before)
    assert asked[1] == asked[3] == 1
    assert asked[0] > 1 < asked[2]


async def test_the_first_marker_stays_where_the_store_writes_over_it_all_the_same() -> None:
    async with (
        quirky_store(Quirks(ignores_if_none_match=True)) as store,
        open_bucket(config_for(store.endpoint_url, name=BUCKET)) as opened,
    ):
        await opened.identity.write(OURS)
        await opened.identity.write(replace(OURS, site_id=UUID(int=2)))
        assert await opened.identity.read() == OURS


async def test_a_refusal_without_a_message_has_none() -> None:
    async with (
        quirky_store(Quirks(refuses_puts="MissingContentLength")) as store,
        open_bucket(config_for(store.endpoint_url, name=BUCKET)) as opened,
    ):
        with pytest.raises(Halt, match=r"MissingContentLength$"):
            await opened.identity.write(OURS)
