"""Draw the dashboards from what they show of a daemon at work: `python -m tools.dashboards.pictures`.

Needs `pip install '.[docs]'` and Debian's prometheus. What is drawn are the chart's files, each query asked
of a real Prometheus as Grafana would; the drawing is our own.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import anyio

from reconciler.catalog import migrate
from reconciler.embedded.client import Supervisor, start_supervisor
from reconciler.embedded.postgres import start_postgres
from tests.integration.site import Site, make_site
from tests.servers import execute, fresh_bucket, fresh_database, start_moto
from tools.dashboards.__main__ import texts
from tools.dashboards.drawing import draw
from tools.dashboards.prometheus import open_dashboard
from tools.dashboards.scene import Scene, objects, rows, scene

PICTURES = Path(__file__).parent.parent.parent / "docs" / "pictures"
SECONDS_DRY, SECONDS_LIVE = 20, 60
BURSTS = (24, 44)
"""When many objects lose their rows at once; the last is still under way at the end."""


async def a_busy_minute(played: Scene) -> None:
    """A dry run, then live deletions, while the gateway goes on storing and forgetting."""
    await played.until_known("count_over_time(media_reconciler_drift_keys[1h]) > 2")
    for second in range(SECONDS_DRY):
        await anyio.sleep(1)
        await objects(played.site, f"image/early-{second:02}-", range(second % 4))
    await played.go_live()
    for second in range(SECONDS_LIVE):
        await anyio.sleep(1)
        stored = range(1000 + 3 * second, 1003 + 3 * second)
        await objects(played.site, "video/kept-", stored)
        await rows(played.site, "video/kept-", stored, played.owner)
        if second in BURSTS:
            await objects(played.site, f"image/late-{second:02}-", range(5 * second // 2))
            await rows(played.site, f"video/without-{second:02}-", range(3), played.owner)
            await objects(played.site, f"video/expired-{second:02}-", range(20))
            await rows(played.site, f"video/expired-{second:02}-", range(20), played.owner, expired=True)


async def photograph(site: Site, supervisor: Supervisor) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with scene(site, supervisor, Path(directory)) as played:
            await a_busy_minute(played)
            until = time.time()
            for path, text in texts().items():
                dashboard = json.loads(text)
                viewer = open_dashboard(played.prometheus, dashboard, played.since, until)
                file = PICTURES / f"{path.stem}.png"
                draw(dashboard, viewer, file)
                print(f"wrote {file} ({file.stat().st_size // 1024} KiB)")


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    supervisor = start_supervisor()
    try:
        server, store = start_postgres(supervisor), start_moto(supervisor)
        execute(server.url(), "CREATE DATABASE migrated TEMPLATE template0")
        migrate.upgrade(server.url("migrated"), create_tables=True)
        with fresh_database(server, "migrated") as database, fresh_bucket(store) as bucket:
            anyio.run(photograph, make_site(database, bucket), supervisor)
    finally:
        supervisor.close()


if __name__ == "__main__":
    main()
