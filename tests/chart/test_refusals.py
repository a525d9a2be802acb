"""Values that cannot be meant: refused by the templates, in words that say what to write."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jsonschema
import pytest
import yaml

from reconciler.settings import values
from tests.chart.helm import CHART, MINIMAL, helm, put, template, with_values

BY_TEMPLATE: dict[str, tuple[dict[str, object], str]] = {
    # what only several values together can tell
    "media of revoked keys that public links still serve": (
        {"mediaManagement__revokedKeyPolicy": "delete"},
        "needs mediaManagement.accessControlEnabled=true",
    ),
    "a section of null": ({"breaker": None}, "breaker has no value: null takes the chart's defaults away"),
    "a section of null in another": ({"bucket__credentials": None}, "bucket.credentials has no value: null"),
    "a section of null with a part of its own": ({"podMonitor": None}, "podMonitor has no value: null takes"),
    "media of revoked keys that public links still serve, by a rule": (
        {
            "retention__rules": [
                {"name": "a", "match": {"mediaType": "image"}, "revokedKeyPolicy": "delete"},
            ]
        },
        "revokedKeyPolicy=delete of a needs mediaManagement.accessControlEnabled=true",
    ),
    "a rule for everything": (
        {"retention__rules": [{"name": "a", "match": {}, "keyGrace": "1h"}]},
        "the match of a is empty",
    ),
    "events that nobody signs": (
        {"events__webhook__url": "https://hooks.example/media"},
        "events.webhook.url needs events.webhook.existingSecret",
    ),
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
    "two servers on one port": ({"admin__port": 8080}, "admin.port and web.port are both 8080"),
    "an admin API that nobody reaches": (
        {"admin__host": "127.0.0.1"},
        "admin.host: 127.0.0.1 cannot be reached",
    ),
    "media for all where access is controlled": (
        {
            "media__enabled": True,
            "media__access": "public",
            "mediaManagement__accessControlEnabled": True,
        },
        "media.access=public contradicts mediaManagement.accessControlEnabled=true",
    ),
    "links that nothing signs": (
        {"media__enabled": True, "media__access": "signed"},
        "media.access=signed needs media.links.existingSecret",
    ),
    "media that nobody reaches": (
        {"media__enabled": True, "media__host": "127.0.0.1"},
        "media.host: 127.0.0.1 cannot be reached",
    ),
    "media on the port of the metrics": (
        {"media__enabled": True, "media__port": 8080},
        "media.port and web.port are both 8080",
    ),
    "a Ray cluster that nothing would use": (
        {"inventory__ray__enabled": True},
        "inventory.ray.enabled is true, but nothing would use it",
    ),
    "a folder that Ray's pods do not have": (
        {
            "sweep__source": "inventory",
            "inventory": {"id": "daily", "engine": "ray", "directory": "/scratch", "ray": {"enabled": True}},
        },
        "inventory.directory is a volume of the daemon's pod",
    ),
    "two Ray clusters": (
        {
            "sweep__source": "inventory",
            "inventory": {"id": "daily", "engine": "ray", "ray": {"enabled": True}},
            "extraEnv": [{"name": "RAY_ADDRESS", "value": "ray://other:10001"}],
        },
        "RAY_ADDRESS is another cluster",
    ),
    "more pods at least than at most": (
        {"media__enabled": True, "media__autoscaling": {"enabled": True, "minReplicas": 20}},
        "media.autoscaling.minReplicas is more than maxReplicas",
    ),
    "a way to an admin API that is off": (
        {"admin__ingress": {"enabled": True, "host": "reconciler.example.org"}},
        "set admin.tokens.existingSecret or admin.oidc.issuer too",
    ),
    "an identity provider for nobody": (
        {"admin__oidc": {"issuer": "https://id.example.org", "audience": "reconciler"}},
        "and who has a role in admin.oidc.viewers",
    ),
    "a way without a name": (
        {"admin__ingress": {"enabled": True}, "admin__tokens": {"existingSecret": "tokens"}},
        "admin.ingress.host is not set",
    ),
    "metrics counted twice": (
        {"serviceMonitor__enabled": True, "podMonitor__enabled": True},
        "counted twice",
    ),
}

WRONG_RULES = [
    {"name": "a", "match": {"mediatype": "image"}, "keyGrace": "1h"},
    {"name": "b", "keyGrace": "1h"},
    {"name": "c", "match": {"model": None, "provider": ["x"]}, "mediaRetentionDays": 0},
]

BY_SCHEMA: dict[str, tuple[dict[str, object], str]] = {
    # what one value alone can tell
    "a rule with a misspelt property": (
        {"retention__rules": WRONG_RULES},
        "retention.rules[0].match.mediatype: there is no such value; did you mean",
    ),
    "a rule without a match": ({"retention__rules": WRONG_RULES}, "rules[1] * it has to have name and match"),
    "a retention of nothing by a rule": (
        {"retention__rules": WRONG_RULES},
        "rules[2].mediaRetentionDays is 0: it has to be a whole number of days from 1 to 36500, or forever",
    ),
    "a rule's property with a value of null": (
        {"retention__rules": WRONG_RULES},
        "rules[2].match.model is null: it has to be a text or a list of texts",
    ),
    "a flag spelt in one case": ({"dryrun": False}, "dryrun: there is no such value; did you mean dryRun?"),
    "a misspelt section": ({"mediaMangement": {}}, "mediaMangement: * did you mean mediaManagement?"),
    "a setting in the program's own spelling": ({"grace_period": "1h"}, "did you mean gracePeriod?"),
    "a value outside its section": ({"prefixes": ["a/"]}, "prefixes: * did you mean bucket.prefixes?"),
    "a value in a section that is not its own": ({"bucket__deleteMode": "auto"}, "did you mean deleteMode?"),
    "a misspelt value": ({"bucket__prefix": ["image/"]}, "bucket.prefix: * did you mean bucket.prefixes?"),
    "a value that resembles none": ({"image__sha": "1"}, "image has digest, pullPolicy, registry, repo"),
    "a section that resembles none": ({"zzz": 1}, "zzz: there is no such value; `helm show values` lists"),
    "an origin with a path": (
        {"admin__corsOrigins": ["https://a.example/x"]},
        'corsOrigins[0] is "https://a.example/x": it has to be an origin',
    ),
    "a prefix without its slash": (
        {"bucket__prefixes": ["image"]},
        'prefixes[0] is "image": it has to end in "/"',
    ),
    "a dry run in words": (
        {"dryRun": "false"},
        'dryRun is "false": it has to be true or false; use --set, not',
    ),
    "a flag in words": (
        {"mediaManagement__enableOwnershipTracking": "no"},
        'mediaManagement.enableOwnershipTracking is "no": it has to be true or false',
    ),
    "a retention of nothing": ({"mediaManagement__mediaRetentionDays": 0}, "0 would empty the bucket"),
    "a rate of nothing": (
        {"maxDeletesPerSecond": 0},
        "positive number or unlimited; to delete nothing, set dryRun",
    ),
    "more than all of it": (
        {"breaker__maxFraction": 10},
        "is 10: it has to be a number from 0 to 1, such as 0.1",
    ),
    "no time to drain": (
        {"terminationGracePeriodSeconds": 10},
        "is 10: it has to be a whole number of at least 30",
    ),
    "a number without a unit": (
        {"gracePeriod": "48"},
        'is "48": it has to be a time with its unit, such as 30s',
    ),
    "a bare number for a duration": (
        {"deleteDelay": 24},
        "deleteDelay is 24: it has to be a time with its unit",
    ),
    "a bucket with a path": ({"bucket__name": "s3://media"}, "no s3:// before it and no path behind it"),
    "an address with credentials": (
        {"bucket__endpointUrl": "https://a:b@s3"},
        "bucket.endpointUrl: it has to be",
    ),
    "a mode that does not exist": ({"deleteMode": "fast"}, "one of auto, direct, quarantine, versioned"),
    "a fraction of a key": (
        {"breaker__maxCount": 0.5},
        "is 0.5: it has to be a whole number from 0 to 1000000000000",
    ),
    "fewer than no pods": ({"replicas": -1}, "replicas is -1: it has to be a whole number of at least 0"),
    "a digest cut short": (
        {"image__digest": "sha256:abc"},
        "a whole digest: sha256: and 64 hexadecimal digits",
    ),
    "a quoted column": ({"catalog__mediaColumns__id": '"Id"'}, "without quotes; several with commas"),
    "a column that has to be there": (
        {"catalog__keyColumns__id": ""},
        "keyColumns.id is *: it has to name a column",
    ),
    "a port that is none": ({"web__port": 0}, "web.port is 0: it has to be a whole number from 1 to 65535"),
    "a database that is no Postgres": (
        {"database__url": "mysql://a/b"},
        "database.url: it has to be the address",
    ),
    "a section that is text": ({"service": "ClusterIP"}, "it has to be a section of names and values"),
    "a list that is text": ({"extraArgs": "-v"}, "it has to be a list; in --set, a list is written {a,b}"),
    "a label that is a number": (
        {"podLabels": {"team": 7}},
        "be text; use --set-string, or put it in quotes",
    ),
    "a name with dots": (
        {"podAnnotations": {"a": {"b": "c"}}},
        "in --set, a dot within a name is written \\.",
    ),
    "a variable without a name": ({"extraEnv": [{"value": "x"}]}, "extraEnv[0]: it has to have name"),
}


def refused(changes: Mapping[str, object], *options: str) -> str:
    """What helm says of values that it refuses."""
    ended = template(with_values(**changes), *options)
    assert ended.status != 0, "helm rendered it"
    return ended.err


@pytest.mark.parametrize("case", BY_TEMPLATE)
def test_the_templates_refuse_in_one_line_that_says_what_to_do(case: str) -> None:
    changes, told = BY_TEMPLATE[case]
    line = next(line for line in refused(changes).splitlines() if line.startswith("Error: "))
    assert told in line


def test_every_wrong_value_is_named_at_once_with_what_to_write() -> None:
    everything: dict[str, object] = {}
    for changes, _ in BY_SCHEMA.values():
        everything |= changes
    told = [line for line in refused(everything).splitlines() if line.startswith("- ")]
    for case, (_, words) in BY_SCHEMA.items():
        before, _, after = words.partition("*")
        assert any(after in line.partition(before)[2] for line in told if before in line), case
    assert len(told) == len(BY_SCHEMA)
    assert f"{len(told)} values have to be changed" in refused(everything)


def test_all_that_is_missing_is_told_at_once() -> None:
    told = [line for line in template({}).err.splitlines() if line.startswith("- ")]
    assert [line.partition(" ")[2].partition(" ")[0] for line in told] == [
        "bucket.name",
        "bucket.prefixes",
        "database.existingSecret",
    ]


def test_one_wrong_value_is_told_in_one_line() -> None:
    (line,) = [line for line in refused({"dryrun": False}).splitlines() if line.startswith("Error: ")]
    assert line.endswith(": dryrun: there is no such value; did you mean dryRun?")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"dryrun": False}, "did you mean dryRun?"),
        BY_TEMPLATE["no database"],
        BY_TEMPLATE["media of revoked keys that public links still serve"],
    ],
)
def test_lint_refuses_what_the_templates_refuse(changes: dict[str, object], told: str) -> None:
    ended = helm("lint", str(CHART), "--values", "-", stdin=json.dumps(with_values(**changes)))
    assert ended.status != 0
    assert told in ended.out


@pytest.mark.parametrize(
    "changes",
    [
        {"database__url": "mysql://reconciler:hush@db/gateway"},
        {"database": "postgresql://reconciler:hush@db/gateway"},
        {"bucket__credentials": "hush"},
        {"bucket__credentials__secretAccessKey": ["hush"]},
        {"bucket__endpointUrl": "https://key:hush@s3"},
        {"tracing__endpoint": "https://key:hush@traces?"},
        {"extraEnv": "hush"},
        {"extraEnv": [{"name": "TOKEN", "value": ["hush"]}]},
        {"extraEnv": ["hush"]},
    ],
)
def test_what_may_be_a_secret_is_named_and_not_shown(changes: dict[str, object]) -> None:
    told = refused(changes)
    assert "it has to" in told
    assert "hush" not in told


# --- the templates' reading of the schema -----------------------------------------------------------------

SCHEMA: Mapping[str, Any] = json.loads((CHART / "files" / "values.schema.json").read_text(encoding="utf-8"))
DEFAULTS: Mapping[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
ODD: Sequence[object] = (
    True,
    0,
    -1,
    31,
    0.5,
    1e13,
    "",
    "text",
    "text/",
    "48h",
    "'quoted'",
    "https://host/",
    "é" * 64,
    "a" * 130,
    [],
    ["a/", "a/"],
    ["a/", 1, {"name": ""}, {}],
    {"a": {"b": 1}},
    {"": "x", "e'": "", "name": 7},
)
"""Values of every type, on both sides of what the schema's keywords tell apart."""


@pytest.mark.parametrize("shift", range(len(ODD)))
def test_the_templates_find_what_a_whole_implementation_of_json_schema_finds(shift: int) -> None:
    places = sorted(_places(SCHEMA))
    values: dict[str, Any] = {}
    for index, place in enumerate(places):
        put(values, place, ODD[(index + shift) % len(ODD)])
    ended = template(values)
    assert ended.status != 0
    told = {
        line[2:].partition(": ")[0].partition(" is ")[0]
        for line in ended.err.splitlines()
        if line[:2] == "- "
    }
    assert told == {*_faults(merged(DEFAULTS, values))}


def test_each_section_that_is_none_is_found_too() -> None:
    sections = [name for name, part in SCHEMA["properties"].items() if "properties" in _resolved(part)]
    told = refused(dict.fromkeys(sections, "text"))
    assert [name for name in sections if f"\n- {name}" not in told] == []


def _places(schema: Mapping[str, Any], at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every value that is no section."""
    for name, part in schema["properties"].items():
        if "properties" in _resolved(part):
            yield from _places(_resolved(part), (*at, name))
        else:
            yield (*at, name)


def _resolved(part: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (
        SCHEMA["definitions"][part["$ref"].rpartition("/")[2]] if "$ref" in part else part
    )
    return found


def merged(ours: Any, theirs: Any) -> Any:
    """Values over others, as helm lays them."""
    if not (isinstance(ours, Mapping) and isinstance(theirs, Mapping)):
        return theirs
    return {**ours, **{name: merged(ours.get(name), value) for name, value in theirs.items()}}


def _faults(values: object) -> Iterator[str]:
    for error in jsonschema.Draft7Validator(SCHEMA).iter_errors(values):
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
        if error.validator == "additionalProperties":
            known = error.schema.get("properties", {})
            yield from (f"{path}.{name}".lstrip(".") for name in error.instance if name not in known)
        else:
            yield path.lstrip(".")


def test_every_rule_that_is_no_plain_type_has_words() -> None:
    hard = {"pattern", "minLength", "maxLength", "minItems", "uniqueItems"}
    assert [part for part in _parts(SCHEMA) if hard & part.keys() and "says" not in part] == []


def test_the_schema_uses_no_keyword_that_the_templates_do_not_read() -> None:
    read = (CHART / "templates" / "_schema.tpl").read_text(encoding="utf-8")
    notes = {"$schema", "$comment", "title", "description"}
    used = {keyword for part in _parts(SCHEMA) for keyword in part} - notes
    assert [keyword for keyword in used if not re.search(rf"[.\"]{re.escape(keyword)}\b", read)] == []


def _parts(part: Any) -> Iterator[Mapping[str, Any]]:
    """Every schema in a schema."""
    if not isinstance(part, Mapping):
        return
    yield part
    for several in ("properties", "definitions"):
        for inner in part.get(several, {}).values():
            yield from _parts(inner)
    for one in ("items", "additionalProperties", "propertyNames"):
        yield from _parts(part.get(one))


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
    allowed = jsonschema.Draft7Validator(SCHEMA["definitions"]["duration"]).is_valid(text)
    try:
        values.duration(text)
        taken = True
    except ValueError:
        taken = False
    assert allowed == taken
