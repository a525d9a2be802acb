"""A database whose rows nearly agree with the listing server's objects, and a reconciler on both."""

from __future__ import annotations

import asyncio
import re
import secrets
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import asyncpg

from reconciler.embedded.client import start_supervisor
from reconciler.embedded.postgres import EmbeddedPostgres, start_postgres
from tests.servers import execute, fresh_database
from tools.benchmarks.corpus import PREFIX, keys_by_day
from tools.benchmarks.programs import Run, measure

RECONCILER = (sys.executable, "-m", "reconciler")
BUCKET = "bench"
DRIFT_EVERY = 1000
"""One object in so many has no row, and one row in so many has no object: 0.1 % each way."""
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "bench",
    "AWS_SECRET_ACCESS_KEY": "bench-secret",
    "AWS_REGION": "us-east-1",
}
OWNER = "00000000-0000-4000-8000-000000000001"
_COLUMNS = (
    "Id",
    "StorageKey",
    "VirtualKeyId",
    "MediaType",
    "ContentType",
    "SizeBytes",
    "CreatedAt",
    "AccessCount",
)
_TUNING = {
    "effective_cache_size": "8GB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "8GB",
    "random_page_cost": "1.1",
    "work_mem": "32MB",
}


@dataclass(frozen=True, slots=True)
class Site:
    """A Postgres with templates of loaded databases, one for each number of rows."""

    postgres: EmbeddedPostgres

    @contextmanager
    def database(self, keys: int) -> Iterator[str]:
        """The address of a fresh copy of the database with `keys` rows; loaded at the first call."""
        template = f"rows_{keys}"
        if not asyncio.run(_exists(self.postgres.url(), template)):
            execute(self.postgres.url(), f'CREATE DATABASE "{template}" TEMPLATE template0')
            url = self.postgres.url(template)
            migrate(url)
            asyncio.run(_load(url, keys))
        with fresh_database(self.postgres, template) as url:
            yield url


@contextmanager
def opened(settings: Mapping[str, str] | None = None) -> Iterator[Site]:
    """A site that goes with the context, and with this program however it ends; `settings` of the server."""
    supervisor = start_supervisor()
    try:
        postgres = start_postgres(supervisor, settings=settings)
        tuning = [f"ALTER SYSTEM SET {name} = '{value}'" for name, value in _TUNING.items()]
        execute(postgres.url(), *tuning, "SELECT pg_reload_conf()")
        yield Site(postgres)
    finally:
        supervisor.close()


def migrate(url: str) -> None:
    measure([*RECONCILER, "migrate", "--create-tables"], {"RECONCILER_DATABASE_URL": url})


def once(
    database: str,
    endpoint: str,
    settings: Mapping[str, str],
    credentials: Mapping[str, str],
    program: Sequence[str] = RECONCILER,
) -> Run:
    """`reconciler once --json` with limits that let the made-up drift through."""
    return reconcile(database, endpoint, settings, credentials, [*program, "once", "--json"])


def reconcile(
    database: str,
    endpoint: str,
    settings: Mapping[str, str],
    credentials: Mapping[str, str],
    command: Sequence[str],
) -> Run:
    """Run any command of the program on the bucket and the database."""
    return measure(command, environment(database, endpoint, settings, credentials))


def environment(
    database: str, endpoint: str, settings: Mapping[str, str], credentials: Mapping[str, str]
) -> dict[str, str]:
    """What tells the program of the bucket and the database."""
    return {
        "RECONCILER_DATABASE_URL": database,
        "RECONCILER_BUCKET__ENDPOINT_URL": endpoint,
        "RECONCILER_BUCKET__NAME": BUCKET,
        "RECONCILER_BUCKET__REGION": "us-east-1",
        "RECONCILER_BUCKET__PREFIXES": f'["{PREFIX}"]',
        "RECONCILER_BREAKER__MAX_FRACTION": "1",
        "RECONCILER_BREAKER__MAX_COUNT": "1000000",
        "RECONCILER_BREAKER__MAX_DANGLING": "1000000",
        "RECONCILER_LOG_LEVEL": "warning",
        **credentials,
        **{f"RECONCILER_{name}": value for name, value in settings.items()},
    }


def forget_identity(endpoint: str) -> None:
    """Remove what a reconciler left under `.reconciler/`, so that another database may come first."""
    bucket = f"{endpoint}/{BUCKET}"
    with urllib.request.urlopen(f"{bucket}?list-type=2&encoding-type=url&prefix=.reconciler/") as page:
        keys = re.findall("<Key>(.+?)</Key>", page.read().decode())
    for key in keys:
        urllib.request.urlopen(urllib.request.Request(f"{bucket}/{key}", method="DELETE")).close()


async def _exists(url: str, database: str) -> bool:
    connection = await asyncpg.connect(url)
    try:
        return bool(await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", database))
    finally:
        await connection.close()


async def _load(url: str, keys: int) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            'INSERT INTO "VirtualKeys" ("Id", "KeyName", "KeyHash", "IsEnabled", "CreatedAt")'
            " VALUES ($1, 'bench', $2, true, now() - interval '1 year')",
            OWNER,
            secrets.token_hex(32),
        )
        await connection.copy_to_table(
            "MediaRecords", source=_rows(keys), columns=_COLUMNS, format="csv", timeout=3600
        )
        await connection.execute("VACUUM (ANALYZE)")
    finally:
        await connection.close()


async def _rows(count: int) -> AsyncIterator[bytes]:
    """CSV of a row for each of the corpus's keys, but for the drift."""
    index = 0
    for day, keys in keys_by_day(count):
        lines = []
        for key in keys:
            index += 1
            name = key[len(PREFIX) + 11 : -len(".png")]
            if index % DRIFT_EVERY:
                lines.append(f"{name},{key},{OWNER},image,image/png,1000000,{day}T12:00:00Z,0\n")
            if index % DRIFT_EVERY == DRIFT_EVERY // 2:
                twin = f"{name[:-12]}{index:012x}"
                lines.append(f"{twin},{key}.gone,{OWNER},image,image/png,1000000,{day}T12:00:00Z,0\n")
        yield "".join(lines).encode()
