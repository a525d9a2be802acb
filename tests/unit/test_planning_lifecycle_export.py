"""Which rules a bucket is given, and that those of others stay."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from reconciler.model import DeleteMode
from reconciler.planning.expiry import Known
from reconciler.planning.lifecycle_export import Expiry, Exported, beside, difference, export
from tests.doubles.build import policy

DAY = timedelta(days=1)
FOREIGN = {"ID": "theirs", "Status": "Disabled", "Filter": {"Tag": {"Key": "a", "Value": "b"}}}


def exported(
    mode: DeleteMode | None = DeleteMode.DIRECT, *, versions: bool = True, **changes: Any
) -> Exported:
    asked = {"undo_window": 7 * DAY, "upload_window": DAY, **changes}
    return export(("video/", "image/", "image/a/"), mode, versions=versions, **asked)


def test_each_managed_prefix_has_a_rule_and_no_rule_expires_an_object() -> None:
    rules = exported().rules
    assert [each["Filter"] for each in rules] == [{"Prefix": "image/"}, {"Prefix": "video/"}]
    assert len({each["ID"] for each in rules}) == 2
    assert not any("Expiration" in each or "Transitions" in each for each in rules)
    assert all(each["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7} for each in rules)


@pytest.mark.parametrize(
    ("mode", "versions", "superseded"),
    [
        (DeleteMode.DIRECT, True, True),
        (DeleteMode.DIRECT, False, False),
        (DeleteMode.VERSIONED, True, False),
        (DeleteMode.QUARANTINE, True, False),
        (None, True, False),
    ],
)
def test_versions_go_only_where_none_is_kept_for_an_undo(
    mode: DeleteMode | None, versions: bool, superseded: bool
) -> None:
    found = exported(mode, versions=versions)
    assert all(("NoncurrentVersionExpiration" in each) == superseded for each in found.rules)
    told = any(each.startswith("versions") for each in found.not_left)
    assert told == (versions and not superseded)


@pytest.mark.parametrize(
    ("window", "days"), [(timedelta(0), 1), (7 * DAY, 7), (7 * DAY + timedelta(seconds=1), 8)]
)
def test_days_are_rounded_up_so_that_nothing_goes_before_its_time(window: timedelta, days: int) -> None:
    (first, _) = exported(undo_window=window).rules
    assert first["NoncurrentVersionExpiration"] == {"NoncurrentDays": days}


def test_an_upload_has_its_window_to_be_completed() -> None:
    (first, _) = exported(upload_window=9 * DAY + timedelta(seconds=1)).rules
    assert first["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 10}


def test_objects_go_last_and_only_where_nothing_but_their_age_decides() -> None:
    known = Known(created=True, accessed=True, referenced=False, holds={"video/": 1})
    found = exported(
        undo_window=timedelta(hours=1),
        expiry=Expiry(policy=policy(recent_access=timedelta(0)), known=known),
    )
    image, video = found.rules
    assert image["Expiration"] == {"Days": 93}
    assert "Expiration" not in video
    assert found.refused
    assert "objects under 'video/': 1 hold in force may keep some of them" in found.not_left
    assert "does not stop it" in found.not_left[0]


def test_nothing_is_refused_that_nobody_asked_for() -> None:
    assert not exported().refused
    clear = Known(created=True, accessed=False, referenced=False)
    assert not exported(expiry=Expiry(policy=policy(), known=clear)).refused


def test_rules_of_others_stay_and_former_ones_of_ours_go() -> None:
    former = {**exported().rules[0], "ID": "media-reconciler-9"}
    nameless = {"Status": "Enabled", "Prefix": "x/"}
    ours = exported().rules
    wanted = beside([former, FOREIGN, nameless], ours)
    assert wanted == [FOREIGN, nameless, *ours]
    told = difference([former, FOREIGN, nameless], wanted)
    assert told == [("-", former), (" ", FOREIGN), (" ", nameless), ("+", ours[0]), ("+", ours[1])]
    assert beside(wanted, ours) == wanted
    assert {sign for sign, _ in difference(wanted, wanted)} == {" "}
