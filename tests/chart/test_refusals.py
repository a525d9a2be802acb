"""Values that cannot be meant: refused by the schema, and by the templates where the schema is skipped."""

from __future__ import annotations

import json

import jsonschema
import pytest

from reconciler.settings import values
from tests.chart.helm import CHART, MINIMAL, template, with_values

BOTH: dict[str, tuple[dict[str, object], str, str]] = {
    # what is wrong: the values, what the schema names, what the template says
    "a prefix without its slash": ({"bucket__prefixes": ["image"]}, "bucket.prefixes.0", "has to end in"),
    "a dry run in words": ({"dryRun": "false"}, "dryRun", "true or false"),
    "a flag in words": (
        {"mediaManagement__enableOwnershipTracking": "false"},
        "mediaManagement.enableOwnershipTracking",
        "true or false",
    ),
    "a retention of nothing": (
        {"mediaManagement__mediaRetentionDays": 0},
        "mediaManagement.mediaRetentionDays",
        "would empty the bucket",
    ),
    "media of revoked keys that public links still serve": (
        {"mediaManagement__revokedKeyPolicy": "delete"},
        "mediaManagement.accessControlEnabled",
        "needs mediaManagement.accessControlEnabled=true",
    ),
    "a rate of nothing": ({"maxDeletesPerSecond": 0}, "maxDeletesPerSecond", "positive number or unlimited"),
    "more than all of it": ({"breaker__maxFraction": 10}, "breaker.maxFraction", "from 0 to 1"),
    "no time to drain": (
        {"terminationGracePeriodSeconds": 10},
        "terminationGracePeriodSeconds",
        "at least 30",
    ),
}

BY_TEMPLATE: dict[str, tuple[dict[str, object], str]] = {
    # what only several values together, or a sentence, can tell
    "no bucket": ({"bucket__name": ""}, "bucket.name is not set"),
    "no prefixes": ({"bucket__prefixes": []}, "bucket.prefixes is not set"),
    "the whole bucket, by a list that was left empty": (
        {"bucket__prefixes": [""]},
        "set bucket.wholeBucket=true if all of it is meant",
    ),
    "a limit of null, of which the program would refuse the file": (
        {"breaker__maxFraction": None},
        "the setting max_fraction has no value",
    ),
    "no interval": ({"sweepInterval": None}, "the setting sweep_interval has no value"),
    "the reconciler's own prefix": ({"bucket__prefixes": [".reconciler/x/"]}, "own corner of the bucket"),
    "a prefix inside another": ({"bucket__prefixes": ["a/b/", "a/"]}, "is inside"),
    "probes that nobody answers": ({"web__host": "127.0.0.1"}, "cannot be reached from outside the pod"),
    "no database": ({"database__existingSecret": ""}, "database.existingSecret is not set"),
    "two databases": ({"database__url": "postgresql://a:b@c/d"}, "are both set"),
    "two sources of credentials": (
        {"bucket__credentials": {"existingSecret": "a", "accessKeyId": "b", "secretAccessKey": "c"}},
        "are both set",
    ),
    "half a credential": ({"bucket__credentials": {"accessKeyId": "b"}}, "belong together"),
    "a file of nothing": ({"bucket__credentials": {"asFile": True}}, "there are no credentials"),
    "credentials that hide a role": (
        {
            "bucket__credentials": {"existingSecret": "a"},
            "serviceAccount__annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/x"},
        },
        "would hide the role",
    ),
    "a setting behind the chart's back": (
        {"extraEnv": [{"name": "RECONCILER_DRY_RUN", "value": "false"}]},
        "RECONCILER_DRY_RUN is a setting",
    ),
    "metrics counted twice": (
        {"serviceMonitor__enabled": True, "podMonitor__enabled": True},
        "counted twice",
    ),
}

BY_SCHEMA: dict[str, tuple[dict[str, object], str]] = {
    # what the program would refuse as well, told before anything is installed
    "a misspelt value": ({"bucket__prefix": ["image/"]}, "bucket: Additional property prefix is not allowed"),
    "a misspelt section": (
        {"mediaMangement": {}},
        "(root): Additional property mediaMangement is not allowed",
    ),
    "a number without a unit": ({"gracePeriod": "48"}, "gracePeriod"),
    "a bare number for a duration": ({"deleteDelay": 24}, "deleteDelay"),
    "a bucket with a path": ({"bucket__name": "s3://media"}, "bucket.name"),
    "an address with credentials": ({"bucket__endpointUrl": "https://a:b@s3"}, "bucket.endpointUrl"),
    "a mode that does not exist": ({"deleteMode": "fast"}, "deleteMode"),
    "a fraction of a key": ({"breaker__maxCount": 0.5}, "breaker.maxCount"),
    "fewer than no pods": ({"replicas": -1}, "replicas"),
    "a digest cut short": ({"image__digest": "sha256:abc"}, "image.digest"),
    "a quoted column": ({"catalog__mediaColumns__id": '"Id"'}, "catalog.mediaColumns.id"),
    "a column that has to be there": ({"catalog__keyColumns__id": ""}, "catalog.keyColumns.id"),
    "a port that is none": ({"web__port": 0}, "web.port"),
    "a database that is no Postgres": ({"database__url": "mysql://a/b"}, "database.url"),
}


def refused(changes: dict[str, object], *options: str) -> str:
    """What helm says of values that it refuses."""
    ended = template(with_values(**changes), *options)
    assert ended.status != 0, "helm rendered it"
    return ended.err


@pytest.mark.parametrize("case", BOTH)
def test_the_templates_refuse_what_the_schema_does_where_it_is_skipped(case: str) -> None:
    changes, _, told = BOTH[case]
    assert told in refused(changes, "--skip-schema-validation")


@pytest.mark.parametrize("case", BY_TEMPLATE)
def test_the_templates_refuse_in_one_line_that_says_what_to_do(case: str) -> None:
    changes, told = BY_TEMPLATE[case]
    line = next(line for line in refused(changes).splitlines() if line.startswith("Error: "))
    assert told in line


def test_the_schema_refuses_and_names_each_value_at_once() -> None:
    cases = {**BY_SCHEMA, **{case: (changes, name) for case, (changes, name, _) in BOTH.items()}}
    everything: dict[str, object] = {}
    for changes, _ in cases.values():
        everything |= changes
    told = refused(everything).splitlines()
    missing = {
        case: name
        for case, (_, name) in cases.items()
        if not any(line.startswith(f"- {name}") for line in told)
    }
    assert missing == {}


def test_a_parent_chart_may_share_values_of_its_own() -> None:
    shared = {"somebodyElses": {"deep": True}, "imageRegistry": "registry.internal"}
    ended = template({**MINIMAL, "enabled": True, "global": shared})
    assert ended.status == 0, ended.err
    assert 'image: "registry.internal/media-reconciler:' in ended.out


@pytest.mark.parametrize(
    "text",
    [
        "0s",
        "90d",
        "1h30m",
        "1.5h",
        "250ms",
        "PT24H",
        "P1DT12H",
        "P1W",
        "48",
        "",
        "1 h",
        "-1h",
        "1y",
        "P",
        "soon",
    ],
)
def test_schema_and_program_agree_on_what_a_duration_is(text: str) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    allowed = jsonschema.Draft7Validator(schema["definitions"]["duration"]).is_valid(text)
    try:
        values.duration(text)
        taken = True
    except ValueError:
        taken = False
    assert allowed == taken
