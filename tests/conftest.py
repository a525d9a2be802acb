"""Fixtures shared by all tests: real servers, started when first asked for and once a session.

`empty_database` and `database` are addresses of a Postgres database of the test's own, the latter
migrated. `bucket` is a fresh bucket on SeaweedFS and, in a second run of the test, on moto;
`seaweed_bucket` and `moto_bucket` are on one of them; each puts its server's credentials into the
environment. `icu_database` is a migrated database whose default collation is ICU's `en-US`, on
Debian's Postgres: tests that use it carry `@pytest.mark.debian("postgresql-15")`.
"""

from __future__ import annotations

import functools
import gc
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import botocore.session
import pytest

from reconciler.catalog import migrate
from reconciler.embedded.client import Supervisor, start_supervisor
from reconciler.embedded.postgres import EmbeddedPostgres, start_postgres
from tests.servers import (
    Bucket,
    S3Server,
    administrator,
    execute,
    fresh_bucket,
    fresh_database,
    given_server,
    start_moto,
    start_seaweedfs,
)
from tests.support import abilities
from tests.support.alone import can_be_alone
from tests.support.descriptions import parse_once
from tests.support.forks import FORKER

ROOT = Path(__file__).parent.parent
DEBIAN_POSTGRES = Path("/usr/lib/postgresql/15/bin")
TEMPLATE = "migrated"


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def own_environment(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting or credential of whoever runs the tests leaks in; programs started find our code.

    Those of a test that is marked `no_cover` are not measured either.
    """
    for name in os.environ:
        if name.startswith(("AWS_", "RECONCILER_", "PG")):
            monkeypatch.delenv(name)
    if request.node.get_closest_marker("no_cover"):
        monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def pytest_configure(config: pytest.Config) -> None:
    """Leave out the slow proofs where nothing is named: `-m soak`, or their path, runs them.

    Signals that the shell ignores (nohup does) would be ignored by the programs under test too.
    """
    if config.args_source is pytest.Config.ArgsSource.TESTPATHS and not config.option.markexpr:
        config.option.markexpr = QUICK
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _work_in_memory()
    # Each start of a program would compile all of it: 0.4 s of processor time out of 1.7.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    # readline, which pytest imports, sets it for the programs that it starts: workers, and theirs.
    os.environ.pop("COLUMNS", None)
    # Each client reads the description of S3 again otherwise: 40 ms of processor time.
    botocore.session.create_loader = functools.cache(botocore.session.create_loader)
    parse_once()


QUICK = "not soak"
MEMORY = Path("/dev/shm")
ROOMY = 4 << 30
"""Bytes; a whole run takes up less than half of it."""


def _work_in_memory() -> None:
    """Put servers and temporary files there, unless a TMPDIR is set or there is too little room.

    To make and drop a database takes 26 ms of processor time in memory, and 310 ms on a disk (ext4).
    """
    if "TMPDIR" in os.environ or not os.access(MEMORY, os.W_OK | os.X_OK):
        return
    room = os.statvfs(MEMORY)
    if room.f_bavail * room.f_frsize >= ROOMY and not room.f_flag & os.ST_NOEXEC:
        os.environ["TMPDIR"] = str(MEMORY)
        tempfile.tempdir = None


LONGEST = (
    "faults/test_kills.py",
    "integration/test_two_replicas.py",
    "attacks/test_stress.py",
    "integration/test_demo.py",
    "integration/test_erasure.py",
    "page/test_page.py",
    "integration/test_refusals.py",
    "integration/test_crash.py",
    "integration/test_schemas.py",
    "unit/test_engine_writers.py",
    "integration/test_verdicts.py",
    "integration/test_strange_stores.py",
    "incidents/test_memory.py",
    "model/test_deletion_model.py",
    "attacks/test_copies.py",
    "integration/test_leadership.py",
    "integration/test_breaker.py",
    "faults/test_restarts.py",
    "faults/test_network.py",
    "unit/test_engine_machine.py",
    "unit/test_engine_crash.py",
    "contract/test_bucket_quirks.py",
    "attacks/test_restores.py",
    "integration/test_near_misses.py",
    "integration/test_newer_words.py",
    "cli/test_commands.py",
    "attacks/test_needs.py",
    "integration/test_gone.py",
    "integration/test_kept_for_good.py",
    "integration/test_purge_of_versions.py",
    "integration/test_versions.py",
    "integration/test_versions_without_ids.py",
    "attacks/test_recovery.py",
    "integration/test_adoption.py",
    "integration/test_daemon.py",
    "integration/test_access.py",
    "integration/test_live_configuration.py",
    "dashboards/test_dashboards.py",
)
"""Files of few tests that take long, the longest first."""


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors: while it waits for a store or a clock, another works."""
    return min(4, (os.cpu_count() or 1) + 1)


MEASURED = (
    "api/",
    "cli/",
    "contract/",
    "media/",
    "migration/",
    "page/",
    "unit/",
    "integration/test_daemon.py",
    "integration/test_demo.py",
    "integration/test_erasure.py",
    "integration/test_group_policies.py",
    "integration/test_hints.py",
    "integration/test_inventory.py",
    "integration/test_inventory_shared.py",
    "integration/test_metadata_tables.py",
    "integration/test_quarantine_bucket.py",
    "integration/test_storage_insights.py",
    "integration/test_traces.py",
    "integration/test_undo.py",
    "integration/test_web.py",
)
"""What counts for coverage. The others go the same ways again, and each costs half as much again measured."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, then those of many tests: what begins last is short, and no worker ends alone."""
    for item in items:
        if not item.path.relative_to(ROOT / "tests").as_posix().startswith(MEASURED):
            item.add_marker(pytest.mark.no_cover)
    tests = Counter(item.path for item in items)
    ranks = {ROOT / "tests" / file: rank for rank, file in enumerate(LONGEST)}
    items.sort(key=lambda item: (ranks.get(item.path, len(LONGEST)), -tests[item.path], item.path))


def pytest_collection_finish() -> None:
    """Keep the garbage collector off what was imported and collected, all of which stays.

    To go through it again and again took a quarter of the processor time of the unit tests. The threshold is
    that of the program.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)


@pytest.fixture
def known_abilities(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """See `tests.support.abilities`; for whole directories, in their own conftest.py."""
    if not request.node.get_closest_marker("probes"):
        abilities.know(monkeypatch)


# --- servers -------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def supervisor() -> Iterator[Supervisor]:
    """Keeps the servers, and ends them even when the test run is killed."""
    opened = start_supervisor()
    yield opened
    opened.close()


@pytest.fixture(scope="session", autouse=True)
def forker() -> Iterator[None]:
    """Ends what the tests' programs were forks of, so that its coverage counts."""
    yield
    FORKER.close()


@pytest.fixture(scope="session")
def postgres(supervisor: Supervisor) -> EmbeddedPostgres:
    return start_postgres(supervisor)


@pytest.fixture(scope="session")
def seaweed(supervisor: Supervisor) -> S3Server:
    return start_seaweedfs(supervisor)


@pytest.fixture(scope="session")
def moto(supervisor: Supervisor) -> S3Server:
    return start_moto(supervisor)


@pytest.fixture(scope="session")
def given() -> S3Server:
    """The store of `python -m tools.stores`."""
    server = given_server()
    assert server is not None
    return server


@pytest.fixture(scope="session")
def icu_postgres(supervisor: Supervisor) -> EmbeddedPostgres:
    """Debian's Postgres 15, whose default collation sorts as people do and not by bytes."""
    locale = ("--locale=C", "--locale-provider=icu", "--icu-locale=en-US")
    return start_postgres(supervisor, name="icu-postgres", binaries=DEBIAN_POSTGRES, locale=locale)


# --- databases -----------------------------------------------------------------------------------------


def _make_template(server: EmbeddedPostgres) -> str:
    execute(server.url(), f'CREATE DATABASE "{TEMPLATE}" TEMPLATE template0')
    migrate.upgrade(server.url(TEMPLATE), create_tables=True)
    return TEMPLATE


@pytest.fixture(scope="session")
def migrated_template(postgres: EmbeddedPostgres) -> str:
    return _make_template(postgres)


@pytest.fixture(scope="session")
def icu_migrated_template(icu_postgres: EmbeddedPostgres) -> str:
    return _make_template(icu_postgres)


@pytest.fixture(scope="session")
def administered(postgres: EmbeddedPostgres) -> Iterator[Callable[[str], None]]:
    with administrator(postgres) as run:
        yield run


@pytest.fixture(scope="session")
def icu_administered(icu_postgres: EmbeddedPostgres) -> Iterator[Callable[[str], None]]:
    with administrator(icu_postgres) as run:
        yield run


@pytest.fixture
def empty_database(postgres: EmbeddedPostgres, administered: Callable[[str], None]) -> Iterator[str]:
    with fresh_database(postgres, run=administered) as url:
        yield url


@pytest.fixture
def database(
    postgres: EmbeddedPostgres, migrated_template: str, administered: Callable[[str], None]
) -> Iterator[str]:
    with fresh_database(postgres, migrated_template, administered) as url:
        yield url


@pytest.fixture
def icu_empty_database(
    icu_postgres: EmbeddedPostgres, icu_administered: Callable[[str], None]
) -> Iterator[str]:
    with fresh_database(icu_postgres, run=icu_administered) as url:
        yield url


@pytest.fixture
def icu_database(
    icu_postgres: EmbeddedPostgres, icu_migrated_template: str, icu_administered: Callable[[str], None]
) -> Iterator[str]:
    with fresh_database(icu_postgres, icu_migrated_template, icu_administered) as url:
        yield url


# --- buckets -------------------------------------------------------------------------------------------


def _bucket_with_credentials(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    abilities.SHARED[server.endpoint_url] = server
    with fresh_bucket(server) as bucket:
        yield bucket


@pytest.fixture(params=["given"] if given_server() else ["seaweed", "moto"])
def s3_server(request: pytest.FixtureRequest) -> S3Server:
    """Each of the S3 servers in turn."""
    server: S3Server = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def bucket(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    yield from _bucket_with_credentials(s3_server, monkeypatch)


@pytest.fixture
def seaweed_bucket(seaweed: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    yield from _bucket_with_credentials(seaweed, monkeypatch)


@pytest.fixture
def given_bucket(given: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    yield from _bucket_with_credentials(given, monkeypatch)


@pytest.fixture
def moto_bucket(moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    yield from _bucket_with_credentials(moto, monkeypatch)


# --- tests that need a Debian package ------------------------------------------------------------------

NOT_ALONE = "needs a network of its own: run as root, with util-linux"
WANTING = re.compile(r"needs Debian's (.*): apt-get")


@functools.cache
def _installed(package: str) -> bool:
    query = shutil.which("dpkg-query")
    if query is None:
        return False
    asked = subprocess.run(
        [query, "-W", "-f=${Status}", package], capture_output=True, text=True, check=False
    )
    return asked.stdout == "install ok installed"


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("alone") and not can_be_alone():
        pytest.skip(NOT_ALONE)
    packages = [str(name) for mark in item.iter_markers("debian") for name in mark.args]
    lacking = [package for package in packages if not _installed(package)]
    if not lacking:
        return
    reason = f"needs Debian's {', '.join(lacking)}: apt-get install {' '.join(lacking)}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count from the reports: the tests may have run in other processes."""
    if terminalreporter.config.option.markexpr == QUICK:
        terminalreporter.write_line("the slow proofs were left out: `pytest -m soak` runs them")
    skipped = (report.longrepr for report in terminalreporter.stats.get("skipped", ()))
    reasons = [where[2] for where in skipped if isinstance(where, tuple)]
    if not_alone := reasons.count(f"Skipped: {NOT_ALONE}"):
        terminalreporter.write_line(f"{not_alone} tests skipped: {NOT_ALONE}", yellow=True)
    lacking = [found[1].split(", ") for found in map(WANTING.search, reasons) if found]
    if lacking:
        packages = " ".join(sorted({package for each in lacking for package in each}))
        terminalreporter.write_line(
            f"{len(lacking)} tests skipped for want of Debian packages: apt-get install {packages}",
            yellow=True,
        )
