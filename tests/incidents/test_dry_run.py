"""What went wrong elsewhere with a dry run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from reconciler import app
from reconciler.model import Mode, Outcome
from reconciler.settings import SettingsSource
from tests.integration.site import PATIENCE, SOON_DEAD, Site
from tests.support.ports import interpose

pytestmark = pytest.mark.anyio


@pytest.mark.incident(31)
async def test_a_dry_run_that_begins_after_the_claim_sends_nothing(
    ordered_site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """I-31: the gateway asks for the mode at each write, whatever was believed when the batch was taken."""
    await ordered_site.put("image/orphan")
    runtime = tmp_path / "runtime.yaml"
    runtime.write_text("dry_run: false\n")
    with monkeypatch.context() as patched:
        for name, value in ordered_site.settings(runtime_file=str(runtime)).items():
            patched.setitem(os.environ, name, value)
        source = SettingsSource()

        async def switch_then_look(look_again: Any, *args: Any, **kwargs: Any) -> Any:
            runtime.write_text("dry_run: true\n")
            source.refresh()
            assert source.current().mode() is Mode.DRY_RUN
            return await look_again(*args, **kwargs)

        interpose(patched, "marks", look_again=switch_then_look)
        report = await app.once(source, wait=PATIENCE)
    assert report.removed.objects == 0
    assert await ordered_site.keys() == {"image/orphan"}
    assert [row["state"] for row in await ordered_site.sql("SELECT state FROM reconciler.marks")] == [
        "claimed"
    ]
    await ordered_site.sql("UPDATE reconciler.marks SET attempted_at = now() - interval '1 hour'")
    report = await ordered_site.once(**SOON_DEAD)
    assert (report.outcome, report.removed.objects) == (Outcome.CONVERGED, 1)
