"""Whether the media service can use the columns that are mapped for it. Reads only."""

from dataclasses import dataclass

from reconciler.catalog.db import connections
from reconciler.catalog.db.calls import called
from reconciler.catalog.db.config import CatalogConfig, qualified, quoted
from reconciler.catalog.media_tables.inspection import SchemaReport

SAMPLED = 1_000
"""Virtual keys that are looked at."""

# The way that `serving` compares them.
HASHES = """
SELECT count(*) AS sampled, count(*) FILTER (WHERE hash !~ '^[0-9a-f]{{64}}$') AS odd
FROM (SELECT rtrim({hash}::text) AS hash FROM {keys} WHERE {hash} IS NOT NULL LIMIT {sampled}) s
"""

MAY_WRITE = """
SELECT bool_and(has_column_privilege($1::oid, name, 'UPDATE')) FROM unnest($2::text[]) AS c (name)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedColumns:
    """`hashed` is the column of the virtual keys' hashes, "" where there is none; of `sampled` values `odd`
    are no SHA-256. `accesses` are the columns that accesses are written to, and `grant` is the statement that
    this role lacks for it, "" where it lacks none.
    """

    hashed: str
    sampled: int
    odd: int
    accesses: tuple[str, ...]
    grant: str


async def look(config: CatalogConfig, report: SchemaReport) -> ServedColumns:
    """What is there, over a connection of its own; `report` is one without faults."""
    types, tables = report.types, report.tables
    assert types is not None
    assert tables is not None
    hashed = tables.keys.key_hash if tables.keys_table and "key_hash" in types.keys else ""
    fields = [field for field in ("last_accessed_at", "access_count") if field in types.media]
    written = tuple(getattr(tables.media, field) for field in fields)
    with called(config):
        connection = await connections.connect(config)
        try:
            row, may_write = None, True
            if hashed:
                query = HASHES.format(hash=quoted(hashed), keys=qualified(tables.keys_table), sampled=SAMPLED)
                row = await connection.fetchrow(query)
            if written:
                may_write = await connection.fetchval(MAY_WRITE, types.media_oid, list(written))
        finally:
            await connection.close()
    names = ", ".join(quoted(name) for name in written)
    grant = f"GRANT UPDATE ({names}) ON {qualified(tables.media_table)} TO {quoted(report.role)};"
    return ServedColumns(
        hashed=hashed,
        sampled=row["sampled"] if row else 0,
        odd=row["odd"] if row else 0,
        accesses=written,
        grant="" if may_write else grant,
    )
