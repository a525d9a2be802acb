"""What `doctor` makes of what it is told; the commands' tests run it on real servers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from reconciler.catalog.db.schema import HEAD_REVISION
from reconciler.catalog.media_tables.inspection import SchemaReport
from reconciler.catalog.media_tables.trial import Trial
from reconciler.catalog.media_tables.triggers import Triggers
from reconciler.errors import ConfigError, Halt, StoreUnavailable
from reconciler.model import (
    Capabilities,
    Check,
    CheckStatus,
    DeleteMode,
    Deletion,
    DeletionResult,
    Identity,
    LifecycleRule,
    Lineage,
    ListingOrder,
    Mode,
    ObjectPage,
    ObjectResult,
    PutCondition,
    StoredObject,
    Versioning,
)
from reconciler.operations import checks as doctor
from reconciler.planning.clocks import Ahead, compare
from reconciler.settings import SettingsSource, tell
from tests.doubles.build import policy

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def statuses(checks: Sequence[Check]) -> dict[str, CheckStatus]:
    """The worst status of each check's name."""
    order = (CheckStatus.OK, CheckStatus.WARN, CheckStatus.FAIL)
    worst: dict[str, CheckStatus] = {}
    for check in checks:
        worst[check.name] = max(worst.get(check.name, CheckStatus.OK), check.status, key=order.index)
    return worst


def capabilities(
    order: ListingOrder = ListingOrder.BYTES,
    *,
    batch: bool = True,
    single: bool = True,
    versioned: bool = False,
) -> Capabilities:
    return Capabilities(
        order=order,
        conditional_batch_delete=batch,
        conditional_delete=single,
        versioning=Versioning.ENABLED if versioned else Versioning.OFF,
    )


class Store:
    """A listing and a store that answer as told."""

    def __init__(self, keys: list[str], result: ObjectResult) -> None:
        self._keys = keys
        self._result = result
        self.deleted: list[str] = []

    async def list_page(
        self, prefix: str, *, start_after: str = "", token: str | None = None, page_size: int = 1000
    ) -> ObjectPage:
        found = [key for key in self._keys if key.startswith(prefix)]
        blank = [""] * len(found)
        return ObjectPage(found, [1] * len(found), blank, blank, "more" if found else None)

    async def head(self, key: str) -> StoredObject | None:
        return None

    async def delete(self, batch: Sequence[Deletion]) -> Sequence[DeletionResult]:
        self.deleted += [each.key for each in batch]
        return [DeletionResult(key=each.key, result=self._result, detail="AccessDenied") for each in batch]


def test_settings_are_told_by_where_they_came_from(tmp_path: Path) -> None:
    runtime = tmp_path / "runtime.yaml"
    runtime.write_text("dry_run: false\nmedia_retention_days: 30\n")
    static = tmp_path / "config.yaml"
    static.write_text("bucket: {prefixes: [image/]}\n")
    environ = {
        "RECONCILER_CONFIG_FILE": str(static),
        "RECONCILER_DATABASE_URL": "postgresql://u:p@h/d",
        "RECONCILER_BUCKET__NAME": "media",
        "RECONCILER_BUCKET__PREFIXES": '[""]',
        "RECONCILER_DRY_RUN": "true",
        "RECONCILER_RUNTIME_FILE": str(runtime),
    }
    checks = doctor.settings(tell(SettingsSource(environ).loaded))
    assert [(check.status, check.detail) for check in checks if not check.detail.startswith("the other")] == [
        (CheckStatus.OK, "from the environment: DATABASE_URL, BUCKET__NAME, BUCKET__PREFIXES"),
        (CheckStatus.OK, f"from the runtime file {runtime}: DRY_RUN, MEDIA_RETENTION_DAYS"),
        (CheckStatus.OK, f'RECONCILER_BUCKET__PREFIXES in the environment wins over {static}: [""]'),
        (
            CheckStatus.WARN,
            f"RECONCILER_DRY_RUN is set in the environment and in {runtime}, which wins: false",
        ),
    ]


@pytest.mark.parametrize("found", list(Triggers))
def test_the_triggers_are_told_of_and_whatever_spoils_them_is_a_warning(found: Triggers) -> None:
    report = SchemaReport(revision=HEAD_REVISION, triggers=found)
    (check,) = [check for check in doctor.database(report) if check.name == "triggers"]
    spoilt = found not in {Triggers.INSTALLED, Triggers.ABSENT}
    assert check.status is (CheckStatus.WARN if spoilt else CheckStatus.OK)
    assert ("--install-triggers" in check.detail + check.advice) is (found is not Triggers.INSTALLED)


@pytest.mark.parametrize(("mode", "told"), [(Mode.DRY_RUN, "nothing will be deleted"), (Mode.LIVE, "live")])
def test_the_mode_is_said_first(mode: Mode, told: str) -> None:
    (check,) = doctor.configuration(mode, ["image/"])
    assert check.status is CheckStatus.OK
    assert told in check.detail
    assert "'image/'" in check.detail


def test_a_schema_in_order_is_all_ok() -> None:
    report = SchemaReport(release="18.4", role="r", revision=HEAD_REVISION, byte_order_index="by_key")
    assert set(statuses(doctor.database(report)).values()) == {CheckStatus.OK}


@pytest.mark.parametrize("revision", [None, "0000"])
def test_another_schema_asks_for_migrate(revision: str | None) -> None:
    checks = doctor.database(SchemaReport(release="18.4", role="r", revision=revision))
    (schema,) = [check for check in checks if check.name == "schema"]
    assert schema.status is CheckStatus.FAIL
    assert schema.advice == "run `reconciler migrate`"


def test_a_newer_schema_is_in_order_where_it_lets_this_version_work() -> None:
    report = SchemaReport(release="18.4", role="r", revision="9001", oldest=HEAD_REVISION)
    (schema,) = [check for check in doctor.database(report) if check.name == "schema"]
    assert schema.status is CheckStatus.OK
    report = SchemaReport(release="18.4", role="r", revision="9001", oldest="9001")
    (schema,) = [check for check in doctor.database(report) if check.name == "schema"]
    assert (schema.status, schema.advice) == (CheckStatus.FAIL, "run a newer version of the program")


def test_each_fault_and_warning_of_the_schema_is_a_check_with_its_advice() -> None:
    report = SchemaReport(
        revision=HEAD_REVISION,
        faults=("CATALOG__MEDIA_TABLE x: no such table; there is public.y", "no advice here"),
        warnings=("no index; build one",),
    )
    found = [(c.status, c.detail, c.advice) for c in doctor.database(report) if c.name == "mapped tables"]
    assert found == [
        (CheckStatus.FAIL, "CATALOG__MEDIA_TABLE x: no such table", "there is public.y"),
        (CheckStatus.FAIL, "no advice here", ""),
        (CheckStatus.WARN, "no index", "build one"),
    ]


@pytest.mark.anyio
async def test_access_is_tried_on_each_prefix_and_on_a_scratch_key_only() -> None:
    store = Store(["image/a"], ObjectResult.MISSING)
    checks = [*await doctor.listed(store, ["image/", "video/"]), *await doctor.scratch(store, None)]
    assert statuses(checks) == {
        "list": CheckStatus.WARN,
        "head": CheckStatus.OK,
        "delete": CheckStatus.OK,
    }
    assert [check.detail for check in checks if check.name == "list"] == [
        "'image/': 1 object or more",
        "'video/': 0 objects",
        "'video/' is empty",
    ]
    assert all(key.startswith(".reconciler/") for key in store.deleted)


@pytest.mark.anyio
async def test_a_refused_delete_is_a_failure_with_the_permission_to_give() -> None:
    store = Store(["image/a"], ObjectResult.FAILED)
    checks = await doctor.scratch(store, None)
    (refused,) = [check for check in checks if check.name == "delete"]
    assert refused.status is CheckStatus.FAIL
    assert "AccessDenied" in refused.detail
    assert "s3:DeleteObject" in refused.advice


def test_direct_deletion_is_always_a_warning() -> None:
    for versioned in (True, False):
        assert statuses(doctor.abilities(capabilities(versioned=versioned), None))["delete mode"] is (
            CheckStatus.WARN
        )


@pytest.mark.incident(52)
def test_what_was_not_seen_to_come_back_is_a_warning_in_either_mode() -> None:
    found = replace(capabilities(versioned=True), copy=True, undelete_unseen=("image/",))
    for mode in (DeleteMode.VERSIONED, DeleteMode.QUARANTINE):
        checks = doctor.abilities(found, None, mode)
        told = statuses(checks)
        assert (told["versions"], told["delete mode"]) == (CheckStatus.WARN, CheckStatus.WARN)
        (versions,) = [check.detail for check in checks if check.name == "versions"]
        assert versions.endswith("when its delete marker went in 'image/'")


@pytest.mark.attack(60)
def test_a_store_that_ignores_the_condition_of_a_copy_is_told() -> None:
    for honours in (True, False):
        checks = doctor.abilities(replace(capabilities(), copy=True, copy_only_new=honours), None)
        (told,) = [check.detail for check in checks if check.name == "copies"]
        assert ("If-None-Match is ignored" in told) is not honours


@pytest.mark.attack(61)
def test_the_buckets_own_rules_are_looked_at() -> None:
    week, day = timedelta(days=7), timedelta(days=1)
    early = LifecycleRule(id="tidy", prefix=".reconciler/quarantine/", expires=day)
    other = LifecycleRule(id="old", prefix="image/", expires=week)
    for rules, status in (
        ((), CheckStatus.OK),
        (None, CheckStatus.WARN),
        ((other,), CheckStatus.WARN),
        ((early, other), CheckStatus.FAIL),
    ):
        found = replace(capabilities(), lifecycle=rules)
        checks = doctor.lifecycle(found, ("image/",), DeleteMode.QUARANTINE, week, policy())
        assert statuses(checks) == {"lifecycle": status}


@pytest.mark.parametrize(
    ("noting", "status"), [(True, CheckStatus.OK), (False, CheckStatus.WARN), (None, CheckStatus.WARN)]
)
def test_sweeps_adopt_only_where_each_row_that_leaves_is_noted(
    noting: bool | None, status: CheckStatus
) -> None:
    (check,) = doctor.adoption(SchemaReport(noting=noting))
    assert check.status is status
    assert ("--install-triggers" in check.advice) is (status is CheckStatus.WARN)


@pytest.mark.parametrize(("copy", "status"), [(True, CheckStatus.OK), (False, CheckStatus.FAIL)])
def test_a_quarantine_is_fine_where_the_store_makes_copies(*, copy: bool, status: CheckStatus) -> None:
    checks = doctor.abilities(replace(capabilities(), copy=copy), None, DeleteMode.QUARANTINE)
    assert statuses(checks)["delete mode"] is status


@pytest.mark.parametrize(
    ("found", "declared", "status", "told"),
    [
        (ListingOrder.BYTES, None, CheckStatus.OK, "side by side"),
        (ListingOrder.NONE, None, CheckStatus.OK, "joined there"),
        (ListingOrder.BYTES, ListingOrder.NONE, CheckStatus.OK, "joined there (declared)"),
        (ListingOrder.NONE, ListingOrder.BYTES, CheckStatus.WARN, "side by side"),
    ],
)
def test_a_declared_order_that_was_not_seen_is_a_warning(
    found: ListingOrder, declared: ListingOrder | None, status: CheckStatus, told: str
) -> None:
    checks = doctor.abilities(capabilities(found), declared)
    assert statuses(checks)["listing order"] is status
    assert told in checks[0].detail


@pytest.mark.parametrize(
    ("batch", "single", "status", "told"),
    [
        (True, True, CheckStatus.OK, "1,000 at a time"),
        (False, True, CheckStatus.OK, "one by one"),
        (False, False, CheckStatus.WARN, "HEAD"),
    ],
)
def test_a_store_that_cannot_compare_is_a_warning(
    batch: bool, single: bool, status: CheckStatus, told: str
) -> None:
    checks = doctor.abilities(capabilities(batch=batch, single=single), None)
    (check,) = [check for check in checks if check.name == "conditional delete"]
    assert check.status is status
    assert told in check.detail


def test_a_probe_that_found_out_nothing_asks_for_the_permission_to_write() -> None:
    checks = doctor.abilities(replace(capabilities(), probed=False), None)
    (probe,) = [check for check in checks if check.name == "probe"]
    assert probe.status is CheckStatus.WARN
    assert "s3:PutObject" in probe.advice
    assert statuses(checks).keys() == {"probe", "delete mode"}
    assert "probe" not in statuses(doctor.abilities(capabilities(), None))


def test_an_order_declared_for_a_store_that_rewrites_keys_is_not_the_one_in_use() -> None:
    found = replace(capabilities(ListingOrder.NONE), rewrites_keys=True)
    told = [check for check in doctor.abilities(found, ListingOrder.BYTES) if check.name == "listing order"]
    assert [check.status for check in told] == [CheckStatus.OK, CheckStatus.WARN]
    assert "joined there" in told[0].detail


@pytest.mark.parametrize(
    ("changes", "name", "status", "told"),
    [
        ({}, "batches", CheckStatus.OK, "1,000 keys a call, vouched for by md5"),
        ({"batch_size": 250}, "batches", CheckStatus.OK, "250 keys"),
        ({"batch_digest": None}, "batches", CheckStatus.WARN, "a call of its own"),
        ({"versioning": Versioning.OFF}, "versions", CheckStatus.OK, "the bucket keeps no versions"),
        ({"versioning": Versioning.SUSPENDED}, "versions", CheckStatus.OK, "suspended"),
        ({"versioning": Versioning.ENABLED}, "versions", CheckStatus.WARN, "was not seen to come back"),
        ({"versioning": Versioning.ENABLED, "undelete": True}, "versions", CheckStatus.OK, "kept, and seen"),
        ({}, "copies", CheckStatus.OK, "copies nothing"),
        ({"copy": True}, "copies", CheckStatus.OK, "nothing above 5 GB"),
        (
            {"copy": True, "copy_conditional": True, "multipart_copy": True},
            "copies",
            CheckStatus.OK,
            "compare the source's ETag",
        ),
        ({"multipart_listing": True}, "unfinished uploads", CheckStatus.OK, "can be aborted"),
        ({"object_lock": True}, "object lock", CheckStatus.OK, "cannot be deleted for good"),
        ({}, "conditional put", CheckStatus.OK, "compares the ETag when"),
        ({"conditional_put": PutCondition.UNQUOTED}, "conditional put", CheckStatus.OK, "without quotes"),
        ({"conditional_put": PutCondition.REFUSED}, "conditional put", CheckStatus.OK, "the right one too"),
        ({"conditional_put": PutCondition.IGNORED}, "conditional put", CheckStatus.OK, "does not compare"),
        ({"etags": False}, "etags", CheckStatus.WARN, "no ETag"),
        ({"lists": False}, "listing", CheckStatus.FAIL, "does not show what was put"),
        (
            {"probed": False, "refusal": "PutObject was refused with MissingContentLength"},
            "probe",
            CheckStatus.FAIL,
            "MissingContentLength",
        ),
        ({"rewrites_keys": True}, "listed names", CheckStatus.OK, "a row protects both"),
    ],
)
def test_each_ability_is_told(changes: dict[str, object], name: str, status: CheckStatus, told: str) -> None:
    found = replace(capabilities(), **changes)  # type: ignore[arg-type]  # by name
    (check,) = [check for check in doctor.abilities(found, None) if check.name == name]
    assert check.status is status
    assert told in check.detail


@pytest.mark.parametrize("versioning", [Versioning.OFF, Versioning.SUSPENDED])
def test_without_versions_nothing_is_said_to_be_gone(versioning: Versioning) -> None:
    """In quarantine a copy is made first; what a deletion means is the delete mode's to say."""
    told = doctor.abilities(replace(capabilities(), versioning=versioning), None)
    assert "is gone" not in "".join(check.detail for check in told if check.name == "versions")


def test_the_tie_is_told() -> None:
    site = UUID(int=7)
    tie = Identity(site_id=site, bucket="media", prefixes=("image/",), created_at=NOW)
    assert str(site) in doctor.identity(tie, "", Lineage(cluster=1))[0].detail
    assert "not tied yet" in doctor.identity(None, "", Lineage())[0].detail


@pytest.mark.incident(26)
@pytest.mark.incident(26)
@pytest.mark.parametrize(
    ("seconds", "status"), [(20, CheckStatus.OK), (120, CheckStatus.WARN), (400, CheckStatus.FAIL)]
)
def test_clocks_apart_are_a_warning_and_then_a_failure(seconds: int, status: CheckStatus) -> None:
    apart = timedelta(seconds=seconds)
    compared = compare(Ahead(low=apart, high=apart), Ahead())
    assert statuses(doctor.clocks(compared))["clocks"] is status


@pytest.mark.anyio
@pytest.mark.parametrize("error", [ConfigError("one\ntwo"), Halt("one\ntwo"), StoreUnavailable("one\ntwo")])
async def test_an_error_is_a_failed_check_a_line(error: Exception) -> None:
    async def fail() -> Sequence[Check]:
        raise error

    checks = await doctor.attempt("bucket", fail)
    assert [(check.name, check.status, check.detail) for check in checks] == [
        ("bucket", CheckStatus.FAIL, "one"),
        ("bucket", CheckStatus.FAIL, "two"),
    ]


@pytest.mark.anyio
async def test_a_fault_of_the_program_is_not_taken_for_a_finding() -> None:
    async def fail() -> Sequence[Check]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await doctor.attempt("bucket", fail)


@pytest.mark.attack(66)
def test_what_came_of_trying_the_triggers_is_told() -> None:
    (fine,) = doctor.tried(Trial(tried=["INSERT", "UPDATE"]))
    assert (fine.status, fine.detail) == (CheckStatus.OK, "tried, and refused: INSERT, UPDATE")
    broken, untried = doctor.tried(Trial(broken=["INSERT: no collation (42P22)"], untried=["UPDATE: no"]))
    assert (broken.status, broken.detail) == (CheckStatus.FAIL, "INSERT: no collation (42P22)")
    assert "--install-triggers" in broken.advice
    assert (untried.status, untried.detail) == (CheckStatus.WARN, "not tried: UPDATE: no")


@pytest.mark.attack(63)
def test_what_the_server_does_not_tell_of_itself_is_said() -> None:
    whole = Lineage(cluster=1, timeline=1, wal=1)
    assert doctor.identity(None, "", whole)[1].status is CheckStatus.OK
    untold = doctor.identity(None, "", replace(whole, timeline=None))[1]
    assert untold.status is CheckStatus.WARN
    assert "pg_walfile_name" in untold.detail
    assert "system identifier" not in untold.detail
    assert doctor.identity(None, "its oid is another", whole)[0].status is CheckStatus.FAIL
