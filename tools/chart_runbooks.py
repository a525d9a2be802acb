"""The runbooks as they travel with the chart: pages for a terminal, in a ConfigMap of the release.

`python -m tools.chart_runbooks` writes them anew; a test says when that is due. `files/runbooks/shell` has
the lines that every page assumes. The chart puts the names of the release there, and them before each page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tests.alerts.pages import INDEX, page, pages
from tests.chart.helm import CHART

DIRECTORY = CHART / "files" / "runbooks"
LINK = re.compile(r"\[(?P<text>[^]]*)\]\((?P<target>[^)#]*)[^)]*\)")


def current() -> Mapping[str, str]:
    """The text of each file, by its name."""
    made = {each.name: LINK.sub(_told, each.text) for each in pages() if each.name != INDEX}
    return {"shell": page(INDEX).blocks("sh")[0], **made}


def _told(link: re.Match[str]) -> str:
    """A link where nothing can be clicked: a page by the command that prints it, a file by its path."""
    text, target = " ".join(link["text"].split()), link["target"].removesuffix(".md")
    if target.startswith("../"):
        return f"{text} (docs/{target.removeprefix('../')}.md)"
    return f"{text} (page {target})"


def written() -> Mapping[str, str]:
    return {file.name: file.read_text(encoding="utf-8") for file in DIRECTORY.iterdir()}


if __name__ == "__main__":
    DIRECTORY.mkdir(exist_ok=True)
    for name in written().keys() - current().keys():
        (DIRECTORY / name).unlink()
    for name, text in current().items():
        (DIRECTORY / name).write_text(text, encoding="utf-8")
