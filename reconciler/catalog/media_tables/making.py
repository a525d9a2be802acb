"""Makes rows of the gateway's media table for objects that have none: which columns, and the statement."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reconciler.catalog.db.config import TableMapping, literal, quoted, split_columns
from reconciler.catalog.db.connections import AnyConnection
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.errors import ConfigError
from reconciler.model import CONTENT_TYPE, Adoptable, ValueFrom, ValueSource

# Each column with its base type, and whether the table itself finds a value.
COLUMNS = """
SELECT a.attname::text AS name, format_type(a.atttypid, -1) AS type,
       a.attnotnull OR t.typnotnull AS required,
       a.attgenerated <> '' AS computed, a.attidentity <> '' AS counts,
       pg_get_expr(d.adbin, d.adrelid) AS by_default,
       t.typdefault IS NOT NULL AS type_default,
       format_type(CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END, -1) AS base
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.attgenerated = ''
WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""

_FROM_OBJECT = ("size_bytes", "media_type", "provider", "model", "content_hash")
_TIMES = ("created_at", "expires_at")
_FURTHER = "column "
"""Stands before the names of columns that no setting maps, among the names of arrays."""
_CONTENT_TYPE = ValueFrom(source=ValueSource.CONTENT_TYPE)
_IDS = dict.fromkeys(("text", "character varying"), "gen_random_uuid()::text") | {"uuid": "gen_random_uuid()"}
"""How an id is made, by its type, where the table makes none itself."""

_INTEGERS = {"smallint": 2**15, "integer": 2**31, "bigint": 2**63}
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,18}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """How a row is made: the columns, an expression for each over the arrays `v`, and those arrays' names."""

    columns: tuple[str, ...]
    expressions: tuple[str, ...]
    given: tuple[str, ...]

    def arrays(self, rows: Sequence[Adoptable]) -> list[list[object]]:
        """The values of the given arrays, in their order."""
        return [[_value(row, name) for row in rows] for name in self.given]


async def plan(
    connection: AnyConnection,
    media: MediaTables,
    tables: TableMapping,
    further: Mapping[str, ValueFrom],
    setting: str,
    *,
    example: str = "",
    accessed: bool = False,
) -> Making:
    """Find a source for every column that needs one, `further` of them by name. `accessed`: as of now.

    Raises ConfigError that names the columns without one, and the setting that gives it.
    """
    found = {row["name"]: row for row in await connection.fetch(COLUMNS, media.oids[0])}
    sources = _sources(media, tables, further, found, accessed=accessed)
    if unknown := [name for name in sorted(further) if name not in found or found[name]["computed"]]:
        raise ConfigError(
            f"{setting}: {media.names[0]} has no column {', '.join(unknown)} that can be written"
        )
    columns, expressions, given = list[str](), list[str](), dict[str, None]()
    lacking = []
    for name, column in found.items():
        if column["computed"]:
            continue
        if (source := sources.get(name)) is not None:
            expression, array = source
            if column["by_default"] is not None and array:
                expression = f"coalesce({expression}, {column['by_default']})"
            columns.append(quoted(name))
            expressions.append(expression.replace("<type>", column["type"]))
            given |= {array: None} if array else {}
        elif name in split_columns(tables.media.id) and _makes_none(column):
            made = _IDS.get(column["base"])
            if made is None:
                lacking.append(name)
                continue
            columns.append(quoted(name))
            expressions.append(made)
        elif column["required"] and _makes_none(column):
            lacking.append(name)
    if lacking:
        raise ConfigError(
            f"{media.names[0]}: no value for {', '.join(lacking)}, which the table requires: give each"
            f" a default, or a value in {setting}{example.replace('COLUMN', lacking[0])}"
        )
    return Making(columns=tuple(columns), expressions=tuple(expressions), given=tuple(given))


def statement(making: Making, media: MediaTables) -> str:
    """The INSERT: $1 and so on are the arrays of `given`. Returns id and storage key of what was made."""
    arrays = ", ".join(f"${place}::{_array(name)}" for place, name in enumerate(making.given, 1))
    names = ", ".join(quoted(name) for name in making.given)
    return (
        f"INSERT INTO {media.table.removesuffix(' m')} AS m ({', '.join(making.columns)})"
        f" SELECT {', '.join(making.expressions)} FROM unnest({arrays}) AS v ({names})"
        f" ON CONFLICT DO NOTHING RETURNING {media.identity.text} AS id, {media.key_text} AS storage_key"
    )


def plausible(owner: str, kind: str) -> bool:
    """Whether a text can be a virtual key's id of that type, written as the database writes it."""
    if kind in _INTEGERS:
        return bool(_WHOLE.fullmatch(owner)) and abs(int(owner)) < _INTEGERS[kind]
    if kind == "numeric":
        return bool(_WHOLE.fullmatch(owner))
    if kind == "uuid":
        return bool(_UUID.fullmatch(owner))
    return bool(owner) and "\0" not in owner


def _makes_none(column: Mapping[str, object]) -> bool:
    return column["by_default"] is None and not column["counts"] and not column["type_default"]


def _sources(
    media: MediaTables,
    tables: TableMapping,
    further: Mapping[str, ValueFrom],
    found: Mapping[str, object],
    *,
    accessed: bool,
) -> dict[str, tuple[str, str]]:
    """Expression and array by column. `<type>` stands for the column's type."""
    mapped = tables.media
    sources = {getattr(mapped, field): (f'v."{field}"::<type>', field) for field in _FROM_OBJECT}
    for field in _TIMES:
        if media.media_time(field) is not None:
            sources[getattr(mapped, field)] = media.moment_of(field, f'v."{field}"'), field
    if accessed and media.media_time("last_accessed_at") is not None:
        sources[mapped.last_accessed_at] = media.moment_of("last_accessed_at", "clock_timestamp()"), ""
    sources[mapped.access_count] = "0", ""
    for name, value in {CONTENT_TYPE: _CONTENT_TYPE, **further}.items():
        if value.source is ValueSource.CONSTANT:
            sources[name] = f"{literal(value.name)}::<type>", ""
        else:
            sources[name] = f"v.{quoted(_FURTHER + name)}::<type>", _FURTHER + name
    sources[mapped.virtual_key_id] = 'v."owner"::<type>', "owner"
    for name, text in tables.media_where:
        sources[name] = f"{literal(text)}::<type>", ""
    sources[mapped.storage_key] = 'v."storage_key"::<type>', "storage_key"
    return {name: source for name, source in sources.items() if name in found}


def _array(name: str) -> str:
    if name in _TIMES:
        return "timestamptz[]"
    return "bigint[]" if name == "size_bytes" else "text[]"


def _value(row: Adoptable, name: str) -> object:
    if name.startswith(_FURTHER):
        return row.values.get(name.removeprefix(_FURTHER))
    return getattr(row, "size" if name == "size_bytes" else name)
