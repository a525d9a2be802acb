"""An inventory's files as Parquet of four columns: key, size, modified (milliseconds since 1970), etag.

Parquet is read as it came, through a projection. CSV and ORC become Parquet first, one file after another.

===========  ==========================================================================================
Parquet      keys as they are; `last_modified_date` in UTC, with or without saying so
ORC          keys as they are; a timestamp without a zone, in UTC
CSV          S3's: no header; keys percent-encoded, with `+` for a blank; versions as text
CSV          with a dialect, Google's: keys as they are; noncurrent versions have a time of deletion
===========  ==========================================================================================

Delete markers and versions that are not the latest are left out; which is the latest, a column says, or the
greatest sequence number of the key. A key that cannot be decoded is NULL.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from reconciler.errors import InventoryRefused
from reconciler.sources import engine
from reconciler.sources.columns import Columns, Dialect, plainly

if TYPE_CHECKING:
    import duckdb

GROUP: Final = 100_000
"""Rows of a row group of what is written here, by whose statistics ranges skip the rest."""

_MOMENT: Final = "try_cast(replace(replace({}, 'T', ' '), 'Z', '') AS TIMESTAMP)"
"""A time in UTC that was written as text."""

_OF_VERSIONS: Final = frozenset({"islatest", "isdeletemarker"})


@dataclass(frozen=True, slots=True)
class Readable:
    """Parquet files. `sql` reads the four columns of what stands at `{source}`; `key` is the key's name."""

    sql: str
    paths: Sequence[Path]
    key: str


def readable(
    connection: duckdb.DuckDBPyConnection,
    form: str,
    columns: Columns,
    listed: Sequence[Path],
    step: Callable[[], None],
) -> Readable:
    """The files as Parquet. Raises InventoryRefused where they are something else than was said."""
    if form == "Parquet":
        found = _projected(columns, listed)
        _require_bucket(connection, columns, found)
        return found
    if columns.dialect is not None:
        converted = []
        for path in listed:
            step()
            converted.append(_as_it_is(connection, columns, columns.dialect, path))
        return _projected(columns, converted)
    convert = _from_csv if form == "CSV" else _from_orc
    converted = []
    for path in listed:
        step()
        converted.append(convert(connection, columns, path))
    return Readable("SELECT key, size, modified, etag FROM {source}", converted, "key")


def _projected(columns: Columns, paths: Sequence[Path]) -> Readable:
    """Parquet files as they came. Raises InventoryRefused where their columns differ."""
    schemas = {tuple((field.name, str(field.type)) for field in _schema(path)) for path in paths}
    if len(schemas) != 1:
        raise InventoryRefused("the inventory's files do not have the same columns")
    types = dict(schemas.pop())
    by_plain = {plainly(name): name for name in types}
    if lacking := [each for each in columns.needed if each not in by_plain]:
        raise InventoryRefused(f"the inventory's files lack the columns {', '.join(lacking)}")
    name = {plain: '"' + each.replace('"', '""') + '"' for plain, each in by_plain.items()}
    at, kind = name[columns.modified], types[by_plain[columns.modified]]
    if kind == "string":
        at = _MOMENT.format(at)
    elif "tz=" not in kind:  # it is UTC, and may be finer than what epoch_ms takes
        at = f"{at}::TIMESTAMP"
    etag = f"{name[columns.etag]}::VARCHAR"
    if columns.md5:
        etag = f"lower(hex(try(from_base64(nullif({etag}, '')))))"
    latest = ""
    if columns.deleted is not None:
        latest = f" WHERE coalesce({name[columns.deleted]}::VARCHAR, '') = ''"
    if by_plain.keys() >= _OF_VERSIONS:
        latest = f" WHERE {name['islatest']} AND NOT coalesce({name['isdeletemarker']}, false)"
    key, size = f"{name[columns.key]}::VARCHAR", f"try_cast({name[columns.size]} AS BIGINT)"
    if columns.sequence is not None:
        # One pass, through which a range of keys still reaches the statistics; a test says so.
        row = f"size: {size}, modified: epoch_ms({at}), etag: {etag}, gone: {name['isdeletemarker']}"
        sql = (
            "SELECT key, last.size AS size, last.modified AS modified, last.etag AS etag FROM (SELECT"
            f" {key} AS key, arg_max({{{{{row}}}}}, coalesce({name[columns.sequence]}, '')) AS last"
            " FROM {source} GROUP BY 1) WHERE NOT coalesce(last.gone, false)"
        )
    else:
        sql = (
            f"SELECT {key} AS key, {size} AS size, epoch_ms({at}) AS modified, {etag} AS etag"
            f" FROM {{source}}{latest}"
        )
    return Readable(sql, list(paths), by_plain[columns.key])


def _require_bucket(connection: duckdb.DuckDBPyConnection, columns: Columns, found: Readable) -> None:
    """Raise InventoryRefused for a row of another bucket."""
    if columns.bucket is None:
        return
    other = connection.execute(
        f"SELECT bucket FROM read_parquet({engine.files(found.paths)})"
        f" WHERE bucket IS DISTINCT FROM {engine.text(columns.bucket)} LIMIT 1"
    ).fetchall()
    if other:
        raise InventoryRefused(
            f"the inventory has rows of bucket {other[0][0]!r}, and not of {columns.bucket!r}"
        )


def _schema(path: Path) -> Iterable[Any]:
    import pyarrow as pa  # noqa: PLC0415 - an extra of its own
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        return list(pq.read_schema(path))
    except (pa.ArrowException, OSError) as error:
        raise InventoryRefused(f"a file of the inventory is no Parquet: {error}") from None


def _from_csv(connection: duckdb.DuckDBPyConnection, columns: Columns, path: Path) -> Path:
    target = path.with_name(f"{path.name}.parquet")
    types = ", ".join(f"{engine.text(each)}: 'VARCHAR'" for each in columns.names)
    latest = ""
    if columns.versions:
        latest = " WHERE lower(islatest) = 'true' AND lower(isdeletemarker) <> 'true'"
    # A plus is a blank (quote_plus): url_decode leaves it. What is no UTF-8 fails the whole query.
    connection.execute(
        "COPY (SELECT try(url_decode(replace(key, '+', '%20'))) AS key, try_cast(size AS BIGINT) AS size,"
        f" epoch_ms({_MOMENT.format('lastmodifieddate')}) AS modified,"
        f" etag FROM read_csv({engine.text(str(path))}, columns={{{types}}}, auto_detect=false,"
        " header=false, delim=',', quote='\"', escape='\"', compression='gzip', nullstr='')"
        f"{latest} ORDER BY key) TO {engine.text(str(target))}"
        f" (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {GROUP})"
    )
    return target


def _as_it_is(connection: duckdb.DuckDBPyConnection, columns: Columns, dialect: Dialect, path: Path) -> Path:
    """The columns that are needed, as text, with every line: their number is compared with the manifest's."""
    target = path.with_name(f"{path.name}.parquet")
    if dialect.header:
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            first = next(csv.reader(file, delimiter=dialect.delimiter), [])
        if tuple(plainly(each) for each in first) != columns.names:
            raise InventoryRefused("a file of the inventory has other columns than its manifest says")
    types = ", ".join(f"{engine.text(each)}: 'VARCHAR'" for each in columns.names)
    needed = ", ".join(f'"{each}"' for each in columns.needed)
    connection.execute(
        f"COPY (SELECT {needed} FROM read_csv({engine.text(str(path))}, columns={{{types}}},"
        f" auto_detect=false, header={str(dialect.header).lower()}, delim={engine.text(dialect.delimiter)},"
        " quote='\"', escape='\"', compression='none', nullstr='')"
        f' ORDER BY "{columns.key}") TO {engine.text(str(target))}'
        f" (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {GROUP})"
    )
    return target


def _from_orc(connection: duckdb.DuckDBPyConnection, columns: Columns, path: Path) -> Path:
    import pyarrow as pa  # noqa: PLC0415 - an extra of its own
    import pyarrow.parquet as pq  # noqa: PLC0415
    from pyarrow import orc  # noqa: PLC0415

    raw, target = path.with_name(f"{path.name}.raw"), path.with_name(f"{path.name}.parquet")
    try:
        found = orc.ORCFile(path)
        wanted = [each for each in found.schema.names if plainly(each) in {*columns.needed, *_OF_VERSIONS}]
        with pq.ParquetWriter(raw, pa.schema([found.schema.field(each) for each in wanted])) as writer:
            for stripe in range(found.nstripes):
                writer.write_batch(found.read_stripe(stripe, columns=wanted))
    except (pa.ArrowException, OSError) as error:
        raise InventoryRefused(f"a file of the inventory is no ORC: {error}") from None
    rows = _projected(columns, [raw]).sql.format(source=f"read_parquet({engine.text(str(raw))})")
    connection.execute(
        f"COPY ({rows} ORDER BY key) TO {engine.text(str(target))}"
        f" (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {GROUP})"
    )
    raw.unlink()
    return target
