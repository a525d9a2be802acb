"""Photograph the status page, on the site of its tests: `python -m tools.page_pictures [--all DIRECTORY]`.

Writes the two pictures of docs/page.md; with `--all` every page instead, light and dark, wide and narrow.
Needs `pip install '.[test]'` and Debian's chromium; half a minute.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import anyio

from reconciler.catalog import migrate
from reconciler.embedded.client import start_supervisor
from reconciler.embedded.postgres import start_postgres
from tests.integration.site import Site, make_site
from tests.page.scene import ODD, Scene, scene
from tests.servers import fresh_bucket, fresh_database, start_seaweedfs

PICTURES = Path(__file__).parent.parent / "docs" / "pictures"
WIDE, NARROW = 1280, 390


async def for_the_docs(shown: Scene) -> None:
    async with shown.page(width=WIDE) as page:
        await page.set_viewport_size({"width": WIDE, "height": 1_060})
        await page.goto("/")
        await page.wait_for_function("document.getElementById('live').textContent === 'live'")
        await page.screenshot(path=PICTURES / "page.png")
    async with shown.page(width=NARROW, scheme="dark") as page:
        await page.goto(f"/passes/{await shown.trip()}")
        await page.screenshot(path=PICTURES / "page-narrow.png", full_page=True)


async def all_of_it(shown: Scene, directory: Path) -> None:
    paths = {
        "overview": "/",
        "passes": "/passes",
        "pass": f"/passes/{await shown.trip()}",
        "marks": "/marks",
        "holds": "/holds",
        "ledger": "/ledger",
        "settings": "/settings",
        "audit": "/audit",
    }
    for scheme in ("light", "dark"):
        for width in (WIDE, NARROW):
            async with shown.page(width=width, scheme=scheme) as page:
                for name, path in paths.items():
                    await page.goto(path)
                    file = directory / f"{name}-{scheme}-{width}.png"
                    await page.screenshot(path=file, full_page=True)
                await page.goto("/marks")
                await page.get_by_role("link", name="script").first.click()
                await page.screenshot(path=directory / f"explain-{scheme}-{width}.png", full_page=True)
    print(f"{len(ODD)} odd keys among them; see {directory}")


async def photograph(site: Site, directory: Path, where: Path | None) -> None:
    async with scene(site, directory, directory / "log") as shown:
        if where is None:
            await for_the_docs(shown)
        else:
            await all_of_it(shown, where)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--all", type=Path, metavar="DIRECTORY", help="photograph every page, into it")
    asked = parser.parse_args()
    if asked.all is not None:
        asked.all.mkdir(parents=True, exist_ok=True)
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    supervisor = start_supervisor()
    try:
        store, server = start_seaweedfs(supervisor), start_postgres(supervisor)
        with (
            tempfile.TemporaryDirectory() as directory,
            fresh_database(server) as database,
            fresh_bucket(store) as bucket,
        ):
            migrate.upgrade(database, create_tables=True)
            site = make_site(database, bucket, calm=True)
            site.environment["RECONCILER_DELETE_MODE"] = "quarantine"
            anyio.run(photograph, site, Path(directory), asked.all)
    finally:
        supervisor.close()


if __name__ == "__main__":
    main()
