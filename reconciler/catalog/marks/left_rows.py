"""Rows that others removed from the media table: kept in the ledger with their object, as our removals are.

They come as the texts that the trigger made of them. Each is read as a row of the table as it is now, so one
that no longer fits is not kept.
"""

from collections.abc import Sequence

import asyncpg
import structlog

from reconciler.catalog.db.connections import COLLISIONS, AnyConnection
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.marks import ledger
from reconciler.catalog.marks.ledger import Operation
from reconciler.catalog.media_tables import kept_rows
from reconciler.catalog.media_tables.kept_rows import Column
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.model import Mode

log = structlog.get_logger(__name__)

LEFT = "left"
"""The result of such a line: others removed the row."""


async def keep(
    connection: AnyConnection, media: MediaTables, operation: Operation, keys: Sequence[str]
) -> None:
    """Keep the rows of these marks, whose objects are gone, in the caller's transaction."""
    if not keys:
        return
    wanted = kept_rows.kept(await kept_rows.columns(connection, media.oids[0]))
    if await _kept(connection, media, operation, wanted, keys) or len(keys) == 1:
        return
    for key in keys:
        await _kept(connection, media, operation, wanted, [key])


async def _kept(
    connection: AnyConnection,
    media: MediaTables,
    operation: Operation,
    wanted: Sequence[Column],
    keys: Sequence[str],
) -> bool:
    try:
        async with connection.transaction():
            await connection.execute(
                f"INSERT INTO {SCHEMA}.ledger (operation_id, epoch, event, mode, what, storage_key,"
                " record_id, verdict, reason, result, etag, pass_id, owners,"
                " row_columns, row_types, row_values)"
                f" SELECT $2, $3, '{ledger.RESULT}', '{Mode.LIVE.value}', '{ledger.RECORD}', k.storage_key,"
                f" {media.identity.text}, k.verdict, k.reason, '{LEFT}', k.object_etag, k.pass_id, k.owners,"
                f" $4, $5, {kept_rows.as_array(wanted)}"
                f" FROM {SCHEMA}.marks k CROSS JOIN LATERAL unnest(k.left_rows) AS r (text)"
                f" CROSS JOIN LATERAL (SELECT (r.text::{media.names[0]}).*) m"
                " WHERE k.storage_key = ANY($1::text[])",
                keys,
                operation.id,
                operation.epoch,
                [each.name for each in wanted],
                [each.type for each in wanted],
            )
    except COLLISIONS:
        raise
    except asyncpg.PostgresError as error:
        if len(keys) == 1:
            log.warning("a row that left cannot be kept for an undo", storage_key=keys[0], reason=str(error))
        return False
    return True
