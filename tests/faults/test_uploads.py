"""SIGKILL at any step of an upload: each object has a row or is the reconciler's, each row has its object."""

from __future__ import annotations

import hashlib
import os
import random
import signal
from collections.abc import Mapping
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from reconciler.model import Outcome
from tests.faults.mortal import HOW
from tests.faults.rounds import SEED, UPLOAD_ROUNDS, say
from tests.faults.uploader import SIZES, body_of
from tests.integration.site import Site
from tests.media.scene import Person, Scene
from tests.support.forks import FORKER

pytestmark = [
    pytest.mark.soak,
    pytest.mark.anyio,
    pytest.mark.calm,
    pytest.mark.no_cover,  # who is killed tells nothing
]

ON = {
    "media__uploads": "true",
    "media__upload_limits": '{"image/": "1GiB"}',
    "catalog__media_columns__content_hash": "ContentHash",
}
END = "UPDATE reconciler.reservations SET expires_at = now() WHERE state = 'open'"
FLOWS = tuple(SIZES)
EDGE = 30


async def upload(site: Site, who: Person, flow: str, number: int, dies_at: int, how: str) -> int | None:
    """How often it sent; None where it was killed."""
    environment = {**os.environ, **site.settings(**ON)}

    def run() -> tuple[int, str, str]:
        arguments = (flow, str(number), who.token, str(who.id), str(dies_at), how)
        ended = FORKER.run("tests.faults.uploader", *arguments, environment=environment, measured=False)
        return ended.status, ended.out, ended.told

    status, out, told = await anyio.to_thread.run_sync(run)
    if status == -signal.SIGKILL:
        return None
    assert status == 0, f"{flow} {number}: {out}{told}"
    return int(out)


async def no_row_lacks_its_object(site: Site) -> None:
    assert await site.rows() <= await site.keys()


@pytest.mark.timeout(120 + 4 * UPLOAD_ROUNDS)
async def test_an_upload_that_is_killed_anywhere_is_tracked_or_collected(site: Site, tmp_path: Path) -> None:
    say("uploads")
    who = await Scene(site=site, secrets=tmp_path / "none").person("ada")
    sends: dict[str, int] = {}
    for flow in FLOWS:
        sends[flow] = await upload(site, who, flow, 0, 0, "after") or 0
        assert sends[flow]
    chance = random.Random(f"{SEED}/uploads")
    killed: dict[int, str] = {}
    for number in range(1, UPLOAD_ROUNDS + 1):
        flow, turn = FLOWS[number % len(FLOWS)], number // len(FLOWS)
        steps = steps_of(sends[flow])
        # Spread over the whole upload, and drawn within each stretch.
        stretches = max(1, UPLOAD_ROUNDS // len(FLOWS))
        first, last = (len(steps) * each // stretches for each in (turn % stretches, turn % stretches + 1))
        dies_at = steps[chance.randrange(first, max(first + 1, last))]
        if await upload(site, who, flow, number, dies_at, chance.choice(HOW)) is None:
            killed[number] = flow
        await no_row_lacks_its_object(site)
    # The last sends of one are not always made by the next, which may find a connection open.
    assert len(killed) >= 0.8 * UPLOAD_ROUNDS
    await what_is_reserved_stays(site)
    await the_rest_goes(site)
    await again(site, who, killed)


def steps_of(sends: int) -> list[int]:
    """Where to be killed: at any send, but of those in the midst of many, which are of bytes, at some."""
    edges = {*range(1, EDGE + 1), *range(sends - EDGE, sends + 1), *range(1, sends, EDGE)}
    return sorted(each for each in edges if 1 <= each <= sends)


async def what_is_reserved_stays(site: Site) -> None:
    """By a run without any grace: only what nobody vouches for goes."""
    reserved = {
        row[0]
        for row in await site.sql("SELECT storage_key FROM reconciler.reservations WHERE state = 'open'")
    }
    before, rows = await site.state()
    report = await site.once()
    assert report.outcome is Outcome.CONVERGED, report
    assert await site.keys() == before & (rows | reserved)
    assert await site.rows() == rows


async def the_rest_goes(site: Site) -> None:
    await site.sql(END)
    report = await site.once(abort_multipart_after="0s")
    assert report.outcome is Outcome.CONVERGED, report
    keys, rows = await site.state()
    assert keys == rows

    def unfinished() -> int:
        bucket = site.bucket
        return len(bucket.client.list_multipart_uploads(Bucket=bucket.name).get("Uploads", []))

    assert await anyio.to_thread.run_sync(unfinished) == 0


async def again(site: Site, who: Person, killed: Mapping[int, str]) -> None:
    """Who sends a request again, with its Idempotency-Key, has its medium stored once, killed or not."""
    some = [number for number, flow in killed.items() if flow in {"small", "parts"}][:4]
    for number in some:
        await upload(site, who, killed[number], number, 0, "after")
        digest = hashlib.sha256(body_of(killed[number], number)).hexdigest()
        rows = await site.sql('SELECT FROM "MediaRecords" WHERE "ContentHash" = $1', digest)
        assert len(rows) == 1, number
    await no_row_lacks_its_object(site)
