"""Further columns that name objects, in addition to the media table's key: an object they name is kept.

Variants are further columns of the media table, such as thumbnails; the others are columns of any table.
Their rows are never locked, judged or removed. A row protects the objects it names by being there. So does a
reservation of ours (`catalog.reservations`), until its end.
"""

import difflib
import re
from collections.abc import AsyncIterator, Collection, Sequence
from datetime import datetime

from reconciler.catalog.db import bounds
from reconciler.catalog.db.config import TableMapping, qualified, quoted, split_table
from reconciler.catalog.db.connections import AnyConnection, Connection, Database
from reconciler.catalog.db.expressions import BARE_KEYS
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.media_tables import columns
from reconciler.catalog.media_tables.tables import MediaTables, Reference
from reconciler.errors import Halt
from reconciler.model import Record, reference_to
from reconciler.model.spelling import Orphans

VARIANTS = "RECONCILER_CATALOG__VARIANT_COLUMNS"
REFERENCED = "RECONCILER_CATALOG__ALSO_REFERENCED"

PATIENCE = 600
"""Seconds that one read of a whole column may take."""

LONGEST = 2048
"""The most bytes of an object's name: a longer text, such as an image in a `data:` address, is none."""

# What has other spellings than by case. A name without any of it folds to its small letters.
AMBIGUOUS = r"[^!-~]|[%+?#\\]|//|^/|/$"

ORPHANS = f"""
SELECT folded FROM {SCHEMA}.spellings WHERE pass_id = $4 AND NOT is_row UNION SELECT unnest($5::text[])
"""

# `spelling.fingerprints` of a name that folds to its small letters.
FINGERPRINT = "left(encode(sha256(convert_to(n.small, 'UTF8')), 'hex'), 32)"

# A view serves as well, since rows are only read. A materialized view may be older than the bucket, and
# objects that it does not name yet would look orphaned. So would those of transactions on another server,
# for which no claim waits. Either may be a partition, or stand behind a view.
LAGGING = """
WITH RECURSIVE behind (oid) AS (
    SELECT oid FROM unnest({oids}) AS named (oid)
    UNION SELECT further.oid FROM behind b CROSS JOIN LATERAL (
        SELECT i.inhrelid AS oid FROM pg_inherits i WHERE i.inhparent = b.oid
        UNION ALL SELECT d.refobjid FROM pg_rewrite w JOIN pg_depend d ON d.objid = w.oid
            AND d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
        WHERE w.ev_class = b.oid AND w.ev_type = '1'
    ) further
)
SELECT min(c.oid::regclass::text) FROM behind b JOIN pg_class c ON c.oid = b.oid
WHERE c.relkind IN ('f', 'm')
"""

RELATION = f"""
SELECT c.oid, c.relkind::text AS kind, row_security_active(c.oid) AS filtered,
       has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') AS readable,
       ({LAGGING.format(oids="ARRAY[c.oid]")}) AS lagging
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
"""

TABLES = f"""
WITH tables AS (
    SELECT ARRAY(SELECT to_regclass(n.name)::oid FROM unnest($1::text[]) WITH ORDINALITY AS n (name, place)
                 ORDER BY n.place) AS oids
)
SELECT oids, ({LAGGING.format(oids="oids")}) AS lagging FROM tables
"""


RESERVATIONS = f"{SCHEMA}.reservations.storage_key"
RESERVED = f"""
SELECT storage_key AS key FROM {SCHEMA}.reservations
WHERE storage_key = ANY($1::text[]) AND state = 'open' AND expires_at > clock_timestamp()
"""
RESERVED_UNTIL = f"""
SELECT max(expires_at) FROM {SCHEMA}.reservations
WHERE storage_key = $1 AND state = 'open' AND expires_at > clock_timestamp()
"""


class Inspection:
    """Checks each declared column. `oids` are of the tables besides the media table.

    With `faults` nothing can be read; `warnings` are for an operator.
    """

    def __init__(self, connection: Connection, tables: TableMapping) -> None:
        self._connection = connection
        self._tables = tables
        self.found: list[Reference] = []
        self.oids: list[int] = []
        self.faults: list[str] = []
        self.warnings: list[str] = []

    async def look(self) -> None:
        for column in self._tables.variants:
            await self._look(VARIANTS, self._tables.media_table, column, variant=True)
        for name in self._tables.also_referenced:
            table, _, column = name.rpartition(".")
            await self._look(REFERENCED, table, column, variant=False)

    async def _look(self, setting: str, table: str, column: str, *, variant: bool) -> None:
        name = f"{setting} {table}.{column}"
        found = await self._connection.fetchrow(RELATION, *split_table(table))
        if found is None:
            self.faults.append(f"{name}: there is no table {table}")
            return
        if not variant:
            self.oids.append(found["oid"])
        if found["lagging"] is not None:
            self.faults.append(f"{name}: {_lags(found['lagging'])}; name the tables behind it")
        elif not found["readable"]:
            self.faults.append(
                f"{name}: not readable; grant this role USAGE on the schema, and SELECT on {qualified(table)}"
            )
        elif found["filtered"]:
            self.faults.append(
                f"{name}: row-level security would hide rows from this role, and what they name would look"
                " orphaned; grant the role BYPASSRLS"
            )
        else:
            await self._look_at_column(
                name, found["oid"], table, column, variant=variant, view=found["kind"] == "v"
            )

    async def _look_at_column(
        self, name: str, oid: int, table: str, column: str, *, variant: bool, view: bool
    ) -> None:
        there = await columns.find(self._connection, oid)
        if column not in there.columns:
            near = difflib.get_close_matches(column, there.columns, n=1, cutoff=0.6) or sorted(there.columns)
            self.faults.append(f"{name}: no such column; there is {', '.join(near)}")
            return
        kind = there.columns[column].type.kind
        if kind not in columns.ALLOWED["storage_key"]:
            self.faults.append(
                f"{name}: its type is {kind}; allowed are {', '.join(columns.ALLOWED['storage_key'])}: make a"
                " view that gives the keys as text, one a row, and name that"
            )
            return
        indexed = kind in BARE_KEYS and column in there.indexed
        if not indexed:
            self.warnings.append(
                f"{name}: no index answers which rows name a key, so each batch of a thousand reads the table"
            )
        self.found.append(
            Reference(
                name=".".join((*split_table(table), column)),
                table=qualified(table),
                oid=oid,
                column=f"f.{quoted(column)}" + ("" if kind in BARE_KEYS else "::text"),
                variant=variant,
                indexed=indexed,
                view=view,
            )
        )


async def named(
    connection: AnyConnection, media: MediaTables, keys: Collection[str], *, variants: bool = True
) -> set[str]:
    """Which of the keys any such column names, without `variants` any other than theirs; or a reservation.

    Raises Halt where one of the tables was replaced.
    """
    wanted = [key for key in keys if bounds.storable(key)]
    if not wanted:
        return set()
    asked = [each for each in media.references if variants or not each.variant]
    await require_tables(connection, media)
    rows = await connection.fetch(" UNION ALL ".join((RESERVED, *map(media.names_by, asked))), wanted)
    return {row["key"] for row in rows}


async def columns_naming(connection: AnyConnection, media: MediaTables, key: str) -> Sequence[str]:
    """Those of such columns that name the key. Raises Halt where one of the tables was replaced."""
    if not bounds.storable(key):
        return ()
    await require_tables(connection, media)
    columns = [(RESERVATIONS, RESERVED), *((each.name, media.names_by(each)) for each in media.references)]
    asked = (f"SELECT {n} AS place FROM ({query}) k" for n, (_, query) in enumerate(columns))
    rows = await connection.fetch(f"{' UNION ALL '.join(asked)} ORDER BY place", [key])
    return [columns[row["place"]][0] for row in rows]


async def reserved_until(connection: AnyConnection, key: str) -> datetime | None:
    """When the last open reservation of the key ends."""
    ends: datetime | None = await connection.fetchval(RESERVED_UNTIL, key) if bounds.storable(key) else None
    return ends


async def spelled_otherwise(
    database: Database, key: str, rows: str, orphans: Orphans, page_size: int
) -> AsyncIterator[Sequence[str]]:
    """`ports.Records.spelled_otherwise` for the column `key` of `rows`, a table with a condition.

    One join by hash compares it with all orphans. The statistics may say that there are none, and then a
    nested loop, which compares each with each, would look free. No connection is held while the caller works.
    """
    key = f'({key} COLLATE "C")'
    outside, values = bounds.condition("n.key", bounds.outside(orphans.prefixes), 6)
    query = (
        f"SELECT ARRAY(SELECT DISTINCT n.key FROM (SELECT {key} AS key, lower({key}) AS small"
        f" FROM {rows} AND {key} > $2::text AND octet_length({key}) <= {LONGEST}"
        f" OFFSET 0) n LEFT JOIN ({ORPHANS}) o ON o.folded = {FINGERPRINT}"
        f" WHERE {outside} OR n.small ~ $3::text OR o.folded IS NOT NULL ORDER BY n.key LIMIT $1)::text[]"
    )
    noted = (odd(orphans), orphans.pass_id, orphans.gathered)
    after: str | None = ""

    async def work(connection: AnyConnection) -> list[str]:
        await by_hash(connection)
        given = (page_size, after, *noted, *values)
        keys: list[str] = await connection.fetchval(query, *given, timeout=PATIENCE)
        return keys

    while after is not None:
        keys = await database.transaction(work)
        if keys:
            yield keys
        after = keys[-1] if len(keys) == page_size else None


async def by_hash(connection: AnyConnection) -> None:
    """Have the rest of the transaction join by hash, for as long as a whole table may take."""
    await connection.execute(f"SET LOCAL enable_nestloop = off; SET LOCAL statement_timeout = '{PATIENCE}s'")


def odd(orphans: Orphans) -> str:
    """A pattern of names, in small letters, that may fold to something else; or lose a part at the front."""
    fronts = [prefix * 2 for prefix in orphans.prefixes if prefix] or [f"{orphans.bucket}/"]
    return "|".join([AMBIGUOUS, *(f"^{re.escape(front.lower())}" for front in fronts)])


async def require_tables(connection: AnyConnection, media: MediaTables) -> None:
    """Raise Halt where a table was replaced: a view, or a table being filled, would hide names (R-5).

    Also where one has a partition on another server by now (R-96).
    """
    if not media.references:
        return
    found = await connection.fetchrow(TABLES, [each.table for each in media.references])
    assert found is not None, "a SELECT of arrays has a row"
    if found["lagging"] is not None:
        raise Halt(
            f"{_lags(found['lagging'])}, and a declared column reads it; nothing is deleted until it is"
            " detached, or no longer declared"
        )
    for each, oid in zip(media.references, found["oids"], strict=True):
        if oid != each.oid:
            raise Halt(
                f"{each.table} was replaced while this program ran; nothing is deleted until it is started"
                " again and has inspected the new table"
            )


def _lags(relation: str) -> str:
    return f"{relation} is a materialized view or lies on another server, so its rows may come late"


async def add_named(
    connection: AnyConnection, media: MediaTables, keys: Sequence[str], rows: dict[str, list[Record]]
) -> None:
    """Add to `rows` one row that stays for each key that such a column names.

    So any decision about the key leaves its object alone, as with any other row that stays. Do not pass
    keys of dangling marks: an object that is not there needs no protection.
    """
    for key in await named(connection, media, keys):
        rows.setdefault(key, []).append(reference_to(key))
