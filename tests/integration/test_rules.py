"""Rules of retention on real servers: each term that a rule sets, and changes of rules at each moment."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from reconciler import app
from reconciler.errors import ConfigError
from reconciler.model import CheckStatus, KeepReason, Outcome, Verdict
from reconciler.settings import SettingsSource
from tests.cli.program import reconciler
from tests.integration.daemons import daemon, until
from tests.integration.site import Site
from tests.support.mounted import Volume

pytestmark = [pytest.mark.anyio, pytest.mark.calm]

DAY = timedelta(days=1)


def rules(*each: dict[str, Any]) -> dict[str, str]:
    return {"retention__rules": json.dumps(each)}


def rule(name: str, match: dict[str, Any], **terms: Any) -> dict[str, Any]:
    return {"name": name, "match": match, **terms}


async def test_each_term_holds_for_the_media_that_its_rule_matches(site: Site) -> None:
    """Nothing but the rule tells two neighbours apart; the first that matches wins."""
    now = datetime.now(UTC)
    await site.sql('ALTER TABLE "VirtualKeys" ADD "VirtualKeyGroupId" integer')
    owner, grouped = await site.virtual_key(), await site.virtual_key()
    await site.sql('UPDATE "VirtualKeys" SET "VirtualKeyGroupId" = 7 WHERE "Id" = $1', grouped)
    banned = await site.virtual_key(enabled=False)
    lapsed = await site.virtual_key(expires_at=now - 2 * DAY)
    media: dict[str, dict[str, Any]] = {
        "image/kept-for-ever": {"age": 4000 * DAY, "Provider": "Acme", "Model": "large"},
        "image/old": {"age": 4000 * DAY, "Provider": "acme", "Model": "small"},
        "image/short": {"age": 6 * DAY, "MediaType": " Audio"},
        "image/young": {"age": 4 * DAY, "MediaType": "audio"},
        "video/read": {"age": 400 * DAY, "LastAccessedAt": now - 5 * DAY},
        "image/read": {"age": 400 * DAY, "LastAccessedAt": now - 5 * DAY},
        "image/theirs": {"age": 20 * DAY, "owner": owner},
        "image/others": {"age": 20 * DAY},
        "image/grouped": {"age": 20 * DAY, "owner": grouped},
        "image/banned": {"owner": banned, "Model": "kept"},
        "image/banned-too": {"owner": banned},
        "image/lapsed": {"owner": lapsed, "Model": "graced"},
        "image/lapsed-too": {"owner": lapsed},
    }
    for key, columns in media.items():
        await site.put(key)
        await site.row(key, **columns)
    made = rules(
        rule("for ever", {"provider": "ACME", "model": ["large"]}, media_retention_days="forever"),
        rule("audio", {"media_type": "audio"}, media_retention_days=5),
        rule("videos", {"prefix": "video/"}, recent_access_days=2),
        rule("one customer", {"virtual_key_id": str(owner)}, media_retention_days=10),
        rule("a group", {"key_group": 7}, media_retention_days=15),
        rule("never again", {"provider": "acme"}, media_retention_days=3000),
        rule("keep", {"model": "kept"}, revoked_key_policy="keep"),
        rule("grace", {"model": "graced"}, key_grace="3d"),
    )
    _, findings = await site.plan(**made)
    told = {each.storage_key: each.reason.partition("; ")[2] for each in findings}
    gone = {
        "image/old": "rule never again",
        "image/short": "rule audio",
        "video/read": "rule videos",
        "image/theirs": "rule one customer",
        "image/grouped": "rule a group",
        "image/banned-too": "no rule, global settings",
        "image/lapsed-too": "no rule, global settings",
    }
    assert told == {**gone, "image/banned": "rule keep"}
    report = await site.once(**made)
    assert (report.outcome, report.kept[KeepReason.DISABLED]) == (Outcome.CONVERGED, 1)
    assert await site.state() == ({*media} - {*gone},) * 2


async def test_a_rule_that_came_between_mark_and_claim_keeps(site: Site) -> None:
    await site.put("image/a", "video/b")
    for key in ("image/a", "video/b"):
        await site.row(key, age=100 * DAY)
    waiting = await site.once(delete_delay="1h")
    assert (waiting.outcome, waiting.found[Verdict.STALE]) == (Outcome.PENDING, 2)
    await site.sql("UPDATE reconciler.marks SET due_at = now()")
    videos = rules(rule("videos", {"prefix": "video/"}, media_retention_days="forever"))
    report = await site.once(**videos)
    assert report.removed.objects == 1
    assert await site.state() == ({"video/b"}, {"video/b"})
    assert await site.sql("SELECT FROM reconciler.marks") == []


async def test_a_running_daemon_takes_up_a_rule_and_refuses_one_that_cannot_match(
    ordered_site: Site, tmp_path: Path
) -> None:
    site = ordered_site
    keep = rule("videos", {"prefix": "video/"}, media_retention_days="forever")
    volume = Volume(tmp_path / "mounted", _file(keep))
    site.environment["RECONCILER_RUNTIME_FILE"] = str(volume.file)
    site.environment["RECONCILER_RETENTION_INTERVAL"] = "1s"
    await site.put("image/a", "video/b")
    for key in ("image/a", "video/b"):
        await site.row(key, age=100 * DAY)
    async with daemon(site) as running:

        async def gone() -> bool:
            return "image/a" not in await site.keys()

        await until(gone)
        volume.swap(_file(rule("groups", {"key_group": 1}, media_retention_days=1)))

        async def refused() -> bool:
            return await running.metric("media_reconciler_config_last_reload_successful") == 0

        await until(refused)
        volume.swap(_file(rule("images", {"prefix": "image/"}, media_retention_days=5)))

        async def tripped() -> bool:
            return "tripped" in {state for _, _, state in await site.passes()}

        await until(tripped)
        assert await site.keys() == {"video/b"}, "a change that lets more go waits for a person"
        assert await running.stop() == 0
    ((reason,),) = await site.sql(
        "SELECT DISTINCT trip_reason FROM reconciler.passes WHERE state = 'tripped'"
    )
    assert "rule videos removed; rule images added" in reason


def _file(*those: dict[str, Any]) -> str:
    return json.dumps({"retention": {"rules": those}})


async def test_a_rule_by_a_column_that_is_not_there_stops_before_anything_is_looked_at(site: Site) -> None:
    with pytest.raises(ConfigError, match=r"rule groups can never match: .* no column for its key_group"):
        await site.once(**rules(rule("groups", {"key_group": 1}, media_retention_days="forever")))
    by_group = rules(rule("groups", {"key_group": 1}, media_retention_days="forever"))
    checks = await app.doctor(SettingsSource(site.settings(**by_group)))
    (check,) = [each for each in checks if each.name == "rules"]
    assert (check.status, check.advice) == (
        CheckStatus.FAIL,
        "map one with RECONCILER_CATALOG__KEY_COLUMNS__GROUP_ID",
    )


# --- policy -----------------------------------------------------------------------------------------


async def test_the_rules_are_told_in_words_with_what_is_under_each(site: Site) -> None:
    for key, size in (("image/a", 5), ("image/b", 7), ("video/c", 2048), ("other/d", 9)):
        await site.row(key, SizeBytes=size, MediaType="Video" if key == "video/c" else "image")
    made = rules(
        rule("films_of_ours", {"media_type": "video", "prefix": ["video/"]}, media_retention_days="forever"),
        rule("pictures", {"media_type": "image"}, recent_access_days=0, key_grace="36h"),
    )
    env = site.settings(**made, undo_window="7d", delete_mode="quarantine", revoked_key_policy="delete")
    page = reconciler("policy", "--format", "markdown", env=env)
    assert (page.status, page.told) == (0, [])
    lines = page.out.splitlines()
    assert lines[-1].startswith("As of 2")
    assert "\n".join(lines[:-1]) == PAGE
    template = Path(__file__).parents[2] / "docs/retention-policy.md"
    page = reconciler("policy", "--format", "markdown", "--template", str(template), env=env)
    before, after = template.read_text(encoding="utf-8").split("<!-- reconciler policy -->")
    rules_alone = "\n".join(lines[1:-1]).strip("\n")
    assert page.out.startswith(f"{before}{rules_alone}")
    assert page.out.endswith(after)
    none = reconciler("policy", "--format", "markdown", "--template", __file__ + ".gone", env=env)
    assert (none.status, len(none.told)) == (2, 1)
    (told,) = [json.loads(reconciler("policy", "--format", "json", env=env).out)]
    assert [(each["name"], each["records"], each["bytes"]) for each in told["rules"]] == [
        ("films_of_ours", 1, 2048),
        ("pictures", 2, 12),
        (None, 0, 0),
    ]
    table = reconciler("policy", env=env)
    assert table.status == 0
    assert "films_of_ours" in table.out
    assert "Kept without an end" in table.out


PAGE = """\
# How long media is kept

The first of these rules that is about a file holds for it.

## films\\_of\\_ours

- For: media type video, and storage keys under video/.
- Kept without an end.
- Deleted as soon as its virtual key is disabled or expires.
- Stored now: 1 file, 2.0 KiB.

## pictures

- For: media type image.
- Deleted 90 days after creation.
- Deleted 36 hours after its virtual key is disabled or expires.
- Stored now: 2 files, 12 B.

## Everything else

- Deleted 90 days after creation, or 30 days after the last access if that is later.
- Deleted as soon as its virtual key is disabled or expires.
- Stored now: 0 files, 0 B.

## For all media

- Media that has an expiry time of its own is deleted once that is over, whatever the rules say.
- What was deleted can be brought back for 7 days.
"""
