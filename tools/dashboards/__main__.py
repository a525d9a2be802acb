"""Write the chart's dashboards from their descriptions: `python -m tools.dashboards`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from tools.dashboards.internals import INTERNALS
from tools.dashboards.overview import OVERVIEW
from tools.dashboards.panels import as_json

FILES = Path(__file__).parent.parent.parent / "helm" / "files" / "dashboards"


def texts() -> Mapping[Path, str]:
    """What each file of the chart has to contain."""
    made = {"overview": OVERVIEW, "internals": INTERNALS}
    return {
        FILES / f"{name}.json": json.dumps(as_json(each), indent=1, ensure_ascii=False) + "\n"
        for name, each in made.items()
    }


if __name__ == "__main__":
    for path, text in texts().items():
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path}")
