"""The page in a real browser, over a running daemon and real servers."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Literal
from urllib.parse import quote

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from reconciler.model import Role
from reconciler.planning.formatting import printable
from tests.integration.daemons import until
from tests.page.scene import EXPIRED, ODD, ORPHANS, Scene, log_in

pytestmark = [pytest.mark.anyio, pytest.mark.debian("chromium")]

SCHEMES: dict[Literal["light", "dark"], dict[str, object]] = {
    "light": {},
    "dark": {"runOnly": ["color-contrast"]},
}
"""What axe looks at in each: nothing but the colours differs."""

PAGES = (
    "/",
    "/passes",
    "/passes/{tripped}",
    "/marks",
    "/holds",
    "/ledger",
    "/explain",
    "/explain?key=" + quote(ODD[0], safe=""),
    "/explain?key=image/live-00.png",
    "/settings?search=breaker",
    "/audit",
    "/nowhere",
)


@pytest.fixture
async def page(shown: Scene) -> AsyncIterator[Page]:
    """Logged in as of the highest role."""
    async with shown.page() as opened:
        yield opened


async def paths(shown: Scene) -> list[str]:
    tripped = await shown.trip()
    return [path.format(tripped=tripped) for path in PAGES]


async def test_the_first_page_answers_the_questions_in_their_order(shown: Scene, page: Page) -> None:
    tripped = await shown.trip()
    await page.goto("/")
    await expect(page.get_by_role("heading", level=1)).to_have_text("1 thing needs you")
    await expect(page.get_by_role("heading", level=2)).to_have_text(
        ["What would go, and why", "What waits for you", "What went", "What it costs"]
    )
    goes = page.get_by_role("region", name="What would go, and why")
    await expect(goes.get_by_role("row", name="orphan").first).to_contain_text(str(ORPHANS))
    await expect(goes.get_by_role("row", name="expired").first).to_contain_text(str(EXPIRED))
    for title in ("Due by the hour, keys", "Drift over 14 days, bytes"):
        await expect(page.get_by_role("img", name=title)).to_be_visible()
    behind = page.get_by_role("region", name="Drift over 14 days, keys, as a table")
    await expect(behind).to_be_hidden()
    await page.locator("#table-drift-keys summary").click()
    await expect(behind.get_by_role("row")).to_have_count(1 + 56)
    waits = page.get_by_role("region", name="What waits for you")
    await expect(waits).to_contain_text(f"Sweep pass {tripped} tripped")
    await expect(waits).to_contain_text(f"{ORPHANS} marks held back")
    await expect(page.get_by_role("region", name="What went")).to_contain_text("image/gone-3.png")
    costs = page.get_by_role("region", name="What it costs")
    await expect(costs).to_contain_text(re.compile("not freed yet *273.4 KiB in 4 objects, 0.26 a month"))
    await expect(costs.get_by_role("row", name="video/")).to_contain_text("3")


async def test_nothing_serious_stands_in_the_way_of_whoever_cannot_see_it(shown: Scene, page: Page) -> None:
    """In light and dark; and nothing is loaded from elsewhere, or against the page's own policy."""
    asked, complaints = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    for path in await paths(shown):
        await page.goto(path)
        await page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
        for scheme, options in SCHEMES.items():
            await page.emulate_media(color_scheme=scheme)
            found = await Axe().run(page, options={"resultTypes": ["violations"], **options})
            assert [each for each in found.response["violations"] if each["impact"] != "minor"] == [], path
    assert {url for url in asked if not url.startswith(shown.address)} == set()
    assert [each for each in complaints if "404" not in each] == []


async def test_a_telephone_shows_all_of_it_without_scrolling_sideways(shown: Scene) -> None:
    async with shown.page(width=390) as page:
        for path in await paths(shown):
            await page.goto(path)
            assert await page.evaluate("document.documentElement.scrollWidth") == 390, path


async def test_any_storage_key_is_shown_as_it_is_and_links_to_itself(shown: Scene, page: Page) -> None:
    page.on("dialog", lambda dialog: pytest.fail(f"a script of a storage key has run: {dialog.message}"))
    for key in ODD:
        await page.goto("/marks")
        await page.get_by_role("link", name=printable(key), exact=True).click()
        await expect(page.get_by_role("heading", level=1)).to_have_text(printable(key))
        await expect(page.locator("main")).to_contain_text("orphan: it goes")
        await page.get_by_label("Reason").last.fill("it's <b>odd</b>")
        await page.get_by_role("button", name="Hold this key").click()
        held = await shown.site.sql("SELECT target FROM reconciler.holds WHERE reason LIKE '%odd%'")
        assert [row[0] for row in held] == [key]
        await expect(page.get_by_role("row", name="it's <b>odd</b>")).to_be_visible()
        await page.get_by_role("button", name=f"Lift the hold on {printable(key)}", exact=True).click()
        await expect(page.get_by_text("No such hold is in force.")).to_be_visible()


async def test_who_types_the_number_approves_and_the_engine_decides_the_rest(shown: Scene) -> None:
    """By the keyboard alone."""
    tripped = await shown.trip()
    async with shown.page() as page:
        await page.goto("/")
        await _tab_to(page, "Decide about it.")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_have_text(f"Sweep pass {tripped}")
        await _tab_to(page, "approve")
        await page.keyboard.type(str(ORPHANS))
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status")).to_contain_text("Approved")
        await expect(page.locator("main")).to_contain_text("Decided by approver")
    assert (tripped, "sweep", "released") in await shown.site.passes()
    assert {*ODD} <= await shown.site.keys()
    audit = await shown.site.sql(
        "SELECT caller, role, address, target, asked, status FROM reconciler.audit"
        " WHERE action = 'approve_pass' ORDER BY id DESC LIMIT 1"
    )
    asked = f'{{"confirm": "{ORPHANS}"}}'
    assert tuple(audit[0]) == (
        "approver",
        "approver",
        "127.0.0.1",
        f"POST /passes/{tripped}/approve",
        asked,
        303,
    )


async def _tab_to(page: Page, wanted: str) -> None:
    """Press Tab until that text, or the element of that id, has the focus."""
    for _ in range(80):
        await page.keyboard.press("Tab")
        if wanted in await page.evaluate("[document.activeElement.id, document.activeElement.textContent]"):
            return
    pytest.fail(f"the keyboard does not come to {wanted}")


async def test_another_number_decides_nothing(shown: Scene, page: Page) -> None:
    tripped = await shown.trip()
    for button in ("Approve", "Discard"):
        await page.goto(f"/passes/{tripped}")
        await page.locator(f"#{button.lower()}").fill("1")
        await page.get_by_role("button", name=button).click()
        await expect(page.get_by_role("alert")).to_contain_text(
            f"you typed '1', and the decision is about {ORPHANS} marks; nothing was done"
        )
        await page.get_by_role("link", name="Back").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text(f"Sweep pass {tripped}")
    assert await shown.site.tripped() == tripped


async def test_who_only_looks_cannot_decide(shown: Scene) -> None:
    tripped = await shown.trip()
    async with shown.page(Role.VIEWER) as page:
        for path in await paths(shown):
            await page.goto(path)
            changing = page.locator("main form[method=post]")
            await expect(changing).to_have_count(0)
        await page.goto(f"/passes/{tripped}")
        await expect(page.locator("main")).to_contain_text("needs the role approver; you have viewer")
        token = await page.evaluate("document.cookie")
        assert token == ""
        refused = await page.evaluate(
            "path => fetch(path, {method: 'POST', body: new URLSearchParams({confirm: 11})})"
            ".then(answer => answer.status)",
            f"/passes/{tripped}/approve",
        )
        assert refused == 403
    assert await shown.site.tripped() == tripped


async def test_without_scripts_it_works_all_the_same(shown: Scene) -> None:
    tripped = await shown.trip()
    async with shown.page(scripts=False) as page:
        for path in await paths(shown):
            await page.goto(path)
            await expect(page.get_by_role("heading", level=1)).to_be_visible()
        await page.goto("/")
        await page.locator("#table-due-keys summary").click()
        await expect(page.get_by_role("region", name="Due by the hour, keys, as a table")).to_be_visible()
        await page.get_by_role("link", name="Look at it and decide").click()
        await page.locator("#approve").fill(str(ORPHANS))
        await page.get_by_role("button", name="Approve").click()
        await expect(page.get_by_role("status")).to_contain_text("Approved")
    assert (tripped, "sweep", "released") in await shown.site.passes()


async def test_one_click_pauses_with_a_reason_and_one_resumes(shown: Scene, page: Page) -> None:
    tripped = await shown.trip()
    await page.goto("/")
    await page.get_by_role("button", name="Pause deletion").click()
    await expect(page).to_have_title("1 thing needs you · media reconciler")
    await expect(page.locator("#live-health")).to_contain_text("by approver (looking into it)")
    await page.goto(f"/passes/{tripped}")
    await page.locator("#approve").fill(str(ORPHANS))
    await page.get_by_role("button", name="Approve").click()
    await expect(page.get_by_role("alert")).to_contain_text("paused since")
    assert await shown.site.tripped() == tripped
    await page.goto("/")
    await page.get_by_role("button", name="Resume deletion").click()
    await expect(page.get_by_role("status")).to_contain_text("Resumed")
    await expect(page.get_by_role("button", name="Pause deletion")).to_be_visible()
    assert (await shown.site.sql("SELECT paused FROM reconciler.pause"))[0][0] is False
    await page.goto("/audit")
    await expect(page.get_by_role("row", name="resume deletions").first).to_contain_text("done")
    await expect(page.get_by_role("row", name="approve pass").first).to_contain_text("paused")


async def test_what_is_asked_for_is_found(shown: Scene, page: Page) -> None:
    await shown.trip()
    for path, field, value, row in (
        ("/marks", "Key begins with", "video/", "video/old-1.mp4"),
        ("/ledger", "Key", "image/gone-2.png", "image/gone-2.png"),
        ("/settings", "Name or meaning has", "max_count", "BREAKER__MAX_COUNT"),
    ):
        await page.goto(path)
        before = await page.get_by_role("row").count()
        await page.get_by_label(field, exact=True).fill(value)
        await page.get_by_role("button", name="Show", exact=True).click()
        await expect(page.get_by_role("row", name=row).first).to_be_visible()
        assert await page.get_by_role("row").count() < before, path
    await expect(page.get_by_role("row", name="BREAKER__MAX_COUNT")).to_contain_text("the environment")
    await page.goto("/passes")
    await page.get_by_label("State").select_option("tripped")
    await page.get_by_role("button", name="Show", exact=True).click()
    await expect(page.get_by_role("row")).to_have_count(2)
    await page.get_by_label("Storage key to explain").fill("image/live-01.png")
    await page.get_by_role("button", name="Explain").click()
    await expect(page.locator("main")).to_contain_text("A pass now says: it stays")
    await page.goto("/passes?state=" + quote("<script>"))
    await expect(page.get_by_role("alert")).to_contain_text("state: must be one of")


async def test_what_is_withdrawn_or_discarded_may_be_found_again_by_a_pass_that_is_asked_for(
    shown: Scene, page: Page
) -> None:
    withdrawn, discarded = "video/old-0.mp4", "video/old-1.mp4"
    await page.goto(f"/explain?key={withdrawn}")
    await page.get_by_label("Reason").first.fill("a case")
    await page.get_by_role("button", name="Withdraw the mark").click()
    await expect(page.get_by_role("status")).to_contain_text("Withdrawn")
    await page.goto(f"/explain?key={withdrawn}")
    await expect(page.get_by_role("region", name="What happened to it")).to_contain_text("cancelled")

    trip = await shown.site.sql(
        "INSERT INTO reconciler.passes (kind, cutoff, config_hash, mode, state, epoch, tally, trip_reason)"
        " VALUES ('retention', now(), 'x', 'live', 'tripped', 0, '{}', 'too many') RETURNING id"
    )
    tripped = trip[0][0]
    await shown.site.sql(
        "UPDATE reconciler.marks SET pass_id = $1 WHERE storage_key = $2", tripped, discarded
    )
    await page.goto(f"/passes/{tripped}")
    await page.locator("#discard").fill("1")
    await page.get_by_role("button", name="Discard").click()
    await expect(page.get_by_role("status")).to_contain_text("Discarded")
    await expect(page.locator("#live-progress")).to_contain_text("discarded")

    async def marked() -> set[str]:
        rows = await shown.site.sql("SELECT storage_key FROM reconciler.marks WHERE verdict = 'expired'")
        return {row[0] for row in rows} & {withdrawn, discarded}

    assert await marked() == set()
    await page.goto("/passes")
    await page.get_by_role("button", name="Run a retention pass").click()
    await expect(page.get_by_role("status")).to_contain_text("Asked for")

    async def found_again() -> bool:
        return await marked() == {withdrawn, discarded}

    await until(found_again)


async def test_a_hold_is_set_found_and_lifted(shown: Scene, page: Page) -> None:
    await page.goto("/holds")
    new = page.get_by_role("region", name="Set a hold")
    await new.get_by_label("Kind").select_option("prefix")
    await new.get_by_label("Target").fill("video/")
    await new.get_by_label("Reason").fill("an audit of films")
    await new.get_by_label("For").fill("30d")
    await new.get_by_role("button", name="Hold").click()
    await expect(page.get_by_role("status")).to_contain_text("On hold")
    row = page.get_by_role("row", name="an audit of films")
    for target, there in (("image/", False), ("video/", True)):
        await page.get_by_label("Target begins with").fill(target)
        await page.get_by_role("button", name="Show", exact=True).click()
        await expect(page.get_by_label("Target begins with")).to_have_value(target)
        await expect(row).to_be_visible(visible=there)
    held = await shown.site.sql("SELECT kind, target, author, until - added_at FROM reconciler.holds")
    assert [tuple(each)[:3] for each in held] == [("prefix", "video/", "approver")]
    await row.get_by_role("button", name="Lift").click()
    await expect(page.get_by_role("status")).to_contain_text("Lifted")
    assert await shown.site.sql("SELECT FROM reconciler.holds") == []


async def test_a_pass_under_way_is_seen_to_go_on_without_loading_again(shown: Scene, page: Page) -> None:
    """The pass is written as another replica would: one of ours is over too soon to be looked at."""
    await shown.trip()
    began = await shown.site.sql(
        "INSERT INTO reconciler.passes (kind, cutoff, config_hash, mode, state, epoch, tally)"
        " VALUES ('sweep', now() - interval '10 minutes', 'x', 'live', 'running', 0, '{}') RETURNING id"
    )
    number = began[0][0]
    try:
        await shown.site.sql(
            "INSERT INTO reconciler.ranges (pass_id, ordinal, prefix, after, watermark, tally)"
            " VALUES ($1, 0, 'image/', '', '', '{\"objects\": 26, \"records\": 0}')",
            number,
        )
        await page.goto("/")
        bar = page.locator("#live-health").get_by_role("progressbar")
        await expect(bar).to_have_attribute("value", "0.5")
        await expect(page.locator("#live-health")).to_contain_text(
            re.compile(r"Ends in \d+ (minute|second)s")
        )
        await page.goto(f"/passes/{number}")
        bar = page.get_by_role("progressbar")
        await expect(bar).to_have_attribute("value", "0.5")
        await expect(page.locator("#live")).to_have_text("live")
        await shown.site.sql(
            'UPDATE reconciler.ranges SET tally = \'{"objects": 39, "records": 0}\' WHERE pass_id = $1',
            number,
        )
        await expect(bar).to_have_attribute("value", "0.75")
    finally:
        await shown.site.sql("DELETE FROM reconciler.passes WHERE id = $1", number)


async def test_who_comes_by_a_link_logs_in_goes_there_and_out_again(shown: Scene) -> None:
    async with shown.page(None) as page:
        await page.goto("/marks?prefix=video%2F")
        await page.get_by_label("Token").fill("mrt_wrong")
        await page.get_by_role("button", name="Log in").click()
        await expect(page.get_by_role("alert")).to_contain_text("the token is not known")
        await page.get_by_label("Token").fill(shown.tokens.by_role[Role.VIEWER])
        await page.get_by_role("button", name="Log in").click()
        await expect(page).to_have_url(f"{shown.address}/marks?prefix=video%2F")
        await page.get_by_role("button", name="Log out").click()
        await expect(page.get_by_label("Token")).to_be_visible()
        await page.goto("/ledger")
        await expect(page.get_by_label("Token")).to_be_visible()


async def test_a_link_from_another_site_finds_whoever_is_logged_in(shown: Scene) -> None:
    """To whose own requests the browser adds the cookie, though not to the one that the link makes."""
    async with shown.page(None) as page:
        await log_in(page, shown.tokens.by_role[Role.VIEWER])
        elsewhere = shown.address.replace("127.0.0.1", "localhost")
        await page.goto(f"{elsewhere}/login")
        await page.evaluate("to => { location.href = to }", f"{shown.address}/holds")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Holds")
