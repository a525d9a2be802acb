"""How tables and columns are written: as Postgres stores their names, without quotes.

Each parser raises ValueError saying what is allowed.
"""

import json

IDENTIFIER_BYTES = 63
"""Postgres cuts longer names off (NAMEDATALEN - 1)."""


def column(raw: object) -> str:
    """A column's name as Postgres stores it, unquoted."""
    if isinstance(raw, str) and _is_identifier(raw):
        return raw
    raise ValueError("must be a column's name as Postgres stores it, without quotes, such as StorageKey")


def identity(raw: object) -> str:
    """One column's name, or several with commas between them, which together identify a row."""
    if isinstance(raw, str) and all(_is_identifier(name.strip()) for name in raw.split(",")):
        return ",".join(name.strip() for name in raw.split(","))
    raise ValueError(
        "must be a column's name as Postgres stores it, without quotes, such as Id; or several: id,created_at"
    )


def column_or_none(raw: object) -> str:
    """A column's name; nothing where the table has no such column."""
    return "" if raw == "" else column(raw)


def table(raw: object) -> str:
    """`table` or `schema.table` as Postgres stores the names, unquoted."""
    if isinstance(raw, str):
        parts = raw.split(".")
        if len(parts) <= 2 and all(_is_identifier(part) for part in parts):  # noqa: PLR2004 - schema and table
            return raw
    raise ValueError(
        "must be a table's name as Postgres stores it, without quotes: MediaRecords or public.MediaRecords"
    )


def table_or_none(raw: object) -> str:
    """A table's name; nothing where there is no such table."""
    return "" if raw == "" else table(raw)


def columns(raw: object) -> tuple[str, ...]:
    """A JSON list of columns' names in the environment, a list in YAML."""
    wanted = 'must be a JSON list of columns as Postgres stores their names, such as ["ThumbnailKey"]'
    return tuple(sorted({_named(each, wanted, parts=(1,)) for each in _listed(raw, wanted)}))


def references(raw: object) -> tuple[str, ...]:
    """A list like that of `columns`, of `table.column` or `schema.table.column`."""
    wanted = 'must be a JSON list of schema.table.column or table.column, such as ["public.Avatars.ImageKey"]'
    return tuple(sorted({_named(each, wanted, parts=(2, 3)) for each in _listed(raw, wanted)}))


def _listed(raw: object, wanted: str) -> list[object]:
    if isinstance(raw, str):
        try:
            raw = json.loads(raw)
        except ValueError:
            raise ValueError(wanted) from None
    if not isinstance(raw, list | tuple):
        raise ValueError(wanted)  # noqa: TRY004 - pydantic gathers ValueErrors only
    return list(raw)


def _named(raw: object, wanted: str, parts: tuple[int, ...]) -> str:
    names = raw.split(".") if isinstance(raw, str) else []
    if len(names) not in parts or not all(_is_identifier(name) for name in names):
        raise ValueError(wanted)
    return ".".join(names)


def row_filter(raw: object) -> dict[str, str]:
    """Values by column: JSON in the environment, a mapping in YAML, or a variable for each column."""
    wanted = 'must be values by column as Postgres stores its name, such as {"bucket_id": "avatars"}'
    if isinstance(raw, str):
        try:
            raw = json.loads(raw)
        except ValueError:
            raise ValueError(wanted) from None
    if not isinstance(raw, dict):
        raise ValueError(wanted)  # noqa: TRY004 - as above
    return {
        _named(name, wanted, parts=(1,)): _filter_value(value, wanted) for name, value in sorted(raw.items())
    }


def _filter_value(raw: object, wanted: str) -> str:
    """The value as Postgres writes it: YAML turns text that looks like booleans and numbers into them."""
    if isinstance(raw, bool):
        return str(raw).lower()
    if isinstance(raw, str | int) and "\0" not in str(raw):
        return str(raw)
    raise ValueError(wanted)


def _is_identifier(name: str) -> bool:
    return (
        0 < len(name.encode("utf-8", "surrogatepass")) <= IDENTIFIER_BYTES
        and name.isprintable()
        and not set(name) & {'"', "'", "`"}
    )
