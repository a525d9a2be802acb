"""How users and providers write down where the database and the bucket are."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.app.wiring import catalog_config
from reconciler.catalog.db import connections
from reconciler.model import Outcome
from reconciler.settings import DatabaseSettings, load
from tests.integration.site import Site, make_site
from tests.support.quirky_store import Quirks, QuirkyStore, quirky_store

pytestmark = pytest.mark.anyio

PROVIDERS = (
    "sslmode=disable&channel_binding=prefer",
    "connect_timeout=10&keepalives=1&keepalives_idle=30&fallback_application_name=app",
    "gssencmode=disable&target_session_attrs=read-write&client_encoding=UTF8&load_balance_hosts=disable",
    "options=-c%20work_mem%3D8MB&requiressl=0&sslsni=1&ssl=false",
)


@pytest.mark.incident(46)
@pytest.mark.parametrize("given", PROVIDERS)
async def test_a_connection_string_of_a_provider_connects(database: str, given: str) -> None:
    """I-46: asyncpg 0.32 sends a parameter that it does not know to Postgres, which refuses the login."""
    base, mark, more = database.partition("?")
    environ = {"RECONCILER_DATABASE_URL": f"{base}?{given}{'&' if mark else ''}{more}"}
    config = catalog_config(load(environ, kind=DatabaseSettings))
    connection = await connections.connect(config)
    try:
        assert await connection.fetchval("SELECT 1") == 1
    finally:
        await connection.close()


def _virtual(site: Site, store: QuirkyStore, **more: str) -> Site:
    """Names that nothing resolves, by a proxy as a company has it: the store itself."""
    environment = site.environment | {
        "RECONCILER_BUCKET__ENDPOINT_URL": "http://store.example",
        "HTTP_PROXY": store.endpoint_url,
        **more,
    }
    return Site(database=site.database, bucket=site.bucket, environment=environment)


@pytest.mark.incident(47)
@pytest.mark.parametrize("way", ["setting", "AWS configuration"])
async def test_a_store_that_wants_the_bucket_in_the_host_is_served(
    database: str, tmp_path: Path, way: str
) -> None:
    """I-47, as users of Alibaba's OSS write it down: here, or for every program of theirs."""
    configuration = tmp_path / "config"
    configuration.write_text("[default]\ns3 =\n    addressing_style = virtual\n")
    more = {
        "setting": {"RECONCILER_BUCKET__ADDRESSING_STYLE": "virtual"},
        "AWS configuration": {"AWS_CONFIG_FILE": str(configuration)},
    }[way]
    async with quirky_store(Quirks(virtual_hosted_only=True)) as store:
        site = _virtual(make_site(database, store.bucket()), store, **more)
        store.put("image/orphan")
        await site.row("image/kept")
        store.put("image/kept")
        report = await site.once()
        assert (report.outcome, store.keys()) == (Outcome.CONVERGED, {"image/kept"})


@pytest.mark.incident(47)
async def test_a_bucket_in_the_path_is_refused_there(database: str) -> None:
    """What the two ways above are measured against; the message names the setting."""
    async with quirky_store(Quirks(virtual_hosted_only=True)) as store:
        site = _virtual(make_site(database, store.bucket()), store)
        report = await site.once()
        assert report.outcome is Outcome.HALTED
        assert "RECONCILER_BUCKET__ADDRESSING_STYLE=virtual" in report.detail
