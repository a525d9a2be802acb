"""No document links to a file or a heading that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.links import lost_links

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "helm").rglob("*.md")]


@pytest.mark.parametrize("document", sorted(DOCUMENTS), ids=lambda each: str(each.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    assert lost_links(document) == []


def test_a_lost_link_is_found(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text("# A page\n[1](page.md#a-page) [2](#b) [3](other.md) [4](https://example.test/x)\n")
    assert lost_links(document) == ["#b", "other.md"]
