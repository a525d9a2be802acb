"""`storage`: what the command does and says."""

from __future__ import annotations

import argparse
import json

from rich.console import Console
from rich.table import Table
from rich.text import Text

from reconciler import app
from reconciler.model import Storage, StorageBy, StoragePart
from reconciler.settings import DatabaseSettings
from reconciler.terminal.text import human_bytes, printable, shortened, timestamp

NAME_WIDTH = 60
FIELDS = {
    StorageBy.VIRTUAL_KEY: "virtual_key_id",
    StorageBy.MEDIA_TYPE: "media_type",
    StorageBy.PROVIDER: "provider",
}
"""What a part's name is called in JSON, and at the head of its column."""

UNKNOWN_PREFIXES = (
    "This is the whole table: no managed prefixes are known before a first leader has looked at the bucket."
)


async def storage(settings: DatabaseSettings, args: argparse.Namespace, console: Console) -> None:
    """Add up the rows and print it."""
    by = StorageBy(args.by)
    async with app.open_database(settings) as catalog:
        stored = await catalog.accounts.storage((by,), args.top)
    if args.json:
        print(as_json(stored, by))
    else:
        print_storage(stored, by, console)


def as_json(stored: Storage, by: StorageBy) -> str:
    """The body of `storage --json`; every key is always there. `share` is of the bytes, 0 to 1.

    `prefixes` null: nobody knows of managed prefixes yet, and the figures are of the whole table.
    """
    return json.dumps(
        {
            "by": by,
            "at": timestamp(stored.at),
            "prefixes": None if stored.prefixes is None else list(stored.prefixes),
            "objects": stored.objects,
            "bytes": stored.bytes,
            "largest": [{FIELDS[by]: part.names[0], **_figures(part, stored)} for part in stored.largest],
            "other": {"count": stored.other_parts, **_figures(stored.other, stored)},
        }
    )


def _figures(part: StoragePart, of: Storage) -> dict[str, int | float]:
    return {"objects": part.objects, "bytes": part.bytes, "share": round(_share(part, of), 6)}


def _share(part: StoragePart, of: Storage) -> float:
    return part.bytes / of.bytes if of.bytes else 0.0


def print_storage(stored: Storage, by: StorageBy, console: Console) -> None:
    """The largest, the rest in one line, and the sum."""
    table = Table(box=None, pad_edge=False)
    table.add_column(FIELDS[by].replace("_id", "").replace("_", " "))
    for heading in ("objects", "bytes", "", "share"):
        table.add_column(heading, justify="right")
    for part in stored.largest:
        name = shortened(printable(part.names[0]), NAME_WIDTH)
        _add(table, name, part, stored)
    if stored.other_parts:
        _add(table, f"{stored.other_parts:,} others", stored.other, stored)
    _add(table, "all", StoragePart(names=(), objects=stored.objects, bytes=stored.bytes), stored)
    console.print(table)
    if stored.prefixes is None:
        console.print(UNKNOWN_PREFIXES, soft_wrap=True)


def _add(table: Table, name: str, part: StoragePart, of: Storage) -> None:
    figures = (f"{part.objects:,}", f"{part.bytes:,}", human_bytes(part.bytes), f"{_share(part, of):.1%}")
    table.add_row(Text(name), *figures)
