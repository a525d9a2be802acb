"""A gateway that knows nothing of the reconciler: do the messages alone lead to a first plan?"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from tests.cli.program import reconciler
from tests.servers import Bucket, execute

GATEWAY = """
CREATE SCHEMA shop;
CREATE TABLE shop.virtual_keys (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    is_enabled boolean NOT NULL,
    expires_at timestamptz
);
CREATE TABLE shop.media_records (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    storage_key varchar(500) NOT NULL UNIQUE,
    virtual_key_id integer NOT NULL REFERENCES shop.virtual_keys ON DELETE CASCADE,
    size bigint,
    created_at timestamptz NOT NULL DEFAULT now() - interval '3 days',
    expires_at timestamptz
);
INSERT INTO shop.virtual_keys (is_enabled) VALUES (true);
INSERT INTO shop.media_records (storage_key, virtual_key_id) VALUES ('image/kept', 1), ('image/lost', 1);
INSERT INTO shop.media_records (storage_key, virtual_key_id, expires_at)
    VALUES ('image/expired', 1, now() - interval '1 day');
"""

ADVICE = re.compile(r"(CATALOG__[A-Z_]+) (\S+): no such (table|column).*; there is ([\w.]+)")


def learn(told: str, env: dict[str, str]) -> None:
    """Follow the advice of the messages, as a person would who knows nothing else."""
    for setting, _, _, there in ADVICE.findall(told):
        env[f"RECONCILER_{setting}"] = there


def run_until_ready(env: dict[str, str]) -> Mapping[str, dict[str, str]]:
    """`plan`, after every piece of advice that the commands give; the findings by key."""
    for _ in range(10):
        ran = reconciler("plan", "--format", "jsonl", env=env)
        if ran.status == 0:
            return {each["storage_key"]: each for each in map(json.loads, ran.out.splitlines())}
        told = "\n".join(ran.told)
        before = dict(env)
        learn(told, env)
        if "reconciler migrate" in told and before == env:
            assert reconciler("migrate", env=env).status == 0
        elif "LAST_ACCESSED_AT" in told:
            env["RECONCILER_CATALOG__MEDIA_COLUMNS__LAST_ACCESSED_AT"] = ""
        else:
            assert before != env, told
    raise AssertionError("no plan after ten pieces of advice")


def test_messages_lead_from_an_unprepared_gateway_to_a_first_plan(
    empty_database: str, moto_bucket: Bucket
) -> None:
    execute(empty_database, GATEWAY)
    for key in ("image/kept", "image/expired", "image/orphan"):
        moto_bucket.put(key)
    env = {
        **moto_bucket.environment(),
        "RECONCILER_DATABASE_URL": empty_database,
        "RECONCILER_BUCKET__PREFIXES": '["image/"]',
        "RECONCILER_GRACE_PERIOD": "0s",
        "RECONCILER_BREAKER__MAX_FRACTION": "1",
    }
    found = run_until_ready(env)
    assert {key: each["verdict"] for key, each in found.items()} == {
        "image/expired": "expired",
        "image/orphan": "orphan",
        "image/lost": "dangling",
    }
    assert found["image/expired"]["virtual_key_id"] == "1"
    assert env["RECONCILER_CATALOG__MEDIA_TABLE"] == "shop.media_records"
    assert env["RECONCILER_CATALOG__MEDIA_COLUMNS__SIZE_BYTES"] == "size"
    assert "0 failed" in reconciler("doctor", env=env).out
