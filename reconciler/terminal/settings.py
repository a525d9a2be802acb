"""`config`: every setting for people and for scripts."""

from __future__ import annotations

import json

from rich.console import Console
from rich.table import Table
from rich.text import Text

from reconciler.settings import Loaded, Settings, Source, ToldSetting, overridden, shown, tell, told_origin
from reconciler.terminal.text import printable

LIVE = "~"
"""Beside a setting that follows the runtime file."""


def as_json(loaded: Loaded[Settings]) -> str:
    """One object: the hash that passes record, the mode, and the settings in the order of the reference."""
    settings = loaded.settings
    return json.dumps(
        {
            "config_hash": settings.config_hash(),
            "mode": settings.mode(),
            "settings": [_as_dict(each) for each in tell(loaded)],
        }
    )


def _as_dict(each: ToldSetting) -> dict[str, object]:
    return {
        "name": each.name,
        "key": each.key,
        "value": each.value,
        "default": each.default,
        "required": each.required,
        "runtime": each.runtime,
        "source": each.origin.source,
        "where": each.origin.where or None,
        "over": [{"source": below.source, "where": below.where or None} for below in each.origin.over],
        "meaning": each.meaning,
    }


def print_settings(loaded: Loaded[Settings], console: Console) -> None:
    """A line or more for each setting, aligned; what the runtime file overrides at the end."""
    told = tell(loaded)
    table = Table("setting", "", "value", "from", "meaning", box=None, pad_edge=False)
    for each in told:
        given = each.origin.source is not Source.DEFAULT
        table.add_row(
            Text(each.name.removeprefix("RECONCILER_"), style="bold" if given else ""),
            LIVE if each.runtime else "",
            Text(printable(shown(each.value)), overflow="fold"),
            Text(printable(_origin(each)), overflow="fold"),
            Text(printable(each.meaning)),
        )
    console.print(table)
    console.print(
        f"\nNames begin with RECONCILER_ in the environment. {LIVE} follows the runtime file while the daemon"
        f" runs. Passes record these settings as {loaded.settings.config_hash()}.",
        soft_wrap=True,
    )
    for line in overridden(told):
        console.print(Text(printable(line), style="yellow"), soft_wrap=True)


def _origin(each: ToldSetting) -> str:
    over = ", ".join(dict.fromkeys(told_origin(below) for below in each.origin.over))
    return f"{told_origin(each.origin)}, over {over}" if over else told_origin(each.origin)
