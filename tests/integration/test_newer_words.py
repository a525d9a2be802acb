"""A newer program has worked on the same database: words that this one does not know, in every table."""

from __future__ import annotations

from uuid import uuid4

import pytest

from reconciler.model import DeleteMode, KeepReason, Mode, Outcome, Term, Verdict
from tests.integration.site import Site
from tests.servers import S3Server

pytestmark = [pytest.mark.anyio, pytest.mark.calm]

PASS = """
INSERT INTO reconciler.passes (kind, cutoff, config_hash, mode, listing_order, state, epoch, tally, policy,
                               finished_at, released_xid)
VALUES ($1, now() - interval '1 h', 'x', $2, $3, $4, 1,
        '{"objects": 3, "found": {"outlandish": 2}, "kept": {"unheard_of": 1}, "more": {"a": 1},
          "newly": {"outlandish": 1}, "by_prefix": {"image/": {"found": {"outlandish": 2}}}}',
        $5::jsonb, now(), '3'::xid8)
RETURNING id
"""

MARK = """
INSERT INTO reconciler.marks (storage_key, verdict, reason, bytes, pass_id, first_seen_at, last_seen_at,
                              last_pass_id, sightings, due_at, object_last_modified)
VALUES ($1, $2, 'as a newer program says', 1, $3, now(), now(), $3, 2, now() - interval '1 h',
        now() - interval '1 day')
"""


@pytest.fixture
def s3_server(seaweed: S3Server) -> S3Server:
    """One store is enough: all of it is about the database."""
    return seaweed


async def newer_pass(site: Site, state: str = "released", kind: str = "sweep") -> int:
    policy = '{"prefixes": ["image/"], "key_shape": null, "tenderness": 7}'
    ((number,),) = await site.sql(PASS, kind, "rehearsal", "by_moonlight", state, policy)
    return int(number)


async def everything(site: Site) -> None:
    """All that reads those tables, without an error; an undo once the bucket is tied."""
    await site.plan()
    async with site.catalog() as catalog:
        for each in await catalog.approvals.listed(20, everything=True):
            await catalog.approvals.show(each.current.id)
        await catalog.statistics.mode_since()
        await catalog.marks.drift()
        await catalog.holds.page()
        await catalog.holds.count()
    if await site.sql("SELECT FROM reconciler.site WHERE bucket IS NOT NULL"):
        await site.undo(keys=("image/live",), mode=Mode.DRY_RUN)


async def test_a_pass_of_unknown_words_is_listed_and_stops_nobody(site: Site) -> None:
    await site.tracked("image/live")
    await site.put("image/orphan")
    for state in ("released", "rehearsed", "tripped-lightly"):
        await newer_pass(site, state)
    await newer_pass(site, "rehearsed", kind="gardener")
    await everything(site)
    report = await site.once()
    assert (report.outcome, report.removed.objects) == (Outcome.CONVERGED, 1)
    await everything(site)
    async with site.catalog() as catalog:
        listed = await catalog.approvals.listed(20, everything=True)
    assert {"rehearsed", "tripped-lightly"} <= {str(each.current.state) for each in listed}
    assert any(each.current.tally.kept == {KeepReason("unheard_of"): 1} for each in listed)


@pytest.mark.parametrize(
    ("state", "kind"), [("released", "sweep"), ("rehearsed", "sweep"), ("released", "gardener")]
)
async def test_marks_of_an_unknown_verdict_are_listed_and_never_claimed(
    site: Site, state: str, kind: str
) -> None:
    """Neither is a mark of a pass whose state or marker is not known, whatever its verdict."""
    await site.tracked("image/live")
    await site.put("image/a", "image/b")
    number = await newer_pass(site, state, kind)
    known = (state, kind) == ("released", "sweep")
    await site.sql(MARK, "image/a", "outlandish", number)
    await site.sql(MARK, "image/live", "outlandish", number)
    if not known:
        await site.sql(MARK, "image/b", "orphan", number)
        await site.sql("UPDATE reconciler.marks SET confirmed_id = 1000 WHERE storage_key = 'image/b'")
    await everything(site)
    for _ in range(2):
        await site.once()
        await everything(site)
    expected = {"image/live", "image/a"} | (set() if known else {"image/b"})
    assert await site.state() == (expected, {"image/live"})
    async with site.catalog() as catalog:
        shown = await catalog.mark_list.look("image/a")
    assert shown is not None
    assert shown.mark.verdict == "outlandish"
    rows = await site.sql("SELECT pass_id FROM reconciler.marks WHERE storage_key = 'image/a'")
    assert [row["pass_id"] for row in rows] == [number], "it stays that pass's"


@pytest.mark.parametrize(("verdict", "mode"), [("outlandish", "direct"), ("orphan", "buried")])
async def test_a_claim_that_a_newer_program_left_is_left_to_it(site: Site, verdict: str, mode: str) -> None:
    await site.tracked("image/live")
    await site.put("image/a")
    await site.sql(MARK, "image/a", verdict, await newer_pass(site))
    await site.sql(
        "UPDATE reconciler.marks SET state = 'claimed', operation_id = $1, epoch = 0, delete_mode = $2,"
        " delete_object = true, verify_absence = false, attempted_at = now() - interval '1 day'",
        uuid4(),
        mode,
    )
    await everything(site)
    async with site.catalog() as catalog:
        assert await catalog.marks.abandoned(Term(epoch=1, nonce=uuid4(), holder="a")) == 0, "waited for"
    await site.once()
    assert await site.keys() == {"image/live", "image/a"}


async def test_what_was_hidden_in_an_unknown_way_is_neither_purged_nor_restored(site: Site) -> None:
    await site.tracked("image/live")
    await site.put("image/orphan")
    assert (await site.once(delete_mode="quarantine")).removed.objects == 1
    await site.sql("ALTER TABLE reconciler.hidden DROP CONSTRAINT IF EXISTS hidden_mode")
    await site.sql("UPDATE reconciler.hidden SET mode = 'buried', verdict = 'outlandish'")
    undone = await site.undo(keys=("image/orphan",))
    assert undone.objects == 0
    await site.once(undo_window="0s", ledger_retention="30d")
    ((mode, state),) = await site.sql("SELECT mode, state FROM reconciler.hidden")
    assert (mode, state) == ("buried", "hidden")
    stored = site.bucket.keys()
    copies = [key for key in stored if key.startswith(".reconciler/quarantine/")]
    assert len(copies) == 1
    await everything(site)


async def test_a_hold_of_an_unknown_kind_stops_every_deletion_with_a_line(site: Site) -> None:
    await site.tracked("image/live")
    await site.put("image/orphan")
    await site.sql("ALTER TABLE reconciler.holds DROP CONSTRAINT holds_kind")
    await site.sql(
        "INSERT INTO reconciler.holds (kind, target, author, reason) VALUES ('tag', 'x', 'a', 'b')"
    )
    await everything(site)
    report = await site.once()
    assert report.outcome is Outcome.HALTED
    assert "a newer version holds media by tag" in report.detail
    assert len(report.detail.splitlines()) == 1
    assert await site.keys() == {"image/live", "image/orphan"}
    await site.sql("UPDATE reconciler.holds SET until = now()")
    assert (await site.once()).removed.objects == 1


@pytest.mark.parametrize("words", [Verdict, Mode, KeepReason, DeleteMode])
def test_an_unknown_word_equals_itself_and_no_other(words: type[Verdict]) -> None:
    assert words("outlandish") == words("outlandish") == "outlandish"
    assert len({words("outlandish"), words("outlandish")}) == 1
    assert words("outlandish") not in list(words)
    with pytest.raises(ValueError, match="not a valid"):
        words(7)  # type: ignore[arg-type]  # what is no text is no word
