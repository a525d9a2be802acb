"""Metrics of real daemons on real servers: complete, of the leader alone, and recalled by the next one."""

from __future__ import annotations

import shutil
import subprocess
import time

import anyio
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.daemons import Daemon, daemon, until
from tests.integration.site import Site
from tools.metrics_reference import families

pytestmark = pytest.mark.anyio

EVERYBODYS = frozenset(families(leads=False))
NOT_HERE = frozenset(
    f"media_reconciler_{name}"
    for name in (
        *("event_queue_readable", "events_late_seconds", "hints_waiting", "hints_found"),
        *("inventory_began_timestamp_seconds", "inventory_delivered_timestamp_seconds"),
    )
)
"""What only a queue of events, or an inventory, makes known."""
LEADERS = frozenset(families()) - EVERYBODYS - NOT_HERE


async def exported(running: Daemon) -> frozenset[str]:
    """By the names of the reference."""
    _, text = await running.get("/metrics")
    found = text_string_to_metric_families(text)
    return frozenset(each.name + ("_total" if each.type == "counter" else "") for each in found)


async def samples(running: Daemon, name: str) -> dict[tuple[str, ...], float]:
    """The values of one metric by those of its labels."""
    _, text = await running.get("/metrics")
    return {
        tuple(sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == f"media_reconciler_{name}"
    }


async def test_a_leader_exports_the_whole_reference_and_a_standby_nothing_of_the_leader(
    ordered_site: Site,
) -> None:
    await ordered_site.tracked("image/live")
    await ordered_site.put("image/b")
    await ordered_site.row("image/b", MediaType="Video", Provider="Acme", SizeBytes=70)
    await ordered_site.put("image/orphan")
    async with daemon(ordered_site) as first:

        async def complete() -> bool:
            return await exported(first) >= LEADERS

        await until(complete)
        assert await exported(first) == EVERYBODYS | LEADERS, "no more and no less"
        stored = await samples(first, "storage_bytes")
        assert stored[("video", "acme")] == 70
        epoch = (await samples(first, "lease_epoch"))[()]
        async with daemon(ordered_site) as second:

            async def stands_by() -> bool:
                return await second.metric("media_reconciler_pass_last_success_timestamp_seconds") not in (
                    0,
                    None,
                )

            await until(stands_by)
            assert await exported(second) == EVERYBODYS
            assert await first.stop() == 0

            async def took_over() -> bool:
                return await exported(second) >= LEADERS

            await until(took_over)
            assert (await samples(second, "lease_epoch"))[()] == epoch + 1
            assert await samples(second, "storage_bytes") == stored
            await _check_with_promtool(second)
            assert await second.stop() == 0


async def _check_with_promtool(running: Daemon) -> None:
    """Where it is there; the unit tests insist on it."""
    promtool = shutil.which("promtool")
    if promtool is None:
        return
    _, text = await running.get("/metrics")
    told = await anyio.to_thread.run_sync(
        lambda: subprocess.run(
            [promtool, "check", "metrics"], input=text, text=True, capture_output=True, check=False
        )
    )
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")


async def test_a_new_process_knows_what_waits_before_its_first_pass(ordered_site: Site) -> None:
    await ordered_site.put("image/a", "image/b")
    await ordered_site.once(dry_run="true", delete_delay="0s")
    await ordered_site.sql("UPDATE reconciler.passes SET cutoff = cutoff - interval '8 days'")
    await ordered_site.put("image/c")
    tripped = await ordered_site.once(dry_run="true", breaker__max_count="0", breaker__min_count="1")
    assert tripped.outcome == "tripped"
    async with daemon(ordered_site, dry_run="true", sweep_interval="1h", retention_interval="1h") as running:

        async def knows() -> bool:
            return bool(await samples(running, "marks_due")) and bool(await samples(running, "holds"))

        await until(knows)
        tripped_kinds = {kind for (kind,), on in (await samples(running, "passes_tripped")).items() if on}
        assert tripped_kinds == {"sweep"}
        ((labels, _),) = (await samples(running, "pass_tripped_info")).items()
        assert labels[:2] == ("sweep", str(await ordered_site.tripped()))
        assert labels[2].startswith("3 orphans, 100.0 % of 3 objects; the limit is 0 (")
        next_passes = await samples(running, "pass_next_timestamp_seconds")
        assert next_passes.keys() == {("sweep",), ("retention",)}
        assert min(next_passes.values()) > time.time(), "an interval after the last"
        assert (await samples(running, "marks_due"))[()] == 2, "the third is held back by the breaker"
        assert (await samples(running, "marks_due_oldest_age_seconds"))[()] > 0
        assert (await samples(running, "drift_keys"))[("orphan",)] == 3
        since = (await samples(running, "dry_run_since_timestamp_seconds"))[()]
        (first,) = await ordered_site.sql("SELECT min(cutoff) AS at FROM reconciler.passes")
        assert since == pytest.approx(first["at"].timestamp())
        assert (await samples(running, "pass_last_attempt_timestamp_seconds"))[("sweep",)] > since
        assert await running.stop() == 0
