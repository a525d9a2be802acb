"""Checks before the dates of a database are trusted: their time zone, and the unit of numbers."""

from collections.abc import Iterable

from reconciler.catalog.db.config import CatalogConfig, qualified, quoted
from reconciler.catalog.db.connections import Connection
from reconciler.catalog.db.expressions import NUMBERS, UNITS, Times
from reconciler.catalog.media_tables.columns import ZONELESS
from reconciler.catalog.media_tables.mapped import MappedTable

TIME_FIELDS = ("created_at", "expires_at", "last_accessed_at", "deleted_at")

SAMPLE = 1_000
"""Rows whose numbers are checked."""

ZONE_KNOWN = "SELECT EXISTS (SELECT FROM pg_timezone_names WHERE name = $1)"

# The zone of a session that sets none, such as a writer's.
OWN_ZONE = "SELECT reset_val FROM pg_settings WHERE name = 'TimeZone'"

# Compared in winter and in summer.
IS_UTC = """
SELECT bool_and(at AT TIME ZONE $1 = at AT TIME ZONE 'UTC')
FROM (VALUES ('2026-01-01'::timestamp), ('2026-07-01')) AS t (at)
"""


async def faults(connection: Connection, config: CatalogConfig, tables: Iterable[MappedTable]) -> list[str]:
    """Parts of the mapping that would misread dates, one line for each with what to do."""
    found = []
    zone = config.tables.time_zone
    if zone is not None and not await connection.fetchval(ZONE_KNOWN, zone):
        found.append(
            f"RECONCILER_CATALOG__TIME_ZONE {zone}: not known to Postgres; name one of pg_timezone_names,"
            " such as Europe/Berlin"
        )
    for table in tables:
        for field in TIME_FIELDS:
            if field in table.columns and table.columns[field].type.kind in NUMBERS:
                found += await _miscounted(connection, table, field, config.tables.epoch_unit)
    return found


async def _miscounted(connection: Connection, table: MappedTable, field: str, unit: str | None) -> list[str]:
    """A fault where no number is a plausible time in the declared unit, and some are in another one."""
    column, kind = quoted(table.mapped[field]), table.columns[field].type.kind
    counts = ", ".join(
        f"count(*) FILTER (WHERE {Times(unit=each).plausible(column, kind)}) AS {each}" for each in UNITS
    )
    row = await connection.fetchrow(
        f"SELECT {counts} FROM (SELECT {column} FROM {qualified(table.name)} LIMIT {SAMPLE}) sample"
    )
    assert row is not None
    likely = max(UNITS, key=lambda each: row[each])
    if unit is None or row[unit] or not row[likely]:
        return []
    setting = f"{table.columns_setting}__{field.upper()} {table.mapped[field]}"
    advice = f"set RECONCILER_CATALOG__EPOCH_UNIT to {likely}, or map a timestamptz column generated from it"
    return [f"{setting}: its numbers are no times in {unit}; {advice}"]


async def warnings(connection: Connection, config: CatalogConfig, tables: Iterable[MappedTable]) -> list[str]:
    """A line about columns without a zone, where none is declared and the database's zone is not UTC."""
    naive = sorted(
        f"{table.name}.{table.mapped[field]}"
        for table in tables
        for field in TIME_FIELDS
        if field in table.columns and table.columns[field].type.kind in ZONELESS
    )
    if not naive or config.tables.time_zone is not None:
        return []
    zone = str(await connection.fetchval(OWN_ZONE))
    if await connection.fetchval(IS_UTC, zone):
        return []
    line = f"{', '.join(naive)}: times without a zone are read as UTC, but the database's TimeZone is {zone}"
    return [f"{line}; set RECONCILER_CATALOG__TIME_ZONE to the zone that they are written in, {zone} or UTC"]
