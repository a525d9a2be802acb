"""How rules of retention are written, what each fault is told as, and what the settings make of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from reconciler.errors import ConfigError
from reconciler.model import FOREVER, Evict, Match, Quota, QuotaOwner
from reconciler.settings import Settings, SettingsSource, load, tell
from tests.unit.test_settings import environment

DAY = timedelta(days=1)
FILMS: Mapping[str, Any] = {"name": "films", "match": {"media_type": "video"}, "media_retention_days": 5}


def read(*rules: Mapping[str, Any], **others: str) -> Settings:
    return load(environment(RETENTION__RULES=json.dumps(rules), **others))


def fault(*rules: Mapping[str, Any], **others: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(*rules, **others)
    (line,) = str(caught.value).splitlines()
    return line


def test_a_rule_takes_from_the_global_settings_what_it_does_not_set() -> None:
    settings = read(
        {"name": "a", "match": {"model": "x"}, "media_retention_days": "forever"},
        {"name": "b", "match": {"key_group": [3, "4"]}, "recent_access_days": 0},
        {"name": "c", "match": {"prefix": "image/"}, "revoked_key_policy": "delete", "key_grace": "12h"},
        MEDIA_RETENTION_DAYS="10",
        KEY_GRACE="3d",
    )
    first, second, third = settings.policy().rules.each
    told = [
        (each.media_retention, each.recent_access, each.key_grace, each.delete_revoked)
        for each in (first, second, third)
    ]
    assert told == [
        (FOREVER, 30 * DAY, 3 * DAY, False),
        (10 * DAY, timedelta(0), 3 * DAY, False),
        (10 * DAY, 30 * DAY, DAY / 2, True),
    ]
    assert second.match == Match(key_group=("3", "4"))


def test_values_are_folded_as_rows_are() -> None:
    rule = {**FILMS, "match": {"media_type": [" Video", "AUDIO"], "provider": "É", "virtual_key_id": "A"}}
    (made,) = read(rule).policy().rules.each
    assert made.match == Match(media_type=("video", "audio"), provider=("É",), virtual_key_id=("A",))


def test_yaml_and_the_environment_say_the_same(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(
        "retention:\n  rules:\n  - name: films\n    match: {media_type: video}\n    media_retention_days: 5\n"
    )
    from_file = load(environment(CONFIG_FILE=str(file)))
    assert from_file.retention == read(FILMS).retention
    (told,) = [
        each.value
        for each in tell(SettingsSource(environment(CONFIG_FILE=str(file))).loaded)
        if each.key == "retention.rules"
    ]
    assert told == [{**FILMS, "match": {"media_type": ["video"]}}]


def test_each_part_of_a_rule_is_part_of_the_settings_hash() -> None:
    others = (
        {**FILMS, "name": "movies"},
        {**FILMS, "match": {"media_type": "audio"}},
        {**FILMS, "media_retention_days": 6},
        {**FILMS, "media_retention_days": "forever"},
        {**FILMS, "key_grace": "1h"},
    )
    hashes = {read(each).config_hash() for each in (FILMS, *others)} | {read().config_hash()}
    assert len(hashes) == len(others) + 2


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({"match": {"model": "x"}, "key_grace": "1h"}, "number 1 name: is missing"),
        ({**FILMS, "name": "a;b"}, "number 1 name: must be a name of ASCII letters"),
        ({**FILMS, "days": 5}, "number 1 days: there is no such name"),
        ({**FILMS, "match": {"kind": "x"}}, "number 1 match.kind: there is no such name"),
        ({**FILMS, "match": {}}, "number 1 match: matches everything"),
        ({**FILMS, "match": "video"}, "number 1 match: must be a mapping of names to values"),
        ({**FILMS, "match": {"model": []}}, "number 1 match.model: must be a text or a list of texts"),
        ({**FILMS, "match": {"model": ""}}, "number 1 match.model: must be a text or a list of texts of 1"),
        ({**FILMS, "match": {"model": None}}, "number 1 match.model: must be a text or a list of texts"),
        ({**FILMS, "match": {"model": True}}, "number 1 match.model: must be a text or a list of texts"),
        ({**FILMS, "match": {"model": ["a", "A "]}}, "number 1 match.model: names a value twice"),
        ({**FILMS, "match": {"prefix": "image"}}, "number 1 match.prefix: 'image' must end in \"/\""),
        ({**FILMS, "media_retention_days": 0}, "must be a whole number of days, from 1 to 36500, or forever"),
        ({**FILMS, "media_retention_days": None}, "must be a whole number of days"),
        ({**FILMS, "key_grace": 5}, "number 1 key_grace: must be a duration"),
        ({**FILMS, "revoked_key_policy": "ban"}, "number 1 revoked_key_policy: must be keep or delete"),
        (
            {"name": "a", "match": {"model": "x"}},
            "number 1: sets nothing; give it one of media_retention_days",
        ),
    ],
)
def test_each_fault_is_told_by_its_place(rule: Mapping[str, Any], told: str) -> None:
    line = fault(rule)
    assert line.startswith("RECONCILER_RETENTION__RULES=")
    assert told in line


@pytest.mark.parametrize("raw", ["films", "{}", "5", '"a"', "null", "[" * 100_000])
def test_what_is_no_list_is_refused(raw: str) -> None:
    with pytest.raises(ConfigError, match="must be a JSON list of rules"):
        load(environment(RETENTION__RULES=raw))


@pytest.mark.parametrize(
    ("rules", "others", "told"),
    [
        ([FILMS, {**FILMS, "match": {"model": "x"}}], {}, "two rules are called films"),
        (
            [FILMS, {**FILMS, "name": "b", "match": {"media_type": "video", "model": "x"}}],
            {},
            "rule b can never match: rule films before it takes all that it would",
        ),
        ([FILMS, {**FILMS, "name": "b"}], {}, "rule b can never match: rule films before it"),
        (
            [{**FILMS, "match": {"prefix": "music/"}}],
            {},
            "rule films can never match: music/ lies outside the managed prefixes (image/, video/)",
        ),
        ([FILMS], {"CATALOG__MEDIA_COLUMNS__MEDIA_TYPE": ""}, "CATALOG__MEDIA_COLUMNS__MEDIA_TYPE is empty"),
        (
            [{**FILMS, "match": {"key_group": 1}}],
            {"CATALOG__KEY_COLUMNS__GROUP_ID": ""},
            "no column of a keys' table says a key's group",
        ),
        (
            [{**FILMS, "key_grace": "1h"}],
            {"CATALOG__KEYS_TABLE": ""},
            "rule films is about virtual keys, and CATALOG__KEYS_TABLE says that there are none",
        ),
    ],
)
def test_a_rule_that_can_never_match_is_an_error(
    rules: list[Mapping[str, Any]], others: Mapping[str, str], told: str
) -> None:
    assert told in fault(*rules, BUCKET__PREFIXES='["image/", "video/"]', **others)


def test_a_prefix_around_a_managed_one_matches() -> None:
    rule = {**FILMS, "match": {"prefix": ["image/", "other/"]}}
    assert read(rule, BUCKET__PREFIXES='["image/2026/"]').policy().rules


def test_what_the_tables_lack_is_refused_and_the_last_good_settings_stay(tmp_path: Path) -> None:
    file = tmp_path / "runtime.yaml"
    file.write_text("dry_run: true\n")
    source = SettingsSource(environment(RUNTIME_FILE=str(file)))
    source.require(lambda settings: ["no such column"] if settings.policy().rules else [])
    file.write_text(json.dumps({"dry_run": False, "retention": {"rules": [FILMS]}}))
    changed = source.refresh()
    assert changed is not None
    assert changed.error == "no such column"
    assert source.current().dry_run
    with pytest.raises(ConfigError, match="not these either"):
        source.require(lambda _: ["not these either"])


# --- quotas ---------------------------------------------------------------------------------------------


def test_there_is_no_quota_unless_one_is_set() -> None:
    assert read(FILMS).policy().quotas == ()


@pytest.mark.attack(113)
def test_a_rule_has_a_quota_of_its_own_or_counts_under_the_global_one() -> None:
    policy = read(
        {**FILMS, "max_objects": 5, "quota_owner": "key_group", "evict": "oldest"},
        {"name": "sizes", "match": {"model": "x"}, "max_bytes": "1.5GiB"},
        {"name": "free", "match": {"model": "y"}, "max_objects": "none"},
        {"name": "kept", "match": {"model": "z"}, "media_retention_days": "forever"},
        {"name": "other", "match": {"model": "w"}, "recent_access_days": 1},
        QUOTA__MAX_BYTES="500MB",
        QUOTA__EVICT="least_recently_accessed",
    ).policy()
    everyone = Quota(
        name="",
        max_bytes=500_000_000,
        max_objects=None,
        owner=QuotaOwner.VIRTUAL_KEY,
        evict=Evict.LEAST_RECENTLY_ACCESSED,
    )
    films = Quota(name="films", max_bytes=None, max_objects=5, owner=QuotaOwner.KEY_GROUP, evict=Evict.OLDEST)
    sizes = Quota(
        name="sizes",
        max_bytes=3 * 2**29,
        max_objects=None,
        owner=QuotaOwner.VIRTUAL_KEY,
        evict=Evict.NEVER,
    )
    told = [each.quota for each in policy.rules.each]
    assert told == [films, sizes, None, None, everyone], "what is kept for ever is under no global quota"
    assert policy.quotas == (films, sizes, everyone)
    assert policy.evicting == (films, everyone)


@pytest.mark.parametrize(
    ("raw", "parsed"),
    [
        ("1", 1),
        ("10GiB", 10 * 2**30),
        ("10 GB", 10**10),
        ("1kB", 1000),
        ("2.5MiB", 2_621_440),
        ("none", None),
    ],
)
def test_a_size_is_bytes_or_has_a_unit(raw: str, parsed: int | None) -> None:
    assert load(environment(QUOTA__MAX_BYTES=raw)).quota.max_bytes == parsed


@pytest.mark.parametrize("raw", ["0", "-1", "10G", "1e9", "ten", "0.5B", "5 GIB", "9999999PiB"])
def test_what_is_no_size_is_refused(raw: str) -> None:
    with pytest.raises(ConfigError, match=r"QUOTA__MAX_BYTES.* such as 10GiB, 500MB or 1048576, or none"):
        load(environment(QUOTA__MAX_BYTES=raw))


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ({**FILMS, "evict": "oldest"}, "has no quota that evict or quota_owner could be about"),
        ({**FILMS, "max_objects": "none", "evict": "never"}, "has no quota that evict"),
        ({**FILMS, "max_objects": 0}, "whole number of objects, from 1 to 1000000000000, or none"),
        ({**FILMS, "max_objects": 5, "evict": "newest"}, "least_recently_accessed"),
    ],
)
def test_a_quota_that_says_nothing_is_refused(rule: Mapping[str, Any], why: str) -> None:
    assert why in fault(rule)


def test_conduits_policies_take_no_quota() -> None:
    """Their groups stand for a policy and a balance: many groups' media would be added up as one's."""
    told = fault(QUOTA__MAX_OBJECTS="5", RETENTION__SOURCE="conduit", CATALOG__KEY_COLUMNS__GROUP_ID="G")
    assert "SOURCE conduit takes no quota" in told
    soft = load(environment(QUOTA__EVICT="oldest", RETENTION__SOURCE="conduit"))
    assert soft.policy().quota is None


def test_without_a_limit_there_is_no_quota_whatever_else_is_set() -> None:
    assert load(environment(QUOTA__OWNER="key_group", QUOTA__EVICT="oldest")).policy().quota is None
