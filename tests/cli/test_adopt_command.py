"""`adopt` as a person and a script meet it."""

from __future__ import annotations

import json

import anyio

from tests.cli.program import reconciler
from tests.integration.site import make_site
from tests.servers import Bucket


def test_adopt_says_what_it_made_and_what_it_left_and_takes_it_back(
    database: str, moto_bucket: Bucket
) -> None:
    site = make_site(database, moto_bucket)

    async def drift() -> None:
        await site.once(dry_run="true")
        owner = await site.virtual_key()
        for key, said in (("image/a", str(owner)), ("image/b", "alice")):
            site.bucket.put(key, b"12", {"created-by": said})

    anyio.run(drift)
    env = {**site.environment, "COLUMNS": "80", "RECONCILER_ADOPTION__OWNER_FROM": "metadata:created-by"}
    dry = reconciler("adopt", env={**env, "RECONCILER_DRY_RUN": "true"})
    assert (dry.status, dry.told) == (
        1,
        ["reconciler: nothing was made: RECONCILER_DRY_RUN is true; set it to false for this command"],
    )
    done = reconciler("adopt", env=env)
    assert (done.status, done.told) == (1, [])
    first, *lines = done.out.splitlines()
    assert first.endswith(": 1 object (2 B) adopted")
    assert "      1  unknown_owner  its owner is no virtual key" in lines
    undo = lines[-1].split("`")[1].split()[1:]
    left = [json.loads(line) for line in reconciler("adopt", "--jsonl", env=env).out.splitlines()]
    assert [(each["storage_key"], each["reason"], each["detail"]) for each in left] == [
        ("image/b", "unknown_owner", "alice")
    ]
    undone = reconciler(*undo, env=env)
    assert (undone.status, undone.out) == (0, "1 row removed: their objects are without a row again\n")
    report = json.loads(reconciler("adopt", "--json", env=env).out)
    assert (report["candidates"], report["left"]) == (2, {"undone": 1, "unknown_owner": 1})
    without = reconciler("adopt", env=site.environment)
    assert without.status == 2
    assert "set RECONCILER_ADOPTION__OWNER_FROM, or name one for all with --owner" in without.told[0]
