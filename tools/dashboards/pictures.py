"""Draw the dashboards of a day: `python -m tools.dashboards.pictures FILE`, with the file that `day` wrote.

Needs `pip install '.[docs]'` and Debian's prometheus. What is drawn are the chart's files, each query asked
of a real Prometheus as Grafana would, and the alerts are those that it fires; the drawing is our own.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from reconciler.embedded.client import Supervisor, start_supervisor
from tools.dashboards.__main__ import texts
from tools.dashboards.day import SCRAPE
from tools.dashboards.drawing import draw
from tools.dashboards.prometheus import Prometheus, open_dashboard, prometheus

PICTURES = Path(__file__).parent.parent.parent / "docs" / "pictures"
AHEAD = 300.0
"""Seconds that Prometheus may need until the alert has fired: a series is forgotten 300 s after its end."""
PATIENCE = 2 * AHEAD
FIRES = 'ALERTS{alertname="MediaReconcilerBreakerTripped",alertstate="firing"}'


def moved(source: Path, target: Path) -> float:
    """Copy the samples as if the day ended soon, so that rules can be judged; returns when it began."""
    with source.open(encoding="utf-8") as lines:
        first = float(next(lines).rpartition(" ")[2])
        for line in lines:
            if not line.startswith("#"):
                last = line
    by = time.time() + AHEAD - float(last.rpartition(" ")[2])
    with source.open(encoding="utf-8") as lines, target.open("w", encoding="utf-8") as out:
        for line in lines:
            if line.startswith("#"):
                out.write(line)
                continue
            series, value, at = line.rsplit(" ", 2)
            if series.partition("{")[0].endswith(("_timestamp_seconds", "_start_time_seconds")) and float(
                value
            ):
                value = str(float(value) + by)
            out.write(f"{series} {value} {float(at) + by:.3f}\n")
    return first + by


def wait_for_alerts(asked: Prometheus) -> None:
    deadline = time.monotonic() + PATIENCE
    while not asked.instant(FIRES):
        if time.monotonic() > deadline:
            message = "no alert has fired: does the day end with a pass that waits for a decision?"
            raise TimeoutError(message)
        time.sleep(1)


def photograph(supervisor: Supervisor, file: Path) -> None:
    with tempfile.TemporaryDirectory() as directory:
        samples = Path(directory) / "samples"
        began = moved(file, samples)
        with prometheus(supervisor, samples=samples) as asked:
            wait_for_alerts(asked)
            for path, text in texts().items():
                dashboard = json.loads(text)
                until = time.time()
                hours = int(dashboard["time"]["from"].removeprefix("now-").removesuffix("h"))
                viewer = open_dashboard(
                    asked, dashboard, max(began, until - 3600 * hours), until, scrape=SCRAPE
                )
                picture = PICTURES / f"{path.stem}.png"
                draw(dashboard, viewer, picture)
                print(f"wrote {picture} ({picture.stat().st_size // 1024} KiB)")


def main(file: Path) -> None:
    PICTURES.mkdir(exist_ok=True)
    supervisor = start_supervisor()
    try:
        photograph(supervisor, file)
    finally:
        supervisor.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
