"""Statements that run the users' code: their triggers, checks, rules and functions.

They run under the settings of role and database instead of ours: a trigger that names a table without its
schema has to find it (R-54, I-39). And they remove exactly the given rows, or none (R-52).
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from reconciler.catalog.db.connections import OWN, AnyConnection
from reconciler.catalog.media_tables.tables import MediaTables

PATIENCE_MS = 400
"""How long users' code may wait for a lock. Less than Postgres' deadlock_timeout (1 s by default), so that we
give way where a writer waits for us, and the writer gets no deadlock error."""

REMOVING = "reconciler.removing"
"""A setting that is `on` while we remove rows ourselves: such a row is not noted as departed."""

THEIRS = "; ".join(f"SET LOCAL {name} TO DEFAULT" for name in OWN) + (
    f"; SET LOCAL lock_timeout = {PATIENCE_MS}; SET LOCAL {REMOVING} = on"
)
OURS = "; ".join(f"SET LOCAL {name} = {value}" for name, value in OWN.items()) + (
    f"; SET LOCAL lock_timeout TO DEFAULT; SET LOCAL {REMOVING} = off"
)

BUSY = ("40", "53", "55006", "55P03")
"""SQLSTATEs, or classes of them, that do not concern a row: collisions, resources, locks."""

# Rows of the media table, its partitions included, that this transaction has deleted and updated so far,
# whether by our own statements, by cascades or by triggers.
TOUCHED = """
SELECT sum(pg_stat_get_xact_tuples_deleted(oid))::bigint AS deleted,
       sum(pg_stat_get_xact_tuples_updated(oid))::bigint AS updated
FROM (SELECT $1::oid AS oid UNION SELECT relid FROM pg_partition_tree($1::oid::regclass)) tree
"""


class NotRemoved(Exception):
    """The removal would do more, or less, than remove just these rows. The message says what."""


@asynccontextmanager
async def in_their_settings(connection: AnyConnection) -> AsyncIterator[None]:
    """The settings of role and database, until the context ends; in a savepoint of the caller's.

    Deferred constraints are checked at the end, so that this statement fails, and not the commit.
    """
    await connection.execute(THEIRS)
    yield
    await connection.execute(f"SET CONSTRAINTS ALL IMMEDIATE; {OURS}")


async def remove_rows(connection: AnyConnection, media: MediaTables, ids: Sequence[str]) -> int:
    """Delete these rows, and no other row of the table, in a savepoint of the caller's.

    Returns how many rows of the table were updated by that. Raises NotRemoved, and what the database
    raises. No values are returned: their text would be in the users' date style and time zone.
    """
    before = await _touched(connection, media)
    async with in_their_settings(connection):
        # By id alone: these rows are locked, and were read again under the lock, with the row filter.
        rows = await connection.fetch(
            f"DELETE FROM {media.table} WHERE {media.identity.among('$1')} RETURNING true",
            list(ids),
        )
    deleted, updated = (
        now - then for now, then in zip(await _touched(connection, media), before, strict=True)
    )
    if len(rows) < len(ids):
        # No other session can have removed a row that we hold locked.
        raise NotRemoved("a trigger or a rule of the table keeps the row")
    if len(rows) > len(ids):
        raise NotRemoved("its id is another row's too, as the column's collation compares them")
    if deleted > len(rows):
        more = deleted - len(rows)
        raise NotRemoved(
            f"{more} other {'row' if more == 1 else 'rows'} of {media.names[0]} would go with it, by"
            " ON DELETE CASCADE or by a trigger"
        )
    if deleted < len(rows):
        raise NotRemoved(
            "what else of the table would go with it cannot be counted; set track_counts = on in the database"
        )
    return updated


def is_of(error: Exception, states: Sequence[str]) -> bool:
    """Whether the database's error is of one of these SQLSTATEs, or classes of them."""
    return (getattr(error, "sqlstate", None) or "").startswith(tuple(states))


def explained(error: Exception) -> str:
    """The database's error, in one line; for a violated constraint also the row that violates it."""
    message = str(error).partition("\n")[0]
    detail = getattr(error, "detail", None)
    return f"{message} ({detail.partition(chr(10))[0].rstrip('.')})" if detail else message


async def _touched(connection: AnyConnection, media: MediaTables) -> tuple[int, int]:
    row = await connection.fetchrow(TOUCHED, media.oids[0])
    assert row is not None, "a sum has a row"
    return row["deleted"], row["updated"]
