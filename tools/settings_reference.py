"""The tables of `docs/settings.md`: every setting, as the schema declares it.

`python -m tools.settings_reference` writes them; a test fails until they are current.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr

from reconciler.model import KeyShape, OwnerFrom
from reconciler.settings import SettingReport, Settings, SettingsSource, tell
from reconciler.settings.names import PREFIX, leaves
from reconciler.settings.report import shown

REFERENCE = Path(__file__).parent.parent / "docs" / "settings.md"
BEGIN, END = "<!-- settings: begin -->", "<!-- settings: end -->"

EXAMPLE: Mapping[str, str] = {
    "RECONCILER_DATABASE_URL": "postgresql://reconciler@db.internal/gateway",
    "RECONCILER_BUCKET__NAME": "media",
    "RECONCILER_BUCKET__PREFIXES": '["image/"]',
}
"""The required settings, without which there are none to ask for their defaults."""

UNITS: Mapping[str, str] = {
    "media_retention_days": "days",
    "recent_access_days": "days",
    "max_deletes_per_second": "keys a second, or `unlimited`",
    "max_heads_per_second": "objects a second, or `unlimited`",
    "columns": "JSON object",
    "price_per_gib_month": "your currency",
    "listing_concurrency": "key ranges",
    "delete_concurrency": "batches",
    "copy_concurrency": "copies",
    "max_fraction": "0 to 1",
    "max_count": "keys",
    "max_dangling": "records",
    "min_count": "findings",
    "max_bytes": "bytes",
    "memory": "bytes",
    "disk": "bytes",
    "max_objects": "objects",
    "port": "TCP port",
    "requests": "requests",
    "requests_per_owner": "requests",
}
"""What numbers count, by the setting's name in its group."""

KINDS: Mapping[Any, str] = {
    bool: "`true` or `false`",
    timedelta: "duration",
    SecretStr: "URL",
    KeyShape: "RE2 pattern",
    OwnerFrom: "`metadata:NAME`, `tag:NAME`, `key:PATTERN`",
    tuple: "JSON list",
    dict: "one variable a column",
    str: "text",
}


def unit(name: str, annotation: Any) -> str:
    """How a value is written: what a number counts, a duration, or the words of a closed set."""
    if name in UNITS:
        return UNITS[name]
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{word}`" for word in get_args(annotation))
    kind = get_origin(annotation) or annotation
    if kind in KINDS:
        return KINDS[kind]
    return unit(name, next(each for each in get_args(annotation) if each is not type(None)))


def _sections(model: type[BaseModel], at: Sequence[str] = ()) -> Iterator[tuple[str, str]]:
    """The key of each group of settings and what the schema says about it, outermost first."""
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield ".".join((*at, name)), " ".join((inner.__doc__ or "").split())
            yield from _sections(inner, (*at, name))


def _row(told: SettingReport, annotation: Any) -> str:
    default = "required" if told.required else "none" if told.default is None else f"`{shown(told.default)}`"
    cells = (
        f"`{told.name.removeprefix(PREFIX)}`",
        default,
        unit(told.key.rpartition(".")[2], annotation),
        "⟳" if told.runtime else "",
        told.meaning,
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def tables() -> Iterator[str]:
    """A table for each group of settings, those without a group first."""
    told = tell(SettingsSource(EXAMPLE).loaded)
    known = {".".join(path): leaf for path, leaf in leaves().items()}
    for group, about in (("", ""), *_sections(Settings)):
        rows = [
            _row(each, known[each.key].field.annotation)
            for each in told
            if each.key.rpartition(".")[0] == group
        ]
        title = f"`{group.upper().replace('.', '__')}__…`" if group else "General"
        head = [f"## {title}", ""] + ([about, ""] if about else [])
        yield "\n".join(
            [*head, "| setting | default | unit | ⟳ | meaning |", "|---|---|---|---|---|", *rows, ""]
        )


def current() -> str:
    """The text of `docs/settings.md` with the tables as they should be."""
    before, _, rest = REFERENCE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return "\n".join([f"{before}{BEGIN}", *tables(), f"{END}{after}"])


if __name__ == "__main__":
    REFERENCE.write_text(current(), encoding="utf-8")
    print(f"wrote {REFERENCE}")
