"""Links of a document in Markdown."""

from __future__ import annotations

import re
from pathlib import Path


def lost_links(document: Path) -> list[str]:
    """Those that lead to no file, or to no heading of it."""
    return [link for link in links(document) if not _leads_somewhere(document, link)]


def links(document: Path) -> list[str]:
    """Where they lead, as they are written; those into the web are left out."""
    found = re.findall(r"\]\(([^)]+)\)", document.read_text())
    return [link for link in found if not link.startswith("https://")]


def _leads_somewhere(document: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    found = (document.parent / path).resolve() if path else document
    return found.is_file() and (not anchor or anchor in _anchors(found))


def _anchors(document: Path) -> list[str]:
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return [re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings]
