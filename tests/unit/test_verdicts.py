"""What has to know a verdict knows it: the recipe of CONTRIBUTING, for each verdict there is."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.catalog.db.config import MediaColumns, TableMapping
from reconciler.catalog.db.expressions import ColumnType
from reconciler.catalog.media_tables import locking
from reconciler.catalog.media_tables.guard import watched
from reconciler.catalog.media_tables.nomination import NOMINATIONS
from reconciler.catalog.media_tables.tables import ColumnTypes, MediaTables
from reconciler.catalog.passes.rows import policy_from, policy_text
from reconciler.cli import main
from reconciler.demo.scene import MIN_OBJECTS, imagine
from reconciler.engine.collect.collector import Collector
from reconciler.engine.collect.rules import enabled
from reconciler.model import (
    FOREVER,
    RETENTION_VERDICTS,
    RULE_COLUMNS,
    VERDICTS,
    Backlog,
    Cancel,
    Claim,
    ClaimedKey,
    Evict,
    GroupPolicy,
    KeepReason,
    KeyShape,
    Match,
    Mode,
    Outcome,
    OwnerRead,
    Policy,
    Postpone,
    Quota,
    QuotaOwner,
    Record,
    Remove,
    Removed,
    Report,
    Rule,
    Rules,
    Tally,
    Usage,
    Verdict,
    VirtualKey,
)
from reconciler.operations import as_json
from reconciler.planning import approval_gate, breaker
from reconciler.planning.claim_decision import decide
from reconciler.planning.retention import RULES, judge_record
from tests.doubles.build import DAY, LIMITS, NOW, mark, policy, record, runtime
from tools.dashboards.panels import COLOURS
from tools.metrics_reference import families

ROOT = Path(__file__).parents[2]
COLUMNS = MediaColumns()
each_verdict = pytest.mark.parametrize("verdict", VERDICTS)
each_of_retention = pytest.mark.parametrize("verdict", RETENTION_VERDICTS)


# --- its rule -----------------------------------------------------------------------------------------


def test_each_verdict_of_retention_has_a_rule_and_a_nomination() -> None:
    assert {*RULES} == {*RETENTION_VERDICTS}
    assert {*NOMINATIONS} == {each for each in RETENTION_VERDICTS if not each.spec.sums}, "`quotas` has those"


times = st.none() | st.integers(-500, 50).map(lambda days: NOW + days * DAY)
owners = st.none() | st.builds(
    VirtualKey, id=st.just("k1"), enabled=st.booleans(), expires_at=times, disabled_since=times
)
rows = st.builds(
    record,
    virtual_key_id=st.none() | st.just("k1"),
    owner=owners,
    size_bytes=st.none() | st.integers(0, 2**40),
    created_at=times,
    expires_at=times,
    last_accessed_at=times,
    deleted_at=times,
    usage=st.none()
    | st.builds(
        Usage,
        counting=st.just(policy().counting),
        owner=st.just("k1"),
        size=st.integers(0, 9),
        bytes=st.integers(0, 99),
        objects=st.integers(0, 9),
        bytes_before=st.integers(0, 9),
        objects_before=st.integers(0, 9),
    ),
)
quota = Quota(
    name="", max_bytes=40, max_objects=4, owner=QuotaOwner.VIRTUAL_KEY, evict=Evict.LEAST_RECENTLY_ACCESSED
)


@given(row=rows)
def test_a_rule_reads_what_its_verdict_declares_and_nothing_else(row: Record) -> None:
    """The triggers watch what is declared, and a claim compares it: what is not could change unseen."""
    for verdict, rule in RULES.items():
        read: set[str] = set()
        under = policy(delete_revoked=True, quota=quota)
        rule(cast("Record", Watching(row, read)), under, under, NOW)
        spec = verdict.spec
        allowed = {*spec.reads}
        if spec.owner is not OwnerRead.NOTHING:
            assert "virtual_key_id" in spec.reads
            allowed.add("owner")
        if spec.owner is OwnerRead.STATE:
            allowed |= {f"owner.{each.name}" for each in fields(VirtualKey)}
        if spec.sums:
            allowed.add("usage")
        assert read <= allowed, verdict


class Watching:
    """A row that notes which of its columns are read."""

    def __init__(self, row: object, read: set[str], at: str = "") -> None:
        self._row, self._read, self._at = row, read, at

    def __getattr__(self, name: str) -> object:
        self._read.add(f"{self._at}{name}")
        value = getattr(self._row, name)
        return Watching(value, self._read, f"{name}.") if isinstance(value, VirtualKey) else value


@each_verdict
def test_its_switches_are_flags_of_the_policy(verdict: Verdict) -> None:
    on = policy(delete_revoked=True)
    assert verdict.spec.switches
    assert on.allows(verdict)
    assert verdict in enabled(runtime(policy=on))
    for switch in verdict.spec.switches:
        off = replace(on, **{switch: False})  # type: ignore[arg-type]  # a flag
        assert not off.allows(verdict)
        assert verdict not in enabled(runtime(policy=off))


def test_what_no_pass_finds_is_never_allowed() -> None:
    assert not policy().allows(Verdict.ADOPT)
    assert not policy().allows(Verdict("outlandish"))
    assert Verdict("outlandish").spec.owner is OwnerRead.STATE, "as careful as can be"


def test_a_stored_policy_comes_back_whole() -> None:
    """What a later pass compares with: a field that is not stored would widen it unseen."""
    flags = {each.name: not each.default for each in fields(Policy) if isinstance(each.default, bool)}
    terms: dict[str, Any] = {"recent_access": DAY, "key_grace": DAY, "delete_revoked": True}
    rules = Rules(
        (
            Rule(name="a", match=Match(key_group=("1",), prefix=("a/", "b/")), media_retention=DAY, **terms),
            Rule(name="b", match=Match(model=("x",)), media_retention=FOREVER, quota=quota, **terms),
            Rule(
                name="c",
                match=Match(provider=("y",)),
                media_retention=DAY,
                soft_delete_grace=FOREVER,
                **terms,
            ),
        )
    )
    changed: dict[str, Any] = {
        "delete_delay": 5 * DAY,
        "soft_delete_grace": 2 * DAY,
        "rules": rules,
        "quota": quota,
    }
    one = policy(**flags, key_shape=KeyShape("a+"), **changed)
    fixed = {each.name for each in fields(Policy) if getattr(one, each.name) == each.default}
    assert fixed == {"delete_mode", "quarantine"}, "no verdict depends on it"
    assert policy_from(policy_text(one)) == one
    assert policy_from(policy_text(replace(one, rules=Rules()))) == replace(one, rules=Rules())
    endless = replace(one, rules=Rules(), media_retention=FOREVER, soft_delete_grace=FOREVER)
    assert policy_from(policy_text(endless)) == endless


def test_a_program_without_rules_reads_the_terms_that_keep_most() -> None:
    """Rolled back, it must not take for nothing new what only a rule has kept; see `approval_gate`."""
    terms: dict[str, Any] = {"recent_access": 40 * DAY, "key_grace": DAY, "delete_revoked": False}
    kept = Rule(name="a", match=Match(model=("x",)), media_retention=FOREVER, **terms)
    stored = json.loads(policy_text(policy(rules=Rules((kept,)), delete_revoked=True)))
    del stored["rules"]
    seen = policy_from(json.dumps(stored))
    assert seen is not None
    assert seen.media_retention > 36_500 * DAY
    assert (seen.recent_access, seen.key_grace) == (40 * DAY, policy().key_grace)
    assert not seen.delete_revoked
    old = record(created_at=NOW - 400 * DAY)
    found = judge_record(old, policy(), NOW)
    assert found is not None
    assert approval_gate.split_new(found, old, seen, NOW).newly


@given(row=rows)
def test_a_finding_that_is_switched_off_is_kept_and_yields(row: Record) -> None:
    for under in (policy(), policy(auto_cleanup=False), policy(delete_revoked=True)):
        found = judge_record(row, under, NOW)
        if found is not None:
            assert (found.kept is KeepReason.DISABLED) == (not under.allows(found.verdict))


@each_of_retention
def test_a_claim_judges_the_row_again(verdict: Verdict) -> None:
    assert isinstance(decide(mark(verdict), [], policy(), NOW), Cancel), "no row: the sweep's to judge"
    assert isinstance(decide(mark(verdict), [record()], policy(), NOW), Cancel), "nothing against it"
    gone = record(expires_at=NOW - DAY)
    assert isinstance(decide(mark(verdict), [gone], policy(), NOW), Remove)
    assert isinstance(decide(mark(verdict), [gone], policy(auto_cleanup=False), NOW), Postpone)


@each_verdict
def test_a_claim_knows_what_to_do_about_it(verdict: Verdict) -> None:
    decision = decide(mark(verdict), [], policy(), NOW)
    assert getattr(decision, "reason", "") != f"{verdict} removes nothing"


@each_verdict
def test_the_breaker_counts_it(verdict: Verdict) -> None:
    found_by = verdict.spec.found_by
    assert found_by is not None
    seen = Tally(objects=10**9, records=10**9)
    backlog = Backlog(pending={verdict: LIMITS.max_count + 1}, gone={})
    assert breaker.check(found_by, seen, backlog, None, LIMITS) is not None
    assert breaker.at_claim(found_by, seen, backlog, LIMITS) is not None


# --- what it reads is watched, compared and locked ------------------------------------------------------


@each_verdict
def test_the_triggers_watch_what_it_reads(verdict: Verdict) -> None:
    names = watched(TableMapping())
    assert names[0] == COLUMNS.storage_key
    assert {getattr(COLUMNS, column) for column in verdict.spec.reads} <= {*names}


def test_the_triggers_watch_what_a_rule_reads() -> None:
    assert {getattr(COLUMNS, column) for column in RULE_COLUMNS} <= {*watched(TableMapping())}


@each_verdict
def test_a_row_in_which_that_has_changed_is_another_version(verdict: Verdict) -> None:
    media = {each.name: ColumnType(kind="text", sql="text") for each in fields(MediaColumns)}
    keys = {name: ColumnType(kind="boolean", sql="boolean") for name in ("id", "is_enabled", "expires_at")}
    types = ColumnTypes(
        media=media,
        keys=keys,
        identity=(("Id", media["id"]),),
        media_oid=1,
        keys_oid=2,
        byte_order="",
        ordered=True,
        equality="",
        unique=True,
        virtual_key_index=True,
    )
    hashed = MediaTables(TableMapping(), types)._version()
    for column in verdict.spec.reads:
        assert f'm."{getattr(COLUMNS, column)}"' in hashed


@pytest.mark.anyio
@each_verdict
async def test_the_claim_locks_the_owner_whose_state_it_reads(
    verdict: Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, locked = record(), list[str]()

    async def lookup(*_: object) -> list[Record]:
        return [row]

    async def lock_rows(*_: object) -> set[str]:
        return {row.id}

    async def lock_owners(_connection: object, _gateway: object, ids: list[str]) -> set[str]:
        locked.extend(ids)
        return set()

    monkeypatch.setattr(locking, "lookup", lookup)
    monkeypatch.setattr(locking, "lock_rows", lock_rows)
    monkeypatch.setattr(locking, "_lock_owners", lock_owners)
    nothing: Any = None
    found = await locking.read_locked(nothing, nothing, [mark(verdict)], policy(), NOW)
    reads = verdict.spec.owner is OwnerRead.STATE
    assert locked == (["k1"] if reads else [])
    assert found.busy == ({"image/a"} if reads else set()), "held by somebody else: not now"


@dataclass
class Marks:
    """Triggers are in force, so that only a writer of a key can be waited for."""

    async def guarded(self) -> bool:
        return True


@pytest.mark.anyio
@each_verdict
async def test_the_deletion_waits_for_writers_of_keys_where_it_reads_one(verdict: Verdict) -> None:
    keys = (ClaimedKey(mark=mark(verdict), decision=Remove()),)
    claim = Claim(operation_id=uuid4(), epoch=1, xid=7, keys=keys)

    async def settings() -> SimpleNamespace:
        return SimpleNamespace(policy=policy())

    collector: Any = SimpleNamespace(_ports=SimpleNamespace(marks=Marks()), _settings=settings)
    reads = verdict.spec.owner is not OwnerRead.NOTHING
    assert await Collector._guarded(collector, claim) is not reads


@pytest.mark.anyio
async def test_a_deletion_by_conduits_policies_waits_for_who_changes_a_balance() -> None:
    """No trigger watches a group, and the settings themselves have no rule that reads one."""
    days: dict[str, int | None] = {"positive": 60, "zero": 14, "negative": 3}
    standard = GroupPolicy(
        id="1",
        name="Standard",
        days=days,
        respects_access=False,
        access_days=None,
        soft_delete_days=7,
        is_default=True,
        is_active=True,
    )

    async def group_policies() -> list[GroupPolicy]:
        return [standard]

    claim = Claim(
        operation_id=uuid4(),
        epoch=1,
        xid=7,
        keys=(ClaimedKey(mark=mark(Verdict.STALE), decision=Remove()),),
    )
    ports = SimpleNamespace(marks=Marks(), records=SimpleNamespace(group_policies=group_policies))
    for by_group_policy in (False, True):
        settings = runtime(by_group_policy=by_group_policy)
        collector: Any = SimpleNamespace(_ports=ports, _in_force=lambda settings=settings: settings)
        collector._settings = partial(Collector._settings, collector)
        assert await Collector._guarded(collector, claim) is not by_group_policy


# --- who lists it ---------------------------------------------------------------------------------------


@each_verdict
def test_the_metrics_count_it_from_the_start(verdict: Verdict) -> None:
    for name in ("deleted_keys_total", "deleted_bytes_total", "drift_keys", "drift_bytes"):
        samples = families()[f"media_reconciler_{name}"].samples
        assert verdict in {each.labels["verdict"] for each in samples}, name


@each_verdict
def test_the_command_line_explains_and_takes_it(verdict: Verdict, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["marks", "list", "--verdict", verdict, "--help"])
    assert ended.value.code == 0
    assert f"{verdict}: {verdict.spec.says}" in " ".join(capsys.readouterr().out.split())


@each_verdict
def test_the_json_of_once_has_it(verdict: Verdict) -> None:
    nothing = Report(
        mode=Mode.LIVE,
        outcome=Outcome.CONVERGED,
        objects=0,
        records=0,
        found={},
        kept={},
        removed=Removed(),
        duration_seconds=0,
    )
    assert cast("Any", as_json.report(nothing)["found"])[verdict] == 0


@each_verdict
def test_the_dashboards_give_it_a_colour(verdict: Verdict) -> None:
    assert COLOURS[verdict] == verdict.spec.colour


@each_verdict
def test_the_demo_has_a_case_of_it(verdict: Verdict) -> None:
    assert verdict in {media.kind.goes for media in imagine(MIN_OBJECTS, seed=1).going()}


@pytest.mark.parametrize("path", ["README.md", "docs/how-it-works.md", "docs/glossary.md"])
@each_verdict
def test_the_documentation_tells_what_it_is(verdict: Verdict, path: str) -> None:
    assert f"*{verdict}*" in (ROOT / path).read_text(encoding="utf-8")


@each_verdict
def test_it_is_shown_on_real_servers(verdict: Verdict) -> None:
    assert f"Verdict.{verdict.name}]" in (ROOT / "tests" / "integration" / "test_verdicts.py").read_text()
