"""Print every setting, its value, where that came from, and what it means.

Reads the environment and the files as the daemon does, and reaches nothing. Secrets are masked.
Settings marked with ~ follow RECONCILER_RUNTIME_FILE while the daemon runs. Exits 2 with one line
for each fault where the settings are not valid.

$ reconciler config
$ reconciler config --json | jq '.settings[] | select(.source != "default")'
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from reconciler.cli import running
from reconciler.cli.arguments import Commands, as_json, command
from reconciler.cli.errors import DONE

if TYPE_CHECKING:
    from reconciler.settings import Loaded, SettingReport, Settings

LIVE = "~"
"""Shown next to a setting that follows the runtime file."""


def add(commands: Commands) -> None:
    as_json(command(commands, "config", __doc__, run), "them")


def run(args: argparse.Namespace) -> int:
    loaded = running.source_of(args).loaded
    if args.json:
        from reconciler.cli.output import print_json
        from reconciler.operations import as_json

        print_json(as_json.settings(loaded))
    else:
        _print(loaded)
    return DONE


def _print(loaded: Loaded[Settings]) -> None:
    """A row for each setting where rows fit, else a paragraph; what the runtime file overrides at the end."""
    from reconciler.cli.output import WIDE, console
    from reconciler.settings import Source, overridden, shown, tell

    out, reports, rows = console(), tell(loaded), []
    for each in reports:
        style = "" if each.origin.source is Source.DEFAULT else "bold"
        name = each.name.removeprefix("RECONCILER_")
        live = LIVE if each.runtime else ""
        rows.append(((name, style), live, shown(each.value), _origin(each), each.meaning))
    if out.width >= WIDE:
        out.table(("setting", "", "value", "from", "meaning"), rows)
    else:
        for setting, live, value, origin, meaning in rows:
            out.say(setting, f" {live}".rstrip(), f" = {value}  ", (f"({origin})", "dim"), hang=4)
            out.say(f"  {meaning}", hang=2)
    out.say()
    out.say(
        f"Names begin with RECONCILER_ in the environment. {LIVE} follows the runtime file while the daemon"
        f" runs. Passes record these settings as {loaded.settings.config_hash()}.",
        hang=0,
    )
    for line in overridden(reports):
        out.say((line, "yellow"), hang=2)


def _origin(each: SettingReport) -> str:
    from reconciler.settings import origin_text

    over = ", ".join(dict.fromkeys(origin_text(below) for below in each.origin.over))
    return f"{origin_text(each.origin)}, over {over}" if over else origin_text(each.origin)
