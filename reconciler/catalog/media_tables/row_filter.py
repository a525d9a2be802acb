"""The row filter's values, as their columns write them, since a row's text is compared with theirs.

A setting of `t` means true, and a uuid in capitals is the same uuid. Compared by text, neither would match a
single row, and all their objects would look like orphans (R-89).
"""

from dataclasses import replace

import asyncpg

from reconciler.catalog.db.config import TableMapping, qualified
from reconciler.catalog.db.connections import Connection
from reconciler.catalog.db.expressions import BARE_KEYS
from reconciler.catalog.media_tables import columns

TEXTS = frozenset({*BARE_KEYS, "char(n)", "citext", "name", "char"})
"""Types whose values are used as they are: one too long for a column matches no row; a cast would cut it."""

SEVERAL = frozenset(
    {"timestamptz", "timestamp", "date", "time", "timetz", "interval"}
    | {"real", "double precision", "money", "bytea", "json"}
)
"""Types in which one value has several texts, or one that depends on the writer's session."""

SETTING = "RECONCILER_CATALOG__MEDIA_WHERE__"


async def typed(connection: Connection, tables: TableMapping) -> tuple[TableMapping, list[str]]:
    """The mapping with each value as its column writes it; and a line for each that is no value of its type.

    The value of a missing column stays as it is; the inspection of the table reports that column.
    """
    if not tables.media_where:
        return tables, []
    oid = await connection.fetchval("SELECT to_regclass($1)::oid", qualified(tables.media_table))
    if oid is None:
        return tables, []
    there, written, faults = (await columns.find(connection, oid)).columns, [], list[str]()
    for name, value in tables.media_where:
        try:
            text = await _written(connection, there[name], value) if name in there else value
        except (asyncpg.DataError, _SeveralTexts) as error:
            faults.append(f"{SETTING}{name}: {_why(error, there[name], value)}")
            continue
        written.append((name, text))
    return replace(tables, media_where=tuple(written)), faults


class _SeveralTexts(Exception):
    """See `SEVERAL`."""


async def _written(connection: Connection, column: columns.Column, value: str) -> str:
    kind = column.type.kind
    if kind in TEXTS:
        return value
    if kind in SEVERAL or columns.ambiguous(column):
        raise _SeveralTexts
    cast = f"$1::text::{column.type.sql}"
    text: str = await connection.fetchval(
        f"SELECT {f'trim_scale({cast})' if kind == 'numeric' else cast}::text", value
    )
    return text


def _why(error: Exception, column: columns.Column, value: str) -> str:
    if isinstance(error, _SeveralTexts):
        return (
            f"its type is {column.type.kind}, in which one value is written in several ways; name a column of"
            " text, numbers without a fraction, boolean, uuid or an enum, such as a generated one"
        )
    return f"{value!r} is no value of its type, {column.type.kind}: {str(error).splitlines()[0]}"
