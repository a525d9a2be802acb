"""A site on which each part of the page has something to show, under a running daemon, and a browser."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import anyio
import anyio.to_thread
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from reconciler.model import Role
from tests.api.serving import Tokens
from tests.integration.daemons import Daemon, daemon, free_port, until
from tests.integration.site import DAY, Site

CHROMIUM = "/usr/bin/chromium"
PATIENCE = 20_000.0
"""Milliseconds that the browser waits for something to appear: a busy machine may take its time."""

ODD = (
    "image/<script>alert(1)<\N{SOLIDUS}script>.png",
    'image/100% "sure"?a=1&b=#2.png',
    "image/it's two words.png",
    "image/new\nline.png",
    "image/\N{LATIN SMALL LETTER O WITH DIAERESIS}\N{RIGHT-TO-LEFT OVERRIDE}gnp.exe",
)
"""Storage keys that a page could show or link wrongly. Each is an orphan."""

ORPHANS = 6 + len(ODD)
EXPIRED = 3

CAREFUL = {
    "sweep_interval": "1h",
    "retention_interval": "1h",
    "delete_delay": "3h",
    "breaker__max_count": "5",
}

HISTORY = """
INSERT INTO reconciler.passes (kind, cutoff, config_hash, mode, state, epoch, tally, finished_at)
SELECT $1, now() - $2::interval, 'earlier', 'live', 'released', 0, $3::jsonb,
       now() - $2::interval + interval '2 minutes'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A daemon's page. `tripped` is the sweep that waits for a decision."""

    site: Site
    address: str
    tokens: Tokens
    browser: Browser

    async def context(
        self,
        role: Role | None = Role.APPROVER,
        *,
        scripts: bool = True,
        width: int = 1280,
        scheme: str = "light",
    ) -> BrowserContext:
        """A browser of somebody's own, logged in as of that role."""
        context = await self.browser.new_context(
            base_url=self.address,
            java_script_enabled=scripts,
            viewport={"width": width, "height": 900},
            color_scheme="dark" if scheme == "dark" else "light",
        )
        context.set_default_timeout(PATIENCE)
        if role is not None:
            await log_in(await context.new_page(), self.tokens.by_role[role])
        return context

    @asynccontextmanager
    async def page(self, role: Role | None = Role.APPROVER, **options: object) -> AsyncIterator[Page]:
        """A page of such a browser, which is closed at the end."""
        context = await self.context(role, **options)  # type: ignore[arg-type]  # passed on
        try:
            yield context.pages[0] if context.pages else await context.new_page()
        finally:
            await context.close()

    async def trip(self) -> int:
        """The sweep that waits for a decision, which it does again where a test has approved it."""
        found = await self.site.sql(
            "UPDATE reconciler.passes SET state = 'tripped', decided_by = NULL, decided_at = NULL"
            " WHERE trip_reason IS NOT NULL AND state IN ('tripped', 'released') RETURNING id"
        )
        return int(found[0][0])


async def log_in(page: Page, token: str) -> None:
    await page.goto("/")
    await page.get_by_label("Token").fill(token)
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("navigation")).to_be_visible()


async def play(site: Site) -> None:
    """Two weeks of passes, something that went, media that stays, and a sweep that trips."""
    for step in range(56, 0, -1):
        age = timedelta(hours=6 * step)
        grown = {"orphan": 40 + (56 - step) * 3 % 37, "dangling": 6 + step % 5}
        await _passed(site, "sweep", age, grown, {"orphan": grown["orphan"] * 700_000})
        old = {"expired": 30 + step % 9, "stale": 12 + (56 - step) // 3}
        await _passed(site, "retention", age, old, {"expired": 30_000_000, "stale": old["stale"] * 900_000})
    owner = await site.virtual_key()
    async with site.connected() as connection:
        for number in range(24):
            key = f"image/live-{number:02}.png"
            size = await _put(site, key, 9_000 * (1 + number % 5))
            await site.row(key, owner, on=connection, age=DAY * number, SizeBytes=size)
    for number in range(4):
        await _put(site, f"image/gone-{number}.png", 70_000)
    await site.once(delete_delay="0s")
    for key in (*ODD, *(f"image/left-{number}.png" for number in range(ORPHANS - len(ODD)))):
        await _put(site, key, 25_000)
    for number in range(EXPIRED):
        key = f"video/old-{number}.mp4"
        size = await _put(site, key, 90_000)
        await site.row(key, owner, SizeBytes=size, ExpiresAt=await _ago(site, DAY))
    await site.once(**CAREFUL)


async def _put(site: Site, key: str, size: int) -> int:
    await anyio.to_thread.run_sync(site.bucket.put, key, bytes(size))
    return size


async def _ready(running: Daemon) -> bool:
    return await running.get("/readyz") == (200, "ok\n")


async def _ago(site: Site, age: timedelta) -> object:
    return (await site.sql("SELECT now() - $1::interval", age))[0][0]


async def _passed(
    site: Site, kind: str, age: timedelta, found: dict[str, int], sizes: dict[str, int]
) -> None:
    tally = {"objects": 9_000, "records": 9_000, "found": found, "found_bytes": sizes}
    await site.sql(HISTORY, kind, age, json.dumps(tally))


@asynccontextmanager
async def scene(site: Site, directory: Path, log: Path | None = None) -> AsyncIterator[Scene]:
    """The site as `play` leaves it, with a daemon whose sweep trips, and Chromium."""
    expect.set_options(timeout=PATIENCE)
    await play(site)
    tokens, port = Tokens(directory / "tokens").make(), free_port()
    settings = {
        "admin__tokens_file": str(tokens.file),
        "admin__port": str(port),
        "admin__host": "127.0.0.1",
        "price_per_gib_month": "1000",
        **CAREFUL,
    }
    async with daemon(site, log, **settings) as running, async_playwright() as playwright:
        await until(lambda: _ready(running))
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        try:
            yield Scene(site=site, address=f"http://127.0.0.1:{port}", tokens=tokens, browser=browser)
        finally:
            await browser.close()
